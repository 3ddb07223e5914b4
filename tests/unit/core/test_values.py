from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from ringfort.core import Aggregate, Refusal, Update, Verdict, client_id
from ringfort.core.errors import InvalidValue
from ringfort.core.values import Action


@pytest.mark.parametrize("name", ["a", "0", "client-07", "a-b-c", "x" * 64, "a--b"])
def test_a_plain_name_is_a_client_id(name):
    assert client_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "-a",
            "a-",
            "A",
            "client_1",
            "a b",
            "a.b",
            "é",
            "a\n",
            "\na",
            "a\x00",
            "../../etc/passwd",
            "a/b",
            "..",
            "~",
        ),
        *("x" * 65, "x" * 10_000, "\u202egnp", "😀", "<script>", "=cmd()", "\x1b[31m", "c1\u200b", "１", "ａ"),
    ],
    ids=lambda name: ascii(name[:20]),
)
def test_a_name_that_could_be_a_path_a_page_or_a_command_is_refused(name):
    with pytest.raises(InvalidValue) as caught:
        client_id(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_value_cannot_be_changed_after_it_was_made():
    for value, field in (
        (Update("a", 1, np.zeros(1, np.float32), 1), "num_examples"),
        (Verdict("a", Action.ACCEPT, 1.0), "weight"),
        (Refusal("a", "RF201", "size", "too large"), "code"),
        (Aggregate(np.zeros(1, np.float32), ("a",), np.ones(1), "mean"), "weights"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field, None)


def test_no_value_shows_its_numbers_when_it_is_printed():
    secret = np.full(3, 1234.5, np.float32)
    shown = repr(Update("a", 1, secret, 1)) + repr(Aggregate(secret, ("a",), np.full(1, 0.4321), "mean"))
    assert "1234" not in shown
    assert "0.4321" not in shown
