"""Centered clipping: nobody moves the model by more than a fixed radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.core.checks import positive, whole
from ringfort.core.values import Aggregate
from ringfort.core.views import GramView

__all__ = ["CenteredClipping"]


@dataclass(frozen=True, slots=True)
class CenteredClipping:
    """The mean of updates that are clipped to a radius around a centre, which starts at "no change" and is refined.

    Args:
        radius: how far one update may pull, > 0, in the units of the updates' norm. No default: it is the protection.
        steps: refinements of the centre, >= 1.

    Call:
        view: GramView of n updates. Returns an Aggregate: delta (d,) float32, weights the shares of each update.

    Guarantees:
        |delta| <= steps * radius, whatever anybody sends; one update moves each step by at most radius / n.

    Does not protect against: small pushes of many attackers that add up over rounds, as there is no history here;
        attackers who know the centre and hide inside the radius. A radius below honest norms slows training.

    Cost: one Gram matrix, O(n^2) per step, one weighted sum.

    Source: Karimireddy et al. 2021, arXiv:2012.10333, Algorithm 2, centred on the model that was broadcast.
    """

    radius: float
    steps: int = 3
    name: ClassVar[str] = "centered-clipping"
    exempt: ClassVar[frozenset[str]] = frozenset({"shift", "scale", "constant", "breakdown"})

    def __post_init__(self) -> None:
        positive(radius=self.radius)
        whole(1, steps=self.steps)

    def bears(self, n: int) -> int:
        """A minority, in the sense that their pull is bounded by the radius: (n - 1) // 2."""
        return max(0, n - 1) // 2

    def __call__(self, view: GramView) -> Aggregate:
        """The clipped mean of the cohort in view."""
        gram = view.gram()
        n = len(gram)
        centre = np.zeros(n)  # the centre is sum_i centre_i x_i
        for _ in range(self.steps):
            along = gram @ centre
            distances = np.sqrt(np.maximum(np.diagonal(gram) - 2 * along + centre @ along, 0))
            pull = np.minimum(1, self.radius / np.maximum(distances, self.radius)) / n
            centre = centre * (1 - pull.sum()) + pull
        return Aggregate(view.combine(centre), view.clients, centre / centre.sum(), self.name)
