"""What the README says is what happens."""

import contextlib
import io
import re
import tomllib
from pathlib import Path

import pytest

from ringfort.core.errors import known_codes

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_example_prints_what_the_readme_shows():
    pytest.importorskip("sklearn")
    code, shown = re.search(r"```python\n(.*?)```\n```\n(.*?)```", README, re.S).groups()
    assert len(code.splitlines()) <= 15
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    wanted, got = shown.splitlines(), printed.getvalue().splitlines()
    assert [re.sub(r"[\d.]+}$", "", line) for line in got] == [re.sub(r"[\d.]+}$", "", line) for line in wanted]
    for one, two in zip(got, wanted, strict=True):
        assert float(re.search(r"([\d.]+)}$", one)[1]) == pytest.approx(
            float(re.search(r"([\d.]+)}$", two)[1]), abs=0.03
        )


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_commands_in_the_pages_exist():
    known = {"drill", "train", "data", "recipe", "explain", "seals", "privacy", "bench", "audit", "identity"}
    known |= {"up", "doctor", "site", "log", "watch", "client", "export"}
    for page in PAGES:
        for command in re.findall(r"^ringfort (\w+)|`ringfort (\w+)", page.read_text(encoding="utf-8"), re.M):
            assert (command[0] or command[1]) in known, f"{page.name} names `ringfort {command}`"


def test_error_codes_in_the_pages_exist():
    for page in PAGES:
        for code in re.findall(r"RF\d{3}", page.read_text(encoding="utf-8")):
            assert code in known_codes(), f"{page.name} names {code}"


def test_make_targets_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_constraints_pin_what_the_project_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    }
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["torch"], *extras["data"], *extras["dev"]]
    names = {re.match(r"[\w-]+", need)[0].lower().replace("_", "-") for need in needed}
    assert names - {"ringfort"} <= pinned
