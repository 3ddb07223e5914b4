"""A file of lines with one writer at a time: append, fsync, and only then has it happened.

What the round records, the failed rounds, the checkpoints, the privacy ledger and the registry have in common: one
writer holds each for as long as it lives, and a second is refused. People's decisions, the lines about signed answers
and those about an engine's jobs are written in turns (`append_in_turn`). What a line says, and what it means that the
last one was cut by a crash, is theirs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from ringfort.core.errors import OutputUnwritable
from ringfort.core.failpoints import failpoint, half
from ringfort.core.files import canonical_json, sync_folder

__all__ = ["LineFile", "append_in_turn", "append_line", "digested", "last_lines", "leaf_digest", "whole_lines"]

_BLOCK: Final = 1 << 16


def leaf_digest(fields: Mapping[str, Any] | bytes) -> str:
    """SHA-256 over a zero byte and a line's fields, as canonical JSON: a leaf of an RFC 6962 tree."""
    said = fields if isinstance(fields, bytes) else canonical_json(fields)
    return hashlib.sha256(b"\x00" + said).hexdigest()


def digested(fields: Mapping[str, Any]) -> bytes:
    """A line of canonical JSON that says its own `leaf_digest` under "digest"."""
    return canonical_json({**fields, "digest": leaf_digest(fields)}) + b"\n"


def whole_lines(data: bytes) -> list[bytes]:
    r"""The lines that end in a line feed, without it. What follows the last one was cut by a crash.

    >>> whole_lines(b"one\ntwo\nthr")
    [b'one', b'two']
    """
    return data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]


def last_lines(path: Path, most_bytes: int) -> list[bytes]:
    """The whole lines among the last `most_bytes` of a file; none if there is no file."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - most_bytes)
            file.seek(start)
            lines = whole_lines(file.read())
    except FileNotFoundError:
        return []
    return lines[1:] if start else lines


class LineFile:
    """The writer's side of one file of lines.

    Args:
        path: created if it is missing.
        kind: what failpoints call it.
        private: create it for its owner alone (mode 0600).
        keep_cut: leave what a crash or a full disk cut where it is, until the next line is written over it. Otherwise
            it is cut off: at once, and at `resume`.
        wait: for another writer to end, instead of being refused.
        durable: False leaves it to the operating system when lines reach the disk: a power cut may take the last ones.

    Guarantees:
        One writer at a time: a second one is refused, or waits. The lock is let go by `close`, also in the name of
        processes that inherited it by fork.
        After `append_line` returns, the line survives kill -9 and, if `durable`, a power cut (as far as the disk
        honours fsync).

    Raises:
        OutputUnwritable (RF107): it cannot be opened, or another process writes it.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        *,
        private: bool = False,
        keep_cut: bool = False,
        wait: bool = False,
        durable: bool = True,
    ) -> None:
        self.path, self.kind, self.end = path, kind, 0
        self._keep_cut, self._durable, self._at = keep_cut, durable, 0
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600 if private else 0o666)
            self._file = os.fdopen(handle, "r+b", buffering=0)
        except OSError as error:
            raise self.unwritable(error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
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

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Around what the caller reads and verifies before it writes: if that fails, the file is closed.

        Raises:
            OutputUnwritable (RF107): the operating system's errors.
        """
        try:
            yield
        except OSError as error:
            self.close()
            raise self.unwritable(error) from error
        except BaseException:
            self.close()
            raise

    def resume(self, end: int | None = None) -> None:
        """Go on after the first `end` bytes, which the caller has verified; None: after the last whole line.

        Raises:
            OutputUnwritable (RF107): what follows them cannot be cut off.
        """
        try:
            self.end = self._at = self._whole() if end is None else end
            if not self._keep_cut:
                os.ftruncate(self._file.fileno(), self.end)
        except OSError as error:
            raise self.unwritable(error) from error

    def _whole(self) -> int:
        """How many bytes are whole lines."""
        handle = self._file.fileno()
        end = os.fstat(handle).st_size
        while end:
            start = max(0, end - _BLOCK)
            if found := os.pread(handle, end - start, start).rfind(b"\n") + 1:
                return start + found
            end = start
        return 0

    def write(self, data: bytes | memoryview) -> int:
        """Write some of `data` after what was written before; how much. `append_line` is what to call."""
        written = os.pwrite(self._file.fileno(), data, self._at)
        self._at += written
        return written

    def settle(self) -> None:
        """Make what was written durable, and part of the file."""
        handle = self._file.fileno()
        if self._durable:
            os.fsync(handle)
        if self._keep_cut:
            os.ftruncate(handle, self._at)
            if self._durable:
                os.fsync(handle)
        if self._durable and not self.end:
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

    def __enter__(self) -> LineFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def append_line(file: LineFile, line: bytes) -> None:
    """Make one line, or several at once, part of the file; what is given ends in a line feed.

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


def append_in_turn(path: Path, kind: str, lines: bytes, *, durable: bool = True) -> None:
    """Append whole lines to a file that nobody holds: wait for whoever writes, and go on after the last whole line.

    Args:
        path: created if it is missing.
        kind: what failpoints call it.
        lines: they end in a line feed.
        durable: as for `LineFile`.

    Raises:
        OutputUnwritable (RF107): they could not be written. The file is as it was, or ends in a cut line.
    """
    with LineFile(path, kind, wait=True, durable=durable) as file:
        file.resume()
        append_line(file, lines)
