import ast
from pathlib import Path

import pytest

import ringfort
from ringfort.core import errors
from ringfort.core.errors import RingfortError, UnknownName, explain, known_codes

SOURCES = sorted(Path(ringfort.__file__).parent.rglob("*.py"))


def tree(root=RingfortError):
    return [root, *(kind for child in root.__subclasses__() for kind in tree(child))]


ours = pytest.mark.parametrize("kind", [k for k in tree() if k.__module__ == errors.__name__], ids=lambda k: k.__name__)


def test_every_error_has_a_code_of_its_own():
    codes = [kind.__dict__.get("code") for kind in tree()]
    assert len(set(codes)) == len(codes)
    assert sorted(codes) == list(known_codes())


@ours
def test_an_error_says_what_happened_what_to_do_and_whether_it_can_be_an_attack(kind):
    page = explain(kind.code)
    assert (page.code, page.name) == (kind.code, kind.__name__)
    for sentence in (page.what, page.todo, page.attack):
        assert sentence.strip().endswith(".")
    assert all(part in str(page) for part in (page.what, page.todo, page.attack, kind.code))


@ours
def test_an_error_explains_itself_and_not_only_its_family(kind):
    assert "what" in kind.__dict__
    assert "todo" in kind.__dict__


@ours
def test_a_code_lies_in_its_familys_hundred_and_ends_the_program_with_its_exit_code(kind):
    parent = kind.__mro__[1]
    assert kind.code[2] == getattr(parent, "code", "RF0")[2] or parent is RingfortError
    assert kind.exit_code == (2 if issubclass(kind, errors.ConfigError) else 3)


@ours
def test_an_error_is_exported_and_documented(kind):
    assert kind.__name__ in errors.__all__
    assert kind.__doc__


def test_every_error_without_children_is_raised_somewhere():
    built = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func.value if isinstance(node.func, ast.Attribute) else node.func
                built |= {called.id} if isinstance(called, ast.Name) else set()
    leaves = {kind.__name__ for kind in tree() if not kind.__subclasses__() and kind.__module__ == errors.__name__}
    assert leaves <= built


@pytest.mark.parametrize("code", ["RF301", "rf301", " RF301\n"])
def test_a_code_is_found_however_it_is_typed(code):
    assert explain(code).name == "ToleranceExceeded"


def test_an_unknown_code_is_answered_with_the_nearest_one():
    with pytest.raises(UnknownName, match="RF301"):
        explain("RF3001")


def test_an_unknown_name_is_cut_and_its_neighbour_suggested():
    error = UnknownName.of("rule", "trimed-mean" + "x" * 0, ["mean", "trimmed-mean"])
    assert str(error) == "RF101 unknown rule 'trimed-mean': did you mean 'trimmed-mean'?"
    assert len(str(UnknownName.of("rule", "x" * 9999, ["mean"]))) < 200
    assert "known: mean" in str(UnknownName.of("rule", "zzz", ["mean"]))


def test_an_error_in_text_is_one_line_that_starts_with_its_code():
    assert str(errors.ToleranceExceeded.of("krum", 2, 5, 7)) == (
        "RF301 krum with f=2 needs at least 7 clients, got 5: lower f or enlarge the cohort"
    )


def test_the_tree_drawn_in_the_modules_docstring_names_every_error():
    drawn = errors.__doc__
    for kind in tree():
        if kind.__module__ == errors.__name__:
            assert kind.__name__ in drawn
