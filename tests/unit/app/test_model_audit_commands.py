"""`ringfort audit model` and the release gate of `train`, end to end on digits."""

import json

import numpy as np
import pytest

from ringfort import data
from ringfort.app.model_audit import EXIT_CODES, QUARANTINE
from ringfort.attacks import PixelBackdoor
from ringfort.audit.model import Verdict
from ringfort.client.numpy_models import NumpyModel
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import digest_of
from ringfort.rounds.journal import Journal
from ringfort.rounds.record import RoundRecord

MODEL = '{ name = "numpy-mlp", hidden = [32] }'
LIMITS = "index = -1.5, share = 0.45, ratio = 0.6, success = 0.8, canary = 0.5, drop = 0.1, answer = 0.5, examples = 10"
RECIPE = f"""
title = "Digits"
seed = 1
data = {{ name = "digits", split = {{ by = "iid", clients = 4 }} }}
model = {MODEL}
gate = {{ max_norm = 1e4, max_examples = 10000 }}
defence = {{ f = 0, rule = "mean" }}
train = {{ rounds = 4, steps = 60, batch = 32, learning_rate = 0.05, momentum = 0.9 }}
"""


def params_of(seed, bad):
    model, seeds, train = NumpyModel(64, 10, (32,)), Seeds(seed), data.load("digits").train
    if bad:
        train = PixelBackdoor(target=4, fraction=0.15, size=2).poison(train, seeds.child("p"))
    params = model.initial(seeds)
    return model.schema.encode(params + model.train(params, train, LocalTraining(300, 32, 0.05, 0.9), seeds.child("t")))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("clean", 1), ("trusted", 2), ("bad", 3)):
        (folder / f"{name}.safetensors").write_bytes(params_of(seed, name == "bad"))
    return folder


def test_the_exit_code_is_the_verdicts(ringfort, files):
    about = ("--data", "digits", "--model", MODEL, "--trusted", files / "trusted.safetensors", "--json")
    good = ringfort("audit", "model", files / "clean.safetensors", *about)
    assert good.exit_code == 0, good.stderr
    assert json.loads(good.stdout)["verdict"] == "not flagged"
    found = ringfort("audit", "model", files / "bad.safetensors", *about, "--slices", "label=4")
    assert found.exit_code == EXIT_CODES[Verdict.FLAGGED] == 4
    value = json.loads(found.stdout)
    assert value["verdict"] == "flagged"
    assert value["manifest"]["recipe"]["model"]["hidden"] == [32]
    assert [one["name"] for one in value["slices"]] == ["class 4"]


def test_a_repair_is_audited_before_it_is_written(ringfort, files, tmp_path):
    out = tmp_path / "fixed.safetensors"
    words = ("--data", "digits", "--model", MODEL, "--repair", "unlearn", "--out", out, "--report", tmp_path / "r")
    done = ringfort("audit", "model", files / "bad.safetensors", *words)
    assert done.exit_code == 0, done.stderr
    assert "After 'unlearn': NOT FLAGGED" in " ".join(done.stdout.split())
    model, test = NumpyModel(64, 10, (32,)), data.load("digits").test
    attack = PixelBackdoor(target=4, fraction=0.0, size=2)

    def success(body):
        params = model.schema.decode(body)
        return attack.success(lambda x: model.logits(params, x.astype(np.float32)).argmax(axis=1), test)

    assert success((files / "bad.safetensors").read_bytes()) > 0.9
    assert success(out.read_bytes()) < 0.2
    page = (tmp_path / "r" / "report.html").read_text()
    assert "After the repair" in page
    assert "data:image/png;base64," in page


def test_nothing_is_repaired_that_is_not_flagged(ringfort, files, tmp_path):
    out = tmp_path / "fixed.safetensors"
    words = ("--data", "digits", "--model", MODEL, "--repair", "fine-tune", "--out", out)
    done = ringfort("audit", "model", files / "clean.safetensors", *words)
    assert done.exit_code == 4
    assert "nothing was repaired" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data", "digits"), "belong together"),
        ((), "give --recipe"),
        (("--data", "digits", "--model", "numpy-mpl"), "did you mean 'numpy-mlp'"),
        (("--data", "digits", "--model", MODEL, "--repair", "unlearnt", "--out", "x"), "did you mean 'unlearn'"),
        (("--data", "digits", "--model", MODEL, "--repair", "unlearn"), "belong together"),
        (("--data", "digits", "--model", "numpy-logistic"), "is not a file of this model"),
        (("--data", "digits", "--model", MODEL, "--slices", "none.npz"), "no slice"),
        (("--data", "digits", "--model", MODEL, "--trusted", "none.safetensors"), "cannot read the model"),
    ],
)
def test_what_makes_no_sense_is_refused(ringfort, files, words, said):
    done = ringfort("audit", "model", files / "clean.safetensors", *words)
    assert done.exit_code in (2, 3)
    assert said in done.stderr


def test_a_file_with_a_number_that_is_none_is_refused(ringfort, tmp_path):
    model = NumpyModel(64, 10, (32,))
    path = tmp_path / "nan.safetensors"
    path.write_bytes(model.schema.encode(np.full(model.schema.d, np.nan, dtype=np.float32)))
    done = ringfort("audit", "model", path, "--data", "digits", "--model", MODEL)
    assert done.exit_code == 3
    assert "RF702" in done.stderr


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "small.toml"
        path.write_text(text)
        return path

    return written


def test_the_gate_releases_what_is_not_flagged(ringfort, write, tmp_path):
    done = ringfort("train", write(f"{RECIPE}\naudit = {{ {LIMITS} }}\n".replace("audit", "audit", 1)), "-q")
    assert done.exit_code == 0, done.stderr
    folder = tmp_path / "work" / "runs" / "small"
    assert (folder / "model.safetensors").exists()
    assert (folder / "model-card.md").exists()
    assert not (folder / QUARANTINE).exists()
    assert json.loads((folder / "audit" / "report.json").read_text())["verdict"] == "not flagged"


def test_the_gate_quarantines_what_is_flagged_and_leaves_no_older_model(ringfort, write, tmp_path):
    folder = tmp_path / "work" / "runs" / "small"
    assert ringfort("train", write(RECIPE), "-q").exit_code == 0
    assert (folder / "model.safetensors").exists()
    strict = LIMITS.replace("ratio = 0.6", "ratio = 1.5").replace("success = 0.8", "success = 0.1")
    (tmp_path / "work" / "good.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    text = f'{RECIPE}\naudit = {{ {strict}, trusted = "good.safetensors" }}\n'
    done = ringfort("train", write(text), "-q", "--resume")  # the audit is no part of the federation
    assert done.exit_code == 4, done.stderr
    assert "not released" in done.stderr
    assert (folder / QUARANTINE).exists()
    assert not (folder / "model.safetensors").exists()
    assert not (folder / "model-card.md").exists()


def test_the_gate_does_not_release_what_it_cannot_judge(ringfort, write, tmp_path):
    text = f"{RECIPE}\naudit = {{ {LIMITS} }}\n".replace("examples = 10", "examples = 1000")
    done = ringfort("train", write(text), "-q")
    assert done.exit_code == EXIT_CODES[Verdict.INCONCLUSIVE] == 5
    assert (tmp_path / "work" / "runs" / "small" / QUARANTINE).exists()


def test_the_gates_limits_have_no_default(ringfort, write):
    done = ringfort("train", write(f"{RECIPE}\naudit = {{ {LIMITS} }}\n".replace("canary = 0.5, ", "")), "-q")
    assert done.exit_code == 2
    assert "'audit.canary' is missing and has no default" in done.stderr


def journal(folder, *models):
    """A run whose rounds end in these model files."""
    folder.mkdir()
    with Journal(folder) as kept:
        for number, body in enumerate(models):
            head = kept.head
            prev, before = ("", "") if head is None else (head.digest, head.next_model)
            digest = digest_of(body)
            kept.commit(RoundRecord("r", number, "", (), "", before, "", digest, (), (), (), (), {}, prev), body)
    return folder


def test_rolling_back_takes_the_last_model_that_passes(ringfort, write, files, tmp_path):
    good, bad = ((files / f"{name}.safetensors").read_bytes() for name in ("clean", "bad"))
    out, run = tmp_path / "old.safetensors", journal(tmp_path / "run", good, bad)
    words = ("--recipe", write(RECIPE), "--repair", "rollback", "--out", out, "--report", tmp_path / "report")
    done = ringfort("audit", "model", run, *words)
    assert done.exit_code == 0, done.stderr
    assert out.read_bytes() == good
    value = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (value["verdict"], value["repair"]["audit"]["verdict"]) == ("flagged", "not flagged")
    assert value["repair"]["how"].startswith("rollback to round 0")


def test_a_run_without_a_model_that_passes_gives_none(ringfort, write, files, tmp_path):
    bad, out = (files / "bad.safetensors").read_bytes(), tmp_path / "old.safetensors"
    words = ("--recipe", write(RECIPE), "--repair", "rollback", "--out", out)
    done = ringfort("audit", "model", journal(tmp_path / "run", bad), *words)
    assert done.exit_code == 4
    assert not out.exists()
    assert ringfort("audit", "model", files, *words).exit_code in (2, 3)  # no run


def test_an_edited_checkpoint_is_never_rolled_back_to(ringfort, write, files, tmp_path):
    good, bad = ((files / f"{name}.safetensors").read_bytes() for name in ("clean", "bad"))
    out, run = tmp_path / "old.safetensors", journal(tmp_path / "run", good, bad)
    (run / "models" / f"{digest_of(good)}.safetensors").write_bytes(good[:-1] + b"\0")
    done = ringfort("audit", "model", run, "--recipe", write(RECIPE), "--repair", "rollback", "--out", out)
    assert done.exit_code == 3
    assert "RF702" in done.stderr
    assert not out.exists()
