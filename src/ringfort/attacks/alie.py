"""A little is enough: hide inside the honest spread."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from ringfort.attacks.threat import AttackerView, Control, Knowledge, ThreatModel, Untargeted
from ringfort.core.checks import positive
from ringfort.core.values import F32

__all__ = ["ALIE"]


@dataclass(frozen=True, slots=True)
class ALIE(Untargeted):
    """A little is enough (ALIE): untargeted model poisoning, all attackers send the honest mean minus z deviations.

    Args:
        z: how many honest standard deviations per coordinate, > 0. None takes the paper's: the most for which enough
            honest clients lie further out to make the attackers look like the majority, from n and k.

    Threat: knows every honest update of the round; controls the updates the attackers send; colludes.

    Source: Baruch et al. 2019, arXiv:1902.06156, Algorithm 3.
    """

    z: float | None = None
    name: ClassVar[str] = "alie"
    threat: ClassVar[ThreatModel] = ThreatModel(
        goal="Make the global model useless without looking different.",
        knows=Knowledge.OWN_UPDATES | Knowledge.HONEST_UPDATES,
        controls=Control.UPDATES,
        colludes=True,
    )

    def __post_init__(self) -> None:
        if self.z is not None:
            positive(z=self.z)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:  # noqa: ARG002
        """(k, d): k times the same update."""
        honest = view.honest_updates
        z = _paper_z(view.n, view.k) if self.z is None else self.z
        crafted = honest.mean(axis=0, dtype=np.float64) - z * honest.std(axis=0, dtype=np.float64)
        return view.all_send(crafted)


def _paper_z(n: int, k: int) -> float:
    """The largest z such that s = n // 2 + 1 - k honest clients are expected beyond it; at least a small one."""
    needed = n // 2 + 1 - k
    share = (n - k - needed) / (n - k)
    return max(NormalDist().inv_cdf(min(max(share, 0.01), 0.99)), 0.1)
