"""The parts of sanitisation: pins, specifications, policies, limits, review files, clients that stop."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from ringfort.attacks import PixelBackdoor
from ringfort.client.node import LocalClient
from ringfort.client.numpy_models import NumpyModel
from ringfort.client.sanitise import (
    CHECKS,
    ExactDuplicates,
    Excess,
    NearDuplicateImages,
    PatchConsensus,
    Reason,
    Reference,
    ReferenceLoss,
    Report,
    Sanitiser,
    Signs,
    Specification,
    Suspect,
    review_csv,
    sanitised,
    standard,
)
from ringfort.client.sanitise.duplicates import average_hashes
from ringfort.core.dataset import Dataset
from ringfort.core.errors import (
    BadCheckpoint,
    DataUnavailable,
    Incompatible,
    InvalidValue,
    TooManySuspicious,
    UnknownName,
)
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import Seeds
from ringfort.core.tensors import digest_of
from ringfort.core.values import client_id

MODEL = NumpyModel(4, 2)


def rows(n=40, seed=0):
    rng = Seeds(seed).child("rows")
    labels = np.arange(n) % 2
    return Dataset("r", (rng.random((n, 4)) + labels[:, None]).astype(np.float32), labels, ("no", "yes"))


class Flags:
    """A check that flags the rows whose first number is above a limit."""

    name = "flags"

    def __init__(self, above):
        self.above = above

    def __call__(self, data):
        high = data.inputs[:, 0] > self.above
        return Signs(high.astype(float), {int(row): "it is high" for row in np.flatnonzero(high)})


# --- the reference is pinned


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(MODEL.schema.encode(np.arange(MODEL.schema.d, dtype=np.float32)))
    return path, digest_of(path.read_bytes())


def test_the_pinned_reference_loads_in_either_case(checkpoint):
    path, digest = checkpoint
    assert Reference.load(path, digest.upper(), MODEL).digest == digest


def test_another_file_than_the_pinned_one_is_refused(checkpoint):
    path, digest = checkpoint
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(BadCheckpoint, match="pinned is"):
        Reference.load(path, digest, MODEL)


def test_a_checkpoint_of_another_model_is_refused_even_with_its_digest(checkpoint):
    with pytest.raises(Incompatible, match="another model"):
        Reference.load(*checkpoint, NumpyModel(5, 2))


def test_a_reference_that_is_not_finite_is_refused(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(MODEL.schema.encode(np.full(MODEL.schema.d, np.nan, np.float32)))
    with pytest.raises(BadCheckpoint, match="not finite"):
        Reference.load(path, digest_of(path.read_bytes()), MODEL)


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64])
def test_a_reference_without_a_whole_digest_is_refused(checkpoint, digest):
    with pytest.raises(InvalidValue, match="64 hexadecimal"):
        Reference.load(checkpoint[0], digest, MODEL)


def test_a_reference_that_is_not_there(tmp_path):
    with pytest.raises(DataUnavailable, match="cannot read"):
        Reference.load(tmp_path / "gone", "0" * 64, MODEL)


@pytest.mark.parametrize("model", [NumpyModel(5, 2), NumpyModel(4, 3)])
def test_a_reference_that_does_not_fit_the_data_says_so(model):
    with pytest.raises(Incompatible, match="the reference"):
        ReferenceLoss(Reference(model, np.zeros(model.schema.d, np.float32), ""), 0.05)(rows())


def test_the_loss_is_that_of_the_model():
    params = np.zeros(MODEL.schema.d, np.float32)
    params[:2] = 0, np.log(3)  # biases: p(yes) = 3/4 whatever the input
    signs = ReferenceLoss(Reference(MODEL, params, ""), 0.3)(rows())
    assert signs.scores == pytest.approx(np.where(np.arange(40) % 2, 0.25, 0.75))
    assert list(signs.notes) == list(range(0, 40, 2))
    assert signs.notes[0] == "its label has probability 0.250 under the reference, which says 'yes'"


# --- specifications


SPEC = Specification("float32", (4,), ("no", "yes"), (0.0,), (2.0,), 0.25, 5)


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_specification_comes_back_from_its_file(tmp_path, suffix):
    path = tmp_path / f"s{suffix}"
    value = {
        "dtype": "float32",
        "shape": [4],
        "classes": ["no", "yes"],
        "lows": [0.0],
        "highs": [2.0],
        "null_fraction": 0.25,
        "class_floor": 5,
    }
    path.write_text(json.dumps(value) if suffix == ".json" else SPEC.to_toml())
    assert Specification.read(path) == SPEC


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"null_fractoin": 0.1}, UnknownName, "did you mean 'null_fraction'"),
        ({"class_floor": None}, InvalidValue, "class_floor"),
        ({"lows": [1, 2]}, InvalidValue, "4 numbers"),
        ({"lows": [3.0]}, InvalidValue, "above its high"),
        ({"lows": 3.0}, InvalidValue, "must be a list"),
        ({"lows": [float("nan")]}, InvalidValue, "finite"),
        ({"dtype": "float64"}, UnknownName, "float32"),
        ({"null_fraction": 2}, InvalidValue, "null_fraction"),
        ({"shape": [2.5]}, InvalidValue, "shape"),
        ({"classes": []}, InvalidValue, "classes"),
    ],
)
def test_a_specification_is_read_strictly(change, error, said):
    good = {
        "dtype": "float32",
        "shape": [4],
        "classes": ["no", "yes"],
        "lows": [0.0],
        "highs": [2.0],
        "null_fraction": 0.25,
        "class_floor": 5,
    }
    with pytest.raises(error, match=said):
        Specification.of({**good, **change})


def test_a_specification_lacks_nothing():
    with pytest.raises(InvalidValue, match="lacks class_floor"):
        Specification.of(
            {"dtype": "uint8", "shape": [4], "classes": ["a"], "lows": [0], "highs": [1], "null_fraction": 0}
        )


def test_rows_out_of_range_and_full_of_holes_are_suspicious():
    data = rows(20)
    inputs = data.inputs.copy()
    inputs[3, 1], inputs[4, 0], inputs[5, :2], inputs[6, 0] = 2.5, np.nan, np.nan, -np.inf
    signs = SPEC(data.with_rows(inputs, data.labels))
    assert list(signs.notes) == [3, 5, 6]
    assert signs.notes[3] == "1 of its 4 numbers are outside their range"
    assert signs.notes[5] == "2 of its 4 numbers are missing"
    assert not signs.problems


def test_bytes_are_compared_with_bounds_beyond_a_byte():
    data = Dataset("b", np.array([[0], [255]], np.uint8), np.zeros(2, np.int64), ("a",))
    assert not Specification("uint8", (1,), ("a",), (-5.0,), (1e9,), 0, 0)(data).notes
    assert list(Specification("uint8", (1,), ("a",), (0.0,), (254.5,), 0, 0)(data).notes) == [1]


def test_what_no_row_is_to_blame_for_asks_for_a_person():
    data = rows(20)
    for spec, said in (
        (replace(SPEC, dtype="uint8"), "dtype is float32"),
        (replace(SPEC, classes=("yes", "no")), "classes is"),
        (replace(SPEC, class_floor=11), "class 'no' has 10 rows"),
    ):
        with pytest.raises(TooManySuspicious, match=said):
            Sanitiser((spec,), 1.0, 0, Excess.STOP)(data)


# --- the policy for copies


def test_of_copies_one_stays_and_of_copies_with_two_labels_none():
    data = rows(6)
    data = data.take(np.array([0, 0, 0, 1, 1, 2, 3]))
    labels = data.labels.copy()
    labels[4] = 0
    kept, report = Sanitiser((ExactDuplicates(),), 1.0, 0, Excess.FLAG)(data.with_rows(data.inputs, labels))
    assert len(kept) == 3
    assert sum(row in kept for row in (0, 1, 2)) == 1
    assert {3, 4} <= set(report.set_aside.tolist())
    assert "labels differ" in report.suspects[-1].reasons[0].note


def test_near_copies_of_pictures_are_found_and_pictures_that_share_a_hash_are_not():
    rng = Seeds(1).child("pictures")
    inputs = rng.integers(60, 256, (30, 1, 16, 16)).astype(np.uint8)
    inputs[29] = np.clip(inputs[0].astype(int) + rng.integers(-3, 4, (1, 16, 16)), 0, 255)
    inputs[28] = np.where(inputs[1] > inputs[1].mean(), 255, 0)  # the same hash or nearly, another picture
    data = Dataset("p", inputs, np.zeros(30, np.int64), ("a",))
    hashes = average_hashes(data.floats().mean(axis=1))
    assert np.bitwise_count(hashes[0] ^ hashes[29]) <= 3
    assert list(NearDuplicateImages(3, 0.98)(data).notes) == [29]


@pytest.mark.parametrize("side", [1, 5, 8, 13, 28])
def test_average_hashes_of_any_size(side):
    left = np.zeros((1, side, side), np.float32)
    left[:, :, : max(1, side // 2)] = 1
    (found,) = average_hashes(left)
    cells = [(int(found) >> i) & 1 for i in range(64)]
    assert cells == ([0] * 64 if side == 1 else cells)
    if side in (8, 28):
        assert cells == [1, 1, 1, 1, 0, 0, 0, 0] * 8


# --- patches: triggers that are not as large as the window


def scenes(n=300, side=20):
    """Bright blobs of many greys on black, their place depending on the class."""
    rng = Seeds(2).child("scenes")
    labels = np.arange(n) % 3
    place = rng.integers(0, 3, (n, 2)) + np.array([[2, 2], [6, 2], [4, 4]])[labels]
    inputs = np.zeros((n, 1, side, side), np.uint8)
    for i, (top, left) in enumerate(place):
        inputs[i, 0, top : top + 9, left : left + 9] = rng.integers(40, 255, (9, 9))
    return Dataset("scenes", inputs, labels, ("a", "b", "c"))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_triggers_of_other_sizes_than_the_window(size, fraction):
    clean = scenes()
    check = PatchConsensus((2, 3), 0.1, 5, 0.02, 0.1)
    assert not check(clean).notes
    spoilt = PixelBackdoor(1, fraction, size).poison(clean, Seeds(0).child("p"))
    bad = (spoilt.inputs != clean.inputs).reshape(300, -1).any(axis=1) | (spoilt.labels != clean.labels)
    found = check(spoilt).rows
    assert set(np.flatnonzero(bad)) <= set(found)
    assert np.isin(found, np.flatnonzero(~bad)).sum() == 0


def test_triggers_that_move_or_that_are_faint_are_missed_as_the_docstring_says():
    clean = scenes()
    moving, faint, labels = clean.inputs.copy(), clean.inputs.copy(), clean.labels.copy()
    rng = Seeds(3).child("m")
    for row in range(60):
        top, left = rng.integers(0, 17, 2)
        moving[row, 0, top : top + 3, left : left + 3] = 255
    faint[:60, 0, 16:19, 16:19] = 20
    labels[:60] = 1
    check = PatchConsensus((2, 3), 0.1, 5, 0.02, 0.1)
    assert len(np.intersect1d(check(clean.with_rows(moving, labels)).rows, np.arange(60))) < 20
    assert not check(clean.with_rows(faint, labels)).notes


@pytest.mark.parametrize("sizes", [(), (3, 2), (2, 2), (0,)])
def test_sizes_rise(sizes):
    with pytest.raises(InvalidValue, match="sizes"):
        PatchConsensus(sizes, 0.1, 5, 0.02, 0.1)


# --- limits


def test_the_share_and_the_floor_ask_for_a_person():
    data = rows(40)
    high = float(np.sort(data.inputs[:, 0])[-5])
    kept, report = Sanitiser((Flags(high),), 0.1, 17, Excess.FLAG)(data)
    assert len(kept) == 36
    assert len(report.excess) == 1
    assert "'yes' (16 of 20)" in report.excess[0]
    _, report = Sanitiser((Flags(high),), 0.099, 16, Excess.FLAG)(data)
    assert report.excess == ("4 of 40 rows are suspicious (10.0%), at most 9.9% may be set aside without a person",)
    _, report = Sanitiser((Flags(high),), 0.1, 16, Excess.STOP)(data)
    assert not report.excess


def test_the_floor_does_not_ask_for_rows_that_were_never_there():
    data = rows(8)
    _, report = Sanitiser((Flags(1.0),), 1.0, 5, Excess.FLAG)(data)
    assert report.suspects
    assert not report.excess


def test_a_message_counts_and_never_shows_a_row():
    data = rows(40)
    with pytest.raises(TooManySuspicious) as raised:
        Sanitiser((Flags(-1),), 0.0, 0, Excess.STOP)(data)
    assert "it is high" not in str(raised.value)
    assert raised.value.exit_code == 3
    assert raised.value.report.by_check() == {"flags": 40}


@pytest.mark.parametrize("checks", [(), (ExactDuplicates(), ExactDuplicates())])
def test_a_sanitiser_has_checks_each_once(checks):
    with pytest.raises(InvalidValue, match="each once"):
        Sanitiser(checks, 0.1, 0, Excess.STOP)


def test_checks_may_not_write_to_the_rows():
    class Writes:
        name = "writes"

        def __call__(self, data):
            data.inputs[0] = 0

    with pytest.raises(ValueError, match="read-only"):
        Sanitiser((Writes(),), 1.0, 0, Excess.FLAG)(rows())


def test_a_check_that_does_not_fit_is_found_before_anything_runs():
    with pytest.raises(Incompatible, match="patch-consensus is made for images"):
        Sanitiser((PatchConsensus((2,), 0.1, 2, 0.1, 0.1),), 1.0, 0, Excess.STOP).try_out(rows())


def test_standard_checks_depend_on_the_shape():
    small = Dataset("s", np.zeros((6, 1, 8, 8), np.uint8), np.zeros(6, np.int64), ("a",))
    names = [[check.name for check in standard(data, None)] for data in (rows(), scenes(6), small)]
    assert names[0][-1] == "isolation-forest"
    assert names[1][-1] == "patch-consensus"
    assert "patch-consensus" not in names[2]
    assert {*names[0], *names[1]} <= set(CHECKS)


# --- what the owner reads


def test_the_review_file_starts_no_formula():
    reasons = (Reason("flags", -0.5, "@SUM(A1)"), Reason("flags", 1.0, "two\nlines"))
    labels = ("=1+1", "+x", "-x", "@x", "\t=1", "fine", "-2")
    suspects = tuple(Suspect(i, label, reasons) for i, label in enumerate(labels))
    text = review_csv(Report("d", "", ("flags",), 9, suspects, (9,), (2,), ()))
    cells = [cell for line in csv.reader(io.StringIO(text)) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]
    assert {cell for cell in cells if cell.startswith("-")} == {"-0.5", "-2"}
    assert len(text.splitlines()) == 15
    assert "'=1+1" in cells


# --- clients


def test_a_client_trains_on_what_it_keeps_and_answers_with_why_when_it_must_not():
    data = rows(40)
    plan = LocalTraining(steps=1, batch=4, learning_rate=0.1)
    client = LocalClient(client_id("c"), MODEL, data, plan, Seeds(0))
    high = float(np.sort(data.inputs[:, 0])[-5])
    made, report = sanitised(client, Sanitiser((Flags(high),), 0.2, 0, Excess.STOP))
    assert len(made.data) == 36
    assert made.stopped is None
    made, report = sanitised(client, Sanitiser((Flags(high),), 0.05, 0, Excess.STOP))
    assert made.data is client.data
    assert len(report.suspects) == 4
    with pytest.raises(TooManySuspicious, match="4 of 40 rows"):
        made.handle("train", b"")
    assert len(client.data) == 40
