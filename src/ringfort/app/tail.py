"""A run's folder as it grows: new records are read and checked as they are committed, without a lock."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringfort.core.errors import BrokenChain, DataUnavailable
from ringfort.rounds.journal import Kept, following
from ringfort.rounds.record import RoundRecord

__all__ = ["Tail"]


@dataclass
class Tail:
    """The records of a run, from the first on, and whatever is new since the last look.

    Args:
        folder: of the run.

    Guarantees:
        Every record continues the chain of those before it, or `look` raises; a line that is still being written waits.
        A look without news costs one stat call.

    Raises:
        DataUnavailable (RF106): there is no run in the folder.
        BrokenChain (RF701): a record was edited, dropped or inserted, or the file was cut, since the last look.
    """

    folder: Path
    records: list[RoundRecord] = field(default_factory=list)
    _read: int = 0
    _last: Kept | None = None

    def __post_init__(self) -> None:
        if not self._path.is_file():
            raise DataUnavailable(f"{self.folder} holds no run: there is no rounds.jsonl in it")

    @property
    def _path(self) -> Path:
        return self.folder / "rounds.jsonl"

    def look(self) -> list[RoundRecord]:
        """Records that were committed since the last look."""
        try:
            size = os.stat(self._path).st_size
            if size == self._read:
                return []
            if size < self._read:
                raise BrokenChain("rounds.jsonl became shorter: committed records were removed")
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read(size - self._read)
        except OSError as error:
            raise DataUnavailable(f"cannot read {self._path}: {error.strerror or error}") from error
        before = len(self.records)
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            try:
                self._last = following(self._last, line, self._read + len(line))
            except BrokenChain as error:
                raise BrokenChain(f"record {len(self.records)} of rounds.jsonl: {error.message}") from error
            self.records.append(self._last.record)
            self._read = self._last.end
        return self.records[before:]

    def until_over(self, poll_s: float = 0.5) -> Iterator[list[RoundRecord]]:
        """What `look` finds, again and again, be it nothing, until the last round of the recipe is committed."""
        while True:
            yield self.look()
            if self.over():
                return
            time.sleep(poll_s)

    def over(self) -> bool:
        """Whether the last round of the recipe is among the records; never, where the recipe cannot be read."""
        train = self.recipe().get("train")
        rounds = train.get("rounds") if isinstance(train, dict) else None
        return isinstance(rounds, int) and bool(self.records) and self.records[-1].round >= rounds

    def recipe(self) -> dict[str, Any]:
        """The run's resolved recipe; empty where there is none to be read."""
        try:
            return tomllib.loads((self.folder / "recipe.toml").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
