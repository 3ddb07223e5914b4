"""What a client remembers of the requests it answered, so that none is answered twice, also after a restart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfort.core.errors import BadCheckpoint, MalformedUpdate, Replay
from ringfort.core.files import canonical_json, write_atomic
from ringfort.identity.documents import exact, read_document
from ringfort.identity.questions import Heard

__all__ = ["Memory"]

_FILE: Final = "heard.json"
_RUNS: Final = 256
_MAX_BYTES: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class _Last:
    """The last request of one run."""

    number: int
    round: int
    digest: str


class Memory:
    """The last request of each run, so that nothing older is answered in it.

    Args:
        folder: where it survives a restart; None keeps it in memory.

    Guarantees:
        A request is written down before it is answered. Of what was written down, nothing is answered again: the 256
        runs heard of last are known one by one, and of earlier ones the largest number.

    Raises:
        BadCheckpoint (RF702): the file cannot be read. It is not guessed: an empty memory would answer replays.

    Does not protect against: a copy of the folder that is put back (a virtual machine's snapshot).
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / _FILE
        self._floor = 0
        self._runs: dict[str, _Last] = {}
        if self._path is not None and self._path.exists():
            self._read(self._path)

    def require_recent(self, heard: Heard) -> None:
        """Refuse what is old. Says nothing about who sent it, so it may come before the signature is checked.

        Raises:
            Replay (RF204): "stale" (older than one that was heard) or "closed-round" (its run has come further).
        """
        asked, last = heard.question, self._runs.get(heard.question.run)
        if asked.number <= self._floor or (last is not None and asked.number < last.number):
            raise Replay("stale", "the request is older than one that was heard before")
        if last is not None and asked.round < last.round:
            raise Replay("closed-round", f"the request is for round {asked.round}, its run has come to {last.round}")

    def is_repeat(self, heard: Heard) -> bool:
        """Whether exactly this request, which was verified, came last.

        Raises:
            Replay (RF204): "two-requests": another one came with this number, so the server signs two things at once.
        """
        asked, last = heard.question, self._runs.get(heard.question.run)
        if last is None or asked.number != last.number:
            return False
        if heard.digest.hex() == last.digest:
            return True
        raise Replay("two-requests", "a second, different request with the number of the last one")

    def write(self, heard: Heard) -> None:
        """From now on this request was heard."""
        asked = heard.question
        self._runs[asked.run] = _Last(asked.number, asked.round, heard.digest.hex())
        while len(self._runs) > _RUNS:
            oldest = min(self._runs, key=lambda run: self._runs[run].number)
            self._floor = max(self._floor, self._runs.pop(oldest).number)
        if self._path is not None:
            runs = {run: [last.number, last.round, last.digest] for run, last in self._runs.items()}
            write_atomic(self._path, canonical_json({"v": 1, "floor": self._floor, "runs": runs}))

    def _read(self, path: Path) -> None:
        try:
            raw = read_document(path.read_bytes(), max_bytes=_MAX_BYTES)
            found = exact(raw, {"v": int, "floor": int, "runs": dict})
            if found["v"] != 1:
                raise BadCheckpoint(f"{path} is of another version than 1")
            self._floor = found["floor"]
            for run, (number, round_, digest) in found["runs"].items():
                self._runs[run] = _Last(int(number), int(round_), str(digest))
        except (OSError, MalformedUpdate, TypeError, ValueError) as error:
            raise BadCheckpoint(f"{path} cannot be read: without it old requests would be answered again") from error
