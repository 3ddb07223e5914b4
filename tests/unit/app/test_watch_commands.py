"""[watch] in recipes, watched walls in drills, and `ringfort client`."""

import json
import shutil
import tomllib

import pytest
from typer.testing import CliRunner

from ringfort.app import build
from ringfort.app import recipe as recipes
from ringfort.app.main import app
from ringfort.core.errors import Incompatible, InvalidValue, UnknownName
from ringfort.detect import InCohort, OwnPast, recommended
from ringfort.rounds import read_records
from ringfort.rounds.decisions import Decisions

RECIPE = """
title = "Breast cancer, 10 clients"
seed = 1
data = { name = "breast-cancer", split = { by = "iid", clients = 10 } }
model = "numpy-logistic"
train = { rounds = 3, steps = 5, batch = 8, learning_rate = 0.2 }
gate = { max_norm = 1e4, max_examples = 1000 }
defence = { f = 2, rule = "median" }

[drill]
hostile_fraction = 0.2
seeds = [1]
walls = ["mean", "median"]
attacks = [{ name = "sign-flip", scale = 20.0 }]
thresholds = { accuracy_loss = 0.05, attack_success = 0.15 }
"""
WATCH = """
[watch]
alpha = 0.01
preset = "recommended"
"""
BOTH = {"alpha": 0.01, "preset": "recommended"}
NAMED = {
    "alpha": 0.02,
    "detectors": [
        {"name": "own-past", "score": ["norm", "cosine"], "drift": 2},
        {"name": "in-cohort", "score": "norm"},
        {"name": "drift", "score": "cosine"},
    ],
    "reputation": "norm",
}


@pytest.fixture
def value(recipe):
    return tomllib.loads(recipe.read_text())


def made(value, watch, **more):
    return build.watch(recipes.parse({**value, "watch": watch, **more}))


def test_the_preset_is_what_it_says(value):
    assert made(value, BOTH) == recommended(0.01)
    assert made(value, {**BOTH, "term": 3, "trial": 2}).policy.term == 3


def test_detectors_are_named_with_their_scores(value):
    watch = made(value, NAMED)
    assert [one.name for one in watch.detectors] == ["together-past", "norm", "cosine-drift"]
    assert [type(one) for one in watch.detectors[:2]] == [OwnPast, InCohort]
    assert watch.detectors[0].drift == 2.0
    assert (watch.policy.alpha, watch.policy.reputation) == (0.02, "norm")


def test_without_a_watch_there_is_none_and_the_digest_is_as_before(value):
    read = recipes.parse(value)
    assert build.watch(read) is None
    assert "watch" not in read.resolved()


@pytest.mark.parametrize(
    ("watch", "error", "said"),
    [
        ({"preset": "recommended"}, InvalidValue, "'watch.alpha' is missing and has no default"),
        ({"alpha": 0.01}, InvalidValue, "needs detectors and reputation, or preset"),
        ({"alpha": 0.01, "detectors": NAMED["detectors"]}, InvalidValue, "needs detectors and reputation"),
        ({**NAMED, "preset": "recommended"}, InvalidValue, "give one or the other"),
        ({**BOTH, "alpha": 0}, InvalidValue, "watch.alpha"),
        ({**BOTH, "preset": "best"}, InvalidValue, "watch.preset"),
        ({**BOTH, "alhpa": 1}, UnknownName, "did you mean 'alpha'"),
        ({**NAMED, "reputation": "signs"}, InvalidValue, "not among"),
        ({**NAMED, "detectors": [{"name": "own-past", "score": "norm"}]}, InvalidValue, "drift' is missing"),
        ({**NAMED, "detectors": [{"name": "own-psat"}]}, UnknownName, "did you mean 'own-past'"),
        ({**NAMED, "detectors": [{"name": "in-cohort", "score": "nrom"}]}, UnknownName, "did you mean 'norm'"),
        ({**NAMED, "detectors": [{"name": "in-cohort", "score": "norm"}]}, InvalidValue, "promises for a whole"),
        ({**NAMED, "detectors": []}, InvalidValue, "watch.detectors"),
    ],
)
def test_a_watch_is_read_strictly(value, watch, error, said):
    with pytest.raises(error, match=said):
        made(value, watch)


def test_central_noise_and_a_watch_exclude_each_other(value):
    noise = {
        "where": "central",
        "epsilon": 8.0,
        "delta": 1e-5,
        "noise_multiplier": 1.0,
        "clip_norm": 1.0,
        "neighbouring": "add-or-remove-one",
    }
    read = recipes.parse({**value, "watch": BOTH, "privacy": noise})
    with pytest.raises(Incompatible, match=r"leave out .watch. or use privacy\.where"):
        build.defence(read)


@pytest.mark.parametrize("wall", ["watch | nnm | trimmed-mean", ["watch", {"name": "bucketing", "size": 2}, "median"]])
def test_a_wall_may_start_with_the_watch(value, wall):
    value["drill"]["walls"] = ["mean", "median", wall]
    read = recipes.parse({**value, "watch": BOTH})
    defence = build.wall(read.drill.walls[2], read)
    assert defence.watch == recommended(0.01)
    assert defence.name.startswith("watch | ")
    assert recipes.parse(tomllib.loads(recipes.to_toml(read.resolved()))) == read
    with pytest.raises(InvalidValue, match=r"say in a .watch. table"):
        build.wall(read.drill.walls[2], recipes.parse(value))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A watched run of three rounds: recipe, folder and what the command said."""
    place = tmp_path_factory.mktemp("trained")
    path = place / "small.toml"
    path.write_text(RECIPE + WATCH)
    result = CliRunner().invoke(app, ["train", str(path), "--out", str(place / "run"), "--quiet"])
    assert result.exit_code == 0, result.stderr
    return place, result.stdout


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained[0] / "run", tmp_path / "run")
    return tmp_path / "run"


def test_train_tells_where_everybody_stands(trained):
    place, said = trained
    assert '"No flag" is not "no attacker"' in " ".join(said.split())
    assert "What the watch made of them" in (place / "run" / "report.html").read_text()


def test_list_show_and_decide_while_the_journal_belongs_to_the_run(ringfort, trained, run):
    from ringfort.rounds import Journal

    with Journal(run):  # as a training run holds it
        listed = json.loads(ringfort("client", "list", "--run", run, "--json").stdout)
        assert listed["round"] == 3
        assert [one["client"] for one in listed["clients"]] == [f"client-{i:02}" for i in range(10)]
        name = listed["clients"][3]["client"]
        assert listed["standings"] == {"new": 10}
        done = ringfort("client", "quarantine", name, "--run", run, "--reason", "odd", "--rounds", 2, "--by", "ann")
        assert done.exit_code == 0, done.stderr
        assert f"quarantine {name} for 2 rounds by ann: odd; applies before round 4" in done.stdout
        shown = ringfort("client", "show", name, "--run", run).stdout
        assert "waits for the next round" in shown
        assert "last rounds" in shown
        assert "\n    3: " in shown
    again = ringfort(
        "train", trained[0] / "small.toml", "--out", run, "--quiet", "--resume", "--set", "train.rounds=5", "--json"
    )
    assert again.exit_code == 0, again.stderr
    records, _ = read_records(run)
    assert [name in record.cohort for record in records[1:]] == [True, True, True, False, False]
    shown = json.loads(ringfort("client", "show", name, "--run", run, "--json").stdout)
    assert (shown["standing"], shown["barred"], shown["quarantines"], shown["pending"]) == ("quarantined", True, 1, [])
    assert shown["changes"][0]["reasons"] == ["by a person: odd (ann)"]
    watch = json.loads(again.stdout)["watch"]
    assert watch["standings"]["quarantined"] == 1
    assert sum(watch["standings"].values()) == 10


def test_release_and_revoke(ringfort, run):
    name = json.loads(ringfort("client", "list", "--run", run, "--json").stdout)["clients"][0]["client"]
    assert ringfort("client", "release", name, "--run", run, "--reason", "x").exit_code == 2
    assert ringfort("client", "revoke", name, "--run", run, "--reason", "left", "--by", "ann").exit_code == 0
    assert ringfort("client", "quarantine", name, "--run", run, "--reason", "x", "--rounds", 1).exit_code == 2
    assert ringfort("client", "release", name, "--run", run, "--reason", "back", "--by", "ann", "--json").exit_code == 0
    assert [one.action for one in Decisions(run).read()] == ["revoke", "release"]


def test_what_cannot_be_decided_is_one_line_and_writes_nothing(ringfort, run, tmp_path):
    for words, code in [
        (("revoke", "client-9", "--run", run, "--reason", "x"), "RF101"),
        (("revoke", "client-09", "--run", run, "--reason", " "), "RF104"),
        (("list", "--run", tmp_path / "none"), "RF106"),
    ]:
        result = ringfort("client", *words)
        assert result.exit_code != 0
        assert result.stderr.startswith(f"error: {code} "), result.stderr
    assert not Decisions(run).path.exists()


def test_a_run_without_a_watch_has_no_standings(ringfort, recipe, tmp_path):
    assert ringfort("train", recipe, "--out", tmp_path / "plain", "--quiet").exit_code == 0
    result = ringfort("client", "list", "--run", tmp_path / "plain")
    assert (result.exit_code, result.stderr[:12]) == (2, "error: RF103")


def test_a_drill_tells_whom_the_watch_quarantined(ringfort, recipe, tmp_path):
    recipe.write_text(recipe.read_text() + '\n[watch]\nalpha = 0.01\npreset = "recommended"\n')
    walls = 'drill.walls=["mean", "median", "watch | median"]'
    result = ringfort("drill", recipe, "--out", tmp_path / "drill", "--quiet", "--set", walls)
    assert result.exit_code == 0, result.stderr
    assert "of 8 honest" in result.stdout
    assert "Who the watch quarantined" in (tmp_path / "drill" / "report.html").read_text()
    told = json.loads((tmp_path / "drill" / "report.json").read_text())
    assert {t["wall"] for t in told["trials"] if t["honest_quarantined"] is not None} == {"watch | median"}


def test_a_watched_wall_can_be_named_in_must_hold(ringfort, recipe, tmp_path):
    result = ringfort("drill", recipe, "--out", tmp_path / "drill", "--must-hold", "watch | median")
    assert result.exit_code == 2
    assert "unknown wall" in result.stderr


PILOTED = """
[watch]
alpha = 0.05
detectors = [
  { name = "pilots", score = ["norm", "cosine"], federations = 2, window = 2 },
  { name = "in-cohort", score = ["norm", "cosine"] },
]
reputation = "together"
"""


def test_pilots_run_first_and_are_kept_for_resume(ringfort, tmp_path):
    path, folder = tmp_path / "piloted.toml", tmp_path / "piloted"
    path.write_text(RECIPE + PILOTED)
    first = ringfort("train", path, "--out", folder, "--set", "train.rounds=2")
    assert first.exit_code == 0, first.stderr
    assert "pilots: 2 honest federations of 2 rounds for norm, cosine" in first.stderr
    kept = (folder / "pilots.json").read_bytes()
    [calibration] = json.loads(kept)["calibrations"]
    assert (calibration["horizon"], calibration["window"], len(calibration["peaks"])) == (2, 2, 20)
    records, _ = read_records(folder)
    assert {one["detector"] for one in records[-1].watch["evidence"]} <= {"together", "together-pilots"}
    again = ringfort("train", path, "--out", folder, "--resume", "--set", "train.rounds=2")
    assert again.exit_code == 0, again.stderr
    assert "pilots:" not in again.stderr
    assert (folder / "pilots.json").read_bytes() == kept
    longer = ringfort("train", path, "--out", folder, "--resume", "--set", "train.rounds=4")
    assert "calibrated on pilots of 2 rounds, and this federation has 4" in longer.stderr
    (folder / "pilots.json").write_bytes(kept[:-20])
    assert "RF702" in ringfort("train", path, "--out", folder, "--resume", "--set", "train.rounds=2").stderr


def test_too_few_pilots_for_alpha_are_refused_before_anything_runs(ringfort, tmp_path):
    path = tmp_path / "piloted.toml"
    path.write_text(RECIPE + PILOTED.replace("0.05", "0.01"))
    assert "20 pilot clients" in ringfort("recipe", "validate", path).stderr
