"""What a client remembers of the requests it answered, so that none is answered twice, also after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ringfort.core.errors import BadCheckpoint, MalformedUpdate, Replay
from ringfort.core.files import canonical_json, write_atomic
from ringfort.identity.documents import exact, read_document
from ringfort.identity.questions import Heard

__all__ = ["Memory"]

_FILE: Final = "heard.json"
_RUNS: Final = 256
_MAX_BYTES: Final = 64 * 1024


class Memory:
    """The number of the last request, and how far each run has come.

    Args:
        folder: where it survives a restart; None keeps it in memory.

    Guarantees:
        A request is written down before it is answered. Of what was written down, nothing is answered again.

    Raises:
        BadCheckpoint (RF702): the file cannot be read. It is not guessed: an empty memory would answer replays.

    Does not protect against: a copy of the folder that is put back (a virtual machine's snapshot).
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / _FILE
        self.number, self.digest = 0, ""
        self._rounds: dict[str, int] = {}
        if self._path is not None and self._path.exists():
            self._read(self._path)

    def is_repeat(self, heard: Heard) -> bool:
        """Whether exactly this request came last.

        Raises:
            Replay (RF204): "stale" (older than one that was answered), "closed-round" (its run is further), or
                "two-requests": another one with this number, so its server signs two things at once.
        """
        asked = heard.question
        if asked.number < self.number:
            raise Replay("stale", f"the request is older than one that was answered: {asked.number} < {self.number}")
        if asked.number == self.number:
            if heard.digest.hex() == self.digest:
                return True
            raise Replay("two-requests", "a second, different request with the number of the last one")
        done = self._rounds.get(asked.run, 0)
        if asked.round < done:
            raise Replay("closed-round", f"the request is for round {asked.round}, this run has come to {done}")
        return False

    def write(self, heard: Heard) -> None:
        """From now on this request was heard. The longest unheard of runs are forgotten: their requests are stale."""
        asked = heard.question
        self._rounds.pop(asked.run, None)
        self._rounds[asked.run] = asked.round
        while len(self._rounds) > _RUNS:
            del self._rounds[next(iter(self._rounds))]
        self.number, self.digest = asked.number, heard.digest.hex()
        if self._path is not None:
            rounds = [[run, number] for run, number in self._rounds.items()]
            value = {"v": 1, "number": self.number, "request": self.digest, "rounds": rounds}
            write_atomic(self._path, canonical_json(value))

    def _read(self, path: Path) -> None:
        try:
            found = exact(
                read_document(path.read_bytes(), max_bytes=_MAX_BYTES),
                {"v": int, "number": int, "request": str, "rounds": list},
            )
            self._rounds = {str(run): int(number) for run, number in found["rounds"]}
        except (OSError, MalformedUpdate, TypeError, ValueError) as error:
            raise BadCheckpoint(f"{path} cannot be read: without it old requests would be answered again") from error
        if found["v"] != 1:
            raise BadCheckpoint(f"{path} is of another version than 1")
        self.number, self.digest = found["number"], found["request"]
