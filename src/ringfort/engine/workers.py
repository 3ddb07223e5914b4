"""Worker processes without pickle: forked, so that they inherit the work; spoken to in bytes.

A worker is given a function from bytes to bytes. It lives until its pipe closes, so it dies with its parent, and it
ignores Ctrl-C, which is the parent's to handle.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from select import select
from types import TracebackType
from typing import NoReturn

from threadpoolctl import threadpool_limits

from ringfort.core import parallel
from ringfort.core.checks import whole
from ringfort.core.errors import Incompatible, TransportError

__all__ = ["Emit", "Workers"]

Emit = Callable[[bytes], None]
"""How a task reports progress before it returns."""

_HEAD = struct.Struct(">BQ")
_PROGRESS, _RESULT, _ERROR = 0, 1, 2
_GRACE_S = 5.0
_PARENT_ENDS: set[int] = set()
"""The parent's ends of every pool's pipes: no worker may hold one, or another would not see its pipe close."""


def _write(fd: int, kind: int, body: bytes) -> None:
    view = memoryview(_HEAD.pack(kind, len(body)) + body)
    while view:
        view = view[os.write(fd, view) :]


def _read_exactly(fd: int, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = os.read(fd, min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _read(fd: int) -> tuple[int, bytes]:
    kind, size = _HEAD.unpack(_read_exactly(fd, _HEAD.size))
    return kind, _read_exactly(fd, size)


@dataclass(slots=True)
class _Worker:
    pid: int
    to: int
    back: int
    task: int | None = None


class Workers:
    """A pool of forked processes that turn task bytes into result bytes.

    Args:
        handle: called in the worker as handle(task, emit); what it returns is the result. It is inherited by fork, so
            it may close over anything: data, models, clients. Its exceptions come back as a TransportError's text.
        count: processes, >= 1.

    Guarantees:
        Nothing is pickled. Tasks and results are matched by index, whatever order they finish in.
        `close` ends and reaps every process that this pool started, and no other.

    Raises:
        Incompatible (RF103): this platform cannot fork.

    Limits: fork before the parent has run parallel numerical code, so make the pool early.
    """

    def __init__(self, handle: Callable[[bytes, Emit], bytes], count: int) -> None:
        whole(1, count=count)
        if not hasattr(os, "fork"):
            raise Incompatible("worker processes need a platform with fork(): use workers = 1")
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                self._workers.append(self._fork(handle))
        except BaseException:
            self.close()
            raise

    def _fork(self, handle: Callable[[bytes, Emit], bytes]) -> _Worker:
        task_out, task_in = os.pipe()
        back_out, back_in = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            for end in _PARENT_ENDS:
                with contextlib.suppress(OSError):
                    os.close(end)
            _PARENT_ENDS.clear()
            os.close(task_in)
            os.close(back_out)
            _serve(handle, task_out, back_in)
        os.close(task_out)
        os.close(back_in)
        _PARENT_ENDS.update((task_in, back_out))
        return _Worker(pid, task_in, back_out)

    def map(self, tasks: Sequence[bytes], deadline: float | None = None) -> Iterator[tuple[int, bool, bytes]]:
        """Yield (task index, is the result, bytes) as they come: any number of progress items, then one result each.

        Args:
            tasks: each goes to the next free worker, in order.
            deadline: on time.monotonic(); after it no further task is begun. Tasks that are under way are finished, so
                that the workers can be used again, and their late results are dropped.

        Raises:
            TransportError (RF602): a worker died, a task raised, or an earlier map was left while it had work: its
                results would be taken for this one's.
        """
        if any(worker.task is not None for worker in self._workers):
            raise TransportError("the workers still have tasks of a map that was not finished: make another pool")
        waiting = list(enumerate(tasks))[::-1]
        late = False
        while True:
            late = late or (deadline is not None and time.monotonic() >= deadline)
            for worker in self._workers:
                if worker.task is None and waiting and not late:
                    worker.task, body = waiting.pop()
                    self._send(worker, body)
            busy = [worker for worker in self._workers if worker.task is not None]
            if not busy:
                return
            wait_s = None if deadline is None or late else max(0.0, deadline - time.monotonic())
            ready = select([worker.back for worker in busy], [], [], wait_s)[0]
            for worker in busy:
                if worker.back not in ready or worker.task is None:
                    continue
                kind, body = self._receive(worker)
                task = worker.task
                if kind != _PROGRESS:
                    worker.task = None
                if kind == _ERROR:
                    raise TransportError(f"a worker's task failed: {body.decode(errors='replace')}")
                if not late:
                    yield task, kind == _RESULT, body

    def _send(self, worker: _Worker, body: bytes) -> None:
        try:
            _write(worker.to, _RESULT, body)
        except OSError as error:
            raise TransportError(f"worker process {worker.pid} is gone") from error

    def _receive(self, worker: _Worker) -> tuple[int, bytes]:
        try:
            return _read(worker.back)
        except (EOFError, OSError) as error:
            raise TransportError(f"worker process {worker.pid} died while it had work") from error

    def close(self) -> None:
        """End every worker: idle ones by closing their pipe, busy ones with SIGTERM, stuck ones with SIGKILL."""
        for worker in self._workers:
            _close(worker.to)
            if worker.task is not None:
                _signal(worker.pid, signal.SIGTERM)
        for worker in self._workers:
            until = time.monotonic() + _GRACE_S
            while os.waitpid(worker.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > until:
                    _signal(worker.pid, signal.SIGKILL)
                    os.waitpid(worker.pid, 0)
                    break
                time.sleep(0.005)
            _close(worker.back)
        self._workers = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close(end: int) -> None:
    _PARENT_ENDS.discard(end)
    os.close(end)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _serve(handle: Callable[[bytes, Emit], bytes], tasks: int, back: int) -> NoReturn:
    """The worker's whole life. Never returns into the parent's code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.excepthook = threading.__excepthook__
    status = 0
    try:
        threadpool_limits(limits=1)  # one process a core: more threads would only wait for each other
        parallel.limit(1)
        while True:
            _, task = _read(tasks)
            try:
                result = handle(task, lambda body: _write(back, _PROGRESS, body))
            except Exception as error:
                traceback.print_exc()
                _write(back, _ERROR, f"{type(error).__name__}: {error}".encode(errors="replace"))
            else:
                _write(back, _RESULT, result)
    except (EOFError, OSError):
        pass
    except BaseException:
        status = 1
    finally:
        os._exit(status)
