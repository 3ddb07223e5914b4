"""DnC: leave out whoever lies furthest along the direction in which a sample of coordinates is spread most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.aggregate._bearing import Bearing
from ringfort.aggregate._sample import sampled
from ringfort.aggregate._selection import mean_of
from ringfort.aggregate.in_round import InRound
from ringfort.core.checks import whole
from ringfort.core.context import RoundContext
from ringfort.core.values import F64, Aggregate
from ringfort.core.views import Rows

__all__ = ["DnC"]


@dataclass(frozen=True, slots=True)
class DnC(InRound, Bearing):
    """Divide and conquer: on random coordinates, drop the f largest projections on the top direction; average the rest.

    Args:
        f: attackers to bear, n > 2f and n > f * iterations. No default: the caller states the threat.
        coordinates: drawn per iteration, >= 1; all if there are fewer.
        iterations: draws, >= 1. Only who is kept in all of them counts.

    Call:
        view: Rows, (n, d) float32, finite. Returns an Aggregate: delta (d,) float32, equal weights for those kept.

    Guarantees:
        In each draw exactly f updates are dropped, those with the largest squared projection of the centred sample on
        its top singular direction; at least n - f * iterations count. This is a heuristic: its paper's guarantee asks
        that hostile updates be shifted together and far compared with the honest variance. `bears` states its setting.

    Raises:
        ToleranceExceeded (RF301): n <= 2f or n <= f * iterations. Incompatible (RF103): called without its round.

    Does not protect against: attackers in several directions, of which one draw sees only the largest; small shifts;
        whoever knows the root seed knows the coordinates, and can hide in the others.

    Cost: `iterations` reads of n * coordinates values, an eigenvalue problem of size n each, one weighted sum.

    Source: Shejwalkar and Houmansadr 2021, NDSS, Algorithm 2, with filtering fraction c = 1.
    """

    f: int
    coordinates: int = 10_000
    iterations: int = 1
    name: ClassVar[str] = "dnc"
    needs: ClassVar[frozenset[str]] = frozenset({"seeds"})
    exempt: ClassVar[frozenset[str]] = frozenset({"hull"})

    def __post_init__(self) -> None:
        whole(0, f=self.f)
        whole(1, coordinates=self.coordinates, iterations=self.iterations)

    @property
    def _least(self) -> int:
        return max(2, self.iterations) * self.f + 1

    def on(self, view: Rows, context: RoundContext) -> Aggregate:
        """The mean of who is kept in every draw."""
        n = view.n
        self._require(n)
        rng = context.seeds.child("coordinates")
        kept = np.ones(n, dtype=bool)
        for _ in range(self.iterations):
            scores = _along_the_top(sampled(view, self.coordinates, rng))
            kept[np.argsort(scores, kind="stable")[n - self.f :]] = False
        return mean_of(view, np.flatnonzero(kept), self.name, "far along the direction of largest spread")


def _along_the_top(values: F64) -> F64:
    """(n,) squared projections of centred rows on their top right singular vector, up to a common factor."""
    centred = values - values.mean(axis=0)
    projections: F64 = np.linalg.eigh(centred @ centred.T)[1][:, -1] ** 2
    return projections
