"""A run as a TensorBoard event file."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from ringfort.app.control.numbers import numbers
from ringfort.core.errors import OutputUnwritable
from ringfort.core.files import write_atomic
from ringfort.rounds.record import RoundRecord

__all__ = ["EventFile"]

_NAME: Final = "events.out.tfevents.{}.ringfort"


@dataclass(slots=True)
class EventFile:
    """The event file of one run, in a folder of its own.

    Args:
        folder: of this run alone; it is made.

    Guarantees:
        The file's bytes follow from the records and the time in its name. So a later export appends what is new, also
        after a crash in the middle of a point, and no point is there twice. A file with something else in it is
        replaced; a TensorBoard that has it open must then be started again.

    Does not protect: against two exports into one folder at the same time. Steps are rounds; every point has the time
        of the first export, for records hold none. TensorBoard keeps 32-bit floats.
    """

    folder: Path
    _path: Path | None = field(default=None, init=False)
    _time: int = field(default=0, init=False)

    def add(self, records: Sequence[RoundRecord]) -> None:
        """Write a point per record and number; the first time, all records from round 0 on are needed.

        Raises:
            OutputUnwritable (RF107): the folder or file cannot be written.
        """
        try:
            if self._path is None:
                self._path = self._begin(records)
                return
            _append(self._path, self._points(records))
        except OSError as error:
            raise OutputUnwritable(f"cannot write to {self.folder}: {error.strerror or error}") from error

    def _begin(self, records: Sequence[RoundRecord]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        earlier = sorted(self.folder.glob(_NAME.format("[0-9]" * 10)))
        for path in earlier[:1]:
            self._time = int(path.name.split(".")[3])
            there, wanted = path.read_bytes(), self._points(records, begin=True)
            if wanted.startswith(there):
                _append(path, wanted[len(there) :])
                return path
        self._time = int(time.time())
        path = self.folder / _NAME.format(self._time)
        whole = self.folder / "ringfort.partial"  # a name that TensorBoard does not open
        write_atomic(whole, self._points(records, begin=True))
        os.replace(whole, path)
        for old in earlier:
            if old != path:
                old.unlink()
        return path

    def _points(self, records: Sequence[RoundRecord], begin: bool = False) -> bytes:
        events = [Event(wall_time=self._time, file_version="brain.Event:2")] if begin else []
        for record in records:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers(record).items()]
            events.append(Event(wall_time=self._time, step=record.round, summary=Summary(value=values)))
        return b"".join(map(_encoded, events))


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def _encoded(event: Event) -> bytes:
    out = io.BytesIO()
    RecordWriter(out).write(event.SerializeToString(deterministic=True))
    return out.getvalue()
