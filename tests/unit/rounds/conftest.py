import importlib.util
import os
import tempfile
from pathlib import Path

import pytest


def _load(name):
    spec = importlib.util.spec_from_file_location(f"rounds_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOY, SUITE, ACCUSER = _load("toy"), _load("gate_suite"), _load("accuser")


@pytest.fixture
def tmp_path():
    """A folder in memory where there is one: what a killed process leaves is the same, and fsync costs nothing."""
    memory = "/dev/shm"  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def toy():
    return TOY


@pytest.fixture
def check_gate():
    return lambda make_gate: SUITE.check_gate(make_gate, TOY)


@pytest.fixture
def bad_replies():
    return SUITE.bad_replies(TOY)


@pytest.fixture
def watch():
    """watch("c1", since=3): quarantines these clients from that round on."""
    return ACCUSER.watch
