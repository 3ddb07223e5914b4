"""What every exchange must do, wherever its clients live: `check_exchange(make)`. Adapters run it unchanged.

`make(handlers)` returns an exchange whose clients are the handlers' names; a client answers by handlers[name](stage,
payload), run wherever the adapter runs its clients: in this process, in a forked one, behind a socket.
"""

from ringfort.core import Failure, Reply, client_id
from ringfort.core.values import ClientId

NAMES = tuple(client_id(name) for name in ("ada", "bob", "cy", "dee"))


def check_exchange(make, *, deadlines=True, payload_bytes=300_000):
    """Raise AssertionError with the first thing that is wrong.

    Args:
        make: handlers -> exchange.
        deadlines: also check that a client that is too slow has no key in the result.
        payload_bytes: size of the largest message sent both ways.
    """
    _answers(make)
    _bytes_both_ways(make, payload_bytes)
    _failures(make)
    _only_who_is_asked(make)
    _round_after_round(make)
    _closing(make)
    if deadlines:
        _deadline(make)


def handlers(**special):
    def plain(name):
        return lambda stage, payload: b"|".join((name.encode(), stage.encode(), payload))

    return {name: special.get(name, plain(name)) for name in NAMES}


def _using(make, handlers, work):
    exchange = make(handlers)
    try:
        return work(exchange)
    finally:
        exchange.close()


def _answers(make):
    def work(exchange):
        assert set(exchange.members()) == set(NAMES), "members() does not name its clients"
        assert len(exchange.members()) == len(NAMES), "a client is named twice"
        got = exchange.exchange("train", {name: name.encode() * 2 for name in NAMES}, None)
        assert set(got) == set(NAMES), "somebody who answered is missing"
        for name in NAMES:
            assert got[name] == Reply(name, f"{name}|train|{name}{name}".encode()), f"{name} got another's answer"
            assert isinstance(got[name].body, bytes), "a body is not bytes"
        assert exchange.exchange("train", {}, None) == {}, "nobody was asked and somebody answered"

    _using(make, handlers(), work)


def _bytes_both_ways(make, size):
    every = bytes(range(256))
    big = every * (size // 256)

    def work(exchange):
        got = exchange.exchange("train", {"ada": big, "bob": b"", "cy": every}, None)
        assert got["ada"].body == big[::-1], "a large message was changed"
        assert got["bob"].body == b"", "an empty message was changed"
        assert got["cy"].body == every[::-1], "bytes were taken for text"

    mirror = {name: lambda stage, payload: payload[::-1] for name in NAMES}
    _using(make, handlers(**mirror), work)


def _failures(make):
    def raises(stage, payload):
        raise ValueError("my data\nis broken \x1b[31m\udcff")

    def exits(stage, payload):
        raise SystemExit(3)

    def mute(stage, payload):
        return None

    def work(exchange):
        got = exchange.exchange("train", dict.fromkeys(NAMES, b"x"), None)
        assert isinstance(got["dee"], Reply), "one client's failure cost another its answer"
        failure = got["ada"]
        assert isinstance(failure, Failure), "a client that raised did not become a Failure"
        assert failure.client == "ada"
        assert failure.error.startswith("ValueError: my data"), "the error does not say what it was"
        assert failure.error.isprintable(), "the error is not one printable line"
        assert "raises" in failure.traceback, "the traceback does not say where"
        assert failure.traceback.encode(), "the traceback cannot be written down"
        assert isinstance(got["bob"], Failure), "a client that exits did not become a Failure"
        assert isinstance(got["cy"], Failure), "an answer that is no bytes did not become a Failure"
        again = exchange.exchange("train", {"dee": b"y"}, None)
        assert again["dee"].body == b"dee|train|y", "after a failure the exchange no longer works"

    _using(make, handlers(ada=raises, bob=exits, cy=mute), work)


def _only_who_is_asked(make):
    def work(exchange):
        got = exchange.exchange("train", {NAMES[2]: b"x"}, None)
        assert set(got) == {NAMES[2]}, "somebody answered who was not asked"
        got = exchange.exchange("train", {ClientId("nobody"): b"x", NAMES[0]: b"y"}, None)
        assert isinstance(got[NAMES[0]], Reply), "an unknown name cost a known client its answer"
        assert not isinstance(got.get(ClientId("nobody")), Reply), "a client that does not exist answered"

    _using(make, handlers(), work)


def _round_after_round(make):
    def work(exchange):
        for number in range(5):
            payloads = {name: str(number).encode() for name in NAMES}
            got = exchange.exchange(f"stage-{number}", payloads, None)
            assert {reply.body for reply in got.values()} == {
                f"{name}|stage-{number}|{number}".encode() for name in NAMES
            }, "an answer came from another round"

    _using(make, handlers(), work)


def _closing(make):
    exchange = make(handlers())
    exchange.close()
    exchange.close()
    exchange = make(handlers())
    exchange.exchange("train", {NAMES[0]: b"x"}, None)
    exchange.close()
    exchange.close()


def _deadline(make):
    import time

    def slow(stage, payload):
        time.sleep(0.4 if payload == b"slow" else 0)
        return b"done " + payload

    def work(exchange):
        exchange.exchange("train", dict.fromkeys(NAMES, b"warm"), None)
        got = exchange.exchange("train", {"ada": b"quick", "dee": b"slow"}, 0.2)
        assert got.get("ada") == Reply("ada", b"done quick"), "somebody in time was dropped"
        assert "dee" not in got, "an answer after the deadline was taken"
        got = exchange.exchange("train", dict.fromkeys(NAMES, b"quick"), 30.0)
        assert {reply.body for reply in got.values()} == {b"done quick"}, "a late answer came with the next round"
        assert len(got) == len(NAMES)

    _using(make, dict.fromkeys(NAMES, slow), work)
