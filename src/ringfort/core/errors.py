"""Every error that Ringfort raises, with a stable code and what to do about it.

    RingfortError
    ├── ConfigError        RF1xx   UnknownName · Incompatible · InvalidValue · MissingExtra
    │                              DataUnavailable · OutputUnwritable · NotGranted
    ├── AdmissionError     RF2xx   MalformedUpdate · UnknownClient · BadSignature · Replay · QuotaExceeded
    ├── ToleranceExceeded  RF3xx
    ├── BudgetExceeded     RF4xx
    ├── ProtocolAbort      RF5xx   BelowFloor · OutOfOrder · BadShare · TooFewAlive · Inconsistent
    ├── EngineError        RF6xx   TransportError · Interrupted · NothingAdmitted · JobAborted
    └── IntegrityError     RF7xx   BrokenChain · BadCheckpoint · BadData · TooManySuspicious · BadProof

A *client's* bad content never raises out of a round: the gate turns an AdmissionError into a refusal. A missing
*safety precondition* always raises. A message never contains an update, a share, a key or a datum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

__all__ = [
    "AdmissionError",
    "BadCheckpoint",
    "BadData",
    "BadProof",
    "BadShare",
    "BadSignature",
    "BelowFloor",
    "BrokenChain",
    "BudgetExceeded",
    "ConfigError",
    "DataUnavailable",
    "EngineError",
    "Explanation",
    "Incompatible",
    "Inconsistent",
    "IntegrityError",
    "Interrupted",
    "InvalidValue",
    "JobAborted",
    "MalformedUpdate",
    "MissingExtra",
    "NotGranted",
    "NothingAdmitted",
    "OutOfOrder",
    "OutputUnwritable",
    "ProtocolAbort",
    "QuotaExceeded",
    "Replay",
    "RingfortError",
    "ToleranceExceeded",
    "TooFewAlive",
    "TooManySuspicious",
    "TransportError",
    "UnknownClient",
    "UnknownName",
    "explain",
    "known_codes",
]

USAGE, SAFETY = 2, 3


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `ringfort explain CODE` prints."""

    code: str
    name: str
    what: str
    todo: str
    attack: str

    def __str__(self) -> str:
        return (
            f"{self.code} {self.name}\n\n"
            f"What happened     {self.what}\n"
            f"What to do        {self.todo}\n"
            f"Is it an attack?  {self.attack}"
        )


class RingfortError(Exception):
    """Root of all errors raised on purpose. `str(error)` is one line that starts with its code."""

    code: ClassVar[str] = "RF000"
    exit_code: ClassVar[int] = SAFETY
    what: ClassVar[str] = "An error that Ringfort raised on purpose."
    todo: ClassVar[str] = "Read the message."
    attack: ClassVar[str] = "No."

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"{self.code} {self.message}"


class ConfigError(RingfortError):
    """The caller asked for something that does not exist, does not fit or is not safe."""

    code = "RF100"
    exit_code = USAGE
    what = "A recipe, an argument or an option does not make sense."
    todo = "Correct it as the message says; `ringfort recipe schema` lists every key."
    attack = "No: it is about your own settings."


class UnknownName(ConfigError):
    """A name or key that nobody registered."""

    code = "RF101"
    what = "A name (of a rule, an attack, a data set, a model or a recipe's key) is not known. Nothing is guessed."
    todo = "Use the suggestion in the message, or one of the names it lists."

    @classmethod
    def of(cls, kind: str, name: object, known: Iterable[str]) -> UnknownName:
        """Build the error for one unknown name, with the nearest known one as a suggestion."""
        names = sorted(known)
        close = get_close_matches(str(name), names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
        return cls(f"unknown {kind} {str(name)[:80]!r}: {hint}")


class Incompatible(ConfigError):
    """Two settings that cannot work together."""

    code = "RF103"
    what = "Two settings exclude each other: a rule and the view it gets, a model and the data's shape, ..."
    todo = "Change one of the two; the message names both and the ways out."


class InvalidValue(ConfigError):
    """A value outside its domain."""

    code = "RF104"
    what = "A value has the wrong type or lies outside the range that makes sense for it."
    todo = "Give a value inside the range that the message states."


class MissingExtra(ConfigError):
    """An optional dependency is not installed."""

    code = "RF105"
    what = "This feature needs a library that the small core does not install."
    todo = "Install the extra that the message names, with `-c constraints.txt`."


class DataUnavailable(ConfigError):
    """A data set is not on this machine and could not be fetched."""

    code = "RF106"
    what = "A data set is not on this machine, or none of the ways to fetch it works here."
    todo = "Run `ringfort data fetch NAME` where Debian's packages or OpenML can be reached, or put the files in place."


class OutputUnwritable(ConfigError):
    """Results cannot be written where they were asked for."""

    code = "RF107"
    what = "The output folder cannot be created or written, or already holds another run."
    todo = "Choose another folder with --out, free some space, or resume the run that is there with --resume."


class NotGranted(ConfigError):
    """An attack reached for more than its threat model grants."""

    code = "RF108"
    what = "An attack tried to read something that its stated threat model does not grant it."
    todo = "State it in the attack's ThreatModel, so that the report says what the attack needs."
    attack = "No: it is an attack of your own drill."


class AdmissionError(RingfortError):
    """A message from a client was refused at the gate.

    Args:
        reason: a stable word for records and metrics, as `norm-cap`.
        message: a sentence for people.
    """

    code = "RF200"
    what = "The admission gate refused a client's message before it could touch the aggregate."
    todo = "Look at the refusal's reason in the round record; the round went on without that client."
    attack = "Possibly: honest software does not send such messages."

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MalformedUpdate(AdmissionError):
    """Wrong keys, dtype, shape, size, or values that are not finite."""

    code = "RF201"
    what = "The message is not a well-formed update: wrong size, header, keys, dtype, shape, or a value is not finite."
    todo = "Check the client's version and its training (diverged losses give NaN). The round went on without it."
    attack = "Often: NaN and oversized tensors are the cheapest ways to break a server that does not check."


class UnknownClient(AdmissionError):
    """The sender is not in this round's cohort, or speaks for somebody else."""

    code = "RF202"
    what = "The sender was not asked in this round, or the message names another client than the one that sent it."
    todo = "Check the client's name and the cohort in the round record."
    attack = "Likely, if it persists: impersonation or an uninvited participant."


class BadSignature(AdmissionError):
    """A message that its sender's key did not sign, or not for this place."""

    code = "RF203"
    what = (
        "A signature does not fit the sender's enrolled key and what the message is for (run, round, stage, context)."
    )
    todo = "Check that the client runs with the key it enrolled. The message was dropped unread."
    attack = "Likely: forged, altered and misdirected messages look like this; so does a client with a stale key."


class Replay(AdmissionError):
    """An update for another run, round or model, or a second one for this round."""

    code = "RF204"
    what = "The message belongs to another run, round or model version, or is the client's second in this round."
    todo = "Late messages are harmless. A second, different one means that a client says two things at once."
    attack = "Possibly: replayed updates and equivocation look like this; so does a slow network."


class QuotaExceeded(AdmissionError):
    """An update's norm or claimed weight is over the cap."""

    code = "RF205"
    what = "The update's norm, or the number of examples it claims, is over the cap that the recipe sets."
    todo = "If honest clients are refused, raise gate.max_norm or gate.max_examples with care."
    attack = "Likely: model replacement needs a large norm, and weight fraud needs a large claim."


class ToleranceExceeded(RingfortError):
    """A rule was asked to bear more attackers than it can at this cohort size."""

    code = "RF301"
    what = "The rule cannot bear f attackers among n clients, so its guarantee would be void. Nothing is clamped."
    todo = "Lower f only if the threat allows it, enlarge the cohort, or choose a rule that bears more."
    attack = "Not by itself; but clients that drop out on purpose can cause it."

    @classmethod
    def of(cls, rule: str, f: int, n: int, needs: int) -> ToleranceExceeded:
        """Build the error for a rule that needs more clients than there are."""
        return cls(f"{rule} with f={f} needs at least {needs} clients, got {n}: lower f or enlarge the cohort")


class BudgetExceeded(RingfortError):
    """A release would cost more privacy than there is left."""

    code = "RF401"
    what = "The next release would push epsilon over the budget. Nothing was released and nothing was charged."
    todo = "Stop here, or plan a run with more noise, fewer rounds or a larger budget (`ringfort privacy plan`)."
    attack = "No; but a server that asks for more rounds than planned is stopped by this."


class ProtocolAbort(RingfortError):
    """A secure aggregation ended without a result, on this side.

    Args:
        message: a sentence for people. Never holds a key, a share or a mask.
        culprits: the parties whose own signed messages prove that they broke the protocol; often nobody.
    """

    code = "RF500"
    what = "A secure aggregation was ended before anything was revealed."
    todo = "The message says which check failed. The round can be run again, without the culprits if any are named."
    attack = "Possibly: each check stands for an attack that it stops."

    def __init__(self, message: str, culprits: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.culprits: tuple[str, ...] = tuple(sorted(culprits))


class BelowFloor(ProtocolAbort):
    """The other side asked for less than this side's own minimum."""

    code = "RF501"
    what = "A cohort, threshold, clip or ring is below the floor that this party set for itself."
    todo = "Enlarge the cohort. A client's floors are its own: no server can talk it below them."
    attack = "Likely, if the cohort is large enough: a server that isolates a client asks for exactly this."


class OutOfOrder(ProtocolAbort):
    """A message that this phase of the protocol does not take."""

    code = "RF502"
    what = "A message came for another stage, a second time, or after the party had left the protocol."
    todo = "Run the round again. Parties never go back a stage."
    attack = "Possibly: replays and re-asked questions look like this."


class BadShare(ProtocolAbort):
    """A share that does not decrypt, does not verify or is not the one that was dealt."""

    code = "RF503"
    what = "A secret share is damaged, forged or does not belong to this round."
    todo = "Run the round again without the culprit, if the message names one."
    attack = "Possibly: a corrupted share is the cheapest way to spoil a total."


class TooFewAlive(ProtocolAbort):
    """Fewer parties are left than the threshold needs."""

    code = "RF504"
    what = "So many parties dropped out that the masks of the others cannot be removed. No partial sum was revealed."
    todo = "Run the round again; plan for a higher dropout_fraction if this is common."
    attack = "Possibly: clients that leave on purpose can only do this, not learn anything."


class Inconsistent(ProtocolAbort):
    """Parties were told different things."""

    code = "RF505"
    what = (
        "Two parties that must agree (on the model, the roster, who is alive, an opened value) were told differently."
    )
    todo = "Do not go on with this server before it is understood: an honest one sends everybody the same."
    attack = "Very likely: telling clients different things is how a server unmasks one of them."


class EngineError(RingfortError):
    """Something failed where the clients live."""

    code = "RF600"
    what = "The engine that runs the clients failed."
    todo = "Read the message and the traceback in the log."


class TransportError(EngineError):
    """A worker process or a connection died."""

    code = "RF602"
    what = "A worker process died or sent something that is no message."
    todo = "Look for an out-of-memory kill in the system log; resume the run with --resume."


class Interrupted(EngineError):
    """Somebody pressed Ctrl-C."""

    code = "RF603"
    what = "The run was interrupted. Every committed round is on disk; nothing is half-written."
    todo = "Continue with --resume, or delete the output folder to start over."


class NothingAdmitted(EngineError):
    """A round in which no update passed the gate."""

    code = "RF604"
    what = "Every client of the cohort failed, stayed away or was refused, so there is nothing to aggregate."
    todo = "Read the first reason in the message. If losses diverge, lower the learning rate; check gate.max_norm."
    attack = "Possibly: a model that attackers have blown up makes honest clients diverge to NaN."


class JobAborted(EngineError):
    """The engine ended the job in which a round was running."""

    code = "RF605"
    what = "The engine ended the job, for all clients. The round it interrupted was not committed, earlier ones are."
    todo = "Resume the run; `ringfort up` does so by itself, without a client whose process ended the job."
    attack = "Possibly: any enrolled client can end a job by letting its own process die."


class IntegrityError(RingfortError):
    """Something on disk is not what was written."""

    code = "RF700"
    what = "A file does not match its digest or its chain."
    todo = "Restore it from a copy you trust. Ringfort does not load what it cannot verify."
    attack = "Possibly: edited files look the same as damaged ones."


class BrokenChain(IntegrityError):
    """The journal's hash chain does not hold."""

    code = "RF701"
    what = "A record in the journal was edited, dropped, reordered or cut: its digest does not continue the chain."
    todo = "The message names the first bad record. Resume from a copy of the journal that verifies."


class BadCheckpoint(IntegrityError):
    """A model file does not match the digest in the journal."""

    code = "RF702"
    what = "A model file is missing, truncated, or does not have the digest that the journal recorded."
    todo = "Restore the file, or start over; a model that cannot be verified is never loaded."


class BadData(IntegrityError):
    """A data file does not match its registered digest."""

    code = "RF703"
    what = "A data file does not have the sha256 that the registry pins."
    todo = "Delete it and run `ringfort data fetch NAME` again."


class TooManySuspicious(IntegrityError):
    """More of a client's rows look wrong than may be set aside without a person.

    Args:
        message: a sentence with counts, never a row's values.
        report: what was found, for the owner of the data.
    """

    code = "RF704"
    what = "The checks beside the data found more suspicious rows than the owner lets them set aside without a person."
    todo = "Go through the review file (`ringfort data check`), repair the data, or raise the limit with a reason."
    attack = "Possibly: an infected pipeline looks like this; so does a reference that does not fit the data."

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class BadProof(IntegrityError):
    """A checkpoint or a proof does not hold."""

    code = "RF705"
    what = "A signed checkpoint or a proof is malformed, altered, by another key, or for another log than the one here."
    todo = "Get it again from where it was kept, and the public key from somebody you trust. Then suspect the log."
    attack = "Likely: whoever rewrites a log cannot sign a checkpoint for the new one."


def _tree(root: type[RingfortError]) -> dict[str, type[RingfortError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


def known_codes() -> tuple[str, ...]:
    """All error codes, in order."""
    return tuple(sorted(_tree(RingfortError)))


def explain(code: str) -> Explanation:
    """Say what an error code means, what to do, and whether it can be an attack.

    Raises:
        UnknownName (RF101): no such code.

    >>> explain("RF301").name
    'ToleranceExceeded'
    """
    tree = _tree(RingfortError)
    wanted = code.strip().upper()
    if wanted not in tree:
        raise UnknownName.of("error code", code, tree)
    kind = tree[wanted]
    return Explanation(wanted, kind.__name__, kind.what, kind.todo, kind.attack)
