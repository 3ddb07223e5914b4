"""docs/abuse-cases.md names tests that exist, and has a row for each of the forty cases."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
TABLE = (ROOT / "docs" / "abuse-cases.md").read_text()


@cache
def names_in(path):
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_named_test_exists():
    named = re.findall(r"`((?:abuse|unit|scenario)/[a-z_/]+\.py)::(test_\w+)`", TABLE)
    assert len(named) > 50
    for file, test in named:
        path = ROOT / "tests" / (f"scenario/{file}" if file.startswith("abuse") else file)
        assert test in names_in(path), f"{file}::{test}"


def test_every_case_has_a_row_with_a_test_or_says_whose_it_is():
    rows = {
        int(row[0]): row[-1]
        for row in (re.split(r" *\| *", line)[1:-1] for line in TABLE.splitlines())
        if row and row[0].isdigit()
    }
    assert sorted(rows) == list(range(1, 41))
    assert all("::test_" in last or last.startswith("see ") for last in rows.values())


def test_every_numbered_test_is_in_the_table():
    for name in names_in(Path(__file__).with_name("test_abuse.py")):
        if re.match(r"test_\d\d_", name):
            assert re.search(rf"^\| {int(name[5:7])} \|", TABLE, re.MULTILINE)
