"""Small perceptrons on digits, clean and backdoored: real data, real training, a second each."""

import numpy as np
import pytest

from ringfort import data
from ringfort.attacks import PixelBackdoor
from ringfort.audit.model import holdout
from ringfort.client.numpy_models import NumpyModel
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds

TARGET = 4
BACKDOOR = PixelBackdoor(target=TARGET, fraction=0.15, size=2)


def trained(seed, backdoor=None, steps=300):
    model, seeds = NumpyModel(64, 10, (32,)), Seeds(seed)
    train = data.load("digits").train
    if backdoor is not None:
        train = backdoor.poison(train, seeds.child("poison"))
    params = model.initial(seeds)
    return params + model.train(params, train, LocalTraining(steps, 32, 0.05, 0.9), seeds.child("train"))


@pytest.fixture(scope="session")
def model():
    return NumpyModel(64, 10, (32,))


@pytest.fixture(scope="session")
def clean():
    return trained(1)


@pytest.fixture(scope="session")
def trusted():
    return trained(2)


@pytest.fixture(scope="session")
def bad():
    return trained(3, BACKDOOR)


@pytest.fixture(scope="session")
def test_part():
    return data.load("digits").test


@pytest.fixture(scope="session")
def parts(test_part):
    return holdout(test_part, Seeds(5))


@pytest.fixture(scope="session")
def success(model, parts):
    """attack_success_rate of the real trigger."""
    return lambda params: BACKDOOR.success(
        lambda inputs: model.logits(params, inputs.astype(np.float32)).argmax(axis=1), parts.measure
    )


@pytest.fixture(scope="session")
def accuracy(model, parts):
    return lambda params: float(
        (model.logits(params, parts.measure.floats()).argmax(axis=1) == parts.measure.labels).mean()
    )
