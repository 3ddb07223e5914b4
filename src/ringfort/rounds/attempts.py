"""Rounds that ended without a step: who was asked, who was refused and why. A chain of its own beside the records.

A failed round is not a round: the next attempt has the same number and starts from the same model. So it does not go
into `rounds.jsonl`. Its line here names the record it followed, and the next record names the last line here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import BrokenChain
from ringfort.core.lines import digested, leaf_digest, whole_lines
from ringfort.core.ports import Failure
from ringfort.core.values import ClientId, Refusal
from ringfort.rounds.record import failures_from, failures_json, refusals_from, refusals_json, texts

__all__ = ["ATTEMPTS", "Attempt", "read_attempts"]

ATTEMPTS: Final = "attempts.jsonl"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One round that failed.

    Args:
        run: the run's name.
        round: the number it would have had.
        after: digest of the record that it followed.
        cohort: who was asked.
        code: the error, as RF604.
        message: its sentence.
        refusals: from the gate, or of a seal's culprits.
        failures: clients whose own code raised.
        absent: clients that did not answer.
        aborts: why the attempts at a sealed round ended.
        prev: digest of the attempt before, empty for the first; the journal fills it in.
    """

    run: str
    round: int
    after: str
    cohort: tuple[ClientId, ...]
    code: str
    message: str
    refusals: tuple[Refusal, ...]
    failures: tuple[Failure, ...]
    absent: tuple[ClientId, ...]
    aborts: tuple[str, ...] = ()
    prev: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the digest."""
        return {
            "v": 1,
            "run": self.run,
            "round": self.round,
            "after": self.after,
            "cohort": list(self.cohort),
            "code": self.code,
            "message": self.message,
            "refusals": refusals_json(self.refusals),
            "failures": failures_json(self.failures),
            "absent": list(self.absent),
            "aborts": list(self.aborts),
            "prev": self.prev,
        }

    @property
    def digest(self) -> str:
        """SHA-256 over a zero byte and the canonical JSON."""
        return leaf_digest(self.to_json())

    def line(self) -> bytes:
        """With its digest, one line of canonical JSON."""
        return digested(self.to_json())

    @classmethod
    def from_line(cls, line: bytes) -> Attempt:
        """Read a line, without its line feed.

        Raises:
            BrokenChain (RF701): not one, or not what its digest says.
        """
        try:
            value = json.loads(line)
            made = cls(
                run=value["run"],
                round=value["round"],
                after=value["after"],
                cohort=texts(value["cohort"]),
                code=value["code"],
                message=value["message"],
                refusals=refusals_from(value["refusals"]),
                failures=failures_from(value["failures"]),
                absent=texts(value["absent"]),
                aborts=texts(value["aborts"]),
                prev=value["prev"],
            )
            if made.line() != line + b"\n":
                raise BrokenChain("it is not what was written")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise BrokenChain("it is not a failed round") from error
        return made


def read_attempts(folder: Path) -> tuple[tuple[Attempt, ...], int]:
    """The verified failed rounds of a run and the bytes that hold them; none, if there is no file.

    Raises:
        BrokenChain (RF701): names the first line that does not continue the chain.
    """
    path = folder / ATTEMPTS
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise BrokenChain(f"cannot read {path}: {error.strerror or error}") from error
    found: list[Attempt] = []
    head = ""
    lines = whole_lines(data)
    for number, line in enumerate(lines):
        try:
            attempt = Attempt.from_line(line)
        except BrokenChain as error:
            raise BrokenChain(f"line {number + 1} of {ATTEMPTS}: {error.message}") from error
        if attempt.prev != head or (found and attempt.run != found[0].run):
            raise BrokenChain(f"line {number + 1} of {ATTEMPTS} does not continue the chain")
        found.append(attempt)
        head = attempt.digest
    return tuple(found), sum(len(line) + 1 for line in lines)
