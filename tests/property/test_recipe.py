"""Whatever a file or an override says, parsing gives a recipe or a RingfortError, and what it gives survives TOML."""

import copy
import tomllib
from datetime import date, time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfort.app import recipe as recipes
from ringfort.core.errors import RingfortError

quick = settings(deadline=None, max_examples=150, derandomize=True)
FASHION = Path(__file__).parents[2] / "recipes" / "fashion.toml"
GOOD = tomllib.loads(FASHION.read_text())


def paths(value, prefix=()):
    yield prefix
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*prefix, key))


PATHS = [path for path in paths(GOOD) if path]
KEYS = st.sampled_from(sorted({str(key) for path in PATHS for key in path} | {"cohort", "m"})) | st.text(max_size=8)
WORDS = st.sampled_from(["iid", "label", "owner", "mlp", "cnn", "median", "krum", "sign-flip", "label-flip", "digits"])
LEAVES = (
    st.booleans()
    | st.integers()
    | st.integers(10**30, 10**40)
    | st.floats()
    | st.text(max_size=20)
    | WORDS
    | st.just(date(2020, 1, 1))
    | st.just(time(1, 2))
    | st.none()
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def outcome(make):
    try:
        return make()
    except RingfortError as raised:
        error = raised
    assert "\n" not in str(error)
    assert len(str(error)) < 2_000
    return None


@settings(quick, max_examples=60)
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_only_ringforts_errors_escape_parsing_anything(value):
    outcome(lambda: recipes.parse(value))


@quick
@given(st.lists(st.tuples(st.sampled_from(PATHS), VALUES | st.just(...)), min_size=1, max_size=3))
def test_only_ringforts_errors_escape_parsing_a_recipe_with_holes_and_strangers(changes):
    value = copy.deepcopy(GOOD)
    for path, new in changes:
        here = value
        try:
            for key in path[:-1]:
                here = here[key]
            if new is ...:
                del here[path[-1]]
            else:
                here[path[-1]] = new
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    read = outcome(lambda: recipes.parse(value))
    if read is not None:
        again = recipes.parse(tomllib.loads(recipes.to_toml(read.resolved())))
        assert again.digest() == read.digest()
        assert len(read.federation_digest()) == 64


@quick
@given(st.text(max_size=30) | st.tuples(KEYS, KEYS, st.text(max_size=20)).map(lambda t: f"{t[0]}.{t[1]}={t[2]}"))
def test_only_ringforts_errors_escape_overrides(text):
    outcome(lambda: recipes.read(FASHION, [text]))


@quick
@given(st.text(min_size=1, max_size=200))
def test_every_title_survives_toml(title):
    try:
        title.encode()
    except UnicodeEncodeError:
        return
    read = recipes.parse({**GOOD, "title": title})
    assert tomllib.loads(recipes.to_toml(read.resolved()))["title"] == title


@quick
@given(st.floats(min_value=1e-300, max_value=1e300), st.integers(0, 2**70))
def test_every_number_survives_toml(number, whole):
    value = copy.deepcopy(GOOD)
    value["gate"]["max_norm"], value["seed"] = number, whole
    read = recipes.parse(value)
    assert recipes.parse(tomllib.loads(recipes.to_toml(read.resolved()))).digest() == read.digest()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_a_stranger_in_any_place_is_refused(path):
    value = copy.deepcopy(GOOD)
    here = value
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = {"no": "such thing"}
    with pytest.raises(RingfortError):
        recipes.parse(value)
