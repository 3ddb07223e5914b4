import importlib.util
from pathlib import Path

import pytest


def _load():
    spec = importlib.util.spec_from_file_location("report_samples", Path(__file__).with_name("samples.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def samples():
    return _load()


@pytest.fixture(scope="session")
def drill(samples):
    return samples.drill()


@pytest.fixture(scope="session")
def three_seeds(samples):
    """Three seeds, one cell without a result and one row that tested nothing."""
    return samples.untested(samples.drill(seeds=(7, 8, 9), broken=(("alie", "multi_krum"),)))


@pytest.fixture(scope="session")
def train(samples):
    return samples.train()


@pytest.fixture(scope="session")
def evil_drill(samples, drill):
    return samples.hostile(drill)


@pytest.fixture(scope="session")
def evil_train(samples, train):
    return samples.hostile(train)
