"""A file of lines with one writer: append, fsync, and only then has it happened.

What the round records, the failed rounds, the checkpoints, the privacy ledger and the registry have in common. What a
line says, and what it means that the last one was cut by a crash, is theirs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from ringfort.core.errors import OutputUnwritable
from ringfort.core.failpoints import failpoint, half
from ringfort.core.files import sync_folder

__all__ = ["LineFile", "append_line", "whole_lines"]


def whole_lines(data: bytes) -> list[bytes]:
    r"""The lines that end in a line feed, without it. What follows the last one was cut by a crash.

    >>> whole_lines(b"one\ntwo\nthr")
    [b'one', b'two']
    """
    return data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]


class LineFile:
    """The writer's side of one file of lines.

    Args:
        path: created if it is missing.
        kind: what failpoints call it.
        private: create it for its owner alone (mode 0600).
        keep_cut: leave what a crash or a full disk cut where it is, until the next line is written over it. Otherwise
            it is cut off: at once, and at `resume`.

    Guarantees:
        One writer at a time: a second one is refused. The lock is let go by `close`, also in the name of processes
        that inherited it by fork.
        After `append_line` returns, the line survives kill -9 and a power cut (as far as the disk honours fsync).

    Raises:
        OutputUnwritable (RF107): it cannot be opened, or another process writes it.
    """

    def __init__(self, path: Path, kind: str, *, private: bool = False, keep_cut: bool = False) -> None:
        self.path, self.kind, self.end = path, kind, 0
        self._keep_cut, self._at = keep_cut, 0
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600 if private else 0o666)
            self._file = os.fdopen(handle, "r+b", buffering=0)
        except OSError as error:
            raise self.unwritable(error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()  # without unlocking: the lock is another's
            if isinstance(error, BlockingIOError):
                raise OutputUnwritable(f"{path} is being written by another process: try again") from error
            raise self.unwritable(error) from error

    def unwritable(self, error: OSError) -> OutputUnwritable:
        """What the operating system said, as Ringfort says it."""
        return OutputUnwritable(f"cannot write {self.path}: {error.strerror or error}")

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._file.closed

    def resume(self, end: int) -> None:
        """Go on after the first `end` bytes, which the caller has verified.

        Raises:
            OutputUnwritable (RF107): what follows them cannot be cut off.
        """
        self.end = self._at = end
        if not self._keep_cut:
            try:
                os.ftruncate(self._file.fileno(), end)
            except OSError as error:
                raise self.unwritable(error) from error

    def write(self, data: bytes | memoryview) -> int:
        """Write some of `data` after what was written before; how much. `append_line` is what to call."""
        written = os.pwrite(self._file.fileno(), data, self._at)
        self._at += written
        return written

    def settle(self) -> None:
        """Make what was written durable, and part of the file."""
        handle = self._file.fileno()
        os.fsync(handle)
        if self._keep_cut:
            os.ftruncate(handle, self._at)
            os.fsync(handle)
        if not self.end:
            sync_folder(self.path.parent)
        self.end = self._at

    def undo(self) -> None:
        """Forget what was written since the last `settle`."""
        self._at = self.end
        if not self._keep_cut:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self.end)

    def close(self) -> None:
        """Let go of the lock. Idempotent."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()


def append_line(file: LineFile, line: bytes) -> None:
    """Make one line durable; it ends in a line feed and has no other.

    Raises:
        OutputUnwritable (RF107): it could not be. The file is as it was, or ends in a cut line that is not one yet.
    """
    rest = memoryview(line)
    try:
        if half(f"{file.kind}.half"):
            rest = rest[file.write(rest[: len(rest) // 2]) :]
        failpoint(f"{file.kind}.half")
        while rest:
            rest = rest[file.write(rest) :]
        failpoint(f"{file.kind}.written")
        file.settle()
    except OSError as error:
        file.undo()
        raise file.unwritable(error) from error
    failpoint(f"{file.kind}.committed")
