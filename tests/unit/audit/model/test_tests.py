"""Canaries, drift, slices, the run-time filter and repairs, each on a model that has the fault and one that has not."""

import io
from dataclasses import replace

import numpy as np
import pytest

from ringfort import data
from ringfort.audit.model import (
    NeuralCleanse,
    Strip,
    canary_bank,
    class_drift,
    differentiable,
    fine_tuned,
    label_slice,
    load_slice,
    pruned,
    try_canaries,
    try_slices,
    unlearned,
)
from ringfort.core.dataset import Dataset
from ringfort.core.errors import DataUnavailable, Incompatible, InvalidValue, UnknownName

from .conftest import BACKDOOR, TARGET


@pytest.fixture(scope="module")
def trigger(model, bad, parts):
    found = NeuralCleanse().triggers(differentiable(model, bad), parts.tools, np.random.default_rng(0))
    return found[TARGET]


def test_the_canary_that_is_the_trigger_turns_everything(model, bad, clean, trusted, parts):
    bank = canary_bank(parts.tools, np.random.default_rng(0))
    assert len({canary.name for canary in bank}) == 8
    worst = max(try_canaries(model, bad, parts.measure, bank, trusted), key=lambda one: one.excess)
    assert (worst.name, worst.target) == ("patch 2x2 lower right", TARGET)
    assert worst.excess > 0.8
    assert worst.rate.low > 0.9
    assert max(one.excess for one in try_canaries(model, clean, parts.measure, bank, trusted)) < 0.5


def test_canaries_leave_their_inputs_alone_and_stay_in_range(parts):
    inputs = parts.measure.floats()
    kept = inputs.copy()
    for canary in canary_bank(parts.tools, np.random.default_rng(0)):
        stamped = canary.stamp(inputs)
        assert np.array_equal(inputs, kept)
        assert stamped.dtype == np.float32
        assert not np.array_equal(stamped, inputs)
        assert stamped.min() >= 0
        assert stamped.max() <= 1


def test_tables_get_blocks_and_bags_of_words_get_rare_tokens():
    table = data.load("breast-cancer").test
    names = [canary.name for canary in canary_bank(table, np.random.default_rng(0))]
    assert len(names) == 9
    assert "features 0 to 7 high" in names
    rng = np.random.default_rng(0)
    words = (rng.random((200, 50)) < np.linspace(0.001, 0.5, 50)).astype(np.float32)
    bag = Dataset("w", words, np.zeros(200, dtype=np.int64), ("a", "b"))
    tokens = [canary for canary in canary_bank(bag, rng) if canary.name.startswith("rare token")]
    assert 3 <= len(tokens) <= 8
    assert (tokens[0].stamp(words) - words).sum(axis=1).max() == 1


def test_a_forgotten_class_has_drifted_and_no_other(model, clean, test_part):
    broken = clean.copy()
    model.schema.views(broken)["layer01.bias"][7] = -50  # 7 is never answered
    rows = class_drift(model, broken, test_part, clean)
    assert rows[7].recall.value == 0
    assert rows[7].drop.low > 0.5
    assert all(row.drop.low <= 0 for row in rows if row.label != 7)
    assert class_drift(model, broken, test_part)[7].drop is None


def test_a_slice_from_a_file_is_measured(model, bad, trusted, parts, tmp_path):
    others = np.flatnonzero(parts.measure.labels != TARGET)
    path = tmp_path / "edge.npz"
    np.savez(path, inputs=BACKDOOR.stamp(parts.measure.inputs[others]), labels=parts.measure.labels[others])
    (found,) = try_slices(model, bad, [load_slice(path, parts.measure)], trusted)
    assert (found.name, found.answer) == ("edge", TARGET)
    assert found.wrong.low > 0.85
    assert found.drop.low > 0.5


@pytest.mark.parametrize("fault", ["pickle", "shape", "labels", "range", "nan", "text", "empty", "dtype"])
def test_a_slice_that_is_none_is_refused(fault, parts, tmp_path):
    inputs, labels, path = parts.measure.inputs[:4].copy(), parts.measure.labels[:4], tmp_path / "s.npz"
    if fault == "pickle":
        inputs = np.array([object()] * 4)
    elif fault == "shape":
        inputs = inputs[:, :, :4]
    elif fault == "labels":
        labels = labels[:2]
    elif fault == "range":
        labels = labels + 10
    elif fault == "nan":
        inputs[0] = np.nan
    elif fault == "empty":
        inputs, labels = inputs[:0], labels[:0]
    elif fault == "dtype":
        inputs = inputs.astype(np.complex64)
    if fault == "text":
        path.write_text("no zip")
    else:
        held = io.BytesIO()
        np.savez(held, inputs=inputs, labels=labels)
        path.write_bytes(held.getvalue())
    with pytest.raises(InvalidValue):
        load_slice(path, parts.measure)


def test_slices_that_are_not_there_are_refused(parts, tmp_path):
    with pytest.raises(DataUnavailable):
        load_slice(tmp_path / "none.npz", parts.measure)
    with pytest.raises(UnknownName):
        label_slice("eleven", parts.measure)
    few = parts.measure.take(np.flatnonzero(parts.measure.labels != 3))
    with pytest.raises(InvalidValue):
        label_slice("3", few)
    assert (label_slice("3", parts.measure).labels == 3).all()


def test_the_filter_keeps_its_false_alarms_and_suspects_triggered_inputs(model, bad, parts, test_part):
    made = Strip.fitted(model, bad, parts.tools, false_alarms=0.1, rng=np.random.default_rng(0))
    usual = parts.measure.floats()
    others = BACKDOOR.stamp(usual[parts.measure.labels != TARGET])
    assert made.suspicious(usual).mean() < 0.2
    assert made.suspicious(others).mean() > 0.6
    assert made.suspicious(others).mean() > 3 * made.suspicious(usual).mean()


def test_the_filter_is_exact_on_average(model, clean, parts):
    """A conformal quantile: over the draws, at most the stated share of clean inputs."""
    rates = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(parts.measure))
        some, rest = parts.measure.take(order[:90]), parts.measure.take(order[90:])
        made = Strip.fitted(model, clean, some, false_alarms=0.1, rng=np.random.default_rng(seed), overlays=8)
        rates.append(made.suspicious(rest.floats()).mean())
    assert np.mean(rates) < 0.17


def test_the_filter_refuses_a_rate_that_its_data_cannot_give(model, clean, parts):
    few = parts.tools.take(np.arange(50))
    with pytest.raises(InvalidValue, match="99 clean inputs"):
        Strip.fitted(model, clean, few, false_alarms=0.01, rng=np.random.default_rng(0))
    with pytest.raises(InvalidValue):
        Strip.fitted(model, clean, few, false_alarms=0.0, rng=np.random.default_rng(0))


def test_unlearning_takes_the_real_trigger_out_for_two_points(model, bad, parts, trigger, success, accuracy):
    assert success(bad) > 0.9
    kept = bad.copy()
    made = unlearned(model, bad, parts.tools, [trigger], np.random.default_rng(0))
    assert np.array_equal(bad, kept)
    assert success(made) < 0.1
    assert accuracy(made) >= accuracy(bad) - 0.02
    with pytest.raises(InvalidValue):
        unlearned(model, bad, parts.tools, [], np.random.default_rng(0))


def test_fine_tuning_alone_leaves_more_than_unlearning(model, bad, parts, trigger, success):
    made = fine_tuned(model, bad, parts.tools, np.random.default_rng(0))
    assert success(made) > success(unlearned(model, bad, parts.tools, [trigger], np.random.default_rng(0)))


def test_pruning_cuts_few_neurons_for_two_points(model, bad, parts, trigger, accuracy, success):
    made = pruned(model, bad, parts.tools, trigger)
    assert 1 <= len(made.neurons) <= 16
    assert (model.schema.views(made.params)["layer01.weight"][list(made.neurons)] == 0).all()
    assert accuracy(made.params) >= accuracy(bad) - 0.05
    assert success(made.params) < success(bad) - 0.2


def test_pruning_reads_activations_off_the_scores(model, bad, parts):
    from ringfort.audit.model.repair import _Head
    from ringfort.client.perceptron import Perceptron

    seen = _Head.of(model).activations(model, bad, parts.tools.floats())
    assert np.allclose(seen, Perceptron.of(model).activations(bad, parts.tools.floats())[1], atol=1e-4)
    torch_models = pytest.importorskip("ringfort.client.torch")
    net = torch_models.cnn((1, 8, 8), 10, 2, 12)
    from ringfort.core.randomness import Seeds

    assert _Head.of(net).activations(net, net.initial(Seeds(1)), parts.tools.floats()).shape == (len(parts.tools), 12)


def test_a_model_without_a_dense_head_cannot_be_pruned(parts, trigger):
    from ringfort.core.tensors import Schema

    class Headless:
        schema = Schema.of({"kernel": (3, 3, 3)})

    with pytest.raises(Incompatible):
        pruned(Headless(), np.zeros(27, dtype=np.float32), parts.tools, replace(trigger))
