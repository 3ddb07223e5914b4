import pytest

from ringfort.core import Failure, LocalTraining, Reply
from ringfort.core.errors import InvalidValue


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"steps": 1.5},
        {"batch": 0},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"weight_decay": -1e-9},
    ],
    ids=str,
)
def test_a_training_plan_that_makes_no_sense_cannot_be_made(change):
    with pytest.raises(InvalidValue, match=next(iter(change))):
        LocalTraining(**{"steps": 1, "batch": 1, "learning_rate": 0.1, **change})


def test_a_reply_does_not_show_its_bytes_when_printed():
    assert "secret" not in repr(Reply("a", b"secret"))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("ValueError: two\nlines\r\n", "ValueError: two lines"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("\u202eright to left", "right to left"),
        ("half \udcff a pair", "half a pair"),
        ("x" * 10_000, "x" * 500),
        ("", ""),
    ],
    ids=["lines", "escape", "direction", "surrogate", "long", "empty"],
)
def test_a_clients_error_is_one_short_printable_line(said, kept):
    assert Failure("a", said).error == kept


def test_a_clients_error_that_was_cleaned_once_stays_as_it_is():
    once = Failure("a", "x\n" * 2_000 + "\x00", "trace\n\udcff\n")
    again = Failure("a", once.error, once.traceback)
    assert (again.error, again.traceback) == (once.error, once.traceback)
    assert once.traceback == "trace\n?\n"
