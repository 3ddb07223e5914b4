"""Make a poisoned update count many times, so that the model becomes the attacker's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks.threat import Attack, AttackerView
from ringfort.attacks.wrapper import Wrapper
from ringfort.core.checks import positive
from ringfort.core.values import F32

__all__ = ["ModelReplacement"]


@dataclass(frozen=True, slots=True)
class ModelReplacement(Wrapper):
    """Model replacement: another attack's update, boosted. Every round; once, inside `chained`.

    Args:
        inner: the attack whose update is boosted.
        gamma: how many times its length, > 0. With k attackers of n, a plain mean's model becomes theirs at n/k.

    Threat: what the inner attack assumes; also controls the updates the attackers send.

    Source: Bagdasaryan et al. 2020, AISTATS, arXiv:1807.00459 (model replacement; with the norm below a known bound,
        train-and-scale).
    """

    inner: Attack
    gamma: float
    word: ClassVar[str] = "model-replacement"

    def __post_init__(self) -> None:
        positive(gamma=self.gamma)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:
        """(k, d): gamma times what the inner attack sends."""
        return np.float32(self.gamma) * self.sent_within(view, rng)
