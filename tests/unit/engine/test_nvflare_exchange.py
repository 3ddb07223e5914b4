"""NVFlareExchange over calls that run in threads of this process: everything but NVFlare itself."""

import threading
import time

import pytest

from ringfort.core import Reply
from ringfort.core.errors import InvalidValue, JobAborted
from ringfort.engine.in_process import answer
from ringfort.engine.nvflare import NVFlareExchange
from ringfort.engine.packed import pack


def calling(name, handle):
    return lambda stage, payload, timeout_s: pack(answer(name, handle, stage, payload))


def exchange(calls, aborted=lambda: False, most=1 << 20, members=None):
    return NVFlareExchange(calls, tuple(members or calls), aborted, max_reply_bytes=most, patience_s=20.0)


def made(handlers):
    return exchange({name: calling(name, handle) for name, handle in handlers.items()})


def echo(stage, payload, timeout_s):
    return pack(Reply("x", payload))


def test_it_does_what_every_exchange_must(check_exchange):
    check_exchange(made)


def test_everybody_is_asked_at_once():
    gate = threading.Barrier(3, timeout=10)

    def meets(stage, payload, timeout_s):
        gate.wait()
        return echo(stage, payload, timeout_s)

    got = exchange(dict.fromkeys("abc", meets)).exchange("train", dict.fromkeys("abc", b""), 20)
    assert sorted(got) == ["a", "b", "c"]


def test_the_deadline_holds_against_a_party_that_keeps_its_call_open():
    hold = threading.Event()

    def drips(stage, payload, timeout_s):
        hold.wait(20)
        return echo(stage, payload, timeout_s)

    began = time.monotonic()
    got = exchange({"a": drips, "b": echo}).exchange("train", {"a": b"", "b": b"1"}, 0.3)
    hold.set()
    assert set(got) == {"b"}
    assert time.monotonic() - began < 15


def test_who_missed_a_stage_is_not_asked_again_in_that_round_but_in_the_next():
    asked = []

    def late(stage, payload, timeout_s):
        asked.append((stage, payload))
        if (stage, payload) == ("train", b"round 1"):
            raise TimeoutError
        return echo(stage, payload, timeout_s)

    them = exchange({"a": late, "b": echo, "helper": echo}, members=["a", "b"])
    assert set(them.exchange("train", dict.fromkeys("ab", b"round 1"), 9)) == {"b"}
    assert set(them.exchange("masks", dict.fromkeys("ab", b"m"), 9)) == {"b"}
    assert set(them.exchange("train", dict.fromkeys("ab", b"round 1"), 9)) == {"b"}, "an attempt of the same round"
    assert set(them.exchange("open", {"a": b"", "b": b"", "helper": b""}, 9)) == {"b", "helper"}
    assert set(them.exchange("train", dict.fromkeys("ab", b"round 2"), 9)) == {"a", "b"}
    assert asked == [("train", b"round 1"), ("train", b"round 2")]


def test_a_helper_that_missed_a_stage_is_asked_in_the_next_round():
    silent = [True]

    def helps(stage, payload, timeout_s):
        if silent.pop() if silent else False:
            raise TimeoutError
        return echo(stage, payload, timeout_s)

    them = exchange({"a": echo, "helper": helps}, members=["a"])
    them.exchange("train", {"a": b"1"}, 9)
    assert set(them.exchange("gram", {"helper": b""}, 9)) == set()
    them.exchange("train", {"a": b"2"}, 9)
    assert set(them.exchange("gram", {"helper": b""}, 9)) == {"helper"}


def test_a_call_that_times_out_is_not_waited_for():
    def gone(stage, payload, timeout_s):
        raise TimeoutError

    began = time.monotonic()
    assert exchange({"a": gone}).exchange("train", {"a": b""}, 60) == {}
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "packed",
    [b"", b"\xff", b"\x80", "text", None, 7, {"reply": b""}, b"\x82ereplyc\x01\x02\x03", b"\x9f" * 5000],
    ids=repr,
)
def test_an_answer_that_is_no_message_is_refused(packed):
    got = exchange({"a": lambda *_: packed, "b": echo}).exchange("train", {"a": b"", "b": b"x"}, 9)
    assert (got["a"].client, got["a"].code, got["a"].reason) == ("a", "RF201", "frame")
    assert got["b"] == Reply("b", b"x")


def test_an_answer_says_nothing_about_whose_it_is():
    forged = pack(Reply("b", b"mine"))
    got = exchange({"a": lambda *_: forged, "b": echo}).exchange("train", {"a": b"", "b": b"x"}, 9)
    assert got == {"a": Reply("a", b"mine"), "b": Reply("b", b"x")}


def test_an_answer_above_the_cap_is_refused_and_one_at_the_cap_is_none():
    sizes = {"a": 1000, "b": 6000}
    calls = {name: lambda *_, size=size: pack(Reply("x", bytes(size))) for name, size in sizes.items()}
    got = exchange(calls, most=1000).exchange("train", dict.fromkeys(calls, b""), 9)
    assert got["a"] == Reply("a", bytes(1000))
    assert (got["b"].reason, "more than the 1000" in got["b"].detail) == ("size", True)


def test_an_aborted_job_raises_and_nobody_is_counted_as_a_dropout():
    aborted = []

    def dies(stage, payload, timeout_s):
        aborted.append(True)
        raise TimeoutError  # what a call looks like that an abort cut short

    them = exchange({"a": dies, "b": echo}, aborted=lambda: bool(aborted))
    with pytest.raises(JobAborted):
        them.exchange("train", dict.fromkeys("ab", b"1"), 9)
    with pytest.raises(JobAborted):
        them.exchange("train", dict.fromkeys("ab", b"2"), 9)


def test_an_abort_is_seen_while_everybody_is_silent():
    hold = threading.Event()
    them = exchange({"a": lambda *_: hold.wait(30)}, aborted=lambda: time.monotonic() > until)
    until = time.monotonic() + 0.2
    with pytest.raises(JobAborted):
        them.exchange("train", {"a": b""}, 30)
    hold.set()


def test_a_transport_error_of_one_call_is_that_clients_failure():
    def breaks(stage, payload, timeout_s):
        raise ConnectionResetError("gone")

    got = exchange({"a": breaks, "b": echo}).exchange("train", {"a": b"", "b": b"x"}, 9)
    assert got["a"].error == "ConnectionResetError: gone"
    assert got["b"] == Reply("b", b"x")


def test_what_makes_no_exchange():
    with pytest.raises(InvalidValue):
        exchange({"a": echo}, members=["b"])
    with pytest.raises(InvalidValue):
        NVFlareExchange({"a": echo}, ("a",), lambda: False, max_reply_bytes=0, patience_s=1.0)
    with pytest.raises(InvalidValue):
        NVFlareExchange({"a": echo}, ("a",), lambda: False, max_reply_bytes=9, patience_s=0.0)


def test_helpers_are_no_members():
    assert exchange({"b": echo, "a": echo, "helper": echo}, members=["b", "a"]).members() == ("a", "b")
