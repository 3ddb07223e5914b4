import math

import pytest

from ringfort.audit.results import Interval, Thresholds
from ringfort.report import words


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ünïcode 漢字", "plain ünïcode 漢字"),
        ("a\r\n\tb", "a   b"),
        ("\x1b[2J\x07\x9b", "�[2J��"),
        ("\u202e\u2066\u200b\ufeff", "����"),
        ("\u2028", " "),
        ("\ud800", "�"),
        ("x" * 3000, "x" * 2000 + "…"),
        (None, "None"),
    ],
)
def test_clean_leaves_nothing_that_drives_a_terminal(raw, shown):
    assert words.clean(raw) == shown
    assert words.clean(raw).isprintable()


def test_no_number_is_a_dash_and_never_nan():
    for value in (None, math.nan, math.inf):
        assert words.percent(value) == words.NOTHING
    assert words.interval(None) == words.interval(Interval(math.nan, math.nan, math.nan)) == words.NOTHING
    assert words.price(None) == words.price(Interval(math.nan, 0.0, 0.0)) == words.NOTHING
    assert words.duration(math.nan) == words.NOTHING


def test_a_loss_that_rounds_to_nothing_has_no_sign():
    assert words.price(Interval(-0.0001, -0.0001, -0.0001)) == "costs 0.0 points"
    assert words.percent(-0.0001) == "0.0%"


def test_thresholds_are_said_with_their_numbers():
    said = words.thresholds_sentence(Thresholds(accuracy_loss=0.03, attack_success=0.2), 40)
    assert "3.0 points" in said
    assert "20.0%" in said
    assert "40 rounds" in said
