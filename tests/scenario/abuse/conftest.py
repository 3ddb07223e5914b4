import importlib.util
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringfort.testing import enrol


def _load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parent
TOY = _load(HERE.parents[1] / "unit" / "rounds" / "toy.py", "abuse_toy")
SUITE = _load(HERE.parents[1] / "unit" / "rounds" / "gate_suite.py", "abuse_gate_suite")
TOWN = _load(HERE / "town.py", "abuse_town")
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def enrolled():
    """Five clients and a coordinator, enrolled once; every town gets a copy."""
    with tempfile.TemporaryDirectory() as folder:
        yield enrol(Path(folder) / "people", TOY.names(5), START, max_examples=500)


@pytest.fixture
def found(enrolled, tmp_path):
    """Makes towns: a federation behind signatures, over bytes."""

    def make(name="town", **given):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copytree(enrolled.folder, folder / "people")
        return TOWN.Town(TOY, enrolled, folder, START, **given)

    return make


@pytest.fixture
def town(found):
    return found()


@pytest.fixture
def toy():
    return TOY


@pytest.fixture
def canary():
    return SUITE.Canary
