"""A recipe whose clients bring their own rows: the same federation as over a registered data set."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from ringfort import data
from ringfort.app import build, loading
from ringfort.app import recipe as recipes
from ringfort.app.main import app
from ringfort.core import Seeds
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.values import client_id
from ringfort.rounds.journal import read_records

RECIPE = """
title = "Three hospitals"
seed = 1
[data]
name = "biopsies"
[data.split]
by = "party"
clients = ["ward-c", "ward-a", "ward-b"]
rows = "FOLDER/{client}.npz"
holdout = "FOLDER/holdout.npz"
classes = ["malignant", "benign"]
input_shape = [30]
[model]
name = "numpy-logistic"
[train]
rounds = 3
steps = 10
batch = 16
learning_rate = 0.1
evaluate_on = 113
[gate]
max_norm = 100.0
max_examples = 1000
[defence]
f = 1
rule = "median"
"""
WARDS = ("ward-a", "ward-b", "ward-c")


@pytest.fixture
def recipe(tmp_path):
    pytest.importorskip("sklearn")
    split = data.load("breast-cancer")
    for number, ward in enumerate(WARDS):
        rows = split.train.take(np.arange(number, len(split.train), 3))
        np.savez(tmp_path / f"{ward}.npz", inputs=rows.inputs, labels=rows.labels)
    np.savez(tmp_path / "holdout.npz", inputs=split.test.inputs, labels=split.test.labels)
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("FOLDER", str(tmp_path)))
    return path


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_train_trains_on_the_parties_rows_under_their_names(recipe, tmp_path):
    done = run("train", recipe, "--out", tmp_path / "run", "--json", "--quiet")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["accuracy"] > 0.9
    assert [client["client"] for client in said["clients"]] == list(WARDS)
    assert {record.cohort for record in read_records(tmp_path / "run")[0][1:]} == {WARDS}


def test_rows_may_move_and_the_run_goes_on(recipe, tmp_path):
    assert run("train", recipe, "--out", tmp_path / "run", "--quiet").exit_code == 0
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for ward in WARDS:
        (tmp_path / f"{ward}.npz").rename(moved / f"{ward}.npz")
    words = ["--set", f"data.split.rows={moved}/{{client}}.npz", "--set", "train.rounds=4"]
    done = run("train", recipe, "--out", tmp_path / "run", "--resume", "--quiet", *words)
    assert done.exit_code == 0, done.output
    assert len(read_records(tmp_path / "run")[0]) == 5


def test_what_the_parties_agreed_on_may_not_change(recipe):
    read = recipes.read(recipe)
    for change in ('data.split.classes=["benign", "malignant"]', 'data.split.clients=["ward-a", "ward-b"]'):
        assert recipes.read(recipe, [change]).federation_digest() != read.federation_digest()


def test_each_party_reads_its_own_file_alone(recipe, tmp_path):
    read = recipes.read(recipe)
    party = client_id("ward-b")
    for other in ("ward-a", "ward-c", "holdout"):
        (tmp_path / f"{other}.npz").rename(tmp_path / f"{other}.gone")
    here = loading.load_here(read, party, loading.rows_profile(read, party))
    scenario = build.scenario(read, here)
    seeds = Seeds(read.seed)
    assert [len(part) for part in scenario.parts(seeds)] == [0, len(here.train), 0]
    assert scenario.clients(seeds) == WARDS
    (tmp_path / "holdout.gone").rename(tmp_path / "holdout.npz")
    server = loading.load_here(read, client_id("coordinator"), loading.rows_profile(read, None))
    assert (len(server.train), len(server.test)) == (0, 113)
    assert build.scenario(read, server).recipe == scenario.recipe


def test_a_drill_attacks_the_parties_federation(recipe, tmp_path):
    recipe.write_text(
        recipe.read_text()
        + """
[drill]
hostile_fraction = 0.3
seeds = [1]
attacks = [{ name = "sign-flip", scale = 6.0 }]
walls = ["mean", "median"]
thresholds = { accuracy_loss = 0.1, attack_success = 0.2 }
"""
    )
    done = run("drill", recipe, "--out", tmp_path / "drill", "--json", "--quiet")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert set(said["hostile"]) < set(said["clients"]) == set(WARDS)


@pytest.mark.parametrize(
    ("override", "error", "said"),
    [
        ("data.name=digits", InvalidValue, "another name"),
        ("data.split.input_shape=[31]", InvalidValue, "agreed is"),
    ],
)
def test_a_recipe_that_does_not_fit_its_rows_is_refused(recipe, override, error, said):
    with pytest.raises(error, match=said):
        loading.load(recipes.read(recipe, [override]))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ('data.split.clients=["ward-a", "ward-a"]', "names ward-a twice"),
        ("data.split.rows=all.npz", "data.split.party.rows"),
        ('data.split.clients=["../../etc"]', "client"),
    ],
)
def test_a_recipe_that_names_no_clients_or_files_is_refused(recipe, override, said):
    with pytest.raises(InvalidValue, match=said):
        recipes.read(recipe, [override])


def test_rows_for_another_recipe_are_refused(recipe):
    read = recipes.read(recipe)
    with pytest.raises(Incompatible, match="mallory is none of"):
        loading.load(read, {client_id("mallory"): recipe})
    known = recipes.parse({**read.resolved(), "data": {"name": "digits", "split": {"by": "iid", "clients": 3}}})
    with pytest.raises(Incompatible, match=r'data\.split\.by = "party"'):
        loading.load(known, {client_id("ward-a"): recipe})
