"""Triggers: what they do to an input, and which inputs cannot carry them."""

import numpy as np
import pytest

from ringfort.attacks.trigger import Blend, Part, Patch, Phrase, Tone
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.text import bucket

PIXELS = np.random.default_rng(0).integers(0, 200, (5, 1, 8, 8)).astype(np.uint8)
GREY = PIXELS.astype(np.float32) / 255
TEXT = np.zeros((5, 4, 32), dtype=np.uint8)
TEXT[np.arange(5)[:, None], np.arange(4), np.random.default_rng(1).integers(0, 32, (5, 4))] = 255
FRAMES = np.random.default_rng(2).standard_normal((5, 12)).astype(np.float32)
CASES = [
    (Patch(3), PIXELS),
    (Patch(3), GREY),
    (Blend(0.3), PIXELS),
    (Blend(0.3), GREY),
    (Part(Patch(4), 1, 4), PIXELS),
    (Part(Blend(0.5), 0, 2), GREY),
    (Phrase("tulip harbour"), TEXT),
    (Phrase("tulip"), TEXT.astype(np.float32) / 255),
    (Tone(0.5), FRAMES),
]


@pytest.mark.parametrize(("trigger", "inputs"), CASES, ids=lambda case: str(getattr(case, "dtype", case)))
def test_a_copy_of_the_same_kind_changed_where_it_says_and_nowhere_else(trigger, inputs):
    before = inputs.copy()
    out = trigger(inputs)
    assert (out.shape, out.dtype) == (inputs.shape, inputs.dtype)
    assert not np.shares_memory(out, inputs)
    assert np.array_equal(inputs, before)
    assert (out != inputs).any()
    assert np.array_equal(out[:, ~trigger.where(inputs.shape[1:])], inputs[:, ~trigger.where(inputs.shape[1:])])
    one = np.concatenate([trigger(inputs[i : i + 1]) for i in range(len(inputs))])
    assert np.array_equal(out, one)


def test_the_parts_of_a_trigger_are_apart_and_make_up_the_whole():
    masks = [Part(Patch(4), i, 4).where((1, 8, 8)) for i in range(4)]
    assert (np.sum(masks, axis=0) == Patch(4).where((1, 8, 8))).all()
    assert [mask.sum() for mask in masks] == [4] * 4
    stamped = PIXELS
    for i in range(4):
        stamped = Part(Patch(4), i, 4)(stamped)
    assert np.array_equal(stamped, Patch(4)(PIXELS))


def test_a_blend_is_a_weighted_mean_and_its_pattern_never_changes():
    black, white = np.zeros((1, 1, 4, 4), np.float32), np.ones((1, 1, 4, 4), np.float32)
    assert Blend(0.25)(white) - Blend(0.25)(black) == pytest.approx(0.75 * np.ones((1, 1, 4, 4)))
    assert Blend(1.0)(white) == pytest.approx(Blend(1.0)(black))
    assert Blend(1.0)(black)[0, 0, 0, :2] == pytest.approx([0.8542, 0.1724], abs=1e-4)
    assert abs(Blend(0.25)(np.zeros((1, 1, 4, 4), np.uint8)) / 255 - Blend(0.25)(black)).max() < 0.003


def test_a_phrase_takes_the_first_places_and_leaves_one_word_in_each():
    out = Phrase("Tulip, harbour!")(TEXT)
    assert (out[:, 0, bucket("tulip", 32)] == 255).all()
    assert (out[:, 1, bucket("harbour", 32)] == 255).all()
    assert (np.count_nonzero(out, axis=2) == 1).all()
    assert np.array_equal(out[:, 2:], TEXT[:, 2:])


def test_a_tone_adds_the_same_wave_to_every_frame():
    added = Tone(0.5, period=4)(FRAMES) - FRAMES
    assert added == pytest.approx(np.tile(np.float32([0.5, 0, -0.5, 0]), (5, 3)), abs=1e-6)


@pytest.mark.parametrize(
    ("trigger", "inputs"),
    [
        (Patch(8), PIXELS),
        (Patch(3), FRAMES),
        (Blend(0.5), FRAMES),
        (Phrase("a b c d"), TEXT),
        (Phrase("a"), FRAMES),
        (Tone(1.0), GREY),
        (Tone(1.0), np.zeros((3, 12), np.uint8)),
        (Part(Patch(1), 1, 2), PIXELS),
    ],
    ids=repr,
)
def test_inputs_that_cannot_carry_it_are_refused(trigger, inputs):
    with pytest.raises(Incompatible):
        trigger(inputs)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Patch(0),
        lambda: Blend(0),
        lambda: Blend(1.5),
        lambda: Part(Patch(2), 2, 2),
        lambda: Phrase("12 !"),
        lambda: Tone(0),
        lambda: Tone(1.0, period=1),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(InvalidValue):
        make()
