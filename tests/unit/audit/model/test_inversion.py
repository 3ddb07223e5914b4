"""Gradients against finite differences and each other; the search finds the planted class and no other."""

import numpy as np
import pytest

from ringfort.audit.model import NeuralCleanse, Trigger, anomaly_indices, differentiable, shares_of_median
from ringfort.audit.model.gradients import cross_entropy_errors
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import Schema


def loss(scores, labels):
    return float(-np.log(np.exp(scores)[np.arange(len(labels)), labels] / np.exp(scores).sum(axis=1)).sum())


def test_gradients_are_the_slopes_of_the_loss(model, clean):
    rng = np.random.default_rng(0)
    x, labels = rng.random((3, 1, 8, 8)).astype(np.float32), np.array([1, 7, 4])
    scores, pulled = differentiable(model, clean).pull(x, cross_entropy_errors(labels))
    assert np.allclose(scores, model.logits(clean, x), atol=1e-5)
    for _ in range(10):
        direction = rng.standard_normal(x.shape).astype(np.float32) * np.float32(1e-3)
        rise = loss(model.logits(clean, x + direction), labels) - loss(model.logits(clean, x - direction), labels)
        assert (pulled * direction).sum() * 2 == pytest.approx(rise, rel=0.05, abs=1e-4)


def test_torch_and_numpy_pull_alike():
    models = pytest.importorskip("ringfort.client.torch")
    from ringfort.audit.model.torch import DifferentiableModule, of

    family = models.mlp((1, 8, 8), 10, 16)
    params = family.initial(Seeds(1))
    closed = differentiable(family, params)
    assert not isinstance(closed, DifferentiableModule)
    x, errors = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32), cross_entropy_errors(np.arange(5))
    for ours, theirs in zip(closed.pull(x, errors), of(family, params).pull(x, errors), strict=True):
        assert np.allclose(ours, theirs, atol=1e-5)
    net = models.cnn((1, 8, 8), 10, 2, 8)
    assert isinstance(differentiable(net, net.initial(Seeds(1))), DifferentiableModule)


def test_a_model_without_gradients_is_refused():
    class Opaque:
        schema = Schema.of({"table": (3, 3, 3)})

        def logits(self, params, inputs):
            return np.zeros((len(inputs), 3), dtype=np.float32)

    with pytest.raises(Incompatible):
        differentiable(Opaque(), np.zeros(27, dtype=np.float32))


def test_the_planted_class_has_by_far_the_smallest_mask(model, bad, clean, parts, success):
    assert success(bad) > 0.9  # the attack works undefended
    assert success(clean) < 0.1
    found = NeuralCleanse().triggers(differentiable(model, bad), parts.tools, np.random.default_rng(0))
    shares = shares_of_median(np.array([trigger.size for trigger in found]))
    assert int(shares.argmin()) == 4
    assert shares[4] < 0.4 < 0.6 < np.delete(shares, 4).min()
    assert found[4].mask[0, 5:7, 5:7].sum() > 0.4 * found[4].size  # it lies where the trigger does
    usual = NeuralCleanse().triggers(differentiable(model, clean), parts.tools, np.random.default_rng(0))
    assert shares_of_median(np.array([trigger.size for trigger in usual])).min() > 0.6


def test_equal_seeds_find_equal_triggers(model, bad, parts):
    search = NeuralCleanse(steps=10)
    one, two = (search.triggers(differentiable(model, bad), parts.tools, np.random.default_rng(0)) for _ in range(2))
    assert all(
        np.array_equal(a.mask, b.mask) and np.array_equal(a.pattern, b.pattern) for a, b in zip(one, two, strict=True)
    )


def test_masks_and_patterns_stay_in_the_inputs_range(model, bad, parts):
    for trigger in NeuralCleanse(steps=20).triggers(differentiable(model, bad), parts.tools, np.random.default_rng(0)):
        assert trigger.mask.shape == (1, 8, 8)
        assert trigger.mask.min() >= 0
        assert trigger.mask.max() <= 1
        stamped = trigger.stamp(parts.measure.floats())
        assert stamped.min() >= -1e-6
        assert stamped.max() <= 1 + 1e-6


def test_a_search_that_reached_nothing_says_so(model, clean, parts):
    found = NeuralCleanse(steps=1).triggers(differentiable(model, clean), parts.tools, np.random.default_rng(0))
    assert not any(trigger.reached for trigger in found)


def test_one_class_alone_cannot_be_searched(model, clean, parts):
    alone = parts.tools.take(np.flatnonzero(parts.tools.labels == 3))
    with pytest.raises(InvalidValue, match="two classes"):
        NeuralCleanse().triggers(differentiable(model, clean), alone, np.random.default_rng(0))


def test_indices_of_equal_sizes_are_zero():
    assert anomaly_indices(np.ones(5)).tolist() == [0.0] * 5


def test_flat_inputs_have_a_mask_per_feature():
    from ringfort.client.numpy_models import NumpyModel

    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 6)).astype(np.float32)
    some = Dataset("t", x, (x[:, 0] > 0).astype(np.int64), ("no", "yes"))
    family = NumpyModel(6, 2)
    params = np.zeros(family.schema.d, dtype=np.float32)
    family.schema.views(params)["layer00.weight"][0] = (-3, 3)  # the first feature alone decides
    found = NeuralCleanse().triggers(differentiable(family, params), some, rng)
    assert all(trigger.mask.shape == (6,) and int(trigger.mask.argmax()) == 0 for trigger in found)
    assert all(isinstance(trigger, Trigger) and trigger.reached for trigger in found)
