import math
import tracemalloc

import numpy as np
import pytest

from ringfort.core import Reply, Update
from ringfort.core.errors import AdmissionError, InvalidValue
from ringfort.core.wire import open_frame
from ringfort.rounds.gate import Admitted, Gate, norm

SINGLE = {
    *("frame", "size", "header", "keys", "dtype", "shape", "layout", "digest", "not-finite", "norm-cap", "weight-cap"),
    *("wrong-client", "not-in-cohort", "wrong-run", "wrong-round", "wrong-model"),
}


def test_the_gate_passes_its_suite(check_gate):
    check_gate(Gate)


def test_the_suite_has_every_reason_that_one_message_can_be_refused_for(bad_replies):
    assert {reason for reason, _, _ in bad_replies} == SINGLE


class Leaky(Gate):
    """A gate that lets one kind of bad message in."""

    reason = ""

    def _check(self, plan, cohort, reply):
        try:
            return super()._check(plan, cohort, reply)
        except AdmissionError as error:
            if error.reason != self.reason:
                raise
            header, body = open_frame(reply.body, "update", max_body_bytes=plan.schema.encoded_bytes)
            return Update(reply.client, plan.round, plan.schema.decode(body), header.num_examples)


class CountsRetries(Gate):
    """A gate that takes everything a client sends."""

    def admit(self, plan, replies):
        parts = [super(CountsRetries, self).admit(plan, [reply]) for reply in replies]
        return Admitted(sum((p.updates for p in parts), ()), sum((p.refusals for p in parts), ()))


class TakesTheLast(Gate):
    """A gate where a later message replaces an earlier one."""

    def admit(self, plan, replies):
        got = super().admit(plan, list(replies)[::-1])
        return Admitted(got.updates[::-1], got.refusals[::-1])


class Panics(Gate):
    """A gate that lets an error about one client out."""

    def admit(self, plan, replies):
        for reply in replies:
            self._check(plan, frozenset(plan.cohort), reply)
        return super().admit(plan, replies)


class StopsAtTheFirst(Gate):
    """A gate that gives up on a round's other clients."""

    def admit(self, plan, replies):
        kept = []
        for reply in replies:
            kept.append(reply)
            if super().admit(plan, [reply]).refusals:
                break
        return super().admit(plan, kept)


class NormInFloat32(Gate):
    """A gate whose norm overflows and calls it not finite."""

    def _check(self, plan, cohort, reply):
        update = Gate(1e300, self.max_examples)._check(plan, cohort, reply)
        with np.errstate(over="ignore"):
            if not np.isfinite(np.sqrt(np.sum(update.delta**2, dtype=np.float32))):
                raise AdmissionError("not-finite", "overflow")
        return Gate._check(self, plan, cohort, reply)


LEAKS = sorted(SINGLE - {"frame", "size", "header", "keys", "dtype", "shape", "layout"})


@pytest.mark.parametrize(
    "twin",
    [
        *(type(f"Leaky-{reason}", (Leaky,), {"reason": reason}) for reason in LEAKS),
        *(CountsRetries, TakesTheLast, Panics, StopsAtTheFirst, NormInFloat32),
    ],
    ids=lambda twin: twin.__name__,
)
def test_the_suite_catches_a_gate_that_was_sabotaged(check_gate, twin):
    with pytest.raises(AssertionError):
        check_gate(twin)


@pytest.mark.parametrize(
    "caps", [(0, 1), (-1, 1), (math.nan, 1), (math.inf, 1), (1, 0), (1, 1.5), (True, 1), (1, True)], ids=str
)
def test_a_gate_without_sensible_caps_cannot_be_made(caps):
    with pytest.raises(InvalidValue):
        Gate(*caps)


def test_caps_have_no_default():
    with pytest.raises(TypeError):
        Gate()


def test_a_refusal_never_repeats_what_the_message_says(toy):
    payload = "s3cr3t-payload"
    replies = [
        toy.sent(run=payload),
        toy.sent(client=payload, sender="c0"),
        toy.sent(kind=payload),
        toy.sent(body=payload.encode() * 3),
        toy.sent(**{payload: 1}),
        Reply("c0", payload.encode()),
    ]
    outcome = toy.GATE.admit(toy.PLAN, replies)
    assert len(outcome.refusals) == len(replies)
    assert not any(payload in refusal.detail for refusal in outcome.refusals)


def test_an_admitted_update_is_a_view_of_its_message(toy):
    (update,) = toy.GATE.admit(toy.PLAN, [toy.sent()]).updates
    assert update.delta.base is not None
    assert not update.delta.flags.owndata


def test_a_refusal_costs_no_memory_in_proportion_to_the_message(toy):
    replies = [Reply("c0", bytes(4_000_000)), Reply("c1", b"RFW1" + b"\xff" * 4_000_000)]
    tracemalloc.start()
    outcome = toy.GATE.admit(toy.PLAN, replies)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [r.reason for r in outcome.refusals] == ["size", "size"]
    assert peak < 1 << 20


@pytest.mark.parametrize("size", [0, 1, 7, 8_192, 8_193, 300_001])
def test_the_norm_is_the_float64_one(size):
    vector = np.random.default_rng(size).standard_normal(size).astype(np.float32) * np.float32(3)
    exact = math.sqrt(math.fsum(float(x) ** 2 for x in vector))
    assert norm(vector) == pytest.approx(exact, rel=1e-12, abs=0)
    assert norm(vector[::2]) == pytest.approx(np.linalg.norm(vector[::2].astype(np.float64)), rel=1e-12, abs=0)


def test_the_norm_of_an_unaligned_message_is_the_same():
    vector = np.random.default_rng(0).standard_normal(9_000).astype("<f4")
    shifted = np.frombuffer(b"x" + vector.tobytes(), "<f4", offset=1)
    assert not shifted.flags.aligned
    assert norm(shifted) == norm(vector)


def test_the_norm_of_float32s_largest_values_does_not_overflow():
    assert norm(np.full(10_000, 3e38, np.float32)) == pytest.approx(3e40, rel=1e-6)
    assert norm(np.full(4, 1e-45, np.float32)) > 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 4_999, 9_999])
def test_one_bad_coordinate_makes_the_norm_not_finite(bad, place):
    vector = np.ones(10_000, np.float32)
    vector[place] = bad
    assert not math.isfinite(norm(vector))


def test_denormals_do_not_slow_the_norm_by_much():
    import time

    def seconds(vector):
        best = math.inf
        for _ in range(5):
            start = time.perf_counter()
            norm(vector)
            best = min(best, time.perf_counter() - start)
        return best

    plain = np.ones(1_000_000, np.float32)
    assert seconds(plain * np.float32(1e-42)) < 4 * seconds(plain) + 0.002
