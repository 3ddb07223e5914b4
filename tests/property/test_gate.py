"""Whatever strangers send: the gate never raises, nobody pays for another, and what comes in is clean."""

import cbor2
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ringfort.core import Reply, Schema, client_id
from ringfort.core.tensors import digest_of
from ringfort.rounds.gate import Gate, RoundPlan, norm

calm = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

SCHEMA = Schema.of({"bias": (2,), "weight": (2, 3)})
COHORT = tuple(client_id(f"c{i}") for i in range(6))
PLAN = RoundPlan("run-1", 7, COHORT, digest_of(b"model"), SCHEMA, None)
GATE = Gate(max_norm=100.0, max_examples=1000)
REASONS = {
    *("frame", "size", "header", "keys", "dtype", "shape", "layout", "digest", "not-finite", "norm-cap", "weight-cap"),
    *("wrong-client", "not-in-cohort", "wrong-run", "wrong-round", "wrong-model", "duplicate"),
}


def sent(client, values, sender=None, **claims):
    body = SCHEMA.encode(np.asarray(values, np.float32))
    fields = {"kind": "update", "run": "run-1", "round": 7, "client": client, "model": bytes.fromhex(PLAN.model)}
    fields |= {"num_examples": 10, "body": bytes.fromhex(digest_of(body)), **claims}
    header = cbor2.dumps(fields, canonical=True)
    return Reply(client if sender is None else sender, b"RFW1" + len(header).to_bytes(4, "big") + header + body)


GOOD = {name: sent(name, np.full(8, i)) for i, name in enumerate(COHORT)}
values = arrays.arrays(np.uint32, 8).map(lambda bits: bits.view(np.float32))
senders = st.sampled_from([*COHORT, "eve"])
claims = st.fixed_dictionaries(
    {},
    optional={
        "run": st.text(max_size=5) | st.just("run-1"),
        "round": st.integers(-3, 9) | st.booleans(),
        "num_examples": st.integers() | st.floats() | st.text(max_size=3),
        "model": st.binary(max_size=33),
        "client": senders | st.text(max_size=70),
    },
)
attempts = st.one_of(
    st.builds(Reply, senders, st.binary(max_size=400)),
    st.builds(Reply, senders, st.none() | st.text(max_size=5) | st.integers()),
    st.builds(sent, senders, values),
    st.builds(
        lambda name, numbers, changed: sent(**{"client": name, "values": numbers, **changed}), senders, values, claims
    ),
    st.builds(
        lambda name, place, flip: Reply(name, mutate(GOOD[name].body, place, flip)),
        st.sampled_from(COHORT),
        st.integers(0, 10_000),
        st.integers(1, 255),
    ),
    st.sampled_from(list(GOOD.values())),
)


def mutate(data, place, flip):
    changed = bytearray(data)
    changed[place % len(changed)] ^= flip
    return bytes(changed)


@given(st.lists(attempts, max_size=12))
@settings(calm, max_examples=200)
def test_what_comes_in_is_always_clean(replies):
    outcome = GATE.admit(PLAN, replies)
    clients = [update.client for update in outcome.updates]
    assert len(set(clients)) == len(clients)
    assert set(clients) <= set(COHORT)
    for update in outcome.updates:
        assert update.delta.shape == (8,)
        assert update.delta.dtype == np.float32
        assert not update.delta.flags.writeable
        assert np.isfinite(update.delta).all()
        assert norm(update.delta) <= 100.0
        assert type(update.num_examples) is int
        assert 1 <= update.num_examples <= 1000
        assert update.round == 7
    for refusal in outcome.refusals:
        assert refusal.reason in REASONS
        assert refusal.code in {"RF201", "RF202", "RF204", "RF205"}
        assert refusal.detail.isprintable()
    assert len(outcome.updates) + len(outcome.refusals) <= len(replies)


@calm
@given(st.lists(attempts, max_size=8), st.integers(0, 8))
def test_a_good_client_comes_in_whatever_the_others_send(replies, place):
    others = [reply for reply in replies if reply.client != "c3"]
    mixed = [*others[:place], GOOD["c3"], *others[place:]]
    (mine,) = [u for u in GATE.admit(PLAN, mixed).updates if u.client == "c3"]
    assert np.array_equal(mine.delta, np.full(8, 3, np.float32))


@calm
@given(st.lists(attempts, max_size=8))
def test_sending_everything_again_changes_nothing_for_those_who_came_in(replies):
    once, again = GATE.admit(PLAN, replies), GATE.admit(PLAN, [*replies, *replies])
    assert [(u.client, u.delta.tobytes()) for u in once.updates] == [
        (u.client, u.delta.tobytes()) for u in again.updates
    ]


@calm
@given(st.lists(attempts, max_size=8), st.randoms(use_true_random=False))
def test_clients_who_speak_once_are_judged_alike_in_any_order(replies, random):
    single = list({reply.client: reply for reply in replies}.values())
    shuffled = random.sample(single, len(single))
    one, two = GATE.admit(PLAN, single), GATE.admit(PLAN, shuffled)
    assert {u.client for u in one.updates} == {u.client for u in two.updates}
    assert set(one.refusals) == set(two.refusals)


@calm
@given(
    arrays.arrays(np.float32, st.integers(0, 300), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
)
def test_the_norm_is_the_float64_norm_to_twelve_digits(vector):
    exact = np.sqrt(np.sum(vector.astype(np.float64) ** 2))
    assert abs(norm(vector) - exact) <= 1e-12 * exact
