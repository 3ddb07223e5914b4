"""Every registered attack passes the suite that third parties run on theirs."""

import numpy as np
import pytest

from ringfort.attacks import (
    ALIE,
    ATTACKS,
    IPM,
    MPAF,
    WRAPPERS,
    BlendedBackdoor,
    Chained,
    CleanLabelBackdoor,
    ConstrainAndScale,
    DistributedBackdoor,
    DynamicLabelFlip,
    FangKrum,
    FangTrimmedMean,
    FreeRider,
    GaussianNoise,
    LabelFlip,
    Mimic,
    MinMax,
    MinSum,
    ModelReplacement,
    Neurotoxin,
    OptimisedALIE,
    OptimisedIPM,
    OptimisedMinMax,
    OptimisedScaling,
    PhraseBackdoor,
    PixelBackdoor,
    PoisonedFL,
    Projected,
    Ramp,
    Redemption,
    Scaling,
    SemanticBackdoor,
    SignFlip,
    Sleeper,
    StaticLabelFlip,
    Tailored,
    ToneBackdoor,
    Zero,
)
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible
from ringfort.testing import check_attack

ATTACKS_TO_CHECK = [
    SignFlip(scale=0.5),
    SignFlip(scale=4.0),
    GaussianNoise(sigma=0.1),
    ALIE(),
    ALIE(z=1.5),
    IPM(epsilon=0.5),
    *(kind(direction=way) for kind in (MinMax, MinSum) for way in ("unit", "std", "sign")),
    Mimic(),
    Mimic(victim=11),
    Zero(),
    FreeRider(),
    FreeRider(sigma=0.0),
    Scaling(gamma=10.0),
    *(FangKrum(knowledge=known) for known in ("full", "partial", "defence")),
    *(FangTrimmedMean(knowledge=known) for known in ("full", "partial")),
    MPAF(scale=10.0),
    PoisonedFL(),
    PoisonedFL(strength=1.0, period=1),
    OptimisedALIE(),
    OptimisedALIE(evaluations=64),
    OptimisedIPM(),
    *(OptimisedMinMax(direction=way) for way in ("unit", "std", "sign")),
    OptimisedScaling(evaluations=8),
    StaticLabelFlip(),
    DynamicLabelFlip(),
    LabelFlip(source=1, target=2),
    LabelFlip(source=1, target=0, fraction=0.5),
    LabelFlip(source=0, target=2, fraction=1.0),
    PixelBackdoor(target=0, fraction=0.5),
    PixelBackdoor(target=2, fraction=1.0, size=1),
    BlendedBackdoor(target=1, fraction=0.5),
    BlendedBackdoor(target=1, fraction=0.5, opacity=1.0),
    DistributedBackdoor(target=1, fraction=0.5),
    DistributedBackdoor(target=1, fraction=0.5, size=1, parts=1),
    CleanLabelBackdoor(target=1, fraction=0.5),
    CleanLabelBackdoor(target=1, fraction=1.0, fade=0.0),
    *(SemanticBackdoor(source=1, target=0, fraction=0.5, kind=kind) for kind in ("edge", "stripes", "bright", "dark")),
]
PHRASE = PhraseBackdoor(target=1, fraction=0.5, phrase="tulip harbour")
TONE = ToneBackdoor(target=1, fraction=0.5, strength=0.5)

DOOR = PixelBackdoor(target=0, fraction=0.5)
WORN = [
    ModelReplacement(DOOR, gamma=10.0),
    ModelReplacement(SignFlip(scale=1.0), gamma=2.0),
    ConstrainAndScale(DOOR),
    ConstrainAndScale(DynamicLabelFlip(), alpha=0.0, bound=3.0, passes=1),
    Projected(DOOR),
    Projected(IPM(epsilon=5.0), bound=0.1),
    Neurotoxin(DOOR),
    Neurotoxin(LabelFlip(source=1, target=2), keep=0.01, bound=1.0),
    Tailored(DOOR),
    Tailored(MPAF(scale=10.0), evaluations=8),
    Sleeper(DOOR, wakes=2),
    Sleeper(PoisonedFL(), wakes=2),
    Chained(ModelReplacement(DOOR, gamma=10.0), start=2, stop=2),
    Ramp(Projected(DOOR), rounds=4),
    Ramp(DynamicLabelFlip(), rounds=2, start=2),
    Redemption(DOOR, bad=1, good=1),
    Redemption(Sleeper(FreeRider(), wakes=2), bad=2, good=1),
]


@pytest.fixture(scope="module", params=[np.uint8, np.float32])
def images(request):
    rng = np.random.default_rng(5)
    inputs = rng.integers(0, 200, (30, 1, 8, 8)).astype(request.param)
    return Dataset("toy", inputs, rng.integers(0, 3, 30), ("a", "b", "c"))


@pytest.mark.parametrize("attack", ATTACKS_TO_CHECK, ids=repr)
def test_a_registered_attack_conforms(attack, images):
    check_attack(attack, images)


@pytest.mark.parametrize("attack", WORN, ids=repr)
def test_what_attacks_wear_conforms(attack, images):
    check_attack(attack, images)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_attack_on_texts_conforms(dtype):
    rng = np.random.default_rng(5)
    texts = np.zeros((30, 4, 16), dtype=dtype)
    texts[np.arange(30)[:, None], np.arange(4), rng.integers(0, 16, (30, 4))] = 255 if dtype is np.uint8 else 1
    check_attack(PHRASE, Dataset("texts", texts, rng.integers(0, 3, 30), ("a", "b", "c")))


def test_the_attack_on_sounds_conforms():
    rng = np.random.default_rng(5)
    frames = rng.standard_normal((30, 12)).astype(np.float32)
    check_attack(TONE, Dataset("frames", frames, rng.integers(0, 3, 30), ("a", "b", "c")))


def test_no_registered_attack_is_left_out():
    assert {attack.name for attack in (*ATTACKS_TO_CHECK, PHRASE, TONE)} == set(ATTACKS)
    assert all(kind.name == name for name, kind in ATTACKS.items())
    assert {attack.word for attack in WORN} == set(WRAPPERS)
    assert all(kind.word == name for name, kind in WRAPPERS.items())


def test_checking_an_attack_on_data_that_does_not_fit_is_the_callers_error():
    table = Dataset("table", np.zeros((6, 4), dtype=np.float32), np.arange(6) % 3, ("a", "b", "c"))
    with pytest.raises(Incompatible, match="needs images"):
        check_attack(PixelBackdoor(target=0, fraction=0.5), table)
