import numpy as np
import pytest

from ringfort.client import NumpyModel
from ringfort.core import Dataset, LocalTraining, Seeds
from ringfort.core.errors import InvalidValue

SHAPES = [(), (6,), (6, 5)]
hidden = pytest.mark.parametrize("hidden", SHAPES, ids=str)


def make_data(rows=24, seed=0, dtype=np.float32, shape=(4,)):
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 256, (rows, *shape)) if dtype == np.uint8 else rng.standard_normal((rows, *shape))
    return Dataset("toy", inputs.astype(dtype), rng.integers(0, 3, rows).astype(np.int64), ("a", "b", "c"))


def start(model, seed=0):
    """Parameters away from zero everywhere, biases too."""
    return np.random.default_rng(seed).standard_normal(model.schema.d).astype(np.float32)


def loss(model, flat, x, labels):
    """Mean cross-entropy in float64, written down once more and independently."""
    views = {name: flat[part].reshape(dict(model.schema.tensors)[name]) for name, part in model.schema.slices.items()}
    layers = len(views) // 2
    for i in range(layers):
        x = x @ views[f"layer{i:02}.weight"] + views[f"layer{i:02}.bias"]
        x = np.maximum(x, 0) if i < layers - 1 else x
    shifted = x - x.max(axis=1, keepdims=True)
    return -np.mean((shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))[np.arange(len(x)), labels])


def finite_differences(model, flat, x, labels, step=1e-6):
    gradient = np.empty_like(flat)
    for i in range(len(flat)):
        up, down = flat.copy(), flat.copy()
        up[i] += step
        down[i] -= step
        gradient[i] = (loss(model, up, x, labels) - loss(model, down, x, labels)) / (2 * step)
    return gradient


@hidden
def test_one_step_follows_the_gradient_that_finite_differences_give(hidden):
    model, data = NumpyModel(4, 3, hidden), make_data()
    params = start(model)
    delta = model.train(params, data, LocalTraining(1, len(data), 1.0), np.random.default_rng(0))
    numeric = finite_differences(model, params.astype(np.float64), data.inputs.astype(np.float64), data.labels)
    assert np.allclose(-delta, numeric, rtol=1e-4, atol=2e-6)
    assert np.abs(numeric).max() > 0.01


@hidden
def test_backpropagation_in_float64_agrees_with_finite_differences_to_eight_digits(hidden):
    model, data = NumpyModel(4, 3, hidden), make_data()
    flat = start(model).astype(np.float64)
    gradient = np.empty_like(flat)
    x = data.inputs.astype(np.float64)
    model._backward(model._layers(flat), model._layers(gradient), x, data.labels)
    assert np.abs(gradient - finite_differences(model, flat, x, data.labels)).max() < 1e-8


@hidden
@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.9, 0.1)])
def test_training_is_sgd_with_momentum_and_weight_decay(hidden, momentum, decay):
    from ringfort.client.batches import minibatches

    model, data = NumpyModel(4, 3, hidden), make_data()
    plan = LocalTraining(5, 7, 0.05, momentum, decay)
    params = start(model)
    flat, velocity = params.astype(np.float64), np.zeros(model.schema.d)
    for rows in minibatches(len(data), plan, np.random.default_rng(4)):
        gradient = np.empty_like(flat)
        x = data.inputs[rows].astype(np.float64)
        model._backward(model._layers(flat), model._layers(gradient), x, data.labels[rows])
        velocity = momentum * velocity + gradient + decay * flat
        flat -= 0.05 * velocity
    delta = model.train(params, data, plan, np.random.default_rng(4))
    assert np.allclose(delta, flat - params, atol=1e-5)


@hidden
def test_training_writes_neither_to_the_parameters_nor_to_the_data(hidden):
    model, data = NumpyModel(4, 3, hidden), make_data()
    params = start(model)
    before, digest = params.copy(), data.digest()
    for part in (params, data.inputs, data.labels):
        part.flags.writeable = False
    delta = model.train(params, data, LocalTraining(3, 5, 0.1, 0.5, 0.1), np.random.default_rng(0))
    assert np.array_equal(params, before)
    assert data.digest() == digest
    assert delta.flags.writeable
    assert not np.shares_memory(delta, params)


@hidden
def test_equal_inputs_give_equal_bits(hidden):
    model, data = NumpyModel(4, 3, hidden), make_data()
    plan = LocalTraining(6, 5, 0.1, 0.9)
    one, two = (model.train(start(model), data, plan, np.random.default_rng(7)) for _ in range(2))
    other = model.train(start(model), data, plan, np.random.default_rng(8))
    assert one.tobytes() == two.tobytes() != other.tobytes()
    assert one.dtype == np.float32


def test_training_from_an_unaligned_broadcast_gives_the_same_bits():
    model, data, plan = NumpyModel(4, 3, (6,)), make_data(), LocalTraining(3, 5, 0.1)
    params = start(model)
    unaligned = np.frombuffer(b"x" + params.tobytes(), np.float32, offset=1)
    one, two = (model.train(p, data, plan, np.random.default_rng(1)) for p in (params, unaligned))
    assert one.tobytes() == two.tobytes()


def test_pixels_and_their_floats_train_the_same_model():
    data = make_data(dtype=np.uint8)
    floats = data.with_rows(data.floats(), data.labels)
    model, plan = NumpyModel(4, 3, (6,)), LocalTraining(4, 6, 0.1)
    one, two = (model.train(start(model), d, plan, np.random.default_rng(1)) for d in (data, floats))
    assert one.tobytes() == two.tobytes()


def test_training_learns():
    model, data = NumpyModel(4, 3, (16,)), make_data(90)
    data = data.with_rows(data.inputs, (data.inputs[:, :3] ** 2).argmax(axis=1).astype(np.int64))
    params = model.initial(Seeds(1))
    after = params + model.train(params, data, LocalTraining(300, 30, 0.2, 0.9), np.random.default_rng(0))
    accuracy = [np.mean(model.logits(p, data.inputs).argmax(axis=1) == data.labels) for p in (params, after)]
    assert accuracy[0] < 0.6 < 0.9 < accuracy[1]


def test_very_large_scores_do_not_overflow_the_loss():
    model, data = NumpyModel(4, 3), make_data()
    params = start(model) * np.float32(1e4)
    assert np.isfinite(model.train(params, data, LocalTraining(2, 5, 0.1), np.random.default_rng(0))).all()


@hidden
@pytest.mark.parametrize("rows", [0, 1, 2, 7, 1_001])
def test_scores_of_any_number_of_examples_have_the_same_bits_as_one_at_a_time_up_to_rounding(hidden, rows):
    model = NumpyModel(4, 3, hidden)
    inputs = make_data(max(rows, 1)).inputs[:rows]
    scores = model.logits(start(model), inputs)
    assert (scores.shape, scores.dtype) == ((rows, 3), np.float32)
    for i in range(0, rows, max(1, rows // 3)):
        assert np.allclose(scores[i], model.logits(start(model), inputs[i : i + 1])[0], atol=1e-4)


def test_images_are_flattened():
    model, data = NumpyModel(12, 3), make_data(shape=(1, 3, 4))
    assert np.array_equal(
        model.logits(start(model), data.inputs), model.logits(start(model), data.inputs.reshape(-1, 12))
    )


def test_initial_parameters_are_a_function_of_the_seed():
    model = NumpyModel(50, 3, (40,))
    one, two, other = (model.initial(Seeds(seed)) for seed in (1, 1, 2))
    assert one.tobytes() == two.tobytes() != other.tobytes()
    views = model.schema.views(one)
    assert not views["layer00.bias"].any()
    assert views["layer00.weight"].std() == pytest.approx(np.sqrt(2 / 50), rel=0.1)


def test_softmax_regression_starts_from_zero():
    assert not NumpyModel(5, 3).initial(Seeds(1)).any()


def test_eleven_layers_keep_their_order():
    model = NumpyModel(2, 2, (2,) * 11)
    assert [name for name, _ in model.schema.tensors][-1] == "layer11.weight"
    assert model.logits(start(model), np.ones((1, 2), np.float32)).shape == (1, 2)


@pytest.mark.parametrize("arguments", [(0, 2), (3, 1), (3, 2, (0,)), (3.0, 2), (3, True), (3, 2, (2.5,))], ids=str)
def test_a_model_without_sensible_sizes_cannot_be_made(arguments):
    with pytest.raises(InvalidValue):
        NumpyModel(*arguments)
