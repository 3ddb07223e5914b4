"""Minimum-diameter averaging: the n - f updates that are closest together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ringfort.core.checks import whole
from ringfort.core.errors import Incompatible, ToleranceExceeded
from ringfort.core.values import F64, Aggregate
from ringfort.core.views import GramView, squared_distances

__all__ = ["MDA"]

_BUDGET = 200_000
"""Search nodes before it gives up."""


@dataclass(frozen=True, slots=True)
class MDA:
    """The mean of the n - f updates whose largest mutual distance is smallest, found exactly.

    Args:
        f: attackers to bear, n > 2f. No default: the caller states the threat.

    Call:
        view: GramView of n updates. Returns an Aggregate: delta (d,) float32, weights 1/(n - f) for the chosen.

    Guarantees:
        The chosen set is a smallest one: no n - f updates lie closer together. Ties go to the search's first.
        At least n - 2f of the chosen are honest, and no chosen one is further from them than honest ones are apart.

    Raises:
        ToleranceExceeded (RF301): n <= 2f.
        Incompatible (RF103): the exact search would take more than 200,000 nodes. It never approximates.

    Does not protect against: f attackers inside the honest spread.

    Cost: one Gram matrix, one weighted sum, and a search that is exponential in f in the worst case: a vertex cover of
        size f for O(log n) thresholds.

    Source: El Mhamdi et al. 2018, arXiv:1802.07927 (Brute); named in El-Mhamdi et al. 2021, NeurIPS.
    """

    f: int
    name: ClassVar[str] = "mda"

    def __post_init__(self) -> None:
        whole(0, f=self.f)

    def bears(self, n: int) -> int:
        """f, if n > 2f; else it refuses to run."""
        return self.f if n > 2 * self.f else 0

    def __call__(self, view: GramView) -> Aggregate:
        """The mean of the tightest n - f updates of the cohort in view."""
        n = len(view.clients)
        if n <= 2 * self.f:
            raise ToleranceExceeded.of(self.name, self.f, n, 2 * self.f + 1)
        left_out = _tightest(squared_distances(view), self.f)
        weights = np.full(n, 1 / (n - self.f))
        weights[sorted(left_out)] = 0
        notes = {view.clients[i]: f"{self.name}: outside the {n - self.f} closest together" for i in left_out}
        return Aggregate(view.combine(weights), view.clients, weights, self.name, notes)


def _tightest(squares: F64, f: int) -> frozenset[int]:
    """The f rows without which the largest distance is smallest.

    Leaving out rows so that no distance above t remains is a vertex cover of the graph of distances above t; the smallest
    such t is found by bisection over the distances.
    """
    n = len(squares)
    levels = np.unique(squares[np.triu_indices(n, 1)]) if n > 1 else np.zeros(1)
    low, high = 0, len(levels) - 1
    best: frozenset[int] = frozenset()
    nodes = [_BUDGET]
    while low <= high:
        middle = (low + high) // 2
        cover = _cover(squares > levels[middle], f, frozenset(), nodes)
        if cover is None:
            low = middle + 1
        else:
            best, high = cover, middle - 1
    spare = (i for i in range(n - 1, -1, -1) if i not in best)
    return best | {next(spare) for _ in range(f - len(best))}


def _cover(far: NDArray[np.bool_], f: int, out: frozenset[int], nodes: list[int]) -> frozenset[int] | None:
    """At most f further rows that touch every pair in `far`, or None; branches on the row with most pairs."""
    nodes[0] -= 1
    if nodes[0] < 0:
        raise Incompatible(
            f"mda: the exact search for f={f} exceeds {_BUDGET} nodes: use nearest-neighbour mixing instead"
        )
    degree = far.sum(axis=0)
    row = int(degree.argmax())
    if degree[row] == 0:
        return out
    if f == 0 or degree.sum() > 2 * f * degree[row]:
        return None
    without = _cover(_less(far, [row]), f - 1, out | {row}, nodes)
    if without is not None:
        return without
    neighbours = [int(i) for i in np.flatnonzero(far[row])]
    if len(neighbours) > f:
        return None
    return _cover(_less(far, neighbours), f - len(neighbours), out | set(neighbours), nodes)


def _less(far: NDArray[np.bool_], rows: list[int]) -> NDArray[np.bool_]:
    left = far.copy()
    left[rows, :] = False
    left[:, rows] = False
    return left
