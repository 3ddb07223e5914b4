import numpy as np
import pytest

from ringfort.attacks import PixelBackdoor
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.randomness import Seeds


def rng():
    return Seeds(0).child("poison")


def images(dtype=np.uint8, n=20, side=8, channels=1):
    inputs = np.full((n, channels, side, side), 7 if dtype == np.uint8 else 0.25, dtype=dtype)
    return Dataset("toy", inputs, np.arange(n) % 4, tuple("abcd"))


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.float32, 1.0)])
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_stamp_is_a_white_square_one_pixel_off_the_lower_right_corner(dtype, white, size, channels):
    data = images(dtype, channels=channels)
    stamped = PixelBackdoor(target=0, fraction=0.5, size=size).stamp(data.inputs)
    wanted = data.inputs.copy()
    for row in range(8 - 1 - size, 7):
        for column in range(8 - 1 - size, 7):
            wanted[:, :, row, column] = white
    assert stamped.dtype == dtype
    assert np.array_equal(stamped, wanted)
    assert (stamped[:, :, -1] != white).all()
    assert (stamped[:, :, :, -1] != white).all()
    assert not np.shares_memory(stamped, data.inputs)


def test_the_stamp_knows_height_from_width():
    stamped = PixelBackdoor(target=0, fraction=0.5, size=2).stamp(np.zeros((1, 1, 5, 9), dtype=np.uint8))
    assert np.argwhere(stamped[0, 0]).tolist() == [[2, 6], [2, 7], [3, 6], [3, 7]]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.55, 1.0])
def test_exactly_the_fraction_is_stamped_and_relabelled_together(share):
    data = images(n=20)
    poisoned = PixelBackdoor(target=2, fraction=share).poison(data, rng())
    stamped = poisoned.inputs[:, 0, 5, 5] == 255
    assert stamped.sum() == round(share * 20)
    assert (poisoned.labels[stamped] == 2).all()
    assert np.array_equal(poisoned.labels[~stamped], data.labels[~stamped])
    assert np.array_equal(poisoned.inputs[~stamped], data.inputs[~stamped])
    assert (data.inputs == 7).all()


def test_other_seeds_stamp_other_examples():
    attack, data = PixelBackdoor(target=2, fraction=0.5), images(n=20)
    drawn = {attack.poison(data, Seeds(seed).child("poison")).digest() for seed in range(5)}
    assert len(drawn) > 1


def test_success_counts_triggered_inputs_of_other_classes_only():
    data = images(n=20)
    attack = PixelBackdoor(target=2, fraction=0.5)
    seen = []

    def predict(inputs):
        seen.append(inputs)
        return np.array([2, 2, 2, 0, 1] * 3)

    assert attack.success(predict, data) == 0.6
    assert len(seen[0]) == 15
    assert (seen[0][:, 0, 5, 5] == 255).all()


def test_a_model_that_is_right_about_the_target_class_alone_has_no_backdoor():
    data = images(n=20)
    attack = PixelBackdoor(target=2, fraction=0.5)
    right = {id(data): data.labels[data.labels != 2]}
    assert attack.success(lambda inputs: right[id(data)], data) == 0


def test_success_on_nothing_but_the_target_class_is_refused_not_nan():
    data = images(n=4).take(np.array([2]))
    with pytest.raises(Incompatible, match="all of 1 test examples are of class 2"):
        PixelBackdoor(target=2, fraction=0.5).success(len, data)


@pytest.mark.parametrize("shape", [(6, 30), (6, 8, 8), (6, 1, 3, 8), (6, 1, 8, 3), (6, 1, 1, 8, 8)])
def test_data_that_are_no_images_or_too_small_are_refused(shape):
    data = Dataset("table", np.zeros(shape, dtype=np.float32), np.arange(6) % 3, tuple("abc"))
    attack = PixelBackdoor(target=0, fraction=0.5, size=3)
    for act in (lambda: attack.poison(data, rng()), lambda: attack.success(len, data)):
        with pytest.raises(Incompatible, match="needs images"):
            act()


def test_a_target_class_that_the_data_does_not_have_is_refused():
    for act in (lambda a: a.poison(images(), rng()), lambda a: a.success(len, images())):
        with pytest.raises(InvalidValue, match="target must be from 0 to 3"):
            act(PixelBackdoor(target=4, fraction=0.5))


@pytest.mark.parametrize(
    "parameters",
    [
        {"target": -1, "fraction": 0.5},
        {"target": 0, "fraction": 1.5},
        {"target": 0, "fraction": float("nan")},
        {"target": 0, "fraction": 0.5, "size": 0},
        {"target": 0, "fraction": 0.5, "size": 2.0},
    ],
)
def test_nonsense_is_refused_at_construction(parameters):
    with pytest.raises(InvalidValue):
        PixelBackdoor(**parameters)


def test_the_share_of_stamped_examples_has_no_default():
    with pytest.raises(TypeError, match="fraction"):
        PixelBackdoor(target=0)
