import pytest

from ringfort.aggregate import MIXINGS, RULES
from ringfort.core.errors import DataUnavailable, InvalidValue, UnknownName
from ringfort.detect import recommended
from ringfort.engine.walls import read_walls, walls
from ringfort.rounds import Gate

GATE = {"max_norm": 5.0, "max_examples": 100}
OWN_PAST = {"name": "own-past", "score": ["norm", "cosine"], "drift": 2.0, "span": 16}


def made(rule="median", f=1, **tables):
    return walls({"gate": GATE, "defence": {"f": f, "rule": rule}, **tables})


@pytest.mark.parametrize(
    ("rule", "label"),
    [
        ("median", "Median"),
        ("trimmed-mean", "TrimmedMean(f=1)"),
        ("nnm | trimmed-mean", "NNM(f=1) | TrimmedMean(f=1)"),
        (["arc", "nnm", "median"], "ARC(f=1) | NNM(f=1) | Median"),
        ({"name": "multi-krum", "m": 3}, "MultiKrum(f=1, m=3)"),
        ([{"name": "clip", "radius": 2.5}, {"name": "median"}], "Clip(radius=2.5) | Median"),
    ],
)
def test_rules_are_said_as_in_recipes(rule, label):
    one = made(rule)
    assert (one.defence.label, one.f, one.gate) == (label, 1, Gate(5.0, 100))


def test_every_rule_and_mixing_that_needs_no_number_goes_by_its_name():
    said = []
    for name in (*RULES, *(f"{mixing} | median" for mixing in MIXINGS)):
        try:
            assert made(name).defence.rule.name == name
        except InvalidValue as error:
            said.append(str(error))
    assert all("must say" in line for line in said)
    assert len(said) < 8


def test_a_watch_is_the_preset_or_its_detectors():
    assert made(watch={"alpha": 0.05, "preset": "recommended"}).defence.watch == recommended(0.05)
    one = made(watch={"alpha": 0.05, "detectors": [OWN_PAST], "reputation": "together-past", "term": 3}).defence.watch
    assert (one.policy.term, one.policy.alpha, one.detectors[0].span) == (3, 0.05, 16)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"gates": {}}, UnknownName, "'gate'"),
        ({"privacy": {}}, UnknownName, "privacy"),
        ({"gate": {"max_norm": 1.0}}, InvalidValue, "max_examples"),
        ({"gate": {**GATE, "max_nrom": 1.0}}, UnknownName, "max_norm"),
        ({"gate": {**GATE, "max_norm": "9"}}, InvalidValue, "max_norm"),
        ({"gate": 5}, InvalidValue, "table"),
        ({"defence": {"rule": "median"}}, InvalidValue, "f"),
        ({"defence": {"f": 1, "rule": []}}, InvalidValue, "empty"),
        ({"defence": {"f": 1, "rule": 7}}, InvalidValue, "name"),
        ({"defence": {"f": 1, "rule": {"m": 3}}}, InvalidValue, "name"),
        ({"defence": {"f": 1, "rule": {"name": "multi-krum", "k": 3}}}, UnknownName, "multi-krum"),
        ({"defence": {"f": 1, "rule": {"name": "multi-krum", "f": 3}}}, UnknownName, "'f'"),
        ({"defence": {"f": 1, "rule": {"name": "multi-krum", "m": "3"}}}, InvalidValue, "m"),
        ({"defence": {"f": 1, "rule": {"name": "centered-clipping", "radius": []}}}, InvalidValue, "radius"),
        ({"defence": {"f": 1, "rule": "clip | median"}}, InvalidValue, "radius"),
        ({"watch": {"preset": "recommended"}}, InvalidValue, "alpha"),
        ({"watch": {"alpha": 0.1}}, InvalidValue, "preset"),
        ({"watch": {"alpha": 0.1, "preset": "strict"}}, UnknownName, "recommended"),
        ({"watch": {"alpha": 0.1, "preset": "recommended", "detectors": []}}, InvalidValue, "one or the other"),
        ({"watch": {"alpha": 0.1, "detectors": [{"name": "pilots"}], "reputation": "x"}}, UnknownName, "pilots"),
        ({"watch": {"alpha": 0.1, "detectors": [{"name": "own-past", "score": "norm"}], "reputation": "x"}},
         InvalidValue, "drift"),
        ({"watch": {"alpha": 0.1, "detectors": [{**OWN_PAST, "score": "nrom"}], "reputation": "x"}},
         UnknownName, "norm"),
        ({"watch": {"alpha": 0.1, "detectors": [{**OWN_PAST, "score": 3}], "reputation": "x"}}, InvalidValue, "score"),
        ({"watch": {"alpha": "high", "preset": "recommended"}}, InvalidValue, "alpha"),
    ],
)  # fmt: skip
def test_what_is_not_known_or_missing_is_an_error(given, error, said):
    with pytest.raises(error, match=said):
        walls({"gate": GATE, "defence": {"f": 1, "rule": "median"}, **given})


def test_a_file_is_read_strictly(tmp_path):
    path = tmp_path / "walls.toml"
    path.write_text('[gate]\nmax_norm = 5.0\nmax_examples = 100\n[defence]\nf = 1\nrule = "median"\n')
    assert read_walls(path) == made()
    path.write_text("[gate\n")
    with pytest.raises(InvalidValue, match="TOML"):
        read_walls(path)
    with pytest.raises(DataUnavailable):
        read_walls(tmp_path / "none.toml")
