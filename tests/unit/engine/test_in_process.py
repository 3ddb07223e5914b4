import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ringfort.client import LocalClient, NumpyModel
from ringfort.core import Dataset, Failure, LocalTraining, Reply, Seeds, client_id
from ringfort.core.errors import InvalidValue, TransportError
from ringfort.core.wire import Broadcast
from ringfort.engine import InProcess

MODEL = NumpyModel(4, 3, (5,))


@dataclass
class Stub:
    """A client that answers with a function."""

    client: str
    answer: Any

    def handle(self, stage, payload):
        return self.answer(stage, payload)


def engine(workers=1, **answers):
    return InProcess([Stub(name, answer) for name, answer in answers.items()], workers)


def local_clients(n=4):
    out = []
    for i in range(n):
        rng = np.random.default_rng(i)
        inputs = rng.standard_normal((12, 4)).astype(np.float32)
        data = Dataset("toy", inputs, rng.integers(0, 3, 12), ("a", "b", "c"))
        out.append(LocalClient(client_id(f"c{i}"), MODEL, data, LocalTraining(4, 5, 0.1, 0.9), Seeds(3)))
    return out


def frame():
    return Broadcast.encode("run", 1, MODEL.schema.encode(MODEL.initial(Seeds(1))))


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_it_does_what_every_exchange_must(check_exchange, workers):
    check_exchange(lambda handlers: engine(workers, **handlers))


class Sabotaged(InProcess):
    """Engines that each break one promise; the suite must see every one."""

    def __init__(self, handlers):
        super().__init__([Stub(name, answer) for name, answer in handlers.items()])


class LosesOne(Sabotaged):
    def exchange(self, stage, payloads, deadline_s):
        return dict(list(super().exchange(stage, payloads, deadline_s).items())[1:])


class MixesUp(Sabotaged):
    def exchange(self, stage, payloads, deadline_s):
        got = super().exchange(stage, payloads, deadline_s)
        return dict(zip(got, list(got.values())[::-1], strict=True))


class LetsErrorsOut(Sabotaged):
    def _answer(self, client, stage, payload):
        return Reply(client, self._clients[client].handle(stage, payload))


class HasNoDeadline(Sabotaged):
    def exchange(self, stage, payloads, deadline_s):
        return super().exchange(stage, payloads, None)


class AnswersFromBefore(Sabotaged):
    def exchange(self, stage, payloads, deadline_s):
        self.__dict__.setdefault("kept", {})
        for name, payload in payloads.items():
            self.kept.setdefault(name, payload)
        return super().exchange(stage, {name: self.kept[name] for name in payloads}, deadline_s)


class ClosesOnce(Sabotaged):
    def close(self):
        if self.__dict__.setdefault("shut", False):
            raise RuntimeError("closed twice")
        self.shut = True


@pytest.mark.parametrize(
    "kind", [LosesOne, MixesUp, LetsErrorsOut, HasNoDeadline, AnswersFromBefore, ClosesOnce], ids=lambda k: k.__name__
)
def test_the_suite_catches_an_exchange_that_was_sabotaged(check_exchange, kind):
    with pytest.raises((AssertionError, RuntimeError, ValueError, KeyError)):
        check_exchange(kind)


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_any_number_of_workers_gives_the_same_replies_bit_for_bit(workers):
    payloads = {f"c{i}": frame() for i in range(4)}
    with InProcess(local_clients()) as alone, InProcess(local_clients(), workers) as spread:
        for _ in range(2):
            one, many = (dict(engine.exchange("train", payloads, None)) for engine in (alone, spread))
            assert one == many
            assert list(one) == list(many) == list(payloads)
            assert all(isinstance(reply, Reply) for reply in one.values())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_carries_its_traceback(workers):
    def breaks(stage, payload):
        raise ZeroDivisionError("one over nothing")

    with engine(workers, a=breaks, b=lambda stage, payload: b"fine") as exchange:
        got = exchange.exchange("train", {"a": b"", "b": b""}, None)
    assert got["a"].error == "ZeroDivisionError: one over nothing"
    assert "in breaks" in got["a"].traceback
    assert got["b"] == Reply("b", b"fine")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_that_cannot_say_what_it_is_becomes_a_failure_too(workers):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    def breaks(stage, payload):
        raise Mute

    with engine(workers, a=breaks, b=lambda stage, payload: b"fine") as exchange:
        got = exchange.exchange("train", {"a": b"", "b": b""}, None)
    assert (got["a"].error, got["b"].body) == ("Mute", b"fine")


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_is_not_a_clients_failure(workers):
    def interrupted(stage, payload):
        raise KeyboardInterrupt

    with engine(workers, a=interrupted, b=interrupted) as exchange, pytest.raises((KeyboardInterrupt, TransportError)):
        exchange.exchange("train", {"a": b"", "b": b""}, None)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_broadcast_is_a_failure_and_not_a_training(workers):
    damaged = bytearray(frame())
    damaged[-1] ^= 1
    with InProcess(local_clients(2), workers) as exchange:
        got = exchange.exchange("train", {"c0": bytes(damaged), "c1": frame()}, None)
    assert isinstance(got["c0"], Failure)
    assert "RF201" in got["c0"].error
    assert isinstance(got["c1"], Reply)


def test_the_deadline_is_checked_between_clients_and_a_late_reply_is_dropped(monkeypatch):
    asked, clock = [], [100.0]
    monkeypatch.setattr("ringfort.engine.in_process.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def slow(name):
        def answer(stage, payload):
            asked.append(name)
            clock[0] += 6
            return b"x"

        return answer

    with engine(a=slow("a"), b=slow("b"), c=slow("c")) as exchange:
        got = exchange.exchange("train", dict.fromkeys("abc", b""), 9)
    assert list(got) == ["a"]
    assert asked == ["a", "b"]


def test_clients_with_one_name_or_no_clients_make_no_engine():
    with pytest.raises(InvalidValue, match="name of its own"):
        InProcess([Stub("a", None), Stub("a", None)])
    with pytest.raises(InvalidValue, match="at least one"):
        InProcess([])
    with pytest.raises(InvalidValue):
        engine(0, a=None)


def test_processes_are_made_at_the_first_exchange_and_never_more_than_clients():
    exchange = engine(50, a=lambda s, p: str(os.getpid()).encode(), b=lambda s, p: str(os.getpid()).encode())
    assert exchange._pool is None
    got = exchange.exchange("train", {"a": b"", "b": b""}, None)
    assert len(exchange._pool._workers) == 2
    assert str(os.getpid()).encode() not in {reply.body for reply in got.values()}
    exchange.close()
    assert exchange._pool is None


def test_a_worker_that_is_killed_is_a_transport_error_and_the_engine_can_be_closed():
    def dies(stage, payload):
        os.kill(os.getpid(), 9)

    with engine(2, a=dies, b=lambda s, p: b"") as exchange:
        with pytest.raises(TransportError, match="died"):
            exchange.exchange("train", {"a": b"", "b": b""}, None)
        pids = [worker.pid for worker in exchange._pool._workers]
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
