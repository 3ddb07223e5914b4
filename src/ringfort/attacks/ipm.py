"""Inner-product manipulation: turn the aggregate's direction with small steps or large ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks.threat import AttackerView, Control, Knowledge, ThreatModel, Untargeted
from ringfort.core.checks import positive
from ringfort.core.values import F32

__all__ = ["IPM"]


@dataclass(frozen=True, slots=True)
class IPM(Untargeted):
    """Inner-product manipulation (IPM): untargeted model poisoning, all attackers send the honest mean, reversed.

    Args:
        epsilon: times the honest mean, > 0. Below 1 it slips past distance tests (0.1 in the paper); above (n - k) / k
            it reverses a plain mean.

    Threat: knows every honest update of the round; controls the updates the attackers send; colludes.

    Source: Xie et al. 2020, Fall of Empires, UAI, arXiv:1903.03936.
    """

    epsilon: float
    name: ClassVar[str] = "ipm"
    threat: ClassVar[ThreatModel] = ThreatModel(
        goal="Make the global model useless by turning its steps around.",
        knows=Knowledge.OWN_UPDATES | Knowledge.HONEST_UPDATES,
        controls=Control.UPDATES,
        colludes=True,
    )

    def __post_init__(self) -> None:
        positive(epsilon=self.epsilon)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:  # noqa: ARG002
        """(k, d): k times the same update."""
        crafted = -self.epsilon * view.honest_updates.mean(axis=0, dtype=np.float64)
        return view.all_send(crafted)
