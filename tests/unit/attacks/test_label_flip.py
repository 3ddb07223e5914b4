import numpy as np
import pytest

from ringfort.attacks import LabelFlip
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.randomness import Seeds


def rng():
    return Seeds(0).child("poison")


def client(labels, classes=4):
    labels = np.asarray(labels, dtype=np.int64)
    inputs = (100 * labels + np.arange(len(labels))).astype(np.float32)[:, None]  # each row knows its class and itself
    return Dataset("toy", inputs, labels, tuple("abcd"[:classes]))


def test_every_example_of_the_source_class_is_relabelled_and_nothing_else_changes():
    data = client([0, 1, 2, 1, 3, 1])
    poisoned = LabelFlip(source=1, target=3).poison(data, rng())
    assert poisoned.labels.tolist() == [0, 3, 2, 3, 3, 3]
    assert np.array_equal(poisoned.inputs, data.inputs)
    assert data.labels.tolist() == [0, 1, 2, 1, 3, 1]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("n_source", [1, 7, 30])
def test_with_a_fraction_the_count_is_kept_and_the_share_is_reached(share, n_source):
    data = client([1] * n_source + [0] * (20 - n_source // 2) + [2] * (20 - n_source // 2))
    poisoned = LabelFlip(source=1, target=3, fraction=share).poison(data, rng())
    assert len(poisoned) == len(data)
    flipped = poisoned.inputs[:, 0] // 100 == 1
    assert flipped.sum() == round(share * len(data))
    assert (poisoned.labels[flipped] == 3).all()
    assert (poisoned.labels[~flipped] == poisoned.inputs[~flipped, 0] // 100).all()
    assert set(poisoned.inputs[:, 0]) <= set(data.inputs[:, 0])


def test_with_a_fraction_honest_examples_that_carry_the_target_label_are_not_counted_as_flipped():
    data = client([1] * 5 + [3] * 15)
    poisoned = LabelFlip(source=1, target=3, fraction=0.5).poison(data, rng())
    assert (poisoned.labels == 3).all()
    assert (poisoned.inputs[:, 0] // 100 == 1).sum() == 10


@pytest.mark.parametrize("share", [None, 0.0, 0.5, 1.0])
def test_a_client_without_the_source_class_is_left_as_it_is(share):
    data = client([0, 2, 3, 0])
    assert LabelFlip(source=1, target=2, fraction=share).poison(data, rng()).digest() == data.digest()


@pytest.mark.parametrize("share", [None, 0.5])
def test_a_client_with_nothing_but_the_source_class_is_flipped_whole(share):
    poisoned = LabelFlip(source=1, target=2, fraction=share).poison(client([1, 1, 1]), rng())
    assert poisoned.labels.tolist() == [2, 2, 2]


def test_success_is_the_share_of_the_source_class_that_is_taken_for_the_target():
    data = client([1, 1, 1, 1, 0, 2])
    attack = LabelFlip(source=1, target=2)
    assert attack.success(lambda inputs: np.array([2, 2, 0, 1])[: len(inputs)], data) == 0.5
    assert attack.success(lambda inputs: np.full(len(inputs), 1), data) == 0
    seen = []
    attack.success(lambda inputs: seen.append(inputs) or np.zeros(len(inputs)), data)
    assert (seen[0][:, 0] // 100 == 1).all()


def test_success_without_a_single_source_example_is_refused_not_nan():
    with pytest.raises(Incompatible, match="none of 3 test examples is of class 1"):
        LabelFlip(source=1, target=2).success(lambda inputs: inputs, client([0, 2, 3]))


@pytest.mark.parametrize(("source", "target"), [(4, 0), (0, 4), (9, 8)])
def test_a_class_that_the_data_does_not_have_is_refused(source, target):
    attack = LabelFlip(source=source, target=target)
    for act in (lambda: attack.poison(client([0, 1]), rng()), lambda: attack.success(len, client([0, 1]))):
        with pytest.raises(InvalidValue, match="from 0 to 3"):
            act()


@pytest.mark.parametrize(
    "parameters",
    [
        {"source": 1, "target": 1},
        {"source": -1, "target": 1},
        {"source": 1, "target": 1.0},
        {"source": True, "target": 0},
        {"source": 1, "target": 2, "fraction": 1.01},
        {"source": 1, "target": 2, "fraction": -0.01},
        {"source": 1, "target": 2, "fraction": float("nan")},
        {"source": 1, "target": 2, "fraction": "0.5"},
    ],
)
def test_nonsense_is_refused_at_construction(parameters):
    with pytest.raises(InvalidValue):
        LabelFlip(**parameters)
