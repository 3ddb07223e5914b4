import pytest
from typer.testing import CliRunner

RECIPE = """
title = "Breast cancer, 10 clients"
seed = 1
data = { name = "breast-cancer", split = { by = "iid", clients = 10 } }
model = "numpy-logistic"
gate = { max_norm = 1e4, max_examples = 1000 }
defence = { f = 2, rule = "median" }

[train]
rounds = 3
steps = 5
batch = 8
learning_rate = 0.2

[drill]
hostile_fraction = 0.2
seeds = [1]
walls = ["mean", "median"]
attacks = [{ name = "sign-flip", scale = 20.0 }, { name = "label-flip", source = 0, target = 1 }]
thresholds = { accuracy_loss = 0.05, attack_success = 0.15 }
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def ringfort(monkeypatch, tmp_path):
    """Run a command line in an empty folder; gives the result with stdout, stderr and exit_code."""
    from ringfort.app.main import app

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    return run
