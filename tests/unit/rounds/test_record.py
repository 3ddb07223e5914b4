import hashlib
import json
from dataclasses import replace

import pytest

from ringfort.core import Action, Failure, Refusal, Verdict
from ringfort.core.errors import BrokenChain
from ringfort.rounds import RoundRecord

RECORD = RoundRecord(
    run="r" * 32,
    round=3,
    recipe="ab" * 32,
    cohort=("ada", "bob", "cy", "dee"),
    rule="TrimmedMean(f=1)",
    model="00" * 32,
    aggregate="11" * 32,
    next_model="22" * 32,
    verdicts=(Verdict("ada", Action.ACCEPT, 0.1 + 0.2), Verdict("bob", Action.EXCLUDE, 0.0, ("far",))),
    refusals=(Refusal("cy", "RF201", "size", "too large"),),
    failures=(Failure("dee", "ValueError: é", "Traceback\n  line"),),
    absent=("eve",),
    metrics={"accuracy": 0.5},
    prev="33" * 32,
)


def test_a_record_survives_its_line_with_every_bit_of_every_number():
    again = RoundRecord.from_json(json.loads(RECORD.line()))
    assert again == RECORD
    assert again.line() == RECORD.line()


def test_a_record_is_one_line_of_canonical_json_that_names_its_digest():
    line = RECORD.line()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    value = json.loads(line)
    assert list(value) == sorted(value)
    body = json.dumps(RECORD.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert value["digest"] == RECORD.digest == hashlib.sha256(b"\x00" + body).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"run": "s" * 32},
        {"round": 4},
        {"recipe": ""},
        {"cohort": ("ada",)},
        {"rule": "Mean()"},
        {"model": "44" * 32},
        {"aggregate": "44" * 32},
        {"next_model": "44" * 32},
        {"verdicts": RECORD.verdicts[::-1]},
        {"refusals": ()},
        {"failures": (Failure("dee", "ValueError: e", "Traceback\n  line"),)},
        {"absent": ()},
        {"metrics": {"accuracy": 0.5000000000000001}},
        {"prev": ""},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_under_the_digest(change):
    assert replace(RECORD, **change).digest != RECORD.digest


@pytest.mark.parametrize("field", sorted(RECORD.to_json()))
def test_a_field_changed_afterwards_no_longer_has_the_digest(field):
    value = json.loads(RECORD.line())
    value[field] = {"str": "x", "int": 9, "list": [], "dict": {}}[type(value[field]).__name__]
    with pytest.raises(BrokenChain):
        RoundRecord.from_json(value)


@pytest.mark.parametrize("field", [*sorted(RECORD.to_json()), "digest"])
def test_a_line_without_a_field_is_no_record(field):
    value = json.loads(RECORD.line())
    del value[field]
    with pytest.raises(BrokenChain):
        RoundRecord.from_json(value)


@pytest.mark.parametrize("wrong", [None, 5, "x", [5], [[]], [{}], {"x": 1}], ids=ascii)
@pytest.mark.parametrize("field", sorted(RECORD.to_json()))
def test_a_field_of_another_type_is_a_broken_chain_and_never_another_error(field, wrong):
    value = json.loads(RECORD.line())
    value[field] = wrong
    with pytest.raises(BrokenChain):
        RoundRecord.from_json(value)


def test_a_later_version_is_refused_by_number():
    with pytest.raises(BrokenChain, match="version 2 is not supported"):
        RoundRecord.from_json({**json.loads(RECORD.line()), "v": 2})


def test_a_clients_traceback_is_cut_to_its_end():
    long = replace(RECORD, failures=(Failure("dee", "E: x", "a" * 9_000 + "the end"),))
    (failure,) = json.loads(long.line())["failures"]
    assert len(failure["traceback"]) == 4_000
    assert failure["traceback"].endswith("the end")
    assert RoundRecord.from_json(json.loads(long.line())).line() == long.line()


@pytest.mark.parametrize("words", ["\udcff", "\ud83d\ude00", "a\nb", '"}\n{"v":1', "\x00", "\u2028"], ids=ascii)
def test_a_clients_words_can_neither_break_the_line_nor_the_record(words):
    record = replace(RECORD, failures=(Failure("dee", words, words),))
    line = record.line()
    assert line.count(b"\n") == 1
    assert RoundRecord.from_json(json.loads(line)).line() == line
