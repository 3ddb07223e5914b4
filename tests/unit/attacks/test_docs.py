from pathlib import Path

import pytest

from ringfort.attacks import ATTACKS, WRAPPERS, Knowledge

PAGE = (Path(__file__).parents[3] / "docs" / "attacks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*ATTACKS, *WRAPPERS])
def test_every_registered_attack_has_a_row(name):
    assert any(line.startswith("|") and f"`{name}`" in line.split("|")[1] for line in PAGE.splitlines())


def test_every_grant_is_explained():
    for word in (~Knowledge(0)).words():
        assert f"\n| {word} |" in PAGE
