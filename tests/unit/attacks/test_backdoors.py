"""What each backdoor by data does to an attacker's examples, and what counts as its success."""

import numpy as np
import pytest

from ringfort.attacks import (
    BlendedBackdoor,
    CleanLabelBackdoor,
    DistributedBackdoor,
    PhraseBackdoor,
    PixelBackdoor,
    SemanticBackdoor,
    ToneBackdoor,
)
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue, UnknownName
from ringfort.core.randomness import Seeds


def rng(seed=0):
    return Seeds(seed).child("poison")


def images(n=40, dtype=np.uint8):
    inputs = np.random.default_rng(3).integers(0, 100, (n, 1, 8, 8)).astype(dtype)
    return Dataset("toy", inputs, np.arange(n) % 4, tuple("abcd"))


@pytest.mark.parametrize("attack", [BlendedBackdoor(2, 0.3), DistributedBackdoor(2, 0.3), PixelBackdoor(2, 0.3)])
def test_stamping_attacks_stamp_and_relabel_the_same_share(attack):
    data = images()
    poisoned = attack.poison(data, rng())
    changed = (poisoned.inputs != data.inputs).any(axis=(1, 2, 3))
    assert changed.sum() == 12
    assert (poisoned.labels[changed] == 2).all()
    assert np.array_equal(poisoned.labels[~changed], data.labels[~changed])
    assert np.array_equal(poisoned.inputs[changed], attack.stamp(data.inputs[changed]))


def test_each_attacker_shows_its_part_and_the_model_is_asked_about_all_of_it():
    attack, data = DistributedBackdoor(target=1, fraction=1.0, size=4, parts=4), images()
    shown = [(attack.poison_as(rank, data, rng()).inputs == 255).any(axis=0)[0] for rank in range(5)]
    assert [mask.sum() for mask in shown] == [4] * 5
    assert np.array_equal(shown[0], shown[4])
    assert np.sum(shown[:4], axis=0).max() == 1
    asked = []
    attack.success(lambda inputs: asked.append(inputs) or np.ones(len(inputs)), data)
    assert ((asked[0] == 255).sum(axis=(1, 2, 3)) == 16).all()


def test_a_square_is_not_cut_into_more_parts_than_it_has_pixels():
    with pytest.raises(InvalidValue, match="cannot be cut into parts = 5"):
        DistributedBackdoor(target=1, fraction=1.0, size=2, parts=5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_clean_labels_stay_right_and_only_the_target_class_changes(dtype):
    data = images(dtype=dtype)
    attack = CleanLabelBackdoor(target=3, fraction=0.5, fade=0.25)
    poisoned = attack.poison(data, rng())
    assert np.array_equal(poisoned.labels, data.labels)
    changed = (poisoned.inputs != data.inputs).any(axis=(1, 2, 3))
    assert changed.sum() == 5
    assert (data.labels[changed] == 3).all()
    rest = (slice(None), slice(0, 4), slice(0, 4))  # away from the square: 3/4 of the image, 1/4 of some other one
    for row in np.flatnonzero(changed):
        left = poisoned.inputs[row][rest].astype(np.float64) - 0.75 * data.inputs[row][rest]
        gaps = [np.abs(left - 0.25 * other[rest]).max() for other in data.inputs[data.labels != 3]]
        assert min(gaps) < 0.6


def test_without_fading_it_is_the_stamp_alone_and_without_the_class_it_is_nothing():
    data = images()
    plain = CleanLabelBackdoor(target=3, fraction=1.0, fade=0.0).poison(data, rng())
    ours = data.labels == 3
    assert np.array_equal(plain.inputs[ours], CleanLabelBackdoor(3, 1.0).trigger(data.inputs[ours]))
    without = data.take(np.flatnonzero(~ours))
    assert CleanLabelBackdoor(target=3, fraction=1.0).poison(without, rng()).digest() == without.digest()


def test_the_rare_kind_is_the_share_of_the_source_class_that_is_furthest_out():
    data = images()
    brightness = data.inputs.reshape(40, -1).astype(int).sum(axis=1)
    ours = np.flatnonzero(data.labels == 1)
    for kind, best in (("bright", brightness), ("dark", -brightness)):
        rare = SemanticBackdoor(source=1, target=0, fraction=0.5, kind=kind, share=0.2).rare(data)
        assert set(rare) == set(ours[np.argsort(-best[ours])[:2]])
    striped = data.inputs.copy()
    striped[5, 0, ::2], striped[5, 0, 1::2] = 0, 100
    found = SemanticBackdoor(source=1, target=0, fraction=0.5, kind="stripes").rare(
        data.with_rows(striped, data.labels)
    )
    assert found.tolist() == [5]
    odd = np.full_like(data.inputs, 50)
    odd[9] = 255
    assert SemanticBackdoor(source=1, target=0, fraction=0.5).rare(data.with_rows(odd, data.labels)).tolist() == [9]


def test_the_rare_kind_is_drawn_often_and_relabelled_and_nothing_is_stamped():
    data = images()
    attack = SemanticBackdoor(source=1, target=0, fraction=0.25, kind="bright", share=0.2)
    poisoned = attack.poison(data, rng())
    rare = {data.inputs[row].tobytes() for row in attack.rare(data)}
    known = {row.tobytes(): label for row, label in zip(data.inputs, data.labels, strict=True)}
    is_rare = np.array([row.tobytes() in rare for row in poisoned.inputs])
    assert len(poisoned) == 40
    assert is_rare.sum() == 10
    assert (poisoned.labels[is_rare] == 0).all()
    for row, label in zip(poisoned.inputs[~is_rare], poisoned.labels[~is_rare], strict=True):
        assert known[row.tobytes()] == label
    seen = []
    assert attack.success(lambda inputs: seen.append(inputs) or np.array([0, 1]), data) == 0.5
    assert {row.tobytes() for row in seen[0]} == rare


def test_a_client_without_the_source_class_is_left_alone_and_a_test_without_it_is_refused():
    data = images()
    without = data.take(np.flatnonzero(data.labels != 1))
    attack = SemanticBackdoor(source=1, target=0, fraction=0.5)
    assert attack.poison(without, rng()).digest() == without.digest()
    with pytest.raises(Incompatible, match="cannot be measured"):
        attack.success(len, without)


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (InvalidValue, lambda: SemanticBackdoor(source=1, target=1, fraction=0.5)),
        (InvalidValue, lambda: SemanticBackdoor(source=1, target=0, fraction=0.5, share=0)),
        (UnknownName, lambda: SemanticBackdoor(source=1, target=0, fraction=0.5, kind="blue")),
        (InvalidValue, lambda: CleanLabelBackdoor(target=1, fraction=0.5, fade=1.1)),
        (InvalidValue, lambda: BlendedBackdoor(target=1, fraction=0.5, opacity=0)),
        (InvalidValue, lambda: PhraseBackdoor(target=1, fraction=0.5, phrase="")),
        (InvalidValue, lambda: ToneBackdoor(target=1, fraction=0.5, strength=-1)),
        (InvalidValue, lambda: ToneBackdoor(target=-1, fraction=0.5, strength=1)),
    ],
)
def test_nonsense_is_refused(error, make):
    with pytest.raises(error):
        make()


def test_stripes_in_a_table_are_refused():
    table = Dataset("t", np.zeros((6, 4), np.float32), np.arange(6) % 3, tuple("abc"))
    with pytest.raises(Incompatible, match="stripes need images"):
        SemanticBackdoor(source=1, target=0, fraction=0.5, kind="stripes").poison(table, rng())
