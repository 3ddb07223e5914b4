"""What the type checker must accept and must refuse: snippets/ under mypy --strict, in one run."""

import re
from pathlib import Path

import pytest

SNIPPETS = Path(__file__).with_name("snippets")
EXPECTED = re.compile(r"# error: ([a-z-]+)$")


@pytest.fixture(scope="module")
def found(request):
    """{(file name, line): error code} as mypy reports it."""
    mypy = pytest.importorskip("mypy.api")
    cache = request.config.cache.mkdir("mypy-snippets")
    printed, error, _ = mypy.run(
        [
            "--strict",
            "--no-error-summary",
            "--hide-error-context",
            "--no-pretty",
            "--config-file=",
            f"--cache-dir={cache}",
            *map(str, sorted(SNIPPETS.glob("*.py"))),
        ]
    )
    assert error == ""
    out = {}
    for line in printed.splitlines():
        if match := re.fullmatch(r"(.+?):(\d+): error: .*\[([a-z-]+)\]", line):
            out[Path(match[1]).name, int(match[2])] = match[3]
    return out


def expected(path):
    return {
        (path.name, number): match[1]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := EXPECTED.search(line))
    }


@pytest.mark.parametrize("path", sorted(SNIPPETS.glob("*.py")), ids=lambda path: path.stem)
def test_mypy_reports_exactly_the_errors_that_the_snippet_announces(path, found):
    assert {key: code for key, code in found.items() if key[0] == path.name} == expected(path)


def test_there_are_snippets_that_pass_and_snippets_that_fail():
    counts = [len(expected(path)) for path in SNIPPETS.glob("*.py")]
    assert counts.count(0) >= 1
    assert sum(counts) >= 10


def test_mypy_looked_at_ringfort_and_not_at_any(found):
    assert found
    assert not [
        key for key, code in found.items() if code in ("import-not-found", "import-untyped", "no-any-unimported")
    ]
