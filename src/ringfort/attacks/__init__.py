"""Floor 1: the red team. Each attack states its threat model, and the harness grants it nothing more.

`ATTACKS` maps each registered name to its class.
"""

from typing import Any

from ringfort.attacks.alie import ALIE
from ringfort.attacks.gaussian_noise import GaussianNoise
from ringfort.attacks.ipm import IPM
from ringfort.attacks.label_flip import LabelFlip
from ringfort.attacks.mimic import Mimic
from ringfort.attacks.min_max import MinMax, MinSum
from ringfort.attacks.pixel_backdoor import PixelBackdoor
from ringfort.attacks.sign_flip import SignFlip
from ringfort.attacks.threat import (
    Attack,
    AttackerView,
    Control,
    DataAttack,
    Knowledge,
    Predict,
    ThreatModel,
    Untargeted,
    UpdateAttack,
)

__all__ = [
    "ALIE",
    "ATTACKS",
    "IPM",
    "Attack",
    "AttackerView",
    "Control",
    "DataAttack",
    "GaussianNoise",
    "Knowledge",
    "LabelFlip",
    "Mimic",
    "MinMax",
    "MinSum",
    "PixelBackdoor",
    "Predict",
    "SignFlip",
    "ThreatModel",
    "Untargeted",
    "UpdateAttack",
]

ATTACKS: dict[str, type[Any]] = {
    attack.name: attack
    for attack in (SignFlip, GaussianNoise, ALIE, IPM, MinMax, MinSum, Mimic, LabelFlip, PixelBackdoor)
}
