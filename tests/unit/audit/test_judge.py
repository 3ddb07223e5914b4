"""The table and its sentences, from trials made by hand."""

from dataclasses import replace

import pytest

from ringfort.audit.judge import findings, judge
from ringfort.audit.results import (
    NO_ATTACK,
    AttackCard,
    Interval,
    Outcome,
    Thresholds,
    Trial,
    WallCard,
)

LIMITS = Thresholds(accuracy_loss=0.05, attack_success=0.15)
MEAN = WallCard("mean", "Mean", 0, "s", "x")
MEDIAN = WallCard("median", "Median", 4, "s", "x")
KRUM = WallCard("krum", "Krum(f=2)", 2, "s", "x")
WALLS = (MEAN, MEDIAN, KRUM)


def card(name, title, targeted):
    return AttackCard(name, title, {}, "g", (), (), False, "m" if targeted else "", "s", targeted)


FLIP = card("flip", "Sign flip", targeted=False)
DOOR = card("door", "Backdoor", targeted=True)
ATTACKS = (FLIP, DOOR)


def trial(attack, wall, seed=1, accuracy=0.9, success=None, **more):
    blank = Trial(attack, wall, seed, (), accuracy, success, {}, (), None, 0, 0, 1.0, "m")
    return replace(blank, **more)


def table(changes=(), seeds=(1,), walls=WALLS, attacks=ATTACKS):
    """Sign flip and backdoor break the mean; every other wall holds. `changes`: {(attack, wall, seed): fields}."""
    by = {}
    for seed in seeds:
        for wall in walls:
            by[NO_ATTACK, wall.name, seed] = trial(NO_ATTACK, wall.name, seed, base_rates={"door": 0.02})
            good = wall is not MEAN
            share = 0.1 if good else 0.2
            by["flip", wall.name, seed] = trial("flip", wall.name, seed, 0.89 if good else 0.1, attacker_share=share)
            by["door", wall.name, seed] = trial(
                "door", wall.name, seed, 0.9, 0.03 if good else 0.95, attacker_share=share
            )
    for key, fields in dict(changes).items():
        by[key] = replace(by[key], **fields)
    cells = judge(by.values(), attacks, walls, LIMITS)
    return {(c.attack, c.wall): c for c in cells}, findings(cells, attacks, walls), cells


def test_the_table_has_one_cell_per_attack_and_wall_with_no_attack_first():
    cells, _, order = table()
    assert [(c.attack, c.wall) for c in order] == [
        (attack, wall) for attack in ("none", "flip", "door") for wall in ("mean", "median", "krum")
    ]
    assert [cells["none", wall.name].outcome for wall in WALLS] == [None] * 3
    assert cells["none", "mean"].why == "no attack: the reference"
    assert cells["none", "median"].why == "no attack: what the wall costs"


def test_walls_within_both_limits_hold_and_the_undefended_mean_falls():
    cells, said, _ = table()
    for attack in ("flip", "door"):
        assert cells[attack, "mean"].outcome is Outcome.FALLS
        assert cells[attack, "median"].outcome is Outcome.HOLDS
        assert cells[attack, "krum"].outcome is Outcome.HOLDS
    assert cells["flip", "mean"].why == "80.0 points of accuracy lost, allowed 5.0"
    assert cells["door", "mean"].why.startswith("the attack succeeds in 95.0")
    assert cells["flip", "krum"].why == "within both limits for every seed"
    assert said == (
        "Sign flip breaks the undefended mean: 80.0 points of accuracy lost, allowed 5.0.",
        f"Backdoor breaks the undefended mean: {cells['door', 'mean'].why}.",
        "Median holds against flip and door; without attackers it costs no accuracy.",
        "Krum(f=2) holds against flip and door; without attackers it costs no accuracy.",
    )


def test_numbers_of_a_cell_are_means_and_ranges_over_seeds():
    cells, _, _ = table({("flip", "krum", 2): {"accuracy": 0.87, "attacker_share": 0.3}}, seeds=(1, 2))
    cell = cells["flip", "krum"]
    assert cell.accuracy == Interval(pytest.approx(0.88), 0.87, 0.89)
    assert cell.accuracy_loss == Interval(pytest.approx(0.02), pytest.approx(0.01), pytest.approx(0.03))
    assert cell.attacker_share == pytest.approx(0.2)
    assert (cell.attack_success, cell.base_rate) == (None, None)
    assert cells["door", "krum"].attack_success == Interval(pytest.approx(0.03), 0.03, 0.03)
    assert cells["door", "krum"].base_rate == pytest.approx(0.02)


def test_one_bad_seed_is_enough_to_fall():
    cells, said, _ = table({("flip", "median", 3): {"accuracy": 0.80}}, seeds=(1, 2, 3))
    assert cells["flip", "median"].outcome is Outcome.FALLS
    assert cells["flip", "median"].why == "10.0 points of accuracy lost, allowed 5.0"
    assert cells["flip", "krum"].outcome is Outcome.HOLDS
    assert (
        "Median falls to flip (10.0 points of accuracy lost, allowed 5.0); without attackers it costs no accuracy. "
        "It holds against door." in said
    )


def test_losses_are_against_the_clean_reference_of_the_same_seed():
    changes = {(NO_ATTACK, wall.name, 2): {"accuracy": 0.6} for wall in WALLS} | {
        ("flip", wall.name, 2): {"accuracy": 0.58 if wall is not MEAN else 0.1} for wall in WALLS
    }
    changes[("door", "median", 2)] = changes[("door", "krum", 2)] = {"accuracy": 0.6}
    cells, _, _ = table(changes, seeds=(1, 2))
    assert cells["flip", "median"].outcome is Outcome.HOLDS
    assert cells["flip", "median"].accuracy_loss.high == pytest.approx(0.02)


def test_a_wall_that_loses_too_much_accuracy_under_a_targeted_attack_falls_with_both_reasons():
    cells, _, _ = table({("door", "krum", 1): {"accuracy": 0.7, "attack_success": 0.5}})
    why = cells["door", "krum"].why
    assert cells["door", "krum"].outcome is Outcome.FALLS
    assert "20.0 points" in why
    assert " and the attack succeeds in 50.0" in why


@pytest.mark.parametrize(
    ("loss", "success", "outcome"),
    [
        (0.05, 0.15, Outcome.HOLDS),
        (0.0500001, 0.15, Outcome.FALLS),
        (0.05, 0.1500001, Outcome.FALLS),
        (-0.1, 0, Outcome.HOLDS),
    ],
)
def test_the_limits_themselves_are_allowed(loss, success, outcome):
    clean = {(NO_ATTACK, wall.name, 1): {"accuracy": 1.0} for wall in WALLS}
    cells, _, _ = table({**clean, ("door", "krum", 1): {"accuracy": 1.0 - loss, "attack_success": success}})
    assert cells["door", "krum"].outcome is outcome


def test_an_attack_that_does_not_break_the_mean_tests_nothing():
    cells, said, _ = table({("flip", "mean", 1): {"accuracy": 0.89}})
    assert [cells["flip", wall.name].outcome for wall in WALLS] == [Outcome.UNTESTED] * 3
    assert "did not break the undefended mean" in cells["flip", "krum"].why
    assert cells["door", "krum"].outcome is Outcome.HOLDS
    assert (
        "Sign flip did not break the undefended mean here, so this drill says nothing about walls against it." in said
    )
    assert "Median holds against door; without attackers it costs no accuracy." in said


def test_an_attack_that_spares_the_mean_for_one_seed_leaves_the_walls_untested():
    cells, _, _ = table({("flip", "mean", 2): {"accuracy": 0.89}}, seeds=(1, 2))
    assert cells["flip", "mean"].outcome is Outcome.FALLS
    assert cells["flip", "median"].outcome is Outcome.UNTESTED


def test_a_wall_that_falls_falls_even_where_the_mean_was_spared():
    cells, _, _ = table({("flip", "mean", 1): {"accuracy": 0.89}, ("flip", "krum", 1): {"accuracy": 0.3}})
    assert cells["flip", "krum"].outcome is Outcome.FALLS
    assert cells["flip", "median"].outcome is Outcome.UNTESTED


def test_a_trial_without_a_result_is_an_error_and_never_a_pass():
    cells, said, _ = table({("flip", "krum", 1): {"error": "RF301 too few", "accuracy": 0.99}})
    cell = cells["flip", "krum"]
    assert cell.outcome is Outcome.ERROR
    assert cell.why == "RF301 too few"
    assert (cell.accuracy, cell.accuracy_loss, cell.attacker_share) == (None, None, None)
    assert "flip x krum has no result: RF301 too few." in said
    assert not any("Krum(f=2) holds against flip" in s for s in said)


def test_one_failed_seed_among_good_ones_is_an_error():
    cells, _, _ = table({("flip", "krum", 2): {"error": "RF602 died"}}, seeds=(1, 2, 3))
    assert cells["flip", "krum"].outcome is Outcome.ERROR


def test_without_the_attacked_reference_no_wall_can_hold():
    cells, _, _ = table({("flip", "mean", 1): {"error": "RF602 died"}})
    assert [cells["flip", wall.name].outcome for wall in WALLS] == [Outcome.ERROR] * 3
    assert cells["flip", "mean"].why == "RF602 died"
    assert "nothing to compare with: RF602 died" in cells["flip", "median"].why
    assert cells["door", "median"].outcome is Outcome.HOLDS


def test_without_the_clean_reference_nothing_is_said_about_any_attack():
    cells, said, _ = table({(NO_ATTACK, "mean", 1): {"error": "RF604 nothing"}})
    assert {cells[a.name, w.name].outcome for a in ATTACKS for w in WALLS} == {Outcome.ERROR}
    assert [cells[NO_ATTACK, w.name].outcome for w in WALLS] == [None] * 3
    assert cells[NO_ATTACK, "mean"].why == "RF604 nothing"
    assert "the unattacked reference failed: RF604 nothing" in cells["flip", "krum"].why
    assert all("has no result" in sentence for sentence in said)


def test_a_walls_price_is_what_it_costs_without_attackers():
    _, said, _ = table({(NO_ATTACK, "krum", 1): {"accuracy": 0.873}})
    assert any(
        s.startswith("Krum(f=2)") and s.endswith("without attackers it costs 2.7 points of accuracy.") for s in said
    )


def test_a_failed_clean_trial_of_a_wall_leaves_its_price_out():
    cells, said, _ = table({(NO_ATTACK, "krum", 1): {"error": "RF602 died"}})
    assert cells[NO_ATTACK, "krum"].accuracy is None
    assert "Krum(f=2) holds against flip and door." in said


def test_the_order_of_trials_plays_no_part():
    _, _, cells = table(seeds=(1, 2))
    by = [
        trial(c.attack, c.wall, s, c.accuracy.mean, c.attack_success and c.attack_success.mean)
        for c in cells
        for s in (2, 1)
    ]
    assert judge(by, ATTACKS, WALLS, LIMITS) == judge(by[::-1], ATTACKS, WALLS, LIMITS)


def test_three_attacks_are_listed_with_commas_and_an_and():
    third = card("third", "Third", targeted=False)
    trials = []
    for wall in WALLS:
        trials.append(trial(NO_ATTACK, wall.name))
        trials += [trial(a, wall.name, accuracy=0.9 if wall is not MEAN else 0.1) for a in ("flip", "door", "third")]
    cells = judge(trials, (*ATTACKS, third), WALLS, LIMITS)
    assert "Median holds against flip, door and third; without attackers it costs no accuracy." in findings(
        cells, (*ATTACKS, third), WALLS
    )


def test_an_interval_is_a_mean_with_its_range():
    assert Interval.of([0.5, 0.1, 0.3]) == Interval(pytest.approx(0.3), 0.1, 0.5)


def test_the_worst_client_and_how_long_a_backdoor_lasts_are_averaged_over_seeds():
    changes = {
        ("door", wall.name, seed): {"durability": 3 * seed if wall is MEAN else 0, "worst_client": seed / 10}
        for wall in WALLS
        for seed in (1, 2)
    }
    cells, _, _ = table(changes, seeds=(1, 2))
    cell = cells["door", "mean"]
    assert (cell.durability.mean, cell.durability.low, cell.durability.high) == (4.5, 3, 6)
    assert cell.worst_client.mean == pytest.approx(0.15)
    assert cells["flip", "mean"].durability is None


def test_a_backdoor_that_outlives_its_attackers_is_a_finding_and_one_that_does_not_is_none():
    def said(lasts):
        changes = {("door", wall.name, 1): {"durability": lasts if wall is MEAN else 0} for wall in WALLS}
        return [text for text in table(changes)[1] if "attackers stop" in text]

    assert said(0) == []
    assert said(7) == [
        "Backdoor: once its attackers stop, it goes on working for 7 rounds behind Mean, 0 rounds behind Median and 0 "
        "rounds behind Krum(f=2)."
    ]
