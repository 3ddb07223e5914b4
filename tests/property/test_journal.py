"""Whatever is done to a journal's bytes: what is read back is a prefix of what was written, or nothing at all."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfort.core import Action, Failure, Refusal, Verdict
from ringfort.core.errors import BrokenChain
from ringfort.rounds import RoundRecord, read_records

calm = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

MEMORY = "/dev/shm"  # noqa: S108 - where there is one, files in memory


def chain(records):
    out = []
    for record in records:
        head = out[-1] if out else None
        linked = replace(record, round=len(out), run="run", prev=head.digest if head else "")
        out.append(replace(linked, model=head.next_model if head else ""))
    return tuple(out)


BLANK = RoundRecord("run", 0, "recipe", ("a", "b"), "Mean()", "", "", "00", (), (), (), (), {}, "")
WRITTEN = chain(
    replace(
        BLANK, next_model=f"{i:02}", verdicts=(Verdict("a", Action.ACCEPT, 1 / (i + 1)),), metrics={"accuracy": i / 7}
    )
    for i in range(5)
)
LINES = [record.line() for record in WRITTEN]
WHOLE = b"".join(LINES)


def read(data):
    """The records in these bytes, or None if the chain is broken. Anything else escapes and fails."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        (Path(folder) / "rounds.jsonl").write_bytes(data)
        try:
            records, size = read_records(Path(folder))
        except BrokenChain as error:
            if "of rounds.jsonl" in error.message:
                return None
            raise
    assert size <= len(data)
    return records


def genuine(records):
    return records is None or records == WRITTEN[: len(records)]


def test_what_was_written_is_read():
    assert read(WHOLE) == WRITTEN


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
@settings(calm, max_examples=300)
def test_a_byte_changed_anywhere_is_noticed(place, flip):
    changed = bytearray(WHOLE)
    changed[place] ^= flip
    records = read(bytes(changed))
    assert genuine(records)
    assert records is None or place == len(WHOLE) - 1


@calm
@given(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))
def test_bytes_cut_out_anywhere_are_noticed_unless_they_are_the_end(start, stop):
    start, stop = sorted((start, stop))
    records = read(WHOLE[:start] + WHOLE[stop:])
    assert genuine(records)
    if records is not None and start < stop < len(WHOLE):
        assert len(records) < len(WRITTEN)


@calm
@given(st.integers(0, len(WHOLE)), st.binary(min_size=1, max_size=40))
def test_bytes_put_in_anywhere_are_noticed(place, more):
    assert genuine(read(WHOLE[:place] + more + WHOLE[place:]))


@calm
@given(st.lists(st.integers(0, 4), max_size=7))
def test_lines_in_any_other_order_number_or_selection_are_noticed(order):
    records = read(b"".join(LINES[i] for i in order))
    assert (records is None) == (order != list(range(len(order))))


@calm
@given(st.integers(0, len(WHOLE)))
def test_a_cut_loses_only_the_line_it_falls_into_and_those_after_it(place):
    records = read(WHOLE[:place])
    assert records == WRITTEN[: WHOLE[:place].count(b"\n")]


@calm
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_journal(data):
    assert read(data) in (None, ())


words = st.text(max_size=30)
names = st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
numbers = st.floats(allow_nan=False, allow_infinity=False)
records = st.builds(
    replace,
    st.just(BLANK),
    verdicts=st.lists(
        st.builds(Verdict, names, st.sampled_from(Action), numbers, st.lists(names, max_size=3).map(tuple))
    ).map(tuple),
    refusals=st.lists(st.builds(Refusal, names, names, names, names), max_size=3).map(tuple),
    failures=st.lists(st.builds(Failure, names, words, words), max_size=3).map(tuple),
    absent=st.lists(names, max_size=3).map(tuple),
    metrics=st.dictionaries(names, numbers, max_size=3),
)


@settings(calm, max_examples=50)
@given(st.lists(records, min_size=1, max_size=3))
def test_whatever_a_round_holds_is_read_back_bit_for_bit(drawn):
    written = chain(drawn)
    assert read(b"".join(record.line() for record in written)) == written


@settings(calm, max_examples=50)
@given(records, st.sampled_from(["verdicts", "refusals", "failures", "metrics"]))
def test_a_record_that_was_rewritten_with_its_digest_breaks_the_next_link(record, field):
    one, two = chain([record, record])
    rewritten = replace(one, **{field: {"forged": 1.0} if field == "metrics" else ()})
    if rewritten == one:
        rewritten = replace(one, rule="forged")
    assert read(rewritten.line() + two.line()) is None
