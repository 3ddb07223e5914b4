"""Bulyan: choose by distances, then look at each coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.aggregate._bearing import Bearing
from ringfort.aggregate.meamed import nearest_to_median
from ringfort.core.values import F64, I64, Aggregate
from ringfort.core.views import Rows, squared_distances

__all__ = ["Bulyan"]


@dataclass(frozen=True, slots=True)
class Bulyan(Bearing):
    """Krum n - 2f times without putting back, then per coordinate the mean of the n - 4f values nearest to the median.

    Args:
        f: attackers to bear, n >= 4f + 3. No default: the caller states the threat.

    Call:
        view: Rows, (n, d) float32, finite. Returns an Aggregate: delta (d,) float32, equal weights for the n - 2f
            chosen, as who was kept differs from coordinate to coordinate and is not counted.

    Guarantees:
        Each value that counts is at most as far from the median of the chosen as the n - 4f nearest honest ones of
        them, so no single coordinate can be pushed far where Krum alone would let it.
        A Krum score counts the m - f - 2 nearest others of the m updates left, and at least one. Two who are each
        other's only neighbour tie; then who is closer to all goes first, then the first in the view's order.

    Raises:
        ToleranceExceeded (RF301): n < 4f + 3.

    Does not protect against: colluders inside the honest spread; backdoors.

    Cost: the distance matrix, n - 2f sorts of it, one sorting pass over (n - 2f) * d floats.

    Source: El Mhamdi et al. 2018, arXiv:1802.07927, Section 4, over Krum.
    """

    f: int
    name: ClassVar[str] = "bulyan"
    exempt: ClassVar[frozenset[str]] = frozenset({"hull"})

    @property
    def _least(self) -> int:
        return 4 * self.f + 3

    def __call__(self, view: Rows) -> Aggregate:
        """Bulyan's answer on the cohort in view."""
        n = view.n
        self._require(n)
        chosen = _chosen(squared_distances(view), self.f)
        delta = nearest_to_median(view, n - 4 * self.f, chosen)
        weights = np.zeros(n)
        weights[chosen] = 1 / len(chosen)
        notes = {c: f"{self.name}: not chosen" for c, w in zip(view.clients, weights, strict=True) if w == 0}
        return Aggregate(delta, view.clients, weights, self.name, notes)


def _chosen(squares: F64, f: int) -> I64:
    """(n - 2f,) places, ascending: Krum's choice among those left, again and again."""
    left = list(range(len(squares)))
    while len(left) > 2 * f:
        others = squares[np.ix_(left, left)]
        np.fill_diagonal(others, np.inf)
        nearest = max(1, len(left) - f - 2)
        ordered = np.sort(others, axis=1)[:, :-1]
        left.pop(int(np.lexsort((ordered.sum(axis=1), ordered[:, :nearest].sum(axis=1)))[0]))
    return np.setdiff1d(np.arange(len(squares)), left)
