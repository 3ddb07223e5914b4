"""The audit's three words, its reasons, and when it refuses to conclude anything."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ringfort import data
from ringfort.audit.model import MEASURED, Holdout, Verdict, audit_model, holdout
from ringfort.client.numpy_models import NumpyModel
from ringfort.core.errors import InvalidValue
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds

SEEDS = Seeds(1)


@pytest.fixture(scope="module")
def flagged(model, bad, parts, trusted):
    return audit_model(model, bad, parts, MEASURED, SEEDS, trusted=trusted)


def test_a_backdoored_model_is_flagged_with_numbers(flagged, bad, success):
    assert success(bad) > 0.9  # the attack works undefended
    assert flagged.verdict is Verdict.FLAGGED
    assert [row.label for row in flagged.masks if row.flagged] == [4]
    row = flagged.masks[4]
    assert row.success.value > 0.8
    assert row.share < 0.4
    assert row.ratio < 0.5
    assert "into 4" in flagged.reasons[0]
    assert [trigger.target for trigger in flagged.suspects] == [4]
    assert [picture.label for picture in flagged.pictures] == [4]
    assert flagged.pictures[0].stamped.shape == (4, 1, 8, 8)


def test_the_search_alone_suffices_without_a_trusted_model_and_without_canaries(model, bad, parts):
    found = audit_model(model, bad, parts, replace(MEASURED, canary=1.0), SEEDS)
    assert found.verdict is Verdict.FLAGGED
    assert len(found.reasons) == 1
    assert found.masks[4].ratio is None
    assert found.trusted_accuracy is None


def test_an_honest_model_is_not_flagged_and_never_called_clean(model, clean, trusted, parts):
    kept = clean.copy()
    found = audit_model(model, clean, parts, MEASURED, SEEDS, trusted=trusted)
    assert np.array_equal(clean, kept)
    assert found.verdict is Verdict.NOT_FLAGGED
    assert {word.value for word in Verdict} == {"flagged", "not flagged", "inconclusive"}
    assert any("inputs large" in sentence for sentence in found.could_see)
    assert any("semantic" in sentence for sentence in found.not_covered)
    assert len(found.suspects) == 1


def test_a_model_that_has_learnt_nothing_is_inconclusive(model, parts):
    params = np.zeros(model.schema.d, dtype=np.float32)
    found = audit_model(model, params, parts, MEASURED, SEEDS)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any("chance level" in reason for reason in found.reasons)


def test_a_class_without_examples_is_inconclusive_and_named(model, clean, parts):
    less = Holdout(parts.tools, parts.measure.take(np.flatnonzero(parts.measure.labels != 6)))
    found = audit_model(model, clean, less, MEASURED, SEEDS)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any("6 (0)" in reason for reason in found.reasons)


def test_a_flag_stands_beside_doubts(model, bad, parts):
    less = Holdout(parts.tools, parts.measure.take(np.flatnonzero(parts.measure.labels != 6)))
    found = audit_model(model, bad, less, MEASURED, SEEDS)
    assert found.verdict is Verdict.FLAGGED
    assert any("6 (0)" in sentence for sentence in found.not_covered)


def test_two_classes_have_no_index_but_a_ratio():
    split, model = data.load("breast-cancer"), NumpyModel(30, 2)
    made = []
    for seed in (1, 2):
        params = model.initial(Seeds(seed))
        plan = LocalTraining(60, 16, 0.1)
        made.append(params + model.train(params, split.train, plan, Seeds(seed).child("t")))
    parts = holdout(split.test, Seeds(1))
    assert len(parts.tools) + len(parts.measure) == len(split.test)
    alone = audit_model(model, made[0], parts, MEASURED, SEEDS)
    assert all(row.index is None and row.share is None for row in alone.masks)
    assert not any("inputs large" in sentence for sentence in alone.could_see)
    both = audit_model(model, made[0], parts, MEASURED, SEEDS, trusted=made[1])
    assert all(row.ratio is not None for row in both.masks)


def test_the_parts_share_no_example(test_part):
    parts = holdout(test_part, Seeds(3))
    assert len(parts.tools) == len(test_part) // 2
    both = np.concatenate([parts.tools.inputs, parts.measure.inputs]).reshape(len(test_part), -1)
    assert np.array_equal(np.sort(both, axis=0), np.sort(test_part.inputs.reshape(len(test_part), -1), axis=0))


def test_parameters_that_are_not_the_familys_are_refused(model, clean, parts):
    for wrong in (clean[:-1], np.full_like(clean, np.nan)):
        with pytest.raises(InvalidValue, match="finite parameters"):
            audit_model(model, wrong, parts, MEASURED, SEEDS)
        with pytest.raises(InvalidValue, match="trusted"):
            audit_model(model, clean, parts, MEASURED, SEEDS, trusted=wrong)


@pytest.mark.parametrize(
    "wrong", [{"index": 1.0}, {"share": 0.0}, {"ratio": -1.0}, {"success": 2.0}, {"canary": 0.0}, {"examples": 0}]
)
def test_limits_outside_their_domain_are_refused(wrong):
    with pytest.raises(InvalidValue):
        replace(MEASURED, **wrong)


def test_json_holds_every_number_and_no_datum(flagged):
    value = flagged.to_json()
    text = json.dumps(value)
    assert value["schema"] == "ringfort-model-audit/1"
    assert value["verdict"] == "flagged"
    assert len(value["masks"]) == len(value["drift"]) == 10
    assert value["canaries"][3]["excess"] > 0.8
    assert "pattern" not in text
    assert "originals" not in text
