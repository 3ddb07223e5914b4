"""The default engine: all clients in this process, or spread over worker processes on this machine."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol

import cbor2
from threadpoolctl import threadpool_limits

from ringfort.core.checks import whole
from ringfort.core.errors import InvalidValue
from ringfort.core.ports import Failure, Outcome, Reply
from ringfort.core.values import ClientId
from ringfort.engine.packed import pack, unpack
from ringfort.engine.workers import Emit, Workers

__all__ = ["InProcess", "Node", "answer", "words"]


def words(error: BaseException) -> str:
    """An error in one line, also one that cannot say what it is."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # an error that cannot even say what it is
        return type(error).__name__


class Node(Protocol):
    """A party as an engine of this process holds it."""

    @property
    def client(self) -> ClientId:
        """Its name."""
        ...

    def handle(self, stage: str, payload: bytes) -> bytes:
        """Answer one message, or raise."""
        ...


def answer(client: ClientId, handle: Callable[[str, bytes], bytes], stage: str, payload: bytes) -> Reply | Failure:
    """What a party of this process replies; what it raises becomes its Failure."""
    try:
        body: object = handle(stage, payload)
        if not isinstance(body, bytes):
            raise TypeError(f"{client} answered with {type(body).__name__}, not bytes")
        return Reply(client, body)
    except (Exception, SystemExit) as error:
        return Failure(client, words(error), traceback.format_exc())


class InProcess:
    """Clients that live here, one model in memory, trained one after the other or by worker processes.

    Args:
        clients: distinct names.
        workers: 1 trains in this process; more fork that many processes, made at the first exchange.

    Guarantees:
        The same replies, bit for bit, for any number of workers.
        A client whose code raises becomes a Failure with its traceback; the others are not disturbed.

    Does not protect: clients share a machine, so nothing keeps them apart but their code. It simulates a federation of
        strangers; it does not host one.

    Deadline: checked between clients. One that has begun is finished, and its late reply is dropped.
    """

    def __init__(self, clients: Sequence[Node], workers: int = 1) -> None:
        whole(1, workers=workers)
        self._clients = {client.client: client for client in clients}
        if not clients or len(self._clients) != len(clients):
            raise InvalidValue("an engine needs at least one client, each with a name of its own")
        self._count = min(workers, len(clients))
        self._pool: Workers | None = None

    def members(self) -> tuple[ClientId, ...]:
        """All clients: they are always there."""
        return tuple(sorted(self._clients))

    def exchange(
        self, stage: str, payloads: Mapping[ClientId, bytes], deadline_s: float | None
    ) -> Mapping[ClientId, Outcome]:
        """Let each client answer its payload."""
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        if self._count > 1:
            return self._in_workers(stage, payloads, deadline)
        out: dict[ClientId, Outcome] = {}
        with threadpool_limits(limits=1):
            for client, payload in payloads.items():
                if deadline is not None and time.monotonic() >= deadline:
                    break
                reply = self._answer(client, stage, payload)
                if deadline is None or time.monotonic() < deadline:
                    out[client] = reply
        return out

    def _answer(self, client: ClientId, stage: str, payload: bytes) -> Reply | Failure:
        # Looked up inside: a payload for a stranger is that stranger's failure.
        return answer(client, lambda *message: self._clients[client].handle(*message), stage, payload)

    def _in_workers(
        self, stage: str, payloads: Mapping[ClientId, bytes], deadline: float | None
    ) -> Mapping[ClientId, Outcome]:
        if self._pool is None:
            self._pool = Workers(self._work, self._count)
        names = list(payloads)
        tasks = [cbor2.dumps([stage, name, payloads[name]]) for name in names]
        out: dict[ClientId, Outcome] = {}
        for index, _, body in self._pool.map(tasks, deadline):
            out[names[index]] = unpack(names[index], body, len(body))
        return {name: out[name] for name in names if name in out}

    def _work(self, task: bytes, _: Emit) -> bytes:
        stage, name, payload = cbor2.loads(task)
        return pack(self._answer(ClientId(name), stage, payload))

    def close(self) -> None:
        """End the worker processes, if there are any."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __enter__(self) -> InProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
