import numpy as np
import pytest

from ringfort.core import Dataset, LocalTraining, Seeds
from ringfort.core.errors import Incompatible

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from ringfort.client.batches import minibatches  # noqa: E402
from ringfort.client.numpy_models import NumpyModel  # noqa: E402
from ringfort.client.torch import TorchModel, cnn, logistic, mlp  # noqa: E402

SHAPE = (1, 6, 5)
MAKERS = {"cnn": lambda: cnn(SHAPE, 3, 2, 4), "mlp": lambda: mlp(SHAPE, 3, 6), "logistic": lambda: logistic(SHAPE, 3)}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
PLAN = LocalTraining(6, 5, 0.05, 0.9, 0.01)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_data(rows=17, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 256, (rows, *SHAPE)) if dtype == np.uint8 else rng.random((rows, *SHAPE))
    return Dataset("toy", inputs.astype(dtype), rng.integers(0, 3, rows).astype(np.int64), ("a", "b", "c"))


def train(model, data=None, plan=PLAN, seed=3):
    params = model.initial(Seeds(1))
    return model.train(params, make_data() if data is None else data, plan, np.random.default_rng(seed))


def load(module, schema, flat):
    named = dict(module.named_parameters())
    with torch.no_grad():
        for name, view in schema.views(flat.copy()).items():
            named[name].copy_(torch.from_numpy(view.copy()))


def flatten(module, schema):
    named = dict(module.named_parameters())
    return np.concatenate([named[name].detach().numpy().reshape(-1) for name, _ in schema.tensors])


@makers
@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.9, 0.01)])
def test_training_equals_a_plain_torch_loop(make, momentum, decay):
    model, data, plan = make(), make_data(), LocalTraining(8, 5, 0.05, momentum, decay)
    params = model.initial(Seeds(1))
    plain = model.build().train()
    load(plain, model.schema, params)
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=momentum, weight_decay=decay)
    rng = np.random.default_rng(3)
    rng.integers(2**62)  # torch's own seed is drawn first
    for rows in minibatches(len(data), plan, rng):
        optimiser.zero_grad()
        nn.functional.cross_entropy(plain(torch.tensor(data.inputs[rows])), torch.tensor(data.labels[rows])).backward()
        optimiser.step()
    expected = flatten(plain, model.schema) - params
    assert np.abs(expected).max() > 1e-3
    assert np.allclose(train(model, data, plan), expected, rtol=1e-5, atol=1e-6)


@makers
def test_the_flat_vector_is_the_module_and_the_module_is_the_flat_vector(make):
    model = make()
    params = model.initial(Seeds(5))
    inputs = make_data().inputs
    plain = model.build().eval()
    load(plain, model.schema, params)
    with torch.no_grad():
        expected = plain(torch.tensor(inputs)).numpy()
    assert np.allclose(model.logits(params, inputs), expected, atol=1e-6)
    assert np.array_equal(flatten(model._module, model.schema), params)
    for parameter in model._module.parameters():
        assert parameter.data_ptr() >= model._flat.data_ptr()
        assert parameter.untyped_storage().data_ptr() == model._flat.untyped_storage().data_ptr()


@makers
def test_gradients_still_flow_into_the_flat_gradient_after_training(make):
    model = make()
    train(model)
    for parameter in model._module.parameters():
        assert parameter.grad.untyped_storage().data_ptr() == model._gradient.untyped_storage().data_ptr()


@makers
def test_equal_inputs_give_equal_bits_whatever_the_model_did_before(make):
    model, fresh = make(), make()
    first = train(model)
    train(model, make_data(seed=9), seed=8)
    model.logits(model.initial(Seeds(2)), make_data().inputs)
    again = train(model)
    assert first.tobytes() == again.tobytes() == train(fresh).tobytes()
    assert first.tobytes() != train(model, seed=4).tobytes()


@makers
def test_training_writes_neither_to_the_parameters_nor_to_the_data(make):
    model, data = make(), make_data()
    params = model.initial(Seeds(1))
    before, digest = params.copy(), data.digest()
    for part in (params, data.inputs, data.labels):
        part.flags.writeable = False
    delta = model.train(params, data, PLAN, np.random.default_rng(0))
    model.logits(params, data.inputs)
    assert np.array_equal(params, before)
    assert data.digest() == digest
    train(model, seed=77)
    kept = delta.copy()
    assert np.array_equal(delta, kept)


def test_a_delta_is_not_overwritten_by_the_next_client():
    model = MAKERS["mlp"]()
    first = train(model)
    kept = first.copy()
    train(model, make_data(seed=5), seed=5)
    assert np.array_equal(first, kept)


def test_read_only_data_trains_without_a_warning():
    model, data = MAKERS["logistic"](), make_data()
    params = model.initial(Seeds(1))
    for part in (params, data.inputs, data.labels):
        part.flags.writeable = False
    torch.set_warn_always(True)  # torch says it once per process otherwise, and warnings are errors here
    try:
        with pytest.warns(UserWarning, match="not writable"):
            torch.from_numpy(data.inputs)
        model.train(params, data, PLAN, np.random.default_rng(0))
        model.logits(params, data.inputs)
    finally:
        torch.set_warn_always(False)


@makers
def test_torchs_global_generator_is_left_as_it_was_found(make):
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    model = make()
    params = model.initial(Seeds(1))
    model.train(params, make_data(), PLAN, np.random.default_rng(0))
    model.logits(params, make_data().inputs)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_initial_parameters_depend_on_the_seed_and_not_on_torchs_global_generator():
    model = MAKERS["mlp"]()
    torch.manual_seed(1)
    one = model.initial(Seeds(1))
    torch.manual_seed(2)
    assert one.tobytes() == model.initial(Seeds(1)).tobytes() != model.initial(Seeds(2)).tobytes()


def test_dropout_is_a_function_of_the_clients_generator_and_off_in_evaluation():
    model = TorchModel(lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(30, 3)))
    torch.manual_seed(1)
    one = train(model)
    torch.manual_seed(2)
    assert one.tobytes() == train(model).tobytes() != train(model, seed=4).tobytes()
    params, inputs = model.initial(Seeds(1)), make_data().inputs
    assert np.array_equal(model.logits(params, inputs), model.logits(params, inputs))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "buffers"),
        (lambda: nn.Sequential(nn.Linear(2, 2)).double(), "float32"),
        (lambda: nn.Sequential(nn.Linear(2, 2).half()), "float32"),
        (lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).to(torch.bfloat16)), "1.weight is torch.bfloat16"),
    ],
    ids=["batch norm", "double", "half", "one bfloat16"],
)
def test_a_module_whose_state_is_more_than_float32_parameters_is_refused(build, says):
    with pytest.raises(Incompatible, match=says):
        TorchModel(build)


def test_group_norm_is_welcome():
    model = TorchModel(lambda: nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.GroupNorm(2, 4), nn.Linear(4, 3)))
    assert np.isfinite(train(model)).all()


@makers
@pytest.mark.parametrize("rows", [0, 1, 3, 999, 1_000, 1_001])
def test_scores_of_any_number_of_examples_have_one_row_each(make, rows):
    model = make()
    params = model.initial(Seeds(1))
    inputs = make_data(max(rows, 1)).inputs[:rows]
    scores = model.logits(params, inputs)
    assert (scores.shape, scores.dtype) == ((rows, 3), np.float32)
    if rows:
        assert np.allclose(scores[-1], model.logits(params, inputs[-1:])[0], atol=1e-5)


@makers
def test_pixels_and_their_floats_train_the_same_model(make):
    data = make_data(dtype=np.uint8)
    floats = data.with_rows(data.floats(), data.labels)
    assert train(make(), data).tobytes() == train(make(), floats).tobytes()


def test_torch_and_numpy_agree_on_softmax_regression():
    ours, theirs = NumpyModel(30, 3), logistic(SHAPE, 3)
    assert ours.schema.d == theirs.schema.d
    data, plan = make_data(15), LocalTraining(5, 15, 0.1, 0.9, 0.01)
    zero = np.zeros(ours.schema.d, np.float32)
    one = ours.schema.views(ours.train(zero, data, plan, np.random.default_rng(0)))
    two = theirs.schema.views(theirs.train(zero, data, plan, np.random.default_rng(0)))
    assert np.allclose(one["layer00.weight"].T, two["1.weight"], atol=1e-5)
    assert np.allclose(one["layer00.bias"], two["1.bias"], atol=1e-5)


def test_a_network_for_images_refuses_what_is_none():
    for shape in ((30,), (1, 3, 9), (1, 9, 3)):
        with pytest.raises(Incompatible, match="cnn needs images"):
            cnn(shape, 3)


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 28, 28), (1, 5, 7)], ids=str)
def test_a_network_for_images_fits_every_size_from_four(shape):
    model = cnn(shape, 3, 2, 4)
    assert model.logits(model.initial(Seeds(1)), np.zeros((2, *shape), np.float32)).shape == (2, 3)
