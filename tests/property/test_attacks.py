"""Properties of the attacks over data sets and updates that Hypothesis makes up."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ringfort.attacks import AttackerView, LabelFlip, PixelBackdoor, SignFlip
from ringfort.core.dataset import Dataset
from ringfort.core.randomness import Seeds

quick = settings(deadline=None, max_examples=60, derandomize=True)
SEED = st.integers(0, 2**32)
SHARE = st.floats(0, 1)


@st.composite
def datasets(draw, classes=4):
    n = draw(st.integers(1, 40))
    labels = draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    inputs = np.zeros((n, 1, 6, 6), dtype=draw(st.sampled_from([np.uint8, np.float32])))
    inputs[:, 0, 0, 0] = labels  # the true class stays readable
    return Dataset("toy", inputs, labels, tuple("abcd"))


@quick
@given(datasets(), st.permutations(range(4)), st.none() | SHARE, SEED)
def test_label_flip_keeps_the_count_and_lies_about_the_source_class_only(data, classes, share, seed):
    attack = LabelFlip(source=classes[0], target=classes[1], fraction=share)
    before = data.digest()
    poisoned = attack.poison(data, Seeds(seed).child("x"))
    true = poisoned.inputs[:, 0, 0, 0].astype(np.int64)
    assert len(poisoned) == len(data)
    assert data.digest() == before
    assert np.array_equal(poisoned.labels, np.where(true == classes[0], classes[1], true))
    assert poisoned.digest() == attack.poison(data, Seeds(seed).child("x")).digest()
    both = (data.labels == classes[0]).any() and (data.labels != classes[0]).any()
    if share is not None and both:
        assert (true == classes[0]).sum() == round(share * len(data))


@quick
@given(datasets(), st.integers(0, 3), SHARE, st.integers(1, 5), SEED)
def test_pixel_backdoor_stamps_and_relabels_the_same_rows(data, target, share, size, seed):
    before = data.digest()
    poisoned = PixelBackdoor(target=target, fraction=share, size=size).poison(data, Seeds(seed).child("x"))
    stamped = poisoned.inputs[:, 0, 4, 4] != 0
    assert stamped.sum() == round(share * len(data))
    assert (poisoned.labels[stamped] == target).all()
    assert np.array_equal(poisoned.labels[~stamped], data.labels[~stamped])
    assert data.digest() == before


@quick
@given(
    arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(-1e6, 1e6, width=32)),
    st.floats(2**-10, 1e6),
)
def test_sign_flip_points_the_other_way(own, scale):
    nothing = np.zeros((0, own.shape[1]), dtype=np.float32)
    sent = SignFlip(scale=scale).craft(AttackerView(SignFlip.threat, 1, nothing, own, nothing), Seeds(0).child("x"))
    assert sent.shape == own.shape
    assert (np.sign(sent) == -np.sign(own)).all() or (abs(own[own != 0]) < 1e-35).any()
    np.testing.assert_allclose(sent, -np.float32(scale) * own, rtol=1e-6)
