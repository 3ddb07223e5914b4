"""`ringfort data check` and [sanitise] in recipes: what they read, print, write and exit with."""

import csv
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from ringfort import data
from ringfort.app import build
from ringfort.app import recipe as recipes
from ringfort.client.numpy_models import NumpyModel
from ringfort.client.sanitise import Excess
from ringfort.core.errors import BadCheckpoint, Incompatible, InvalidValue, UnknownName
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import digest_of

LIMITS = ("--max-set-aside", "0.05", "--class-floor", "5")


@pytest.fixture
def reference(tmp_path):
    """(path, digest) of a model trained on the test part of breast-cancer."""
    model, rows = NumpyModel(30, 2), data.load("breast-cancer").test
    params = model.initial(Seeds(0))
    delta = model.train(params, rows, LocalTraining(200, 16, 0.1), Seeds(0).child("t"))
    path = tmp_path / "audited.safetensors"
    path.write_bytes(model.schema.encode(params + delta))
    return path, digest_of(path.read_bytes())


@pytest.fixture
def table(tmp_path):
    """Breast cancer as somebody's .npz, with `copies` of its first row at the end."""

    def write(copies=0, **changes):
        rows = data.load("breast-cancer").train
        order = np.r_[np.arange(len(rows)), np.zeros(copies, dtype=int)]
        arrays = {"inputs": rows.inputs[order], "labels": rows.labels[order], "classes": np.array(["=bad", "good"])}
        path = tmp_path / "mine.npz"
        np.savez(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
        return path

    return write


def test_a_clean_table_passes_and_leaves_a_review_file(ringfort, table):
    result = ringfort("data", "check", "--data", table(copies=2), *LIMITS, "--out", "here")
    assert result.exit_code == 0, result.output
    assert "rows to set aside" in result.stdout
    report = json.loads(Path("here/report.json").read_text())
    assert report["schema"] == "ringfort-sanitise/1"
    assert report["by_check"]["exact-duplicates"] == 2
    with Path("here/review.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["check"] for line in lines} >= {"exact-duplicates"}
    assert {line["label"] for line in lines} <= {"'=bad", "good"}
    assert [int(line["row"]) for line in lines] == sorted(int(line["row"]) for line in lines)
    assert len({int(line["row"]) for line in lines}) == report["set_aside"]


def test_over_the_limit_it_writes_everything_and_exits_with_3(ringfort, table):
    result = ringfort("data", "check", "--data", table(copies=60), *LIMITS, "--json")
    assert result.exit_code == 3
    assert "RF704" in result.stderr
    assert json.loads(result.stdout)["excess"]
    assert len(Path("runs/data-check/review.csv").read_text().splitlines()) > 60


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"labels": None}, "RF104"),
        ({"labels": np.array([0.5, 1])}, "RF104"),
        ({"labels": np.array([0, 7])}, "RF104"),
        ({"inputs": np.array([{}, {}])}, "RF104"),
        ({"notes": np.zeros(2)}, "RF101"),
    ],
)
def test_what_is_no_data_set_is_refused(ringfort, table, changes, code):
    result = ringfort("data", "check", "--data", table(**changes), *LIMITS)
    assert result.exit_code == 2
    assert code in result.stderr


def test_limits_have_no_default(ringfort, table):
    result = ringfort("data", "check", "--data", table(), "--class-floor", "5")
    assert result.exit_code == 2
    assert "no defaults" in result.stderr


def test_a_specification_is_learnt_and_then_holds(ringfort, table):
    assert ringfort("data", "check", "--data", "breast-cancer", "--learn", "spec.toml").exit_code == 0
    learnt = tomllib.loads(Path("spec.toml").read_text())
    assert learnt["shape"] == [30]
    assert len(learnt["lows"]) == 30
    rows = data.load("breast-cancer").train
    spoilt = rows.inputs.copy()
    spoilt[7, 3] = 1e6
    path = table(inputs=spoilt, classes=np.array(["malignant", "benign"]))
    result = ringfort("data", "check", "--data", path, "--spec", "spec.toml", *LIMITS, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["by_check"]["specification"] == 1
    assert [s["row"] for s in found["suspects"] if s["reasons"][0]["check"] == "specification"] == [7]


def test_one_clients_rows_under_a_pinned_reference(ringfort, recipe, reference):
    path, digest = reference
    words = ("data", "check", "--data", "breast-cancer", "--recipe", recipe, "--reference", path, "--digest", digest)
    result = ringfort(*words, "--client", "client-03", "--max-set-aside", "0.3", "--class-floor", "0", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert 45 <= found["rows"] <= 46
    assert "reference-loss" in found["by_check"]
    again = ringfort(*words, "--client", "3", "--max-set-aside", "0.3", "--class-floor", "0", "--json")
    assert json.loads(again.stdout) == found
    assert ringfort(*words, "--client", "client-99", *LIMITS).exit_code == 2
    wrong = [digest[::-1] if word == digest else word for word in words]
    result = ringfort(*wrong, *LIMITS)
    assert result.exit_code == 3
    assert "RF702" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--reference", "m"),
        ("--digest", "0" * 64),
        ("--reference", "m", "--digest", "0" * 64),
        ("--client", "1"),
    ],
)
def test_half_a_question_is_refused(ringfort, words):
    result = ringfort("data", "check", "--data", "breast-cancer", *words, *LIMITS)
    assert result.exit_code == 2, result.output


# --- recipes


SANITISE = """
[sanitise]
max_set_aside = 0.1
class_floor = 3
excess = "stop"
checks = ["exact-duplicates", { name = "neighbour-labels", k = 10, share = 0.9 }]
"""


def read(recipe, extra):
    recipe.write_text(recipe.read_text() + extra)
    return recipes.read(recipe)


def test_a_recipe_says_what_its_owners_do(recipe):
    made = read(recipe, SANITISE)
    scenario = build.scenario(made, data.load("breast-cancer"))
    assert [check.name for check in scenario.sanitiser.checks] == ["exact-duplicates", "neighbour-labels"]
    assert (scenario.sanitiser.max_set_aside, scenario.sanitiser.excess) == (0.1, Excess.STOP)
    assert recipes.parse(made.resolved()) == made


def test_every_registered_check_has_a_name_in_recipes():
    from ringfort.client.sanitise import CHECKS

    schema = json.dumps(recipes.Recipe.model_json_schema()["$defs"]["SanitiseSpec"])
    assert all(f'"{name}"' in schema for name in CHECKS)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (("max_set_aside = 0.1", ""), InvalidValue, "max_set_aside"),
        (('excess = "stop"', 'excess = "delete"'), InvalidValue, "excess"),
        (('"exact-duplicates"', '"exact-duplicate"'), UnknownName, "exact-duplicates"),
        (("share = 0.9", "shares = 0.9"), UnknownName, "did you mean 'share'"),
        (("class_floor = 3", "class_floor = -1"), InvalidValue, "class_floor"),
    ],
)
def test_the_table_is_read_strictly(recipe, change, error, said):
    with pytest.raises(error, match=said):
        read(recipe, SANITISE.replace(*change))


def test_a_check_that_does_not_fit_is_refused_before_anything_runs(recipe):
    extra = SANITISE.replace('"exact-duplicates"', '{ name = "reference-loss", below = 0.05 }')
    made = read(recipe, extra)
    with pytest.raises(Incompatible, match=r"needs sanitise\.reference"):
        build.scenario(made, data.load("breast-cancer"))


def test_a_recipes_reference_is_pinned(recipe, reference):
    path, digest = reference
    extra = SANITISE.replace('"exact-duplicates"', '{ name = "reference-loss", below = 0.05 }')
    pin = f'reference = {{ path = "{path}", digest = "{digest}" }}\n'
    scenario = build.scenario(read(recipe, extra + pin), data.load("breast-cancer"))
    assert scenario.sanitiser.checks[0].reference.digest == digest
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(BadCheckpoint, match="pinned"):
        build.scenario(recipes.read(recipe), data.load("breast-cancer"))


def test_train_and_drill_report_it(ringfort, recipe):
    read(recipe, SANITISE.replace("max_set_aside = 0.1", "max_set_aside = 0.5"))
    result = ringfort("train", recipe, "--json", "--quiet", "--out", "a")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["sanitised"]
    assert len(rows) == 10
    assert set(rows[0]["by_check"]) == {"exact-duplicates", "neighbour-labels"}
    result = ringfort(
        "drill", recipe, "--quiet", "--json", "--out", "b", "--set", "drill.owners_are_honest=true",
        "--set", 'drill.attacks=[{ name = "label-flip", source = 0, target = 1 }]',
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert all(len(trial["sanitised"]) == 10 for trial in json.loads(result.stdout)["trials"])
