"""What every gate must do, as one function over a way to make the gate: `check_gate(make_gate)`.

It is run on the real gate and on twins that each leave one check out; a twin that passes means the suite is blind.
"""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path

import numpy as np

from ringfort.core import Reply, Schema


class Canary:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def ones(**changed):
    values = np.ones(8, np.float32)
    for index, value in changed.items():
        values[int(index[1:])] = value
    return values


def bad_replies(toy):
    """(reason, code, reply) for everything one message can be refused for."""
    sent, schema = toy.sent, toy.SCHEMA
    good = sent()
    body = schema.encode(np.ones(8, np.float32))

    def other(shapes, dtype="F32", data=None):
        made = Schema.of(shapes)
        raw = made.header.replace(b'"F32"', f'"{dtype}"'.encode())
        return sent(body=raw + (bytes(4 * made.d) if data is None else data))

    def header(entries):
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return sent(body=len(text).to_bytes(8, "little") + text + bytes(32))

    swapped = {
        "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "bias": {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]},
    }
    return [
        ("frame", "RF201", Reply("c0", b"")),
        ("frame", "RF201", Reply("c0", b"RFW2" + good.body[4:])),
        ("frame", "RF201", Reply("c0", None)),
        ("frame", "RF201", Reply("c0", "RFW1")),
        ("frame", "RF201", sent(num_examples=10.0)),
        ("frame", "RF201", sent(num_examples="10")),
        ("frame", "RF201", sent(num_examples=True)),
        ("frame", "RF201", sent(round=True)),
        ("frame", "RF201", sent(extra=1)),
        ("size", "RF201", sent(body=body[:-1])),
        ("size", "RF201", sent(body=body + b"\0")),
        ("size", "RF201", sent(body=body + bytes(50_000))),
        ("header", "RF201", sent(body=(8).to_bytes(8, "little") + b"notjson!" + bytes(32))),
        ("keys", "RF201", other({"bias": (2,)})),
        ("keys", "RF201", other({"bias": (2,), "weight": (2, 3), "z": (1,)})),
        ("keys", "RF201", other({"bias": (2,), "heavy": (2, 3)})),
        ("dtype", "RF201", other({"bias": (2,), "weight": (2, 3)}, "I32")),
        ("dtype", "RF201", other({"bias": (2,), "weight": (2, 3)}, "F64", bytes(64))),
        ("dtype", "RF201", other({"bias": (2,), "weight": (2, 3)}, "F16", bytes(16))),
        ("shape", "RF201", other({"bias": (2,), "weight": (3, 2)})),
        ("shape", "RF201", other({"bias": (1,), "weight": (2, 3)})),
        ("shape", "RF201", other({"bias": (), "weight": (2, 3)})),
        ("layout", "RF201", header(swapped)),
        ("digest", "RF201", Reply("c0", good.body[:-1] + b"\x41")),
        ("digest", "RF201", _lies(toy, body)),
        ("not-finite", "RF201", sent(values=ones(_3=np.nan))),
        ("not-finite", "RF201", sent(values=ones(_0=np.inf))),
        ("not-finite", "RF201", sent(values=ones(_7=-np.inf))),
        ("not-finite", "RF201", sent(values=ones(_0=np.inf, _1=-np.inf))),
        ("norm-cap", "RF205", sent(values=ones(_0=101))),
        ("norm-cap", "RF205", sent(values=np.full(8, 3e38))),
        ("weight-cap", "RF205", sent(num_examples=0)),
        ("weight-cap", "RF205", sent(num_examples=-1)),
        ("weight-cap", "RF205", sent(num_examples=1001)),
        ("weight-cap", "RF205", sent(num_examples=10**18)),
        ("wrong-client", "RF202", sent(client="c1", sender="c0")),
        ("wrong-client", "RF202", sent(client="", sender="c0")),
        ("not-in-cohort", "RF202", sent(client="eve")),
        ("not-in-cohort", "RF202", sent(client="c0", sender="eve")),
        ("wrong-run", "RF204", sent(run="run-2")),
        ("wrong-round", "RF204", sent(round=6)),
        ("wrong-round", "RF204", sent(round=8)),
        ("wrong-model", "RF204", sent(model="00" * 32)),
    ]


def _lies(toy, body):
    good = toy.sent(body=body)
    length = int.from_bytes(good.body[4:8], "big")
    return Reply("c0", good.body[: 8 + length] + toy.SCHEMA.encode(np.full(8, 2, np.float32)))


def check_gate(make_gate, toy):
    """Raise AssertionError unless the gate refuses all that it must, and admits the rest untouched."""
    gate = make_gate(max_norm=100.0, max_examples=1000)
    _one_by_one(gate, toy)
    _among_nine_others(gate, toy)
    _twice(gate, toy)
    _at_the_caps(gate, toy)
    _pickles(gate, toy)


def _one_by_one(gate, toy):
    for number, (reason, code, reply) in enumerate(bad_replies(toy)):
        outcome = _admit(gate, toy, [reply])
        assert outcome.updates == (), f"case {number} ({reason}) was admitted"
        assert [(r.client, r.code, r.reason) for r in outcome.refusals] == [(reply.client, code, reason)], number
        assert outcome.refusals[0].detail, "a refusal has a sentence"


def _among_nine_others(gate, toy):
    others = [toy.sent(f"c{i}", values=np.full(8, i)) for i in range(1, 10)]
    for place, (reason, _, reply) in enumerate(bad_replies(toy)):
        mixed = [*others[: place % 10], reply, *others[place % 10 :]]
        outcome = _admit(gate, toy, mixed)
        assert [u.client for u in outcome.updates] == [r.client for r in others], f"{reason} cost somebody else"
        assert [r.client for r in outcome.refusals] == [reply.client]
        for i, update in enumerate(outcome.updates, 1):
            assert np.array_equal(update.delta, np.full(8, i, np.float32)), "a delta changed at the gate"
            assert (update.round, update.num_examples) == (7, 10)
            assert not update.delta.flags.writeable, "an admitted update can be written"


def _twice(gate, toy):
    first, second, broken = toy.sent(values=ones()), toy.sent(values=ones(_0=5)), Reply("c0", b"garbage")
    outcome = _admit(gate, toy, [first, toy.sent(values=ones()), first])
    assert len(outcome.updates) == 1, "a retry was counted twice"
    assert outcome.refusals == (), "a byte-identical retry was refused"
    outcome = _admit(gate, toy, [first, second])
    assert [u.delta[0] for u in outcome.updates] == [1.0], "the first message does not stay"
    assert [(r.code, r.reason) for r in outcome.refusals] == [("RF204", "duplicate")]
    outcome = _admit(gate, toy, [broken, first, second, broken])
    assert [u.delta[0] for u in outcome.updates] == [1.0], "the first message that passes does not stay"
    assert [r.reason for r in outcome.refusals] == ["frame", "duplicate", "frame"]
    outcome = _admit(gate, toy, [Reply("c0", None), first])
    assert (len(outcome.updates), len(outcome.refusals)) == (1, 1), "an empty answer vanished"


def _at_the_caps(gate, toy):
    outcome = _admit(
        gate,
        toy,
        [
            toy.sent("c0", values=ones() * 0 + np.float32(0)),
            toy.sent("c1", values=[60, 80, 0, 0, 0, 0, 0, 0]),
            toy.sent("c2", num_examples=1),
            toy.sent("c3", num_examples=1000),
            toy.sent("c4", values=np.full(8, 1e-45)),
            toy.sent("c5", values=np.full(8, -0.0)),
        ],
    )
    assert outcome.refusals == (), "something allowed was refused"
    assert len(outcome.updates) == 6
    assert np.signbit(outcome.updates[5].delta).all(), "minus zero lost its sign"


def _pickles(gate, toy):
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary"
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            bomb = pickle.dumps(Canary(canary), protocol)
            header_bomb = b"RFW1" + len(bomb).to_bytes(4, "big") + bomb
            for reply in (Reply("c0", bomb), Reply("c0", header_bomb), toy.sent(body=bomb), toy.sent(run=bomb)):
                outcome = _admit(gate, toy, [reply])
                assert outcome.updates == (), "a pickle was admitted"
                assert len(outcome.refusals) == 1
            assert not canary.exists(), "a pickle in a message was executed"
        pickle.loads(pickle.dumps(Canary(canary))).close()  # noqa: S301 - proves that the canary would have sung
        assert canary.exists()


def _admit(gate, toy, replies):
    try:
        return gate.admit(toy.PLAN, replies)
    except Exception as error:
        raise AssertionError(f"the gate raised {error!r} for hostile content") from error
