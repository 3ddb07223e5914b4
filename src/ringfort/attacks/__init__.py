"""Floor 1: the red team. Each attack states its threat model, and the harness grants it nothing more.

`ATTACKS` maps each registered name to its class.
"""

from typing import Any

from ringfort.attacks.label_flip import LabelFlip
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
    UpdateAttack,
)

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackerView",
    "Control",
    "DataAttack",
    "Knowledge",
    "LabelFlip",
    "PixelBackdoor",
    "Predict",
    "SignFlip",
    "ThreatModel",
    "UpdateAttack",
]

ATTACKS: dict[str, type[Any]] = {attack.name: attack for attack in (SignFlip, LabelFlip, PixelBackdoor)}
