"""Sanitisation in whole federations: what it buys honest owners of infected data; hostile ones leave it out."""

from dataclasses import replace

import numpy as np
import pytest

from ringfort import data
from ringfort.aggregate import Mean
from ringfort.attacks import PixelBackdoor, SignFlip
from ringfort.audit import Drill, Manifest, Scenario, Thresholds, train
from ringfort.client.numpy_models import NumpyModel
from ringfort.client.sanitise import Excess, Reference, ReferenceLoss, Sanitiser
from ringfort.core.errors import Incompatible
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.report import drill_html, drill_summary, report_json, train_html, train_summary
from ringfort.rounds.fuse import Defence
from ringfort.rounds.gate import Gate
from ringfort.rounds.journal import Journal

MANIFEST = Manifest("0", "3", "p", {}, 1, {}, {}, "", "")
DIGITS = data.load("digits")
MODEL = NumpyModel(64, 10)
BACKDOOR = PixelBackdoor(target=0, fraction=0.5, size=2)


def reference(rows):
    params = MODEL.initial(Seeds(0))
    plan = LocalTraining(steps=400, batch=32, learning_rate=0.2, momentum=0.9)
    return Reference(MODEL, params + MODEL.train(params, rows, plan, Seeds(0).child("t")), "")


KNOWN = DIGITS.test.take(np.arange(0, 359, 2))
AUDITED = reference(KNOWN)


def scenario(excess=None, known=AUDITED):
    sanitiser = None if excess is None else Sanitiser((ReferenceLoss(known, 0.05),), 0.1, 0, excess)
    return Scenario(
        train=DIGITS.train,
        test=DIGITS.test.take(np.arange(1, 359, 2)),
        split=data.IID(10),
        model=lambda: MODEL,
        training=LocalTraining(steps=20, batch=16, learning_rate=0.2, momentum=0.5),
        gate=Gate(max_norm=1e4, max_examples=10_000),
        rounds=8,
        cohort=None,
        deadline_s=None,
        sample=179,
        workers=1,
        recipe="r",
        sanitiser=sanitiser,
    )


def drill(excess, honest, attack=BACKDOOR, known=AUDITED, workers=1):
    return Drill(
        title="t",
        scenario=replace(scenario(excess, known), workers=workers),
        attacks=(attack,),
        walls=(Defence(Mean()),),
        f=0,
        hostile_fraction=0.4,
        seeds=(1,),
        thresholds=Thresholds(0.05, 0.15),
        owners_are_honest=honest,
    ).run(MANIFEST)


def trial(result, attack="pixel-backdoor"):
    return next(t for t in result.trials if t.attack == attack)


def test_infected_pipelines_of_honest_owners():
    undefended = trial(drill(None, False))
    assert undefended.error is None
    assert undefended.attack_success > 0.5
    assert undefended.sanitised == ()
    for excess in (Excess.FLAG, Excess.STOP):
        result = drill(excess, True)
        found = trial(result)
        assert found.attack_success < 0.25
        assert found.accuracy > undefended.accuracy - 0.03
        infected = [row for row in found.sanitised if row.client in result.hostile]
        assert len(found.sanitised) == 10
        assert all(row.set_aside > 0.3 * row.rows and row.excess for row in infected)
        assert all(row.trains is (excess is Excess.FLAG) for row in infected)
        clean = [row for row in found.sanitised if row.client not in result.hostile]
        assert sum(row.set_aside for row in clean) < 0.1 * sum(row.rows for row in clean)
        assert any("those of infected data too" in line for line in result.not_covered)


def test_a_hostile_owner_leaves_it_out_and_wins():
    result = drill(Excess.STOP, False)
    found = trial(result)
    assert found.attack_success > 0.5
    assert {row.client for row in found.sanitised} == set(result.clients) - set(result.hostile)
    assert any("no wall against them" in line for line in result.not_covered)


def test_a_poisoned_reference_finds_the_poison_normal():
    poisoned = reference(PixelBackdoor(0, 0.4, 2).poison(KNOWN, Seeds(0).child("p")))
    found = trial(drill(Excess.FLAG, True, known=poisoned))
    assert found.attack_success > 0.5


def test_workers_and_reports(capsys):
    one, two = drill(Excess.FLAG, True), drill(Excess.FLAG, True, workers=2)
    assert [t.sanitised for t in one.trials] == [t.sanitised for t in two.trials]
    page = drill_html(one)
    assert "What owners set aside before training: No attack" in page
    assert "What owners set aside before training: Pixel backdoor" in page
    assert '"set_aside"' in report_json(one)
    from rich.console import Console

    console = Console(width=200, record=True, file=None)
    console.print(drill_summary(one))
    assert "10 clients set" in console.export_text()


def test_an_update_attack_has_no_honest_owner():
    with pytest.raises(Incompatible, match="sign-flip is no infection"):
        drill(Excess.FLAG, True, attack=SignFlip(scale=1.0))
    with pytest.raises(Incompatible, match=r"add that table"):
        drill(None, True)


def test_training_reports_what_was_set_aside_and_goes_on_without_those_who_stop(tmp_path):
    made = scenario(Excess.STOP)
    rows = made.parts(Seeds(1))[0]
    labels = DIGITS.train.labels.copy()
    labels[rows] = (labels[rows] + 1) % 10
    made = replace(made, train=DIGITS.train.with_rows(DIGITS.train.inputs, labels))
    with Journal(tmp_path) as journal:
        result, _ = train(
            made, Defence(Mean()), 0, Seeds(1), journal, title="t", manifest=MANIFEST, observe=lambda point: None
        )
    assert len(result.sanitised) == 10
    assert not result.sanitised[0].trains
    assert result.clients[0].failures == 8
    assert "RF704" in result.clients[0].last_reason
    assert all(row.trains for row in result.sanitised[1:])
    assert result.accuracy > 0.85
    assert "What clients set aside before they trained" in train_html(result)
    assert train_summary(result)
