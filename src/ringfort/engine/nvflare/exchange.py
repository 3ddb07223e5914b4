"""One exchange over calls to remote parties: a thread for each, our own clock, and nobody waits for a late one."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from ringfort.core.checks import positive, whole
from ringfort.core.errors import InvalidValue, JobAborted
from ringfort.core.ports import Failure, Outcome
from ringfort.core.values import ClientId
from ringfort.engine.in_process import words
from ringfort.engine.packed import unpack

__all__ = ["Call", "NVFlareExchange"]

Call = Callable[[str, bytes, float], bytes]
"""Asks one party: (stage, payload, timeout in seconds) -> packed answer. TimeoutError: it did not answer."""

_TICK_S: Final = 0.05
_HEAD_BYTES: Final = 1 << 16


class NVFlareExchange:
    """Asks every party at once, each with its own payload, and takes what came back before the deadline.

    Args:
        calls: how to ask each party: clients, and the helpers of a seal.
        members: which of them are clients.
        aborted: whether the engine is ending the job.
        max_reply_bytes: longest answer that is read. A longer one is refused, and so is what is no message.
        patience_s: how long a round without a deadline waits.

    Guarantees:
        The deadline is absolute, on this machine's clock: a party that drips bytes does not move it.
        A party that missed a stage is not asked again until the next broadcast: it costs one deadline, not one for each
        stage.
        Answers that come after the deadline are dropped, whatever round they are for.
        One party's error is its own Failure, its bad answer its own Refusal.

    Raises:
        JobAborted (RF605): the engine ends the job. Nobody's silence is then held against it.

    Does not protect: the size is checked once an answer is here. A hostile client can send more than memory holds:
        limit the server process's memory, and resume.
    """

    def __init__(
        self,
        calls: Mapping[ClientId, Call],
        members: tuple[ClientId, ...],
        aborted: Callable[[], bool],
        *,
        max_reply_bytes: int,
        patience_s: float,
    ) -> None:
        whole(1, max_reply_bytes=max_reply_bytes)
        positive(patience_s=patience_s)
        if not members or not set(members) <= set(calls):
            raise InvalidValue("an engine needs at least one client, and a way to call each")
        self._calls = dict(calls)
        self._members = tuple(sorted(members))
        self._aborted = aborted
        self._limit = max_reply_bytes
        self._patience_s = patience_s
        self._asked: dict[ClientId, bytes] = {}
        self._missed: set[ClientId] = set()

    def members(self) -> tuple[ClientId, ...]:
        """The clients of this job; helpers are no members."""
        return self._members

    def exchange(
        self, stage: str, payloads: Mapping[ClientId, bytes], deadline_s: float | None
    ) -> Mapping[ClientId, Outcome]:
        """Ask each party at once."""
        wait_s = self._patience_s if deadline_s is None else deadline_s
        deadline = time.monotonic() + wait_s
        self._begins_round(stage, payloads)
        if self._aborted():
            raise JobAborted("the engine ends the job")
        out: dict[ClientId, Outcome] = {}
        waiting = set()
        answers: queue.SimpleQueue[tuple[ClientId, object]] = queue.SimpleQueue()
        for name, payload in payloads.items():
            if name not in self._calls:
                out[name] = Failure(name, "is not in this job")
            elif name not in self._missed:
                waiting.add(name)
                call = (self._calls[name], stage, payload, wait_s)
                threading.Thread(target=_ask, args=(answers, name, *call), daemon=True).start()
        while waiting and (left_s := deadline - time.monotonic()) > 0:
            try:
                name, answer = answers.get(timeout=min(left_s, _TICK_S))
            except queue.Empty:
                self._require_running()
                continue
            if isinstance(answer, TimeoutError):
                self._require_running()  # an aborted call looks like one that timed out
                waiting.discard(name)
                self._missed.add(name)
                continue
            waiting.discard(name)
            out[name] = _read(name, answer, self._limit)
            if isinstance(answer, JobAborted):
                raise answer
        self._require_running()
        self._missed |= waiting
        return {name: out[name] for name in payloads if name in out}

    def _begins_round(self, stage: str, payloads: Mapping[ClientId, bytes]) -> None:
        """A broadcast that differs from the last one begins a round; the same again repeats it for fewer clients.

        Which one it is stands in its head, so that no model is kept for this.
        """
        if stage != "train":
            return
        heads = {name: hashlib.sha256(memoryview(payload)[:_HEAD_BYTES]).digest() for name, payload in payloads.items()}
        if any(self._asked.get(name) != head for name, head in heads.items()):
            self._missed.clear()
            self._asked = heads

    def _require_running(self) -> None:
        if self._aborted():
            raise JobAborted("the engine ends the job")

    def close(self) -> None:
        """Nothing to give back: calls end by themselves, and the job ends with its server's process."""


def _ask(
    answers: queue.SimpleQueue[tuple[ClientId, object]],
    name: ClientId,
    call: Call,
    stage: str,
    payload: bytes,
    timeout_s: float,
) -> None:
    try:
        answers.put((name, call(stage, payload, timeout_s)))
    except BaseException as error:
        answers.put((name, error))


def _read(client: ClientId, answer: object, limit: int) -> Outcome:
    if isinstance(answer, BaseException):
        return Failure(client, words(answer))
    return unpack(client, answer, limit)
