"""A file of whole lines that a crash may cut in the last one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from ringfort.core.errors import OutputUnwritable
from ringfort.core.files import canonical_json

__all__ = ["Lines"]

_TAIL: Final = 4 << 20


class Lines:
    """Canonical JSON, one value a line, appended.

    Args:
        path: the file; made with the first line. What a crash cut off a last line is taken away here.

    Raises:
        OutputUnwritable (RF107): no space, no permission. Half a line is taken back.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists():
            self._cut()

    def append(self, values: list[dict[str, Any]], *, durable: bool) -> None:
        """Write these lines; `durable`: they survive a power cut when this returns."""
        size = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(canonical_json(value) + b"\n" for value in values))
                file.flush()
                if durable:
                    os.fsync(file.fileno())
        except OSError as error:
            if self._path.exists():
                os.truncate(self._path, size)
            raise OutputUnwritable(f"cannot write {self._path}: {error.strerror or error}") from error

    def last(self) -> list[Any]:
        """The values of the last lines, at most 4 MiB of them; of lines that are no JSON, none."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(max(0, self._path.stat().st_size - _TAIL))
            cut = file.tell() > 0
            lines = file.read().split(b"\n")[1 if cut else 0 : -1]
        try:
            return [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            return []

    def _cut(self) -> None:
        try:
            with self._path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                start = max(0, size - _TAIL)
                file.seek(start)
                end = file.read().rfind(b"\n") + 1
                if start + end < size and (end or not start):
                    file.truncate(start + end)
        except OSError as error:
            raise OutputUnwritable(f"cannot write {self._path}: {error.strerror or error}") from error
