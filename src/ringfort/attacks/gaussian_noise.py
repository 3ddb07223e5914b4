"""Send noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks.threat import AttackerView, Control, Knowledge, ThreatModel, Untargeted
from ringfort.core.checks import positive
from ringfort.core.values import F32

__all__ = ["GaussianNoise"]


@dataclass(frozen=True, slots=True)
class GaussianNoise(Untargeted):
    """Gaussian noise: untargeted model poisoning, each attacker sends independent noise instead of an update.

    Args:
        sigma: standard deviation per coordinate, > 0; the update's norm is about sigma * sqrt(d).

    Threat: knows nothing but the model's size; controls the update it sends; needs no collusion.

    Source: Blanchard et al. 2017, NeurIPS, Section 5.
    """

    sigma: float
    name: ClassVar[str] = "gaussian-noise"
    threat: ClassVar[ThreatModel] = ThreatModel(
        goal="Make the global model useless.",
        knows=Knowledge.OWN_UPDATES,
        controls=Control.UPDATES,
        colludes=False,
    )

    def __post_init__(self) -> None:
        positive(sigma=self.sigma)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:
        """(k, d): independent noise."""
        return rng.standard_normal(view.own_updates.shape, dtype=np.float32) * np.float32(self.sigma)
