"""CGE: leave out the longest updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.aggregate._bearing import Bearing
from ringfort.aggregate._selection import mean_of
from ringfort.core.values import Aggregate
from ringfort.core.views import GramView

__all__ = ["CGE"]


@dataclass(frozen=True, slots=True)
class CGE(Bearing):
    """Comparative gradient elimination: the mean of the n - f shortest updates.

    Args:
        f: attackers to bear, n > 3f. No default: the caller states the threat.

    Call:
        view: GramView of n updates. Returns an Aggregate: delta (d,) float32, weights 1/(n - f) for those kept.

    Guarantees:
        No update that counts is longer than the longest honest one, if at most f are hostile, and
        |delta - mean|^2 <= 4f/(n - f) (V + |mean|^2) with the honest mean and variance (docs/theory.md).
        Ties go to the first clients in the view's order.

    Raises:
        ToleranceExceeded (RF301): n <= 3f; its paper's condition f/n < 1/(1 + 2 mu/gamma) is never weaker than that.

    Does not protect against: hostile updates of normal length in any direction, sign flips among them.

    Cost: the Gram matrix's diagonal and one weighted sum.

    Source: Gupta, Liu and Vaidya 2020, arXiv:2008.04699.
    """

    f: int
    name: ClassVar[str] = "cge"
    exempt: ClassVar[frozenset[str]] = frozenset({"shift", "hull"})

    @property
    def _least(self) -> int:
        return 3 * self.f + 1

    def __call__(self, view: GramView) -> Aggregate:
        """The mean of the shortest updates of the cohort in view."""
        n = len(view.clients)
        self._require(n)
        shortest = np.argsort(np.diagonal(view.gram()), kind="stable")[: n - self.f]
        return mean_of(view, shortest, self.name, f"among the {self.f} longest updates")
