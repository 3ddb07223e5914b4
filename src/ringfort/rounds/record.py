"""What is written down about a round, and the chain that the records form."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ringfort.core.errors import BrokenChain
from ringfort.core.files import canonical_json
from ringfort.core.lines import digested, leaf_digest
from ringfort.core.ports import Failure
from ringfort.core.values import Action, ClientId, Refusal, Verdict

__all__ = ["RoundRecord", "failures_from", "failures_json", "refusals_from", "refusals_json", "texts"]

_MAX_TRACEBACK_CHARS = 4_000
_ACTIONS = {action.value: action for action in Action}


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round as an auditor reads it. Holds digests, names and reasons; never an update or a datum.

    Args:
        run: the run's name.
        round: from 1; 0 is the genesis record, which pins the recipe and the initial model.
        recipe: digest of the resolved recipe.
        cohort: who was asked.
        rule: the rule with its parameters as it ran in this round.
        model: digest of the model that was broadcast.
        aggregate: digest of the step.
        next_model: digest of the model after the step.
        verdicts: about every admitted client.
        refusals: from the gate.
        failures: clients whose own code raised.
        absent: clients that did not answer in time.
        metrics: the server's measurements of next_model.
        prev: digest of the record before, empty for round 0.
        seal: the seal with its parameters, empty if updates came in the clear.
        leaked: in words, what else than the view was revealed to the servers under the seal.
        aborts: why earlier attempts at this round ended, in words.
        memory: digest of what the defence remembers for the next round, empty if nothing.
        privacy: the claim that this round's release keeps and what the ledger says after it, empty without one.
        attempts: digest of the last failed round before this one (`rounds.attempts`), empty if none failed so far.
        watch: what the watch says: who is barred, standings, evidence, changes; empty without one. See
            `rounds.watching.said`.
    """

    run: str
    round: int
    recipe: str
    cohort: tuple[ClientId, ...]
    rule: str
    model: str
    aggregate: str
    next_model: str
    verdicts: tuple[Verdict, ...]
    refusals: tuple[Refusal, ...]
    failures: tuple[Failure, ...]
    absent: tuple[ClientId, ...]
    metrics: dict[str, float]
    prev: str
    seal: str = ""
    leaked: str = ""
    aborts: tuple[str, ...] = ()
    memory: str = ""
    privacy: dict[str, Any] = field(default_factory=dict)
    attempts: str = ""
    watch: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the digest."""
        return {
            "v": 1,
            "run": self.run,
            "round": self.round,
            "recipe": self.recipe,
            "cohort": list(self.cohort),
            "rule": self.rule,
            "model": self.model,
            "aggregate": self.aggregate,
            "next_model": self.next_model,
            "verdicts": [
                {"client": v.client, "action": v.action.value, "weight": v.weight, "reasons": list(v.reasons)}
                for v in self.verdicts
            ],
            "refusals": refusals_json(self.refusals),
            "failures": failures_json(self.failures),
            "absent": list(self.absent),
            "metrics": self.metrics,
            "prev": self.prev,
            **{name: given for name, given in self._occasional().items() if given},
        }

    def _occasional(self) -> dict[str, Any]:
        """What is written only if there is something to say: plain rounds look as they always did."""
        return {
            "seal": self.seal,
            "leaked": self.leaked,
            "aborts": list(self.aborts),
            "memory": self.memory,
            "privacy": self.privacy,
            "attempts": self.attempts,
            "watch": self.watch,
        }

    @property
    def digest(self) -> str:
        """SHA-256 over a zero byte and the canonical JSON (an RFC 6962 leaf)."""
        return leaf_digest(self.to_json())

    def line(self) -> bytes:
        """The record with its digest as one line of canonical JSON."""
        return digested(self.to_json())

    @classmethod
    def from_line(cls, line: bytes) -> tuple[RoundRecord, str]:
        """Read one line, without its line feed; the record and its digest.

        Raises:
            BrokenChain (RF701): not a record of this version in canonical form, or not what its digest says.
        """
        try:
            value = json.loads(line)
            canonical = canonical_json(value)
        except (ValueError, RecursionError) as error:
            raise BrokenChain("it is not JSON") from error
        if canonical != line:
            raise BrokenChain("it is not in canonical form")
        # The first such key of a canonical line is the record's own: texts escape their quotes, and what stands before
        # it holds texts alone, or `_read` refuses it. So the line is not encoded a second time.
        stated = value.get("digest") if isinstance(value, dict) else None
        said = line.replace(f',"digest":"{stated}"'.encode(errors="replace"), b"", 1)
        return cls._read(value, leaf_digest(said))

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RoundRecord:
        """Read a line's contents back and compare their digest.

        Raises:
            BrokenChain (RF701): not a record of this version, or its contents do not have the digest it names.
        """
        try:
            said = canonical_json({name: given for name, given in value.items() if name != "digest"})
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise BrokenChain("it is not a round record") from error
        return cls._read(value, leaf_digest(said))[0]

    @classmethod
    def _read(cls, value: Any, digest: str) -> tuple[RoundRecord, str]:
        try:
            if value["v"] != 1:
                raise BrokenChain(f"record version {value['v']!r} is not supported, this is version 1")
            said = {name: given for name, given in value.items() if name != "digest"}
            record = cls(
                run=_text(value["run"]),
                round=_whole(value["round"]),
                recipe=_text(value["recipe"]),
                cohort=texts(value["cohort"]),
                rule=_text(value["rule"]),
                model=_text(value["model"]),
                aggregate=_text(value["aggregate"]),
                next_model=_text(value["next_model"]),
                verdicts=tuple(
                    Verdict(
                        ClientId(_text(v["client"])), _ACTIONS[v["action"]], _number(v["weight"]), texts(v["reasons"])
                    )
                    for v in value["verdicts"]
                ),
                refusals=refusals_from(value["refusals"]),
                failures=failures_from(value["failures"]),
                absent=texts(value["absent"]),
                metrics={name: _number(number) for name, number in value["metrics"].items()},
                prev=_text(value["prev"]),
                seal=_text(value.get("seal", "")),
                leaked=_text(value.get("leaked", "")),
                aborts=texts(value.get("aborts", [])),
                memory=_text(value.get("memory", "")),
                privacy=dict(value.get("privacy", {})),
                attempts=_text(value.get("attempts", "")),
                watch=dict(value.get("watch", {})),
            )
            stated = value["digest"]
            whole = record.to_json() == said
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise BrokenChain("it is not a round record") from error
        if digest != stated:
            raise BrokenChain(f"round {record.round}: the record does not have the digest it names")
        if not whole:
            raise BrokenChain("it has fields that a record of version 1 does not have")
        return record, digest


def refusals_json(refusals: tuple[Refusal, ...]) -> list[dict[str, str]]:
    """Plain values."""
    return [{"client": r.client, "code": r.code, "reason": r.reason, "detail": r.detail} for r in refusals]


def failures_json(failures: tuple[Failure, ...]) -> list[dict[str, str]]:
    """Plain values; a traceback is cut to its end."""
    return [{"client": f.client, "error": f.error, "traceback": f.traceback[-_MAX_TRACEBACK_CHARS:]} for f in failures]


def refusals_from(value: Any) -> tuple[Refusal, ...]:
    """What `refusals_json` made. Raises TypeError or KeyError for anything else."""
    return tuple(
        Refusal(ClientId(_text(r["client"])), _text(r["code"]), _text(r["reason"]), _text(r["detail"])) for r in value
    )


def failures_from(value: Any) -> tuple[Failure, ...]:
    """What `failures_json` made. Raises TypeError or KeyError for anything else."""
    return tuple(Failure(ClientId(_text(f["client"])), _text(f["error"]), _text(f["traceback"])) for f in value)


def texts(value: Any) -> tuple[Any, ...]:
    """A list of texts as a tuple. Raises TypeError for anything else."""
    if type(value) is not list or not all(type(text) is str for text in value):
        raise TypeError
    return tuple(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError
    return value  # type: ignore[no-any-return]
