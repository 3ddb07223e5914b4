"""MoNNA's rule: average what is nearest to one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.aggregate._bearing import Bearing
from ringfort.aggregate._reference import beside, reference_of
from ringfort.aggregate._selection import mean_of
from ringfort.aggregate.in_round import InRound
from ringfort.core.context import RoundContext
from ringfort.core.values import Aggregate
from ringfort.core.views import Rows

__all__ = ["MoNNA"]


@dataclass(frozen=True, slots=True)
class MoNNA(InRound, Bearing):
    """Nearest-neighbour averaging: the mean of the n - f updates nearest to a pivot that nobody else controls.

    In its paper every node is its own pivot. Here the server is the node, and the pivot what it learned itself in this
    round on data it trusts; it does not enter the mean.

    Args:
        f: attackers to bear, n > 2f. No default: the caller states the threat.

    Call:
        view: Rows of n updates (their products among themselves are not enough). Returns an Aggregate: delta (d,)
            float32, weights 1/(n - f) for those kept.

    Guarantees:
        No update that counts is further from the pivot than the furthest honest one, if at most f are hostile, and
        |delta - mean|^2 <= 4f/(n - f) (V + |pivot - mean|^2) with the honest mean and variance (docs/theory.md).
        Ties go to the first clients in the view's order.

    Raises:
        Incompatible (RF103): the server has no update of its own, or the view shows no coordinates.
        InvalidValue (RF104): the server's update does not fit or is not finite. ToleranceExceeded (RF301): n <= 2f.

    Does not protect against: attackers nearer to the pivot than honest clients with unusual data, who are left out.
        Its paper's convergence theorem is for peers with momentum and a far smaller f, and is not claimed here.

    Cost: two passes over n*d floats: products with the pivot, one weighted sum.

    Source: Farhadkhani et al. 2023, ICML, arXiv:2209.10931 (nearest-neighbour averaging).
    """

    f: int
    name: ClassVar[str] = "monna"
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})
    exempt: ClassVar[frozenset[str]] = frozenset({"hull"})

    def on(self, view: Rows, context: RoundContext) -> Aggregate:
        """The mean of the updates nearest to the server's own."""
        n = len(view.clients)
        self._require(n)
        pivot = reference_of(context, view, self.name)
        away = np.diagonal(view.gram()) - 2 * beside(view, pivot, self.name)  # |x - pivot|^2, less |pivot|^2
        nearest = np.argsort(away, kind="stable")[: n - self.f]
        return mean_of(view, nearest, self.name, f"among the {self.f} furthest from the server's update")
