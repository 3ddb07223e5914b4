from dataclasses import replace

import numpy as np
import pytest

from ringfort.core import Dataset
from ringfort.core.errors import InvalidValue

CLASSES = ("cat", "dog")


def make(inputs=None, labels=(0, 1, 1), owners=None):
    inputs = np.arange(6, dtype=np.uint8).reshape(3, 2) if inputs is None else inputs
    return Dataset("toy", inputs, np.array(labels, np.int64), CLASSES, owners)


def test_pixels_become_floats_from_zero_to_one():
    data = make(np.array([[0], [128], [255]], np.uint8))
    assert data.floats().dtype == np.float32
    assert np.allclose(data.floats().ravel(), [0, 128 / 255, 1])
    assert data.floats(np.array([2])).tolist() == [[1.0]]


def test_floats_of_floats_are_a_copy_with_the_same_bits():
    inputs = np.array([[0.5], [-3], [1e30]], np.float32)
    data = make(inputs)
    data.floats()[0] = 9
    assert data.inputs[0, 0] == 0.5


def test_taking_rows_copies_them_in_order():
    part = make(owners=np.array(["x", "y", "z"])).take(np.array([2, 0]))
    assert part.labels.tolist() == [1, 0]
    assert part.inputs.tolist() == [[4, 5], [0, 1]]
    assert part.owners.tolist() == ["z", "x"]
    assert len(part) == 2
    assert part.input_shape == (2,)


def test_the_digest_changes_with_every_part_of_the_content():
    base = make()
    others = [
        make(np.arange(1, 7, dtype=np.uint8).reshape(3, 2)),
        make(labels=(0, 1, 0)),
        make(np.arange(6, dtype=np.float32).reshape(3, 2)),
        make(np.arange(6, dtype=np.uint8).reshape(3, 2, 1)),
        Dataset("toy", base.inputs, base.labels, ("cat", "dog", "cow")),
    ]
    assert len({data.digest() for data in [base, *others]}) == 6
    assert make().digest() == base.digest()


def test_the_digest_does_not_depend_on_memory_layout():
    assert make(np.asfortranarray(make().inputs)).digest() == make().digest()


@pytest.mark.parametrize(
    "build",
    [
        lambda: make(np.zeros((3, 2))),
        lambda: make(np.zeros((2, 2), np.uint8)),
        lambda: make(labels=(0, 1, 2)),
        lambda: make(labels=(0, -1, 0)),
        lambda: make(owners=np.array(["x"])),
        lambda: Dataset("toy", np.zeros((3, 1), np.uint8), np.zeros(3, np.int32), CLASSES),
    ],
    ids=["float64", "lengths", "label too large", "label negative", "owners", "label dtype"],
)
def test_inconsistent_data_cannot_be_made(build):
    with pytest.raises(InvalidValue, match="toy"):
        build()


def test_data_does_not_show_its_rows_when_printed():
    assert "array" not in repr(make(owners=np.array(["x", "y", "z"])))


def test_with_rows_keeps_the_name_and_classes():
    changed = make().with_rows(np.zeros((1, 2), np.uint8), np.zeros(1, np.int64))
    assert (changed.name, changed.classes, len(changed)) == ("toy", CLASSES, 1)


def test_as_many_rows_keep_their_owners_and_another_number_of_rows_has_none():
    owned = replace(make(), owners=np.array(["a"] * len(make())))
    same = owned.with_rows(owned.inputs.copy(), owned.labels.copy())
    assert np.array_equal(same.owners, owned.owners)
    assert owned.with_rows(owned.inputs[:1], owned.labels[:1]).owners is None
