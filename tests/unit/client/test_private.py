"""Example-level privacy beside the data: paid steps, coins from the operating system, gradients of single examples."""

import subprocess
import sys

import numpy as np
import pytest

from ringfort.client.numpy_models import NumpyModel
from ringfort.client.perceptron import Perceptron
from ringfort.client.private import ExamplePrivacy, private_training, require_example_gradients
from ringfort.core.dataset import Dataset
from ringfort.core.errors import BudgetExceeded, Incompatible
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import SecureRandom, Seeds
from ringfort.core.tensors import digest_of
from ringfort.core.values import client_id
from ringfort.core.wire import Broadcast
from ringfort.privacy import (
    Budget,
    ExampleNoise,
    FixedClip,
    LayerClip,
    Neighbouring,
    Poisson,
    Receipt,
    Unit,
    read_account,
    spend,
)
from ringfort.testing import DeterministicRandom

MODEL = NumpyModel(6, 3, (5,))
ANNA = client_id("anna")
NOISE = ExampleNoise(FixedClip(1.0), 1.0, Poisson(0.1, 80), 4)
PLAN = LocalTraining(4, 8, 0.1, 0.5, 0.01)
BUDGET = Budget(8.0, 1e-3, Neighbouring.ADD_OR_REMOVE, Unit.EXAMPLE)


def examples(count=80, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((count, 6)).astype(np.float32)
    return Dataset("toy", inputs, rng.integers(0, 3, count), ("a", "b", "c"))


def paid(mechanism):
    return Receipt(1, {mechanism.event: mechanism.steps}, "a test")


def params(model=MODEL):
    return model.initial(Seeds(1))


def broadcast(number):
    return Broadcast("run", number, params(), digest_of(b"model"))


@pytest.mark.parametrize("hidden", [(), (5,), (7, 4)])
def test_example_gradients_are_those_of_single_examples(hidden):
    model, data = NumpyModel(6, 3, hidden), examples(9)
    at = params(model) + np.float32(0.1)
    rows = model.example_gradients(at, data.inputs, data.labels)
    for i, row in enumerate(rows):
        step = model.train(at, data.take(np.array([i])), LocalTraining(1, 1, 1.0), np.random.default_rng(0))
        np.testing.assert_allclose(row, -step, atol=1e-6)
    factors = Perceptron.of(model).per_example(at, data.inputs, data.labels)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), factors.norms(), rtol=1e-5)
    assert model.example_gradients(at, data.inputs[:0], data.labels[:0]).shape == (0, model.schema.d)


@pytest.mark.parametrize("kind", ["cnn", "mlp"])
def test_torch_gradients_by_opacus_are_those_of_single_examples(kind):
    pytest.importorskip("opacus")
    from ringfort.client import torch as models

    model = getattr(models, kind)((1, 8, 8), 3)
    rng = np.random.default_rng(0)
    data = Dataset("toy", rng.random((5, 1, 8, 8), dtype=np.float32), rng.integers(0, 3, 5), ("a", "b", "c"))
    at = params(model)
    rows = model.example_gradients(at, data.inputs, data.labels)
    for i, row in enumerate(rows):
        step = model.train(at, data.take(np.array([i])), LocalTraining(1, 1, 1.0), np.random.default_rng(0))
        np.testing.assert_allclose(row, -step, atol=1e-5)
    assert model.example_gradients(at, data.inputs[:0], data.labels[:0]).shape == (0, model.schema.d)
    require_example_gradients(model, data)


def test_a_layer_that_mixes_examples_is_refused():
    pytest.importorskip("opacus")
    from torch import nn

    from ringfort.client.torch import TorchModel

    mixing = TorchModel(
        lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3))
    )
    with pytest.raises(Incompatible, match="per-example gradients"):
        require_example_gradients(mixing, examples(4))


def test_a_model_whose_gradients_depend_on_the_batch_or_are_missing_is_refused():
    class Mixing(NumpyModel):
        def example_gradients(self, params, inputs, labels):
            rows = super().example_gradients(params, inputs, labels)
            return rows - rows.mean(axis=0) / 2

    with pytest.raises(Incompatible, match="other examples"):
        require_example_gradients(Mixing(6, 3, (5,)), examples(4))
    with pytest.raises(Incompatible, match="per-example"):
        require_example_gradients(object(), examples(4))
    require_example_gradients(MODEL, examples(4))


def test_without_noise_to_speak_of_it_is_sgd_on_everyone():
    """Noise of a thousandth of the clip, a chance of almost one: the same step as plain training on all rows."""
    data = examples(40)
    nearly = ExampleNoise(FixedClip(100.0), 2e-3, Poisson(1 - 1e-15, 40), 3)
    got = private_training(MODEL, params(), data, LocalTraining(3, 40, 0.1, 0.5, 0.01), nearly.begin(paid(nearly)))
    want = MODEL.train(params(), data, LocalTraining(3, 40, 0.1, 0.5, 0.01), np.random.default_rng(0))
    np.testing.assert_allclose(got, want, atol=5 * 0.1 * 2 * 100 * 2e-3 / 40)


def test_minibatches_are_coins_that_nobody_can_foresee():
    steps = ExampleNoise(FixedClip(1.0), 1.0, Poisson(0.25, 4000), 100).begin(
        Receipt(1, {ExampleNoise(FixedClip(1.0), 1.0, Poisson(0.25, 4000), 100).event: 100}, "a test"),
        DeterministicRandom("coins"),
    )
    drawn = [steps.rows(4000) for _ in range(100)]
    sizes = np.array([len(rows) for rows in drawn])
    # 100 binomials with mean 1,000 and variance 750: the mean within 5 standard errors, the variance within 5 of its.
    assert abs(sizes.mean() - 1000) < 5 * np.sqrt(750 / 100)
    assert abs(sizes.var(ddof=1) / 750 - 1) < 5 * np.sqrt(2 / 99)
    assert all((np.diff(rows) > 0).all() for rows in drawn)
    # and the operating system's are never the same twice, whatever the simulation's seed
    first, second = (private_training(MODEL, params(), examples(), PLAN, NOISE.begin(paid(NOISE))) for _ in range(2))
    assert not np.array_equal(first, second)


def test_an_example_without_a_finite_gradient_counts_as_zeros():
    data = examples(20)
    broken = data.with_rows(np.where(np.arange(20)[:, None] == 3, np.float32(np.inf), data.inputs), data.labels)
    for _ in range(3):
        got = private_training(MODEL, params(), broken, PLAN, NOISE.begin(paid(NOISE)))
        assert np.isfinite(got).all()


def test_more_steps_than_were_paid_for_are_refused():
    with pytest.raises(BudgetExceeded, match="4 steps"):
        private_training(MODEL, params(), examples(), LocalTraining(5, 8, 0.1), NOISE.begin(paid(NOISE)))


def test_every_round_is_charged_before_and_the_budget_ends_it(tmp_path):
    privacy = ExamplePrivacy(NOISE, BUDGET, tmp_path)
    per_round, rounds = NOISE.steps, 0

    def forever():
        nonlocal rounds
        while True:
            privacy.update(ANNA, broadcast(rounds), MODEL, examples(), PLAN, np.random.default_rng(0))
            rounds += 1

    with pytest.raises(BudgetExceeded):
        forever()
    (account,) = privacy.accounts()
    assert account.counts()["step"] == rounds * per_round
    assert account.budget.unit is Unit.EXAMPLE
    now, next_one = (
        spend([(NOISE.event, count)], Neighbouring.ADD_OR_REMOVE, 1e-3).epsilon
        for count in (rounds * per_round, (rounds + 1) * per_round)
    )
    assert account.worst().epsilon == now <= BUDGET.epsilon < next_one
    # a client that is started again goes on where it was, and does not get past the budget
    with pytest.raises(BudgetExceeded):
        ExamplePrivacy(NOISE, BUDGET, tmp_path).update(
            ANNA, broadcast(rounds), MODEL, examples(), PLAN, np.random.default_rng(0)
        )


def test_nothing_is_computed_before_the_charge(tmp_path):
    class Watched(NumpyModel):
        def example_gradients(self, params, inputs, labels):
            assert read_account(tmp_path / "anna.jsonl").counts()["step"] == 4
            return super().example_gradients(params, inputs, labels)

    ExamplePrivacy(NOISE, BUDGET, tmp_path).update(
        ANNA, broadcast(0), Watched(6, 3, (5,)), examples(), PLAN, np.random.default_rng(0)
    )


def test_a_killed_client_has_spent_the_round(tmp_path):
    """kill -9 between the charge and the reply: the ledger holds the charge."""
    program = f"""
import os, signal, numpy as np
from test_private import *
from pathlib import Path
class Dying(NumpyModel):
    def example_gradients(self, *rest):
        os.kill(os.getpid(), signal.SIGKILL)
ExamplePrivacy(NOISE, BUDGET, Path({str(tmp_path)!r})).update(
    ANNA, broadcast(0), Dying(6, 3, (5,)), examples(), PLAN, np.random.default_rng(0))
"""
    folder = __file__.rsplit("/", 1)[0]
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r})\n{program}"], check=False)
    assert done.returncode == -9
    assert read_account(tmp_path / "anna.jsonl").counts()["step"] == 4


def test_the_noise_of_a_round_has_the_deviation_that_is_counted():
    """No examples: what moves the model is noise, with z C / (rate * of) in each coordinate of a step."""
    model = NumpyModel(300, 10)
    nothing = Dataset("none", np.zeros((0, 300), np.float32), np.zeros(0, np.int64), tuple("0123456789"))
    one = ExampleNoise(LayerClip((0.3, 0.4), (10, 3000)), 2.0, Poisson(0.1, 80), 1)
    got = private_training(
        model, np.zeros(model.schema.d, np.float32), nothing, LocalTraining(1, 8, 1.0), one.begin(paid(one))
    )
    assert got.std() == pytest.approx(2.0 * 0.5 / 8, rel=5 / np.sqrt(2 * 3010))


def test_known_answer_of_the_accountant():
    """1,000 steps, rate 0.01, noise multiplier 1, delta 1e-5: certified 1.818 to 1.838, PLD at interval 1e-4 1.8282."""
    event = ExampleNoise(FixedClip(1.0), 1.0, Poisson(0.01, 60_000), 1).event
    spent = spend([(event, 1000)], Neighbouring.ADD_OR_REMOVE, 1e-5)
    assert (spent.method, 1.818 <= spent.epsilon <= 1.838) == ("PLD", True)


def test_the_operating_systems_randomness_marks_the_release_as_private():
    assert NOISE.begin(paid(NOISE), SecureRandom()).release.private
    assert not NOISE.begin(paid(NOISE), DeterministicRandom(1)).release.private
