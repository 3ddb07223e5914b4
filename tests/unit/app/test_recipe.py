"""Recipes are read strictly: what is misspelled, missing or of another type is refused with the way out."""

import copy
import datetime
import json
import tomllib
from pathlib import Path

import pytest

from ringfort.aggregate import RULES
from ringfort.app import build
from ringfort.app import recipe as recipes
from ringfort.attacks import ATTACKS, WRAPPERS, Chained, ModelReplacement, PixelBackdoor, Projected, Zero
from ringfort.core.errors import DataUnavailable, InvalidValue, RingfortError, UnknownName

FASHION = Path(__file__).parents[3] / "recipes" / "fashion.toml"


@pytest.fixture
def value():
    return tomllib.loads(FASHION.read_text())


def put(value, path, new):
    """A copy of `value` with `path` (dots; numbers index lists) set to `new`, or removed if new is ..."""
    value = copy.deepcopy(value)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    here = value
    for key in parents:
        here = here[key]
    if new is ...:
        del here[last]
    else:
        here[last] = new
    return value


def every_recipe():
    return sorted(FASHION.parent.glob("*.toml"))


@pytest.mark.parametrize("path", every_recipe(), ids=lambda path: path.name)
def test_every_recipe_in_the_repository_parses(path):
    read = recipes.read(path)
    assert len(read.digest()) == 64


def test_the_fashion_recipe_says_what_it_says():
    read = recipes.read(FASHION)
    assert (read.train.rounds, read.train.momentum, read.train.weight_decay, read.train.cohort) == (25, 0.9, 0.0, None)
    assert (read.defence.f, read.defence.rule.name, read.defence.rule.m) == (4, "multi-krum", None)
    assert [wall.name for wall in read.drill.walls] == ["mean", "median", "trimmed-mean", "multi-krum"]
    assert [attack.name for attack in read.drill.attacks] == ["sign-flip", "label-flip", "pixel-backdoor"]
    assert read.drill.attacks[1].fraction == 0.5
    assert read.data.split.by == "dirichlet"
    assert read.model.hidden == 64


# --- unknown keys and names

MISSPELLED = [
    ("tittle", "title"),
    ("data.nam", "name"),
    ("data.split.alfa", "alpha"),
    ("model.hiden", "hidden"),
    ("train.round", "rounds"),
    ("gate.max_normm", "max_norm"),
    ("defence.ruel", "rule"),
    ("defence.ff", "f"),
    ("defence.rule.mm", "m"),
    ("drill.hostile_fractoin", "hostile_fraction"),
    ("drill.thresholds.accuracy_los", "accuracy_loss"),
    ("drill.attacks.0.scal", "scale"),
    ("drill.attacks.1.sorce", "source"),
    ("drill.walls.3.mm", "m"),
]


@pytest.mark.parametrize(("path", "meant"), MISSPELLED)
def test_an_unknown_key_is_refused_at_every_level_with_the_nearest_known_one(value, path, meant):
    value["model"] = {"name": "mlp"}
    value["defence"]["rule"] = {"name": "multi-krum"}
    value["drill"]["walls"][3] = {"name": "multi-krum"}
    with pytest.raises(UnknownName) as caught:
        recipes.parse(put(value, path, 1))
    last = path.rpartition(".")[2]
    assert f"{last}': did you mean '{meant}'?" in str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_an_unknown_key_like_no_other_lists_the_known_ones(value):
    with pytest.raises(UnknownName, match="known here: max_examples, max_norm"):
        recipes.parse(put(value, "gate.qqqqqq", 1))


def test_a_rules_f_belongs_to_the_defence_not_to_the_rule(value):
    with pytest.raises(UnknownName, match=r"unknown key 'defence\.rule\.trimmed-mean\.f'"):
        recipes.parse(put(value, "defence.rule", {"name": "trimmed-mean", "f": 1}))


def test_a_unknown_key_is_named_before_the_missing_one_that_it_was_meant_to_be(value):
    with pytest.raises(UnknownName, match=r"'defence.F': did you mean 'f'\? \(1 more\)|known here"):
        recipes.parse(put(put(value, "defence.f", ...), "defence.F", 4))


NAMES = [
    ("defence.rule", "multikrum", "multi-krum"),
    ("defence.rule", "medain", "median"),
    ("drill.walls.1", "trimed-mean", "trimmed-mean"),
    ("drill.attacks.0", "signflip", "sign-flip"),
    ("drill.attacks.0.name", "sign_flip", "sign-flip"),
    ("model.name", "numpy-mpl", "numpy-mlp"),
    ("model", "cn", "cnn"),
    ("data.split.by", "dirichelt", "dirichlet"),
]


@pytest.mark.parametrize(("path", "name", "meant"), NAMES)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(value, path, name, meant):
    with pytest.raises(UnknownName, match=f"{name}': did you mean '{meant}'"):
        recipes.parse(put(value, path, name))


def test_an_unknown_name_like_no_other_lists_the_known_ones(value):
    with pytest.raises(UnknownName, match="known: " + ", ".join(sorted([*RULES, "chain"]))):
        recipes.parse(put(value, "defence.rule", "qqqqqq"))


# --- missing keys

SECURITY = [
    "defence",
    "defence.f",
    "defence.rule",
    "gate",
    "gate.max_norm",
    "gate.max_examples",
    "drill.hostile_fraction",
    "drill.thresholds",
    "drill.thresholds.accuracy_loss",
    "drill.thresholds.attack_success",
    "drill.walls",
    "drill.attacks",
    "drill.seeds",
]


@pytest.mark.parametrize(
    "path",
    [
        *SECURITY,
        "title",
        "seed",
        "data",
        "data.name",
        "model",
        "train",
        "train.rounds",
        "train.learning_rate",
        "data.split",
    ],
)
def test_what_has_no_default_must_be_there_and_security_parameters_have_none(value, path):
    with pytest.raises(InvalidValue, match=f"RF104 '{path}' is missing and has no default"):
        recipes.parse(put(value, path, ...))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("drill.attacks.0.scale", "scale"),
        ("drill.attacks.1.source", "source"),
        ("drill.attacks.2.fraction", "fraction"),
    ],
)
def test_an_attacks_own_parameters_are_needed(value, path, name):
    with pytest.raises(InvalidValue, match=f"{name}' is missing"):
        recipes.parse(put(value, path, ...))


@pytest.mark.parametrize(("path", "key"), [("defence.rule.name", "defence.rule"), ("data.split.by", "data.split")])
def test_a_table_without_its_name_is_refused(value, path, key):
    value["defence"]["rule"] = {"name": "median"}
    with pytest.raises(InvalidValue, match=key):
        recipes.parse(put(value, path, ...))


def test_the_drill_may_be_missing(value):
    assert recipes.parse(put(value, "drill", ...)).drill is None


# --- wrong types and values

WRONG = [
    ("defence.f", "4"),
    ("defence.f", True),
    ("defence.f", 4.0),
    ("defence.f", -1),
    ("defence.f", [4]),
    ("defence.rule", 4),
    ("defence.rule", ["median"]),
    ("seed", -1),
    ("seed", "1"),
    ("seed", 1.5),
    ("title", 4),
    ("title", ""),
    ("title", "x" * 201),
    ("train", 5),
    ("train", []),
    ("train.rounds", 0),
    ("train.rounds", 2.5),
    ("train.rounds", True),
    ("train.rounds", "25"),
    ("train.learning_rate", "0.1"),
    ("train.learning_rate", True),
    ("train.learning_rate", 0),
    ("train.learning_rate", float("nan")),
    ("train.learning_rate", float("inf")),
    ("train.momentum", 1.0),
    ("train.momentum", -0.1),
    ("train.cohort", 0),
    ("train.deadline_s", 0),
    ("train.deadline_s", float("inf")),
    ("train.workers", 0),
    ("train.evaluate_on", 0),
    ("gate.max_norm", float("inf")),
    ("gate.max_norm", float("nan")),
    ("gate.max_norm", 0),
    ("gate.max_norm", "100"),
    ("gate.max_examples", 0),
    ("gate.max_examples", 1e4),
    ("data.split.alpha", 0),
    ("data.split.alpha", float("-inf")),
    ("data.split.clients", 0),
    ("data.name", ["digits"]),
    ("drill.hostile_fraction", 0.5),
    ("drill.hostile_fraction", -0.1),
    ("drill.hostile_fraction", "0.2"),
    ("drill.hostile_fraction", float("nan")),
    ("drill.seeds", []),
    ("drill.seeds", [True]),
    ("drill.seeds", 1),
    ("drill.walls", []),
    ("drill.attacks", []),
    ("drill.attacks", "sign-flip"),
    ("drill.attacks.0.scale", "4"),
    ("drill.attacks.0.scale", True),
    ("drill.attacks.0.scale", float("inf")),
    ("drill.attacks.0.scale", float("nan")),
    ("drill.attacks.1.source", 5.0),
    ("drill.thresholds.accuracy_loss", 1.1),
    ("drill.thresholds.accuracy_loss", float("nan")),
    ("drill.thresholds.attack_success", -0.1),
]


@pytest.mark.parametrize(("path", "wrong"), WRONG, ids=lambda value: str(value)[:20])
def test_another_type_or_a_value_out_of_range_is_refused_by_key(value, path, wrong):
    with pytest.raises(InvalidValue) as caught:
        recipes.parse(put(value, path, wrong))
    named = str(caught.value).split("'")[1].split(".")
    assert set(path.split(".")) <= {*named}
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "right"),
    [("train.learning_rate", 1), ("gate.max_norm", 100), ("data.split.alpha", 1), ("drill.attacks.0.scale", 4)],
)
def test_a_whole_number_is_a_fine_real_one(value, path, right):
    assert recipes.parse(put(value, path, right))


def test_several_problems_are_counted(value):
    with pytest.raises(InvalidValue, match=r"\(2 more\)"):
        recipes.parse(put(put(put(value, "gate.max_norm", 0), "train.rounds", 0), "seed", -1))


def test_a_huge_wrong_value_is_cut_in_the_message(value):
    with pytest.raises(InvalidValue) as caught:
        recipes.parse(put(value, "train.rounds", "9" * 10_000))
    assert len(str(caught.value)) < 300


# --- files and overrides


def test_a_missing_file_a_folder_and_what_is_no_toml_are_refused(tmp_path):
    with pytest.raises(DataUnavailable, match=r"there is no recipe .*nothing.toml"):
        recipes.read(tmp_path / "nothing.toml")
    with pytest.raises(InvalidValue, match="cannot read"):
        recipes.read(tmp_path)
    for name, content in {
        "latin.toml": b"title = '\xff'",
        "syntax.toml": b"title = ",
        "twice.toml": b"a = 1\na = 2",
        "long.toml": b"seed = " + b"9" * 5_000,
        "deep.toml": b"seed = " + b"[" * 100_000,
        "empty.toml": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidValue):
            recipes.read(tmp_path / name)


OVERRIDES = [
    ("train.rounds=5", lambda r: r.train.rounds, 5),
    ("train.learning_rate=1e-3", lambda r: r.train.learning_rate, 0.001),
    ("title=A plain word", lambda r: r.title, "A plain word"),
    ('title="quoted = yes"', lambda r: r.title, "quoted = yes"),
    ("title=a=b", lambda r: r.title, "a=b"),
    ("defence.rule=median", lambda r: r.defence.rule.name, "median"),
    ('defence.rule={name="multi-krum", m=3}', lambda r: r.defence.rule.m, 3),
    ("drill.seeds=[3, 4]", lambda r: r.drill.seeds, [3, 4]),
    ('drill.walls=["mean"]', lambda r: [w.name for w in r.drill.walls], ["mean"]),
    ("drill.thresholds.accuracy_loss=0.5", lambda r: r.drill.thresholds.accuracy_loss, 0.5),
    ("train.cohort=7", lambda r: r.train.cohort, 7),
    ("model.hidden=9", lambda r: r.model.hidden, 9),
]


@pytest.mark.parametrize(("text", "pick", "wanted"), OVERRIDES)
def test_an_override_replaces_one_key(text, pick, wanted):
    assert pick(recipes.read(FASHION, [text])) == wanted


def test_the_last_override_wins():
    assert recipes.read(FASHION, ["train.rounds=5", "train.rounds=6"]).train.rounds == 6


def test_an_override_can_add_a_table(tmp_path, value):
    path = tmp_path / "bare.toml"
    path.write_text(recipes.to_toml(put(value, "drill.thresholds", ...)))
    read = recipes.read(path, ["drill.thresholds.accuracy_loss=0.1", "drill.thresholds.attack_success=0.2"])
    assert (read.drill.thresholds.accuracy_loss, read.drill.thresholds.attack_success) == (0.1, 0.2)


@pytest.mark.parametrize(
    "text", ["train.rounds", "=5", ".rounds=5", "train.=5", "train..rounds=5", "", "title.x=1", "seed.x.y=1"]
)
def test_an_override_that_names_no_key_is_refused(text):
    with pytest.raises(InvalidValue, match=r"--set"):
        recipes.read(FASHION, [text])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("train.round=5", UnknownName),
        ("train.rounds=five", InvalidValue),
        ("train.rounds=", InvalidValue),
        ("train.rounds=5.0", InvalidValue),
        ("drill.attacks.0.scale=2", InvalidValue),
        ("new.table=1", UnknownName),
        ("seed=" + "9" * 5_000, InvalidValue),
        ("seed=" + "[" * 50_000, InvalidValue),
    ],
)
def test_an_override_is_checked_like_the_file(text, kind):
    with pytest.raises(kind):
        recipes.read(FASHION, [text])


def test_an_override_with_a_line_feed_smuggles_in_no_second_key():
    assert recipes.read(FASHION, ["title=1\nseed = 9"]).title == "1\nseed = 9"


# --- digests and the schema


def test_the_resolved_recipe_as_toml_is_the_same_recipe():
    for path in every_recipe():
        read = recipes.read(path)
        again = recipes.parse(tomllib.loads(recipes.to_toml(read.resolved())))
        assert again == read
        assert again.digest() == read.digest()


def test_defaults_are_part_of_the_digest_spelled_out_or_not(value):
    assert recipes.parse(put(value, "train.weight_decay", 0.0)).digest() == recipes.parse(value).digest()
    assert recipes.parse(put(value, "defence.rule", {"name": "multi-krum"})).digest() == recipes.parse(value).digest()
    assert recipes.parse(put(value, "train.weight_decay", 0.1)).digest() != recipes.parse(value).digest()


@pytest.mark.parametrize(
    ("path", "new"),
    [("title", "Another"), ("train.rounds", 3), ("train.workers", 1), ("drill", ...), ("drill.seeds", [7])],
)
def test_a_run_can_be_resumed_after_a_change_of_title_length_workers_or_drill(value, path, new):
    changed = recipes.parse(put(value, path, new))
    assert changed.federation_digest() == recipes.parse(value).federation_digest()
    assert changed.digest() != recipes.parse(value).digest()


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("seed", 2),
        ("data.name", "digits"),
        ("data.split.alpha", 0.6),
        ("data.split.clients", 21),
        ("model", "logistic"),
        ("model.hidden", 9),
        ("train.steps", 1),
        ("train.batch", 1),
        ("train.learning_rate", 0.06),
        ("train.momentum", 0.0),
        ("train.weight_decay", 0.1),
        ("train.cohort", 12),
        ("train.deadline_s", 5),
        ("train.evaluate_on", 9),
        ("gate.max_norm", 99),
        ("gate.max_examples", 9),
        ("defence.f", 3),
        ("defence.rule", "median"),
        ("defence.rule", {"name": "multi-krum", "m": 3}),
    ],
)
def test_any_other_change_makes_another_federation(value, path, new):
    assert recipes.parse(put(value, path, new)).federation_digest() != recipes.parse(value).federation_digest()


def test_the_schema_is_json_and_mentions_every_registered_name_and_key():
    text = json.dumps(recipes.Recipe.model_json_schema())
    schema = json.loads(text)
    assert schema["additionalProperties"] is False
    for name in [
        *RULES,
        *ATTACKS,
        *WRAPPERS,
        "cnn",
        "mlp",
        "numpy-mlp",
        "iid",
        "dirichlet",
        "label",
        "owner",
        "hostile_fraction",
        "max_norm",
    ]:
        assert f'"{name}"' in text
    assert set(schema["required"]) == {"title", "seed", "data", "model", "train", "gate", "defence"}
    for table, keys in {
        "GateSpec": {"max_norm", "max_examples"},
        "DefenceSpec": {"f", "rule"},
        "ThresholdSpec": {"accuracy_loss", "attack_success"},
    }.items():
        assert set(schema["$defs"][table]["required"]) == keys


def test_every_refusal_is_one_line_with_its_code(value):
    for path, wrong in WRONG:
        with pytest.raises(RingfortError, match=r"\ARF10[14] [^\n]+\Z"):
            recipes.parse(put(value, path, wrong))


def test_a_date_is_refused_and_not_read_as_text():
    with pytest.raises(InvalidValue, match="holds no date"):
        recipes.parse({"title": datetime.date(2026, 1, 1)})


@pytest.mark.parametrize(
    "written",
    [
        "arc | nnm | trimmed-mean",
        ["arc", "nnm", "trimmed-mean"],
        {"name": "chain", "stages": ["arc", {"name": "nnm"}], "rule": "trimmed-mean"},
    ],
)
def test_a_chain_is_written_as_it_runs_and_every_part_gets_f(value, written):
    read = recipes.parse(put(value, "defence.rule", written))
    assert build.defence(read).label == "ARC(f=4) | NNM(f=4) | TrimmedMean(f=4)"
    assert recipes.parse(read.resolved()).digest() == read.digest()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("arc | nmn | median", "did you mean 'nnm'"),
        ("arc | nnm", "unknown name"),
        ([{"name": "clip", "radius": 1.0, "radios": 2}, "median"], "did you mean 'radius'"),
        (["median"], "at least 1 item"),
        ("clip | median", "missing"),
    ],
)
def test_a_wrong_chain_says_which_part_is_wrong(value, written, message):
    with pytest.raises(RingfortError, match=message):
        recipes.parse(put(value, "defence.rule", written))


DOOR = {"name": "pixel-backdoor", "target": 0, "fraction": 0.5}


def attacks_of(value, *attacks):
    return [build.attack(spec) for spec in recipes.parse(put(value, "drill.attacks", list(attacks))).drill.attacks]


def test_an_attack_may_wear_others_from_the_outside_in(value):
    door = PixelBackdoor(target=0, fraction=0.5)
    assert attacks_of(
        value,
        DOOR,
        "projected | zero",
        ["projected", DOOR],
        [{"name": "chained", "start": 3, "stop": 5}, {"name": "model-replacement", "gamma": 5}, DOOR],
    ) == [
        door,
        Projected(Zero()),
        Projected(door),
        Chained(ModelReplacement(door, gamma=5), start=3, stop=5),
    ]


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (["sleper", DOOR], "did you mean 'sleeper'"),
        (["sleeper", DOOR], "wakes' is missing"),
        ([DOOR, "sleeper"], "unknown name"),
        ([{"name": "sleeper", "wakes": 3, "inner": "zero"}, DOOR], "unknown key"),
        ([{"name": "sleeper", "wakes": 3, "wake": 3}, DOOR], "unknown key"),
        ([DOOR], "at least 1 item"),
        ([], "attacks"),
    ],
)
def test_what_an_attack_cannot_wear_is_refused(value, attack, words):
    with pytest.raises(RingfortError, match=words):
        attacks_of(value, attack)


def test_a_worn_attack_survives_show_and_parse(value):
    read = recipes.parse(put(value, "drill.attacks", [[{"name": "ramp", "rounds": 9}, DOOR]]))
    again = recipes.parse(tomllib.loads(recipes.to_toml(read.resolved())))
    assert again == read
    assert again.digest() == read.digest()


@pytest.mark.parametrize("path", sorted(FASHION.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_that_we_ship_is_read(path):
    read = recipes.read(path)
    for spec in read.drill.attacks if read.drill else ():
        build.attack(spec)
