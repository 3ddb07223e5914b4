"""A federation's history, checked from both sides: the clients' receipts against what the server wrote down.

The server has `rounds.jsonl` (what was counted), `taken.jsonl` (what was signed) and the privacy ledger; each client
has its own answers, the server's receipts, and, if it adds the noise, a ledger. None of them is believed alone.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from ringfort.core.envelope import head_of
from ringfort.core.errors import AdmissionError, BrokenChain, InvalidValue, RingfortError
from ringfort.core.keys import Directory
from ringfort.core.values import ClientId
from ringfort.engine.signed.receipts import RECEIPTS_FILE
from ringfort.engine.signed.said import Said
from ringfort.engine.signed.taken import TAKEN_FILE
from ringfort.identity.documents import exact
from ringfort.identity.equivocation import Claim
from ringfort.identity.messages import open_receipt
from ringfort.identity.state import State
from ringfort.privacy.ledger import Account
from ringfort.rounds.journal import read_records
from ringfort.rounds.record import RoundRecord

__all__ = ["Answer", "Fault", "History", "Kept", "Keys", "check_history", "read_kept", "read_taken"]

Kind = Literal[
    "counted-twice",
    "contradiction",
    "unsigned",
    "forged",
    "forged-receipt",
    "foreign",
    "dropped",
    "not-monotone",
    "under-counted",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that an honest federation does not write.

    Args:
        kind: a stable word.
        client: whom it is about; empty for the run.
        round: in which round.
        what: a sentence.
    """

    kind: Kind
    client: str
    round: int
    what: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of `taken.jsonl`.

    Args:
        client: who is said to have signed.
        number: of the request; a round that is begun again has larger ones.
        said: the place and the signed head.
    """

    client: ClientId
    number: int
    said: Said


@dataclass(frozen=True, slots=True)
class Kept:
    """What one client kept: each of its answers, with the server's receipt or b"" if none came."""

    client: ClientId
    answers: tuple[tuple[Said, bytes], ...] = field(repr=False)


@dataclass(frozen=True)
class Keys:
    """Every key that was ever enrolled, so that a signature from before a rotation can still be checked.

    Args:
        owners: key in hexadecimal -> whose it was, as `RegistryView.state(now).keys` has it.
        authorities: the federation; more than one, if a run went on with members who were enrolled anew.
        server: whose receipts count.
    """

    owners: Mapping[str, ClientId]
    authorities: frozenset[bytes]
    server: ClientId

    @classmethod
    def of(cls, state: State, authority: bytes, server: ClientId) -> Keys:
        """From the registry, which the caller has verified."""
        return cls(state.keys, frozenset({authority}), server)

    def beside(self, other: Keys) -> Keys:
        """These and those of another federation under which the same run was; the server's name is this one's."""
        return Keys({**other.owners, **self.owners}, self.authorities | other.authorities, self.server)

    def directories(self, name: ClientId) -> Sequence[Directory]:
        """One for each key that this name ever had."""
        return self._directories.get(name, ())

    @cached_property
    def _directories(self) -> Mapping[ClientId, Sequence[Directory]]:
        found: dict[ClientId, list[Directory]] = defaultdict(list)
        for key, owner in self.owners.items():
            found[owner].append(Directory({owner: bytes.fromhex(key)}))
        return dict(found)


@dataclass(frozen=True, slots=True)
class History:
    """What was found.

    Args:
        faults: none if everything that both sides kept fits together.
        acknowledged: answers with a good receipt, in this run.
        counted: of those, in the step of their round.
        left_out: recorded as excluded or refused, or with who they stood behind under a seal.
        superseded: for an attempt at a round that was begun again.
        pending: for a round that is not committed.
        unacknowledged: answers for which no receipt came.
    """

    faults: tuple[Fault, ...]
    acknowledged: int
    counted: int
    left_out: int
    superseded: int
    pending: int
    unacknowledged: int

    def require(self) -> None:
        """Raise unless there is no fault.

        Raises:
            BrokenChain (RF701): with the first one.
        """
        if self.faults:
            first, more = self.faults[0], len(self.faults) - 1
            raise BrokenChain(f"{first.kind}: {first.what}{f' ({more} more faults)' if more else ''}")


def read_taken(run: Path) -> tuple[Answer, ...]:
    """The lines of `taken.jsonl`; a last one that a crash cut was never receipted.

    Raises:
        BrokenChain (RF701): there is no such file, or a line is none.
    """

    def read(line: Any) -> Answer:
        found = exact(line, {"client": str, "number": int, "at": str, "said": dict})
        return Answer(ClientId(found["client"]), found["number"], Said.from_json(found["said"]))

    return tuple(_lines(run / TAKEN_FILE, read))


def read_kept(client: ClientId, folder: Path) -> Kept:
    """The lines of a client's `receipts.jsonl`.

    Raises:
        BrokenChain (RF701): there is no such file, or a line is none.
    """
    answers: list[tuple[Said, bytes]] = []

    def read(line: Any) -> None:
        if isinstance(line, dict) and "said" in line:
            answers.append((Said.from_json(exact(line, {"said": dict})["said"]), b""))
        else:
            answers[-1] = (answers[-1][0], bytes.fromhex(exact(line, {"receipt": str})["receipt"]))

    for _ in _lines(folder / RECEIPTS_FILE, read):
        pass
    return Kept(client, tuple(answers))


def _lines(path: Path, read: Callable[[Any], Any]) -> Iterable[Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenChain(f"cannot read {path}: {error.strerror or error}") from error
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]):
        try:
            yield read(json.loads(line))
        except (RingfortError, ValueError, IndexError, RecursionError) as error:
            raise BrokenChain(f"line {number + 1} of {path.name} is none of version 1") from error


def check_history(
    run: Path | Sequence[RoundRecord],
    taken: Sequence[Answer],
    kept: Iterable[Kept],
    keys: Keys,
    *,
    ledger: Account | None = None,
    ledgers: Mapping[ClientId, Account] | None = None,
) -> History:
    """Whether the journal tells of the same federation as the signatures.

    Args:
        run: the run's folder, whose hash chain is verified, or its records.
        taken: what the server says was signed; every signature is checked.
        kept: what clients kept; every receipt is checked. Of clients that kept nothing, nothing is known.
        keys: everybody's, past and present.
        ledger: the run's privacy ledger, where the server adds the noise.
        ledgers: the clients' own, where they do.

    Guarantees:
        Without a fault: every acknowledged update was counted exactly once, or is recorded as excluded or refused, or
        belongs to an attempt that the server repeated or never committed. Nothing was counted that its client did not
        sign, for that run, round and model. Rounds grow by one. Each release that a ledger should know is charged.

    Raises:
        BrokenChain (RF701): the journal's own chain does not hold.

    Does not protect against: a server that counts something else than what was signed: records hold no digests of
        updates, for under a seal nobody has them. Nor against one that gave no receipt: see `unacknowledged`.
    """
    records = read_records(run)[0] if isinstance(run, Path) else tuple(run)
    faults: list[Fault] = [*_order(records), *_counts(records)]
    signed, final = _signed(taken, keys, faults)
    for record in records[1:]:
        for client in sorted({v.client for v in record.verdicts}):
            if not signed[record.run, record.round, client, record.model]:
                what = f"round {record.round} counts {client}, who signed no answer to it"
                faults.append(Fault("unsigned", client, record.round, what))
    tally = _Tally(records, signed, final, keys, faults)
    for one in kept:
        tally.client(one)
    faults += _undercounted(records, signed, ledger, ledgers or {})
    counts = tally.counts
    return History(tuple(faults), *(counts[name] for name in ("good", "counted", "left", "old", "pending", "silent")))


Where = tuple[str, int, ClientId, str]


def _order(records: Sequence[RoundRecord]) -> Iterable[Fault]:
    for before, after in pairwise(records):
        if (after.round, after.run, after.prev) != (before.round + 1, before.run, before.digest):
            yield Fault("not-monotone", "", after.round, f"round {after.round} does not follow round {before.round}")


def _counts(records: Sequence[RoundRecord]) -> Iterable[Fault]:
    for record in records:
        at = record.round
        for client, times in Counter(v.client for v in record.verdicts).items():
            if times > 1:
                yield Fault("counted-twice", client, at, f"round {at} counts {client} {times} times")
            if client not in record.cohort or client in record.absent:
                what = f"round {at} counts {client}, who was absent or not asked"
                yield Fault("contradiction", client, at, what)


def _signed(
    taken: Sequence[Answer], keys: Keys, faults: list[Fault]
) -> tuple[dict[Where, list[Answer]], dict[tuple[str, int], int]]:
    """Answers to broadcasts that their clients signed, and the number of each round's last attempt."""
    signed: dict[Where, list[Answer]] = defaultdict(list)
    final: dict[tuple[str, int], int] = defaultdict(int)
    for answer in taken:
        at = answer.said.place
        if at.authority not in keys.authorities or not _is_signed(answer.client, answer.said, keys):
            what = f"the server shows an answer of round {at.round} that {answer.client} did not sign"
            faults.append(Fault("forged", answer.client, at.round, what))
        elif at.stage == "train":
            signed[at.run, at.round, answer.client, at.model].append(answer)
            final[at.run, at.round] = max(final[at.run, at.round], answer.number)
    return signed, final


def _is_signed(client: ClientId, said: Said, keys: Keys) -> bool:
    slot = said.place.slot
    try:
        claim = Claim.of(said.head)
    except AdmissionError:
        return False
    if (claim.sender, claim.place) != (client, (slot.run, slot.round, slot.stage, slot.context)):
        return False
    return any(_holds(partial(claim.verify, directory)) for directory in keys.directories(client))


def _holds(check: Callable[[], object]) -> bool:
    try:
        check()
    except (AdmissionError, InvalidValue):
        return False
    return True


@dataclass(frozen=True)
class _Tally:
    """Goes through what clients kept."""

    records: Sequence[RoundRecord]
    signed: Mapping[Where, list[Answer]]
    final: Mapping[tuple[str, int], int]
    keys: Keys
    faults: list[Fault]
    counts: Counter[str] = field(default_factory=Counter)

    def client(self, kept: Kept) -> None:
        """Every answer of one client."""
        by_round = {record.round: record for record in self.records}
        for said, receipt in kept.answers:
            at = said.place
            if at.run != self.records[0].run or at.stage != "train":
                continue
            if not _is_signed(kept.client, said, self.keys):  # or a client could accuse the server with another's word
                what = f"{kept.client} shows an answer of round {at.round} that it did not sign"
                self.faults.append(Fault("foreign", kept.client, at.round, what))
            elif not receipt:
                self.counts["silent"] += 1
            elif not self._is_receipt(said, receipt):
                what = f"{kept.client} shows a receipt for round {at.round} that {self.keys.server} did not sign"
                self.faults.append(Fault("forged-receipt", kept.client, at.round, what))
            else:
                self.counts["good"] += 1
                self.counts[self._became(kept.client, said, by_round.get(at.round))] += 1

    def _is_receipt(self, said: Said, receipt: bytes) -> bool:
        server = self.keys.server
        return any(
            _holds(partial(open_receipt, receipt, directory, server, said.place, said.head))
            for directory in self.keys.directories(server)
        )

    def _became(self, client: ClientId, said: Said, record: RoundRecord | None) -> str:
        """What the server says became of an answer that it acknowledged."""
        at = said.place
        shown = [a for a in self.signed[at.run, at.round, client, at.model] if head_of(a.said.head) == said.head]
        if not shown:
            what = f"{client} has a receipt for round {at.round}, but the server shows no such answer"
            self.faults.append(Fault("dropped", client, at.round, what))
            return "dropped"
        if record is None:
            return "pending"
        if max(answer.number for answer in shown) < self.final[at.run, at.round]:
            return "old"
        if client in {v.client for v in record.verdicts}:
            return "counted"
        left = {r.client for r in record.refusals}
        if record.seal:  # later stages of the seal may have lost it
            left |= {f.client for f in record.failures} | set(record.absent)
        if client in left:
            return "left"
        what = f"{client} has a receipt for round {at.round}, whose record does not count or refuse it"
        self.faults.append(Fault("dropped", client, at.round, what))
        return "dropped"


def _undercounted(
    records: Sequence[RoundRecord],
    signed: Mapping[Where, list[Answer]],
    ledger: Account | None,
    ledgers: Mapping[ClientId, Account],
) -> Iterable[Fault]:
    """Releases that no ledger was charged for."""
    rounds = records[1:]
    if ledger is not None:
        charged = Counter(entry.round for entry in ledger.entries)
        curve = dict(ledger.curve())
        for record in rounds:
            said = record.privacy.get("spent", {}).get("epsilon")
            if not charged[record.round] or (said is not None and said < curve[record.round].epsilon * (1 - 1e-9)):
                what = f"the ledger, or the record of round {record.round}, counts less than was released"
                yield Fault("under-counted", "", record.round, what)
    for client, account in ledgers.items():
        own = [entry for entry in account.entries if entry.clients is None or client in entry.clients]
        charged = Counter(entry.round for entry in own)
        for record in rounds:
            answers = signed[record.run, record.round, client, record.model]
            bodies = {Claim.of(answer.said.head).body for answer in answers}
            released = len(bodies) if not record.seal else sum(v.client == client for v in record.verdicts)
            if charged[record.round] < released:
                what = f"{client} released {released} updates in round {record.round}, charged {charged[record.round]}"
                yield Fault("under-counted", client, record.round, what)
