"""ringfort privacy curve: every budget with its own least noise, several seeds, a page and its JSON."""

import json
from pathlib import Path

import pytest

from ringfort.privacy import Gaussian, Neighbouring, Poisson, spend

MEAN = ("--set", "defence.rule=mean", "--set", "defence.f=0")
CENTRAL = (
    'privacy={where="central",epsilon=50.0,delta=0.01,noise_multiplier=1.0,clip_norm=1.0,'
    'neighbouring="add-or-remove-one"}'
)
EXAMPLE = (
    'privacy={where="example",epsilon=8.0,delta=0.01,noise_multiplier=1.0,clip_norm=1.0,'
    'neighbouring="add-or-remove-one",examples=40}'
)


def least(noise, sampling, releases, epsilon):
    """It keeps the budget, and half a per cent less would not."""
    kept, over = (
        spend([(Gaussian(noise * part, sampling, 0.0), releases)], Neighbouring.ADD_OR_REMOVE, 0.01).epsilon
        for part in (1, 0.995)
    )
    assert kept <= epsilon < over


def test_a_curve_has_the_least_noise_that_keeps_each_budget(ringfort, recipe):
    words = (
        "--set",
        CENTRAL,
        "--set",
        "train.rate=0.8",
        *MEAN,
        "--epsilon",
        "20,0.2",
        "--seeds",
        "1,2",
        "--out",
        "out",
    )
    result = ringfort("privacy", "curve", recipe, *words, "--json")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert value == json.loads(Path("out/report.json").read_text())
    assert (value["schema"], len(value["clean"]), value["seeds"]) == ("ringfort-privacy-curve/1", 2, [1, 2])
    strict, loose = value["points"]
    assert (strict["epsilon"], loose["epsilon"]) == (0.2, 20)
    for point in (strict, loose):
        least(point["noise_multiplier"], Poisson(0.8, 10), 3, point["epsilon"])
        assert [round_ for round_, _ in point["spent"]] == [1, 2, 3]
        assert 0.95 * point["epsilon"] < point["spent"][-1][1] <= point["epsilon"]
        assert len(point["accuracies"]) == 2
    assert sum(loose["accuracies"]) > sum(strict["accuracies"])
    page = Path("out/report.html").read_text()
    assert page.count("<svg") == 2
    assert all(said in page for said in ("epsilon of the whole run", "Epsilon over the rounds", "plan on public data"))


def test_a_curve_for_single_examples_counts_steps(ringfort, recipe):
    words = ("--set", EXAMPLE, "--epsilon", "6", "--seeds", "1", "--out", "out", "-q")
    result = ringfort("privacy", "curve", recipe, *words)
    assert result.exit_code == 0, result.stderr
    (point,) = json.loads(Path("out/report.json").read_text())["points"]
    least(point["noise_multiplier"], Poisson(8 / 40, 40), 15, 6.0)
    assert "points lost" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epsilon", "1"), "no [privacy]"),
        (("--epsilon", "1;2"), "numbers with commas"),
        (("--epsilon", "0", "--set", CENTRAL, *MEAN), "epsilon must be above 0"),
        (("--epsilon", "1", "--seeds", "x", "--set", CENTRAL, *MEAN), "numbers with commas"),
        (("--epsilon", "1", "--set", CENTRAL), "promises nothing"),
    ],
)
def test_what_makes_no_curve_is_refused(ringfort, recipe, words, said):
    result = ringfort("privacy", "curve", recipe, *words, "--out", "out")
    assert (result.exit_code != 0, said in result.stderr) == (True, True), result.stderr
