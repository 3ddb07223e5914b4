"""What a person decided about a client: one line of JSON each, applied by the federation before its next round."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from ringfort.core.checks import whole
from ringfort.core.errors import IntegrityError, InvalidValue, UnknownName
from ringfort.core.files import canonical_json
from ringfort.core.lines import LineFile, append_line
from ringfort.core.values import ClientId, client_id

__all__ = ["ACTIONS", "Decision", "Decisions", "PersonalAction", "parse_decisions"]

PersonalAction = Literal["quarantine", "release", "revoke"]
ACTIONS: Final[tuple[PersonalAction, ...]] = get_args(PersonalAction)
_FILE = "decisions.jsonl"
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's decision about one client.

    Args:
        action: `quarantine` for `rounds` rounds, `release` from a quarantine or revocation, or `revoke` for good.
        client: about whom.
        reason: why, 1 to 500 printable characters. No default: it goes into the record and the report.
        by: who decides, as far as this machine knows; 1 to 500 printable characters.
        rounds: of a quarantine, at least 1; None for the others.

    Raises:
        UnknownName (RF101): another action. InvalidValue (RF104): no reason, no name, or rounds that do not fit.
    """

    action: PersonalAction
    client: ClientId
    reason: str
    by: str
    rounds: int | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise UnknownName.of("action", self.action, ACTIONS)
        client_id(self.client)
        words: dict[str, object] = {"reason": self.reason, "by": self.by}  # whatever a file holds
        for name, text in words.items():
            if not isinstance(text, str) or not text.strip() or not text.isprintable() or len(text) > _LONGEST:
                raise InvalidValue(f"{name} must be 1 to {_LONGEST} printable characters")
        if self.action == "quarantine":
            whole(1, 2**31, rounds=self.rounds)
        elif self.rounds is not None:
            raise InvalidValue(f"only a quarantine has rounds, not a {self.action}")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions in a run's folder, `decisions.jsonl`. Any process may append while the federation runs.

    Args:
        folder: exists.

    Guarantees:
        After `append` returns, the decision survives kill -9 and a power cut (as far as the disk honours fsync).
        Writers take turns; readers need no lock. A last line that a crash cut was never acknowledged: readers leave it
        out, and the next writer removes it.

    Raises:
        IntegrityError (RF700): a whole line that is no decision. Nothing after it is guessed, and the federation stops:
            a revocation that cannot be read must not be passed over.
        OutputUnwritable (RF107).

    Does not protect against: whoever may write to the folder. What was applied stands in the hash chain of the round
        records, with reason and name.
    """

    folder: Path

    @property
    def path(self) -> Path:
        """Where they lie."""
        return self.folder / _FILE

    def append(self, decision: Decision) -> int:
        """Make one decision durable; return the number of its line, from 1."""
        line = canonical_json({"v": 1, **decision.to_json()}) + b"\n"
        with LineFile(self.path, "decisions", wait=True) as file:
            number = len(self.read()) + 1
            file.resume()
            append_line(file, line)
        return number

    def read(self) -> tuple[Decision, ...]:
        """All decisions, in order; none if nobody decided anything."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise IntegrityError(f"cannot read {self.path}: {error.strerror or error}") from error
        return parse_decisions(data[: data.rfind(b"\n") + 1])

    def since(self, applied: int) -> tuple[Decision, ...]:
        """Those after the first `applied`, which a federation has dealt with.

        Raises:
            IntegrityError (RF700): there are fewer lines than were applied.
        """
        found = self.read()
        if len(found) < applied:
            raise IntegrityError(
                f"{_FILE} has {len(found)} decisions, and the round records say that {applied} were applied: "
                "lines were removed; restore the file"
            )
        return found[applied:]


def parse_decisions(data: bytes) -> tuple[Decision, ...]:
    """The decisions in whole lines.

    Raises:
        IntegrityError (RF700): a line that is none.
    """
    return tuple(_decision(line, number) for number, line in enumerate(data.split(b"\n")[:-1], 1))


def _decision(line: bytes, number: int) -> Decision:
    try:
        value = json.loads(line)
        if not isinstance(value, dict) or value.pop("v", None) != 1:
            raise InvalidValue("it is not a decision of version 1")
        known = {field.name for field in fields(Decision)}
        if unknown := sorted(set(value) - known):
            raise UnknownName.of("key", unknown[0], known)
        return Decision(**value)
    except (InvalidValue, UnknownName) as error:
        raise IntegrityError(f"line {number} of {_FILE}: {error.message}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise IntegrityError(f"line {number} of {_FILE} is not a decision") from error
