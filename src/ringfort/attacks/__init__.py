"""Floor 1: the red team. Each attack states its threat model, and the harness grants it nothing more.

`ATTACKS` maps each registered name to its class; `WRAPPERS` maps the names of those that another attack wears.
"""

from typing import Any

from ringfort.attacks.alie import ALIE
from ringfort.attacks.blended_backdoor import BlendedBackdoor
from ringfort.attacks.clean_label_backdoor import CleanLabelBackdoor
from ringfort.attacks.constrain_and_scale import ConstrainAndScale
from ringfort.attacks.distributed_backdoor import DistributedBackdoor
from ringfort.attacks.dynamic_label_flip import DynamicLabelFlip
from ringfort.attacks.fang_krum import FangKrum
from ringfort.attacks.fang_trimmed_mean import FangTrimmedMean
from ringfort.attacks.free_rider import FreeRider, Zero
from ringfort.attacks.gaussian_noise import GaussianNoise
from ringfort.attacks.ipm import IPM
from ringfort.attacks.label_flip import LabelFlip
from ringfort.attacks.mimic import Mimic
from ringfort.attacks.min_max import MinMax, MinSum
from ringfort.attacks.model_replacement import ModelReplacement
from ringfort.attacks.mpaf import MPAF
from ringfort.attacks.neurotoxin import Neurotoxin
from ringfort.attacks.optimised import OptimisedALIE, OptimisedIPM, OptimisedMinMax, OptimisedScaling
from ringfort.attacks.phrase_backdoor import PhraseBackdoor
from ringfort.attacks.pixel_backdoor import PixelBackdoor
from ringfort.attacks.poisoned_fl import PoisonedFL
from ringfort.attacks.projected import Projected
from ringfort.attacks.scaling import Scaling
from ringfort.attacks.semantic_backdoor import SemanticBackdoor
from ringfort.attacks.sign_flip import SignFlip
from ringfort.attacks.static_label_flip import StaticLabelFlip
from ringfort.attacks.tailored import Tailored
from ringfort.attacks.threat import (
    Attack,
    AttackerView,
    Control,
    DataAttack,
    DividedAttack,
    Knowledge,
    Memory,
    Oracle,
    OwnClient,
    Predict,
    RoundDataAttack,
    Score,
    ThreatModel,
    Untargeted,
    UpdateAttack,
)
from ringfort.attacks.timed import Chained, Ramp, Redemption, Sleeper
from ringfort.attacks.tone_backdoor import ToneBackdoor
from ringfort.attacks.wrapper import Wrapper

__all__ = [
    "ALIE",
    "ATTACKS",
    "IPM",
    "MPAF",
    "WRAPPERS",
    "Attack",
    "AttackerView",
    "BlendedBackdoor",
    "Chained",
    "CleanLabelBackdoor",
    "ConstrainAndScale",
    "Control",
    "DataAttack",
    "DistributedBackdoor",
    "DividedAttack",
    "DynamicLabelFlip",
    "FangKrum",
    "FangTrimmedMean",
    "FreeRider",
    "GaussianNoise",
    "Knowledge",
    "LabelFlip",
    "Memory",
    "Mimic",
    "MinMax",
    "MinSum",
    "ModelReplacement",
    "Neurotoxin",
    "OptimisedALIE",
    "OptimisedIPM",
    "OptimisedMinMax",
    "OptimisedScaling",
    "Oracle",
    "OwnClient",
    "PhraseBackdoor",
    "PixelBackdoor",
    "PoisonedFL",
    "Predict",
    "Projected",
    "Ramp",
    "Redemption",
    "RoundDataAttack",
    "Scaling",
    "Score",
    "SemanticBackdoor",
    "SignFlip",
    "Sleeper",
    "StaticLabelFlip",
    "Tailored",
    "ThreatModel",
    "ToneBackdoor",
    "Untargeted",
    "UpdateAttack",
    "Wrapper",
    "Zero",
]

ATTACKS: dict[str, type[Any]] = {
    attack.name: attack
    for attack in (
        SignFlip,
        GaussianNoise,
        Zero,
        FreeRider,
        Scaling,
        ALIE,
        IPM,
        MinMax,
        MinSum,
        Mimic,
        FangKrum,
        FangTrimmedMean,
        MPAF,
        PoisonedFL,
        OptimisedALIE,
        OptimisedIPM,
        OptimisedMinMax,
        OptimisedScaling,
        LabelFlip,
        StaticLabelFlip,
        DynamicLabelFlip,
        PixelBackdoor,
        BlendedBackdoor,
        DistributedBackdoor,
        CleanLabelBackdoor,
        SemanticBackdoor,
        PhraseBackdoor,
        ToneBackdoor,
    )
}

WRAPPERS: dict[str, type[Any]] = {
    wrapper.word: wrapper
    for wrapper in (
        ModelReplacement,
        ConstrainAndScale,
        Projected,
        Neurotoxin,
        Tailored,
        Sleeper,
        Chained,
        Ramp,
        Redemption,
    )
}
