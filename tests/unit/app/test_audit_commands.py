"""`ringfort audit`: end to end on digits, faults planted in the mechanism itself, and what a recipe's claim becomes.

Canaries refute a correct mechanism in at most 3 audits of 100. Where a test says that a mechanism is not refuted, its
noise comes from a fixed name and the auditor's coins from a fixed seed, so it passes always or never.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ringfort import data
from ringfort.app import build, privacy_scenario
from ringfort.app import recipe as recipes
from ringfort.app.privacy_scenario import SampledProtection, brightness, local_release, plan
from ringfort.audit.canary import Claim, Extra, NoisePlace, Verdict, audit_claim, check_design
from ringfort.audit.inference import View
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible
from ringfort.core.randomness import Seeds
from ringfort.privacy import CentralNoise, FixedClip, LocalNoise, Neighbouring
from ringfort.privacy.noise import noisy_mean
from ringfort.testing import DeterministicRandom

RECIPE = """
title = "Digits <small>"
seed = 3
data = { name = "digits", split = { by = "iid", clients = 40 } }
model = { name = "numpy-mlp", hidden = [8] }
gate = { max_norm = 1e4, max_examples = 10000 }
defence = { f = 0, rule = "mean" }
train = { rounds = 2, steps = 4, batch = 16, learning_rate = 0.2 }
"""
CENTRAL = """
[privacy]
where = "central"
neighbouring = "add-or-remove-one"
clip_norm = 0.5
noise_multiplier = 1.5
epsilon = 20.0
delta = 1e-3
"""
LOCAL = CENTRAL.replace("central", "local").replace("add-or-remove-one", "zero-out-one")
DISTRIBUTED = (
    CENTRAL.replace("central", "distributed").replace("add-or-remove-one", "zero-out-one")
    + """alive = 30
colluding = 4

[seal]
name = "masked"
clip = 0.5
bits = 12
corrupt_fraction = 0.1
dropout_fraction = 0.1
min_cohort = 30
"""
)
EXAMPLE = CENTRAL.replace("central", "example") + "examples = 90\n"
RECIPES = Path(__file__).parents[3] / "recipes"


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "small.toml"
        path.write_text(text)
        return path

    return written


@pytest.fixture
def planned(write):
    def made(text, *overrides, canaries=500):
        read = recipes.read(write(text), overrides)
        scenario = build.scenario(read, data.load(read.data.name))
        return plan(read, scenario, build.defence(read).rule.name, canaries)

    return made


@pytest.fixture
def known_noise(monkeypatch):
    """Central noise from a fixed name instead of the operating system."""
    release, random = CentralNoise.release, DeterministicRandom("audit")
    monkeypatch.setattr(CentralNoise, "release", lambda self, *given: release(self, *given, random))


# --- the command


def test_a_correct_mechanism_is_not_refuted_and_its_numbers_are_printed_and_written(ringfort, write, known_noise):
    result = ringfort("audit", "privacy", write(RECIPE + CENTRAL), "--out", "here")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("CONSISTENT\n")
    assert result.stderr.splitlines()[0].startswith("auditing the claim")
    report = json.loads(Path("here/report.json").read_text())
    assert report["schema"] == "ringfort-privacy/1"
    assert report["claim"]["verdict"] == "consistent"
    assert report["manifest"]["recipe"]["privacy"]["noise_multiplier"] == 1.5
    page = Path("here/report.html").read_text()
    for text in (f"{report['claim'][key]:.2f}" for key in ("claimed_epsilon", "rigorous_epsilon")):
        assert text in page
        assert text in result.stdout
    assert "Digits &lt;small&gt;" in page
    assert "Central noise protects nobody from the server" in " ".join(result.stdout.split())
    ceilings = {(one["view"], one["attack"]): one["ceiling"] for one in report["membership"]}
    assert [view for (view, _), ceiling in ceilings.items() if ceiling] == ["final model"]
    assert {one["protection"] for one in report["reconstruction"]} == {"none", "clip 0.5, noise 1.5"}
    assert not any("No property was named" in said for said in report["not_covered"])


def test_a_third_of_the_noise_is_refuted_and_exits_with_3(ringfort, write, monkeypatch):
    monkeypatch.setattr(CentralNoise, "_update_noise", property(lambda self: self.noise_multiplier / 3))
    result = ringfort("audit", "privacy", write(RECIPE + CENTRAL), "--json", "--quiet", "--canaries", "60")
    assert result.exit_code == 3
    claim = json.loads(result.stdout)["claim"]
    assert claim["verdict"] == "refuted"
    assert claim["canaries"] == 60
    assert "noise" in {test["name"] for test in claim["tests"] if test["rejected"]}
    assert result.stderr == "the claim is refuted\n"
    assert json.loads(Path("runs/small-privacy/report.json").read_text())["claim"] == claim


def test_a_claim_for_single_examples_is_audited_in_every_view(planned):
    made = planned(EXAMPLE.join([RECIPE, ""]), canaries=60)
    claim = made.readers.claim
    # 2 rounds of 4 steps, each example with chance 16 / 90
    assert (claim.rounds, claim.sampling_rate, claim.noise_multiplier) == (8, 16 / 90, 1.5)
    assert made.readers.covered == frozenset(View)
    assert made.readers.design.place is NoisePlace.EXAMPLE
    assert made.readers.design.population == 90
    assert not check_design(made.readers.design)
    assert (made.single, made.outside) == (None, None)
    assert any("one example of one client" in said for said in made.notes)


def test_half_the_noise_in_the_steps_of_a_client_is_refuted_and_exits_with_3(ringfort, write, monkeypatch):
    monkeypatch.setattr("ringfort.privacy.example.noisy_mean", _half_the_noise)
    result = ringfort("audit", "privacy", write(RECIPE + EXAMPLE), "--json", "--quiet", "--canaries", "60")
    assert result.exit_code == 3, result.output
    report = json.loads(result.stdout)
    assert report["claim"]["verdict"] == "refuted"
    assert "noise" in {test["name"] for test in report["claim"]["tests"] if test["rejected"]}
    assert {one["protection"] for one in report["reconstruction"]} == {"none", "clip 0.5 per example, noise 1.5"}
    assert all(one["ceiling"] for one in report["membership"])


def _half_the_noise(rows, clip, noise_multiplier, divisor, random):
    return noisy_mean(rows, clip, noise_multiplier / 2, divisor, random)


def test_a_recipe_without_privacy_claims_nothing_and_shadows_run_when_asked(ringfort, write, monkeypatch):
    monkeypatch.setattr(privacy_scenario, "_SHADOWS", 3)
    result = ringfort("audit", "privacy", write(RECIPE), "--json", "--quiet", "--deep")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report["claim"]["verdict"] == "no claim"
    assert [one["attack"] for one in report["membership"]][-2:] == ["LiRA", "RMIA"]
    assert not any("LiRA" in said for said in report["not_covered"])
    assert all(one["ceiling"] is None for one in report["membership"])


def test_what_canaries_cannot_test_is_refused_before_anything_is_written(ringfort, write):
    recipe = write(RECIPE + CENTRAL.replace("add-or-remove-one", "replace-one"))
    result = ringfort("audit", "privacy", recipe)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: RF103 canaries test claims of add-or-remove-one")
    assert not Path("runs").exists()


def test_lint_says_what_a_project_gives_and_exits_with_3(ringfort, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "client.py").write_text("mod = LocalDpMod(1.0, 1e-4, 10.0, 1e-5)\n")
    result = ringfort("audit", "lint", tmp_path / "app")
    assert result.exit_code == 3
    assert result.stdout.startswith("HIGH  LocalDpMod: clipping_norm 1")
    (finding,) = json.loads(ringfort("audit", "lint", tmp_path / "app", "--json").stdout)
    assert finding["where"] == "client.py:1"


def test_lint_of_a_project_without_privacy_is_information(ringfort, tmp_path):
    (tmp_path / "app").mkdir()
    result = ringfort("audit", "lint", tmp_path / "app")
    assert result.exit_code == 0
    assert result.stdout.startswith("INFO")
    assert ringfort("audit", "lint", tmp_path / "nowhere").exit_code == 2


# --- from a recipe to a scenario


def test_each_view_is_covered_only_where_the_mechanism_carries_out_the_claim(planned):
    assert planned(RECIPE + CENTRAL).readers.covered == {View.FINAL_MODEL}
    assert planned(RECIPE + DISTRIBUTED).readers.covered == {View.TOTAL, View.FINAL_MODEL}
    assert planned(RECIPE + LOCAL).readers.covered == set(View)
    assert planned(RECIPE).readers.covered == frozenset()


def test_the_tested_sum_carries_the_claimed_noise_and_single_updates_the_real_share(planned):
    central, distributed = planned(RECIPE + CENTRAL), planned(RECIPE + DISTRIBUTED)
    for made in (central, distributed):
        together = made.readers.protection.noise_multiplier * len(made.readers.clients) ** 0.5
        assert together == pytest.approx(made.readers.claim.noise_multiplier)
    assert central.single.protection is None
    assert distributed.single.protection.noise_multiplier == pytest.approx(1.5 / 26**0.5)
    assert planned(RECIPE + LOCAL).single is None


def test_nobody_is_both_a_member_and_not(planned):
    made = planned(RECIPE).readers
    rows = [row.tobytes() for client in made.clients for row in client.inputs]
    assert len(made.clients) == 10
    assert max(map(len, made.clients)) <= 100
    assert len(made.others) >= 1_000
    assert not set(rows) & {row.tobytes() for row in made.others.inputs}


def test_clients_that_hold_everything_leave_nobody_to_compare_with(planned):
    with pytest.raises(Incompatible, match="nobody is left"):
        planned(RECIPE.replace("digits", "breast-cancer").replace("clients = 40", "clients = 10"))


def test_the_design_is_the_recipes(planned):
    poisson = planned(RECIPE + CENTRAL, "train.rate=0.5").readers
    assert poisson.claim == Claim(1.5, 0.5, 0.5, 2, 1e-3)
    assert poisson.protection.rate == 0.5
    assert check_design(poisson.design) == ()
    distributed = planned(RECIPE + DISTRIBUTED).readers.design
    assert (distributed.place, distributed.sealed) == (NoisePlace.DISTRIBUTED, True)
    assert check_design(distributed) == ()
    assert [one.check for one in check_design(replace(distributed, sealed=False))] == [
        "distributed noise without a seal"
    ]


def test_local_noise_has_no_finding_and_would_have_one_if_example_counts_left_beside_it(planned):
    design = planned(RECIPE + LOCAL).readers.design
    assert check_design(design) == ()
    (finding,) = check_design(replace(design, extras=frozenset({Extra.COUNTS})))
    assert finding.check == "other releases"


def test_a_budget_that_ends_before_the_last_round_is_said(planned):
    assert not any("is spent before" in note for note in planned(RECIPE + CENTRAL).notes)
    assert any("is spent before round 2" in note for note in planned(RECIPE + CENTRAL, "privacy.epsilon=1").notes)


def test_the_audit_leaves_no_ledger(planned, tmp_path):
    planned(RECIPE + DISTRIBUTED)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["small.toml"]


def test_the_recipes_for_privacy_promise_something_that_is_audited():
    digits = recipes.read(RECIPES / "digits-privacy.toml")
    scenario = build.scenario(digits, data.load("digits"))
    made = plan(digits, scenario, build.defence(digits).rule.name, 500)
    assert made.readers.claim.epsilon() <= digits.privacy.epsilon
    assert not any("is spent" in note for note in made.notes)
    fashion = recipes.read(RECIPES / "fashion-privacy.toml")
    assert fashion.seal.name == "masked"
    assert fashion.seal.clip == fashion.privacy.clip_norm
    assert fashion.seal.min_cohort >= fashion.privacy.alive


# --- parts


def test_sampled_protection_releases_what_central_noise_would():
    """Sent a thousand times: half the time, doubled, under noise of the stated size. A fixed seed."""
    rng, delta = np.random.default_rng(5), np.full(400, 0.05, dtype=np.float32)
    seen = np.stack([SampledProtection(1.0, 0.1, 0.5)(delta, rng) for _ in range(1_000)])
    came = seen.mean(axis=1) > 0.05
    assert came.mean() == pytest.approx(0.5, abs=0.05)
    assert seen[came].mean() == pytest.approx(0.1, abs=0.002)
    assert seen[~came].mean() == pytest.approx(0, abs=0.002)
    assert seen[~came].std() == pytest.approx(0.2, abs=0.005)


class _Audited:
    """A LocalNoise whose messages are predictable, with a fault or none."""

    claim = Claim(2.0, 1.0, 1.0, 3, 1e-5)

    def __init__(self, noise=2.0, clip=1.0, name="local"):
        self.right = LocalNoise(FixedClip(1.0), 2.0, Neighbouring.ZERO_OUT)
        self.wrong = LocalNoise(FixedClip(clip), noise / clip, Neighbouring.ZERO_OUT)
        self.event, self.random = self.wrong.event, DeterministicRandom(name)

    def protect(self, delta, receipt, random):
        return self.wrong.protect(delta, receipt, self.random)

    def verdict(self):
        return audit_claim(local_release(self), self.claim, np.random.default_rng(1)).verdict


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ({}, Verdict.CONSISTENT),
        ({"noise": 2.0 / 3}, Verdict.REFUTED),
        ({"clip": 5.0}, Verdict.REFUTED),
    ],
)
def test_local_noise_is_audited_message_by_message(fault, verdict):
    assert _Audited(**fault).verdict() is verdict


def test_local_noise_that_repeats_is_refuted(monkeypatch):
    audited = _Audited()
    protect = audited.protect

    def repeating(delta, receipt, random):
        audited.random = DeterministicRandom("again")
        return protect(delta, receipt, random)

    monkeypatch.setattr(audited, "protect", repeating)
    assert audited.verdict() is Verdict.REFUTED


def test_the_property_does_not_show_in_label_counts_of_its_class():
    rng = np.random.default_rng(2)
    pool = Dataset("toy", rng.random((200, 3), dtype=np.float32), rng.integers(4, size=200), tuple("abcd"))
    wanted = brightness(pool, pool.take(np.arange(150)))
    label = next(i for i, name in enumerate("abcd") if repr(name) in wanted.name)
    bright, dark = (wanted.draw(pool, has, Seeds(1).child("x")) for has in (True, False))
    counts = [int((one.labels == label).sum()) for one in (bright, dark)]
    assert counts[0] == counts[1] == 10
    assert len(bright) == len(dark) == 100
    assert bright.inputs[bright.labels == label].mean(1).min() >= dark.inputs[dark.labels == label].mean(1).max()


def test_a_pool_with_one_example_of_each_class_has_no_property():
    pool = Dataset("toy", np.zeros((2, 3), dtype=np.float32), np.arange(2), ("a", "b"))
    assert brightness(pool) is None


def test_the_views_that_the_claim_covers_are_drawn_under_its_ceiling(ringfort, write):
    """Whatever the verdict: this noise is the operating system's, and 3 % of audits refute a correct mechanism."""
    assert ringfort("audit", "privacy", write(RECIPE + DISTRIBUTED), "-q", "--out", "d").exit_code in (0, 3)
    assert Path("d/report.html").read_text().count("claim permits</text>") == 2
