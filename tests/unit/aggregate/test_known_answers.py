"""Answers worked out by hand, in tests/vectors/rules/v1; a third of them must be refused."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ringfort.aggregate import RULES
from ringfort.core.errors import RingfortError
from ringfort.testing import toy_rows

FOLDER = Path(__file__).parents[2] / "vectors" / "rules" / "v1"
OK = sorted(FOLDER.glob("ok_*.json"))
BAD = sorted(FOLDER.glob("bad_*.json"))


def numbers(values):
    return [float(Fraction(str(value))) for value in values]


@pytest.mark.parametrize("path", OK, ids=lambda path: path.stem)
def test_the_answer_is_the_one_worked_out_by_hand(path):
    case = json.loads(path.read_text())
    result = RULES[case["rule"]](**case["parameters"])(toy_rows(case["rows"]))
    np.testing.assert_allclose(result.delta, numbers(case["delta"]), rtol=1e-7, err_msg=case["note"])
    np.testing.assert_allclose(result.weights, numbers(case["weights"]), atol=1e-12, err_msg=case["note"])
    assert result.rule == case["rule"]
    assert set(result.notes) <= {c for c, w in zip(result.clients, case["weights"], strict=True) if w == "0"}


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_what_has_no_safe_answer_is_refused_with_its_code(path):
    case = json.loads(path.read_text())
    with pytest.raises(RingfortError) as caught:
        RULES[case["rule"]](**case["parameters"])(toy_rows(case["rows"]))
    assert caught.value.code == case["error"], case["note"]


def test_a_third_of_the_vectors_are_negative_and_every_rule_has_some():
    assert 2 * len(BAD) >= len(OK)
    named = {json.loads(path.read_text())["rule"] for path in OK}
    assert {"mean", "median", "trimmed-mean", "krum", "multi-krum"} <= named <= set(RULES)
