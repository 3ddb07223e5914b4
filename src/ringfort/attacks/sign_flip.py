"""Send the opposite of what was learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks.threat import AttackerView, Control, Knowledge, ThreatModel, Untargeted
from ringfort.core.checks import positive
from ringfort.core.values import F32

__all__ = ["SignFlip"]


@dataclass(frozen=True, slots=True)
class SignFlip(Untargeted):
    """Sign flip: untargeted model poisoning, each attacker sends its own honest update reversed and scaled.

    Args:
        scale: how many times its length, > 0. k attackers among n cancel the mean's progress at (n - k) / k.

    Threat: knows its own data and update; controls the update it sends; needs no collusion.

    Source: Blanchard et al. 2017, NeurIPS; named in Damaskinos et al. 2018.
    """

    scale: float
    name: ClassVar[str] = "sign-flip"
    threat: ClassVar[ThreatModel] = ThreatModel(
        goal="Make the global model useless.",
        knows=Knowledge.OWN_DATA | Knowledge.GLOBAL_MODEL | Knowledge.OWN_UPDATES,
        controls=Control.UPDATES,
        colludes=False,
    )

    def __post_init__(self) -> None:
        positive(scale=self.scale)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:  # noqa: ARG002
        """(k, d): -scale times the attackers' own updates."""
        return np.float32(-self.scale) * view.own_updates
