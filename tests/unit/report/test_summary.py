from collections import Counter
from dataclasses import replace

import pytest

from ringfort.audit.results import Outcome
from ringfort.report import summary


def test_verdict_names_the_best_wall_and_what_it_does_not_hold(drill):
    assert summary.verdict(drill) == (
        "No wall holds against all 4 attacks: the best, MultiKrum(f=4), holds against 3 and falls to 1; "
        "without a wall, all 4 attacks succeed."
    )
    assert summary.verdict_outcome(drill) is Outcome.FALLS


def test_only_holding_everywhere_is_holding(samples, drill):
    sound = samples.sound(drill)
    assert summary.verdict(sound).startswith("MultiKrum(f=4) holds against all 4 attacks; ")
    assert summary.verdict_outcome(sound) is Outcome.HOLDS
    two = samples.sound(sound, "trimmed_mean")
    assert summary.verdict(two).startswith("TrimmedMean(f=4) and MultiKrum(f=4) hold against all 4 attacks; ")


@pytest.mark.parametrize("outcome", [Outcome.UNTESTED, Outcome.ERROR, Outcome.FALLS])
def test_nothing_else_ever_reads_as_a_pass(samples, drill, outcome):
    sound = samples.sound(drill)
    cells = tuple(
        replace(c, outcome=outcome) if (c.attack, c.wall) == ("alie", "multi_krum") else c for c in sound.cells
    )
    spoilt = replace(sound, cells=cells)
    assert summary.verdict(spoilt).startswith("No wall holds against all 4 attacks")
    assert summary.verdict_outcome(spoilt) is outcome


def test_caveats_name_untested_attacks_and_failed_trials(drill, three_seeds):
    assert summary.caveats(drill) == ()
    untested, failed = summary.caveats(three_seeds)
    assert "Label flip" in untested
    assert failed.startswith("3 of 60 trials")


def test_no_attack_and_no_wall_claim_nothing(drill):
    assert summary.verdict(replace(drill, attacks=())).startswith("No attack was drilled")
    alone = replace(drill, walls=drill.walls[:1], cells=tuple(c for c in drill.cells if c.wall == "mean"))
    assert summary.verdict(alone) == "No wall was drilled; without a wall, all 4 attacks succeed."
    assert "→" not in "".join(k.value for k in summary.key_numbers(alone))


def test_key_numbers_are_those_of_the_cells(drill):
    shown = {k.label: k.value for k in summary.key_numbers(drill)}
    worst = [min(c.accuracy.mean for c in drill.cells if c.wall == w and c.outcome) for w in ("mean", "multi_krum")]
    assert shown["Hostile clients"] == "4 of 20"
    assert shown["Worst accuracy under attack"] == " → ".join(f"{100 * w:.1f}%" for w in worst)


def test_means_leave_failed_trials_out(drill, samples):
    broken = samples.drill(seeds=(7, 8), broken=(("alie", "mean"),))
    assert summary.finished(broken, "alie", "mean") == []
    assert summary.mean_recall([]) == ()
    curve = summary.mean_curve(summary.finished(broken, "sign_flip", "mean"), "accuracy")
    assert [k for k, _ in curve] == [p.round for p in broken.trials[0].curve]
    assert all(i.low <= i.mean <= i.high for _, i in curve)
    assert summary.mean_curve(summary.finished(drill, "sign_flip", "mean"), "attack_success") == ()


def test_training_verdict_counts_clients(train):
    counts = Counter(bool(c.rounds_left_out) for c in train.clients)
    assert f"{counts[True]} clients were left out" in summary.train_verdict(train)
    assert "1 client was refused" in summary.train_verdict(train)


def test_the_worst_case_compares_the_same_attacks_and_says_what_is_missing(three_seeds):
    shown = {k.label: k for k in summary.key_numbers(three_seeds)}["Worst accuracy under attack"]
    attacks = ("sign_flip", "label_flip", "pixel_backdoor")
    worst = [min(three_seeds.cell(a, w).accuracy.mean for a in attacks) for w in ("mean", "multi_krum")]
    assert shown.value == " → ".join(f"{100 * w:.1f}%" for w in worst)
    assert shown.note.endswith("; 1 of 4 attacks without a result")
