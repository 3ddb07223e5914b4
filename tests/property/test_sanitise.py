"""Whatever the rows are: all are kept or set aside, in any order, and nobody writes to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfort.client.sanitise import (
    ExactDuplicates,
    Excess,
    NearDuplicateImages,
    NearDuplicates,
    NeighbourLabels,
    PatchConsensus,
    PhraseConsensus,
    Sanitiser,
    Specification,
    ToneConsensus,
)
from ringfort.client.sanitise.duplicates import average_hashes
from ringfort.core.dataset import Dataset
from ringfort.core.errors import TooManySuspicious


@st.composite
def rows(draw, image=False):
    n, classes = draw(st.integers(0, 30)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (1, draw(st.integers(1, 12)), draw(st.integers(1, 12))) if image else (draw(st.integers(1, 40)),)
    few = draw(st.integers(1, 256))  # few values make copies likely
    inputs = rng.integers(0, few, (n, *shape)).astype(np.uint8)
    if draw(st.booleans()):
        inputs = inputs.astype(np.float32) / np.float32(255)
        if draw(st.booleans()):
            inputs[rng.random(inputs.shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf])
    return Dataset("made-up", inputs, rng.integers(0, classes, n), tuple("abcd"[:classes]))


def sanitisers(data, excess, cap=0.1):
    any_kind = (ExactDuplicates(), NearDuplicates(0.999), NeighbourLabels(3, 0.7))
    made = {
        4: (*any_kind, NearDuplicateImages(2, 0.9), PatchConsensus((1, 2), 0.2, 2, 0.3, 0.1)),
        2: (*any_kind, PhraseConsensus(2, 0.2, 2, 0.3, 0.8), ToneConsensus(6.0, 0.2, 2, 0.3)),
    }[data.inputs.ndim]
    spec = Specification(
        data.inputs.dtype.name,
        data.input_shape,
        data.classes,
        (0.0,),
        (0.5 if data.inputs.dtype == "f4" else 200.0,),
        0,
        0,
    )
    return Sanitiser((spec, *made), cap, 2, excess)


@settings(max_examples=60)
@given(st.one_of(rows(), rows(image=True)), st.integers(0, 2**32 - 1))
def test_kept_and_set_aside_are_all_rows_in_any_order_and_nothing_is_written(data, seed):
    data.inputs.flags.writeable = data.labels.flags.writeable = False
    flag = sanitisers(data, Excess.FLAG)
    kept, report = flag(data)
    assert sorted([*kept.tolist(), *report.set_aside.tolist()]) == list(range(len(data)))
    assert report.n_rows == len(data)
    assert all(
        suspect.reasons and suspect.label == data.classes[data.labels[suspect.row]] for suspect in report.suspects
    )
    order = np.random.default_rng(seed).permutation(len(data)).astype(np.int64)
    moved, other = flag(data.take(order))
    assert sorted(contents(data, kept)) == sorted(contents(data, order[moved]))
    assert report.by_check() == other.by_check()
    assert (report.after, report.excess) == (other.after, other.excess)


def contents(data, places):
    return [data.inputs[i].tobytes() + bytes([data.labels[i]]) for i in places]


@settings(max_examples=40)
@given(rows(), st.floats(0, 1))
def test_stop_raises_exactly_where_flag_asks_for_a_person(data, cap):
    _, report = sanitisers(data, Excess.FLAG, cap)(data)
    stop = sanitisers(data, Excess.STOP, cap)
    if report.excess:
        with pytest.raises(TooManySuspicious) as raised:
            stop(data)
        assert raised.value.report == report
    else:
        kept, same = stop(data)
        assert same == report
        assert len(kept) + len(report.suspects) == len(data)
        assert len(report.suspects) <= cap * len(data)


@given(rows())
def test_no_copy_is_left_and_no_torn_label_is_kept(data):
    kept, _ = Sanitiser((ExactDuplicates(),), 1.0, 0, Excess.FLAG)(data)
    left = [data.inputs[i].tobytes() for i in kept]
    assert len(set(left)) == len(left)
    labels = {}
    for row in range(len(data)):
        labels.setdefault(data.inputs[row].tobytes(), set()).add(int(data.labels[row]))
    assert all(len(labels[content]) == 1 for content in left)
    assert len(left) == sum(len(several) == 1 for several in labels.values())


@settings(max_examples=60)
@given(rows(image=True), st.integers(0, 3))
def test_the_banded_search_finds_the_pairs_that_a_full_one_finds(data, bits):
    hashes = average_hashes(data.floats().mean(axis=1)) if len(data) else np.empty(0, np.uint64)
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= bits
    found = NearDuplicateImages(bits, 0.0)(data).scores > 0
    if not np.isfinite(data.floats()).all():
        return  # hashes of what is no number are arbitrary, but the same in both
    assert np.array_equal(found, near.sum(axis=1) > 1)


@given(rows())
def test_what_is_learnt_from_rows_passes_them(data):
    if not len(data) or np.isinf(data.floats()).any() or np.isnan(data.floats()).all(axis=0).any():
        return
    spec = Specification.learn(data, margin=0.0)
    assert not spec(data).notes
    assert not spec(data).problems
