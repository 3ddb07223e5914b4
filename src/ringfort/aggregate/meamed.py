"""Meamed: per coordinate, the mean of the values nearest to the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.aggregate._bearing import Bearing
from ringfort.core.values import F32, I64, Aggregate
from ringfort.core.views import Rows

__all__ = ["Meamed", "nearest_to_median"]

_WIDTH = 2_048


def nearest_to_median(view: Rows, keep: int, chosen: I64 | None = None) -> F32:
    """Per coordinate, the mean of the `keep` of n values that lie nearest to the median. Returns (d,) float32.

    Looks at the `chosen` rows only, if some are given.

    In sorted order these are neighbours. Of two equally near values the smaller one is kept.
    """
    out = np.empty(view.d, dtype=np.float32)
    n, start = view.n if chosen is None else len(chosen), 0
    for whole_block in view.blocks(_WIDTH):
        block = whole_block if chosen is None else whole_block[chosen]
        columns = np.sort(block.T.astype(np.float64), axis=1)
        twice_median = (columns[:, (n - 1) // 2] + columns[:, n // 2])[:, None]
        # The window moves right as long as the next value is nearer than the one it drops.
        first = np.count_nonzero(columns[:, : n - keep] + columns[:, keep:] < twice_median, axis=1)[:, None]
        window = np.take_along_axis(columns, first + np.arange(keep), axis=1)
        out[start : start + len(columns)] = window.mean(axis=1)
        start += len(columns)
    return out


@dataclass(frozen=True, slots=True)
class Meamed(Bearing):
    """Coordinate-wise mean of the n - f values nearest to the median.

    Args:
        f: attackers to bear, 0 <= f < n/2. No default: the caller states the threat.

    Call:
        view: Rows, (n, d) float32, finite. Returns an Aggregate: delta (d,) float32, equal weights, as who was kept
            differs from coordinate to coordinate and is not counted.

    Guarantees:
        Each kept value is at most as far from the median as the farthest honest value.
        (f, kappa)-robust with kappa <= 4f/(n - f - k), k = (n - 1) // 2, derived in docs/theory.md.

    Raises:
        ToleranceExceeded (RF301): n <= 2f.

    Does not protect against: colluders inside the honest spread; backdoors.

    Cost: one sorting pass over n*d floats and a window search.

    Source: Xie et al. 2018, arXiv:1802.10116, Definition 7 (mean around median).
    """

    f: int
    name: ClassVar[str] = "meamed"
    exempt: ClassVar[frozenset[str]] = frozenset({"hull"})

    def __call__(self, view: Rows) -> Aggregate:
        """The mean around the median of the cohort in view."""
        self._require(view.n)
        delta = nearest_to_median(view, view.n - self.f)
        return Aggregate(delta, view.clients, np.full(view.n, 1 / view.n), self.name)
