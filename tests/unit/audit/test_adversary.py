"""Attackers inside a federation: what they change, what they leave alone, and that the gate lets them in."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from ringfort.aggregate import Mean, MultiKrum
from ringfort.attacks import (
    Chained,
    Control,
    DynamicLabelFlip,
    Knowledge,
    LabelFlip,
    ModelReplacement,
    Projected,
    SignFlip,
    Sleeper,
    Tailored,
    ThreatModel,
)
from ringfort.audit import Infiltrated, infiltrate
from ringfort.audit.adversary import LiveDefence
from ringfort.client.node import LocalClient
from ringfort.client.numpy_models import NumpyModel
from ringfort.core.context import RoundContext
from ringfort.core.dataset import Dataset
from ringfort.core.errors import InvalidValue, NotGranted
from ringfort.core.ports import Failure, LocalTraining, Reply
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import digest_of
from ringfort.core.values import Aggregate, client_id
from ringfort.core.views import Rows
from ringfort.core.wire import Broadcast
from ringfort.engine.in_process import InProcess
from ringfort.rounds.fuse import Defence, fuse
from ringfort.rounds.gate import Gate, RoundPlan

SEEDS = Seeds(3)
MODEL = NumpyModel(4, 3)
NAMES = tuple(client_id(f"c{i}") for i in range(6))
HOSTILE = (NAMES[1], NAMES[4])
GATE = Gate(max_norm=1e6, max_examples=1000)


def clients():
    rng = np.random.default_rng(0)
    out = []
    for i, name in enumerate(NAMES):
        labels = rng.integers(0, 3, 12 + i)
        inputs = (np.eye(4)[labels] + 0.1 * rng.standard_normal((12 + i, 4))).astype(np.float32)
        out.append(
            LocalClient(name, MODEL, Dataset("toy", inputs, labels, ("a", "b", "c")), LocalTraining(3, 4, 0.1), SEEDS)
        )
    return out


def round_of(exchange, names=NAMES, number=1):
    params = MODEL.initial(SEEDS.under("model"))
    encoded = MODEL.schema.encode(params)
    frame = Broadcast.encode("run", number, encoded)
    replies = exchange.exchange("train", dict.fromkeys(names, frame), None)
    plan = RoundPlan("run", number, names, digest_of(encoded), MODEL.schema, None)
    return replies, GATE.admit(plan, [r for r in replies.values() if isinstance(r, Reply)])


def deltas(admitted):
    return {update.client: update.delta for update in admitted.updates}


def test_only_the_hostile_clients_messages_are_replaced_and_they_pass_the_gate():
    honest_replies, honest = round_of(InProcess(clients()))
    replies, attacked = round_of(infiltrate(clients(), SignFlip(scale=4.0), HOSTILE, SEEDS))
    assert attacked.refusals == ()
    assert tuple(replies) == NAMES
    for name in NAMES:
        if name in HOSTILE:
            assert np.array_equal(deltas(attacked)[name], np.float32(-4) * deltas(honest)[name])
        else:
            assert replies[name] == honest_replies[name]
    claims = {update.client: update.num_examples for update in attacked.updates}
    assert claims == {update.client: update.num_examples for update in honest.updates}


def test_without_attackers_in_the_cohort_nothing_is_touched():
    exchange = infiltrate(clients(), SignFlip(scale=4.0), HOSTILE, SEEDS)
    names = tuple(name for name in NAMES if name not in HOSTILE)
    assert round_of(exchange, names)[0] == round_of(InProcess(clients()), names)[0]


def test_no_attack_is_the_honest_federation():
    assert round_of(infiltrate(clients(), None, (), SEEDS))[0] == round_of(InProcess(clients()))[0]


def test_a_data_attack_poisons_what_the_hostile_clients_hold_and_nothing_else():
    _, honest = round_of(InProcess(clients()))
    exchange = infiltrate(clients(), LabelFlip(source=0, target=1), HOSTILE, SEEDS)
    _, attacked = round_of(exchange)
    assert attacked.refusals == ()
    for name in NAMES:
        same = np.array_equal(deltas(attacked)[name], deltas(honest)[name])
        assert same == (name not in HOSTILE)


def test_hostile_clients_that_do_not_exist_are_refused_by_name():
    with pytest.raises(InvalidValue, match="do not exist: x1, x2"):
        infiltrate(clients(), SignFlip(scale=1.0), (NAMES[0], "x2", "x1"), SEEDS)


@dataclass(frozen=True)
class Spy:
    """Keeps what it was shown."""

    knows: Knowledge
    seen: list
    name: ClassVar[str] = "spy"
    metric: ClassVar[str] = ""

    @property
    def threat(self):
        return ThreatModel("look", self.knows, Control.UPDATES, True)

    def craft(self, view, rng):
        self.seen.append((view.round, view.global_model, view.own_updates, view.honest_updates, rng.random()))
        return view.own_updates

    def success(self, predict, test):
        return None


EVERYTHING = Knowledge.OWN_DATA | Knowledge.GLOBAL_MODEL | Knowledge.OWN_UPDATES | Knowledge.HONEST_UPDATES


def spy_on(number, inner=None, seeds=SEEDS):
    seen = []
    exchange = Infiltrated(inner or InProcess(clients()), Spy(EVERYTHING, seen), HOSTILE, MODEL, seeds)
    return exchange, seen, round_of(exchange, number=number)


def test_a_fully_informed_attacker_sees_the_round_as_it_is():
    _, honest = round_of(InProcess(clients()), number=7)
    _, seen, (_, admitted) = spy_on(7)
    ((number, model, own, others, _),) = seen
    sent = deltas(honest)
    assert number == 7
    assert np.array_equal(model, MODEL.initial(SEEDS.under("model")))
    assert np.array_equal(own, np.stack([sent[name] for name in HOSTILE]))
    assert np.array_equal(others, np.stack([sent[name] for name in NAMES if name not in HOSTILE]))
    assert {name: delta.tolist() for name, delta in deltas(admitted).items()} == {
        name: delta.tolist() for name, delta in sent.items()
    }


def test_an_attackers_choices_depend_on_seed_and_round_only():
    draws = {(seed, number): spy_on(number, seeds=Seeds(seed))[1][0][-1] for seed in (1, 2) for number in (1, 2)}
    assert len(set(draws.values())) == 4
    assert spy_on(2, seeds=Seeds(1))[1][0][-1] == draws[1, 2]


def test_an_attack_that_reaches_for_more_than_it_states_ends_with_rf108():
    exchange = Infiltrated(InProcess(clients()), Spy(EVERYTHING & ~Knowledge.HONEST_UPDATES, []), HOSTILE, MODEL, SEEDS)
    with pytest.raises(NotGranted, match="RF108"):
        round_of(exchange)


class Unreliable:
    """An engine in which some replies are failures, garbage or missing."""

    def __init__(self, changes):
        self.inner, self.changes, self.closed = InProcess(clients()), changes, 0

    def members(self):
        return self.inner.members()

    def exchange(self, stage, payloads, deadline_s):
        out = dict(self.inner.exchange(stage, payloads, deadline_s)) | self.changes
        return {name: reply for name, reply in out.items() if reply is not None}

    def close(self):
        self.closed += 1


@dataclass(frozen=True)
class Prober:
    """Writes down what it saw, and asks the defence about its own plan."""

    name: ClassVar[str] = "prober"
    metric: ClassVar[str] = ""
    threat: ClassVar[ThreatModel] = ThreatModel(
        "look", EVERYTHING | Knowledge.PAST_MODELS | Knowledge.DEFENCE, Control.UPDATES, True
    )

    def craft(self, view, rng):
        rows = np.concatenate([view.honest_updates, view.own_updates * 3])
        view.memory["rounds"] = view.memory.get("rounds", 0.0) + 1
        view.memory[f"step {view.round}"] = view.oracle(rows)
        view.memory[f"past {view.round}"] = np.zeros(0) if view.past_model is None else view.past_model
        NOTES.append(view.memory)
        return view.own_updates * 3

    def success(self, predict, test):
        return None


NOTES: list = []


def test_attackers_remember_see_the_model_before_and_can_try_out_the_defence():
    NOTES.clear()
    live = LiveDefence(Defence(MultiKrum(f=1)), GATE, SEEDS)
    exchange = infiltrate(clients(), Prober(), HOSTILE, SEEDS, live=live)
    for number in (1, 2):
        _, admitted = round_of(exchange, number=number)
    memory = NOTES[-1]
    assert memory["rounds"] == 2
    assert memory["past 1"].size == 0
    assert np.array_equal(memory["past 2"], MODEL.initial(SEEDS.under("model")))
    real = fuse(Rows.of(admitted.updates), live.defence, RoundContext(2, SEEDS.under("fuse", 2)))
    assert np.allclose(memory["step 2"], real.aggregate.delta, atol=1e-6)


def test_the_defence_that_attackers_try_out_has_its_gate_and_its_order_of_names():
    live = LiveDefence(Defence(Mean()), Gate(max_norm=10.0, max_examples=1), SEEDS)
    to = Broadcast("run", 1, np.zeros(2, np.float32), "")
    step = live.oracle(("c2", "c0", "c1"), to, None)
    assert step(np.float32([[1, 0], [0, 2], [30, 0]])).tolist() == [0.5, 1.0]
    first = LiveDefence(Defence(FirstOnly()), GATE, SEEDS).oracle(("c2", "c0", "c1"), to, None)
    assert first(np.float32([[1, 0], [0, 2], [30, 0]])).tolist() == [0, 2]


@dataclass(frozen=True)
class FirstOnly:
    """Takes the first row, so that the order shows."""

    name: ClassVar[str] = "first-only"

    def bears(self, n):
        return 0

    def __call__(self, view):
        return Aggregate(view.matrix[0].copy(), view.clients, np.eye(view.n)[0], self.name)


@dataclass(frozen=True)
class Shifting:
    """Relabels everything to what the model of the round thinks least likely."""

    name: ClassVar[str] = "shifting"
    metric: ClassVar[str] = ""
    threat: ClassVar[ThreatModel] = ThreatModel("confuse", Knowledge.GLOBAL_MODEL, Control.DATA, False)

    def poison_round(self, data, score, rng):
        return data.with_rows(data.inputs, score(data.inputs).argmin(axis=1))

    def success(self, predict, test):
        return None


def test_an_attack_on_the_data_of_every_round_trains_on_what_the_model_makes_of_it():
    _, honest = round_of(InProcess(clients()))
    _, attacked = round_of(infiltrate(clients(), Shifting(), HOSTILE, SEEDS))
    params = MODEL.initial(SEEDS.under("model"))
    for client in clients():
        same = np.array_equal(deltas(attacked)[client.client], deltas(honest)[client.client])
        assert same == (client.client not in HOSTILE)
        if client.client in HOSTILE:
            wrong = MODEL.logits(params, client.data.floats()).argmin(axis=1)
            data = client.data.with_rows(client.data.inputs, wrong)
            expected = MODEL.train(params, data, client.training, SEEDS.child("train", 1, client.client))
            assert np.array_equal(deltas(attacked)[client.client], expected)


FLIP = LabelFlip(source=0, target=1)


@pytest.mark.parametrize("inner", [FLIP, SignFlip(scale=2.0), DynamicLabelFlip()])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_attack_that_is_worn_all_the_time_is_that_attack_bit_for_bit(inner, workers):
    plain, worn = (
        infiltrate(clients(), attack, HOSTILE, SEEDS, workers) for attack in (inner, Chained(inner, start=1, stop=9))
    )
    try:
        for number in (1, 2):
            assert round_of(worn, number=number)[0] == round_of(plain, number=number)[0]
    finally:
        plain.close()
        worn.close()


def test_a_sleeper_is_an_honest_client_until_it_wakes():
    exchange = infiltrate(clients(), Sleeper(FLIP, wakes=3), HOSTILE, SEEDS)
    honest = InProcess(clients())
    for number in (1, 2):
        assert round_of(exchange, number=number)[0] == round_of(honest, number=number)[0]
    awake, told = round_of(exchange, number=3)[0], round_of(honest, number=3)[0]
    assert {name for name in NAMES if awake[name] != told[name]} == set(HOSTILE)


def test_a_boosted_backdoor_is_what_the_poisoned_clients_learned_times_gamma():
    _, poisoned = round_of(infiltrate(clients(), FLIP, HOSTILE, SEEDS))
    _, boosted = round_of(infiltrate(clients(), ModelReplacement(FLIP, gamma=3.0), HOSTILE, SEEDS))
    for name in NAMES:
        factor = np.float32(3 if name in HOSTILE else 1)
        assert np.array_equal(deltas(boosted)[name], factor * deltas(poisoned)[name])


def test_attackers_that_train_in_their_own_way_start_from_the_model_and_keep_their_promise():
    _, sent = round_of(infiltrate(clients(), Projected(FLIP, bound=0.01, passes=3), HOSTILE, SEEDS))
    for name in HOSTILE:
        assert np.linalg.norm(deltas(sent)[name]) == pytest.approx(0.01, rel=1e-4)
    twice = [round_of(infiltrate(clients(), Projected(FLIP), HOSTILE, SEEDS))[0] for _ in range(2)]
    assert twice[0] == twice[1]


@dataclass(frozen=True)
class ByRank:
    """Relabels everything to its rank."""

    name: ClassVar[str] = "by-rank"
    metric: ClassVar[str] = ""
    threat: ClassVar[ThreatModel] = ThreatModel("confuse", Knowledge.OWN_DATA, Control.DATA, True)

    def poison(self, data, rng):
        return data

    def poison_as(self, rank, data, rng):
        return data.with_rows(data.inputs, np.full(len(data), rank))

    def success(self, predict, test):
        return None


@pytest.mark.parametrize("attack", [ByRank(), Chained(ByRank(), start=1, stop=1)], ids=lambda a: a.name)
def test_attackers_that_share_the_work_are_told_apart_by_rank(attack):
    _, sent = round_of(infiltrate(clients(), attack, tuple(reversed(HOSTILE)), SEEDS))
    params = MODEL.initial(SEEDS.under("model"))
    for client in clients():
        if client.client in HOSTILE:
            rank = HOSTILE.index(client.client)
            data = client.data.with_rows(client.data.inputs, np.full(len(client.data), rank))
            expected = MODEL.train(params, data, client.training, SEEDS.child("train", 1, client.client))
            assert np.array_equal(deltas(sent)[client.client], expected)


def test_a_worn_attack_asks_the_live_defence_too():
    live = LiveDefence(Defence(Mean()), GATE, SEEDS)
    _, sent = round_of(infiltrate(clients(), Tailored(FLIP), HOSTILE, SEEDS, live=live))
    _, told = round_of(infiltrate(clients(), FLIP, HOSTILE, SEEDS))
    honest = np.mean([deltas(told)[name] for name in NAMES if name not in HOSTILE], axis=0)
    way = np.mean([deltas(told)[name] for name in HOSTILE], axis=0) - honest
    step = np.mean([deltas(sent)[name] for name in NAMES], axis=0)
    assert (step - honest) @ way / (way @ way) == pytest.approx(1.0, abs=0.25)


def test_failures_and_absences_stay_what_they_are():
    changes = {NAMES[1]: Failure(NAMES[1], "ValueError: no"), NAMES[0]: None, NAMES[2]: Failure(NAMES[2], "x")}
    _, seen, (replies, admitted) = spy_on(1, Unreliable(changes))
    assert replies[NAMES[1]] == changes[NAMES[1]]
    assert NAMES[0] not in replies
    assert [update.client for update in admitted.updates] == [NAMES[3], NAMES[4], NAMES[5]]
    assert seen[0][2].shape[0] == 1
    assert seen[0][3].shape[0] == 2


@pytest.mark.parametrize("garbage", [b"", b"RFW1", b"\0" * 500])
def test_a_garbled_message_never_ends_the_round(garbage):
    changes = {name: Reply(name, garbage) for name in (NAMES[1], NAMES[2])}
    _, seen, (replies, admitted) = spy_on(1, Unreliable(changes))
    assert replies[NAMES[2]].body == garbage
    assert not seen[0][2][0].any()
    assert {refusal.client for refusal in admitted.refusals} == {NAMES[2]}


def test_closing_closes_the_engine_inside():
    inner = Unreliable({})
    exchange = Infiltrated(inner, SignFlip(scale=1.0), HOSTILE, MODEL, SEEDS)
    assert exchange.members() == NAMES
    exchange.close()
    assert inner.closed == 1
