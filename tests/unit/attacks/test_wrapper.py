"""Attacks that wear another one: what they add, when they act, and what they are granted."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from ringfort.attacks import (
    IPM,
    AttackerView,
    Chained,
    ConstrainAndScale,
    Control,
    FreeRider,
    Knowledge,
    ModelReplacement,
    Neurotoxin,
    PixelBackdoor,
    Projected,
    Ramp,
    Redemption,
    SignFlip,
    Sleeper,
    Tailored,
)
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue, NotGranted
from ringfort.core.randomness import Seeds

DOOR = PixelBackdoor(target=0, fraction=0.5)
D = 30
CLEAN = Dataset("clean", np.zeros((4, 1, 8, 8), np.uint8), np.arange(4) % 2, ("a", "b"))


@dataclass
class Client:
    """Training on poisoned data walks 0.5 a step along the last ten coordinates, on clean data along the first ten."""

    data: Dataset
    steps: int = 12

    def poisoned(self, attack):
        return replace(self.data, name="poisoned")

    def train(self, data, start=None, steps=None):
        walked = np.zeros(D, np.float32) if start is None else start.copy()
        walked[slice(-10, None) if data.name == "poisoned" else slice(0, 10)] += 0.5 * (steps or self.steps)
        return walked


def view(attack, number=1, past: Any = None, oracle=None):
    clients = (Client(CLEAN), Client(CLEAN))
    own = np.stack([one.train(one.data) for one in clients])
    honest = np.repeat(own[:1], 5, axis=0)
    model = np.zeros(D, np.float32)
    return AttackerView(attack.threat, number, model, own, honest, past, oracle, {}, clients)


def sent(attack, **given):
    return attack.craft(view(attack, **given), Seeds(0).child("x"))


HONEST = np.r_[np.full(10, 6), np.zeros(20)]
HOSTILE = np.r_[np.zeros(20), np.full(10, 6)]
LENGTH = float(np.linalg.norm(HONEST))


def test_model_replacement_boosts_what_the_inner_attack_sends():
    assert np.array_equal(sent(ModelReplacement(DOOR, gamma=4.0)), np.stack([4 * HOSTILE] * 2))
    assert np.array_equal(sent(ModelReplacement(SignFlip(scale=1.0), gamma=4.0)), np.stack([-4 * HONEST] * 2))


@pytest.mark.parametrize(("bound", "length"), [(None, LENGTH), (2.0, 2.0), (1e6, 2 * LENGTH)])
def test_projected_trains_longer_and_never_leaves_the_ball(bound, length):
    for row in sent(Projected(DOOR, bound=bound)):
        assert np.linalg.norm(row) == pytest.approx(length, rel=1e-5)
        assert not row[:20].any()


def test_projected_shrinks_what_an_attack_on_updates_sends():
    for row in sent(Projected(IPM(epsilon=5.0), bound=2.0)):
        assert row == pytest.approx(-2.0 * HONEST / LENGTH, abs=1e-6)


def test_constrain_and_scale_lies_between_and_has_the_length_that_is_let_through():
    for alpha in (0.1, 0.5, 0.9):
        row = sent(ConstrainAndScale(DOOR, alpha=alpha))[0]
        assert np.linalg.norm(row) == pytest.approx(LENGTH, rel=1e-5)
    near, far = (sent(ConstrainAndScale(DOOR, alpha=alpha))[0] @ HONEST for alpha in (0.1, 0.9))
    assert near > far > 0
    assert sent(ConstrainAndScale(DOOR, alpha=0.0))[0] == pytest.approx(HONEST, rel=1e-5)
    assert sent(ConstrainAndScale(DOOR, alpha=1.0, bound=1.0))[0] == pytest.approx(HOSTILE / LENGTH, rel=1e-5)


def test_neurotoxin_stays_out_of_what_the_last_step_moved_most():
    past = np.zeros(D, np.float32)
    past[-4:], past[:5] = 1.0, 0.5  # the model of the round is zero
    row = sent(Neurotoxin(DOOR, keep=1 - 4 / D), number=2, past=past)[0]
    assert not row[-4:].any()
    assert (row[-10:-4] > 0).all()
    assert sent(Neurotoxin(DOOR, keep=0.5))[0] == pytest.approx(sent(Projected(DOOR))[0])  # round 1: nothing to read


def test_tailored_goes_as_far_as_the_defence_follows_and_no_further_than_the_goal():
    goal = HOSTILE - HONEST
    follows = sent(Tailored(DOOR, evaluations=64), oracle=lambda rows: rows.mean(axis=0))
    step = np.concatenate([np.stack([HONEST] * 5), follows]).mean(axis=0)
    assert (step - HONEST) @ goal / (goal @ goal) == pytest.approx(1.0, abs=0.1)
    deaf = sent(Tailored(DOOR), oracle=lambda rows: rows[0])
    assert np.isfinite(deaf).all()


def rounds(attack, last=9):
    return [attack.strength(number) for number in range(1, last + 1)]


def test_when_they_are_hostile():
    assert rounds(Sleeper(DOOR, wakes=4)) == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert rounds(Chained(DOOR, start=3, stop=5)) == [0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert rounds(Chained(DOOR, start=2, stop=2)) == [0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert rounds(Redemption(DOOR, bad=2, good=1, start=2)) == [0, 1, 1, 0, 1, 1, 0, 1, 1]
    assert rounds(Ramp(DOOR, rounds=4, start=3)) == [0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1]


def test_they_train_as_told_attack_or_do_some_of_each():
    ramp = Ramp(DOOR, rounds=4)
    for number, share in ((1, 0.25), (2, 0.5), (4, 1.0), (9, 1.0)):
        assert sent(ramp, number=number)[1] == pytest.approx((1 - share) * HONEST + share * HOSTILE)
    assert np.array_equal(sent(Sleeper(DOOR, wakes=5), number=4)[0], HONEST)


def test_wrappers_go_around_wrappers_and_say_so():
    attack = Chained(ModelReplacement(DOOR, gamma=2.0), start=2, stop=3)
    assert attack.name == "chained | model-replacement | pixel-backdoor"
    assert attack.metric == DOOR.metric
    assert (attack.stops, Sleeper(attack, wakes=2).stops, ModelReplacement(DOOR, gamma=1.0).stops) == (3, 3, None)
    assert np.array_equal(sent(attack, number=1)[0], HONEST)
    assert np.array_equal(sent(attack, number=2)[0], 2 * HOSTILE)
    success = attack.success(lambda inputs: np.zeros(len(inputs), np.int64), CLEAN)
    assert success == 1.0


def test_what_they_may_know_is_the_inner_attacks_and_their_own():
    threat = Neurotoxin(DOOR).threat
    assert threat.knows == (Knowledge.OWN_DATA | Knowledge.OWN_UPDATES | Knowledge.GLOBAL_MODEL | Knowledge.PAST_MODELS)
    assert threat.controls == Control.DATA | Control.UPDATES
    assert Knowledge.HONEST_UPDATES in Sleeper(IPM(epsilon=1.0), wakes=2).threat.knows
    assert Sleeper(FreeRider(), wakes=2).threat.controls == Control.UPDATES


def test_an_inner_attack_sees_what_it_is_granted_and_not_what_its_wrapper_is():
    outer = view(Tailored(DOOR))
    within = outer.narrowed(DOOR.threat)
    assert len(within.own_clients) == 2
    with pytest.raises(NotGranted):
        within.honest_updates  # noqa: B018
    with pytest.raises(NotGranted):
        within.narrowed(Tailored(DOOR).threat).honest_updates  # noqa: B018 - nor can it take it back
    with pytest.raises(NotGranted):
        view(SignFlip(scale=1.0)).narrowed(IPM(epsilon=1.0).threat).honest_updates  # noqa: B018


def test_without_clients_to_train_it_says_so():
    bare = replace(view(ModelReplacement(DOOR, gamma=2.0)), _own_clients=())
    with pytest.raises(Incompatible, match="trains its own clients"):
        ModelReplacement(DOOR, gamma=2.0).craft(bare, Seeds(0).child("x"))


@pytest.mark.parametrize("kind", [ConstrainAndScale, Neurotoxin])
@pytest.mark.parametrize("inner", [IPM(epsilon=1.0), ModelReplacement(DOOR, gamma=2.0)])
def test_those_that_train_on_poisoned_data_want_an_attack_that_poisons_some(kind, inner):
    with pytest.raises(Incompatible, match="trains on poisoned data"):
        kind(inner)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ModelReplacement(DOOR, gamma=0),
        lambda: Projected(DOOR, bound=-1.0),
        lambda: Projected(DOOR, passes=0),
        lambda: ConstrainAndScale(DOOR, alpha=2),
        lambda: Neurotoxin(DOOR, keep=0),
        lambda: Tailored(DOOR, evaluations=4),
        lambda: Sleeper(DOOR, wakes=1),
        lambda: Chained(DOOR, start=3, stop=2),
        lambda: Ramp(DOOR, rounds=1),
        lambda: Redemption(DOOR, bad=0, good=1),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(InvalidValue):
        make()
