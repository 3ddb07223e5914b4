"""The geometric median, found without touching a coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.core.checks import positive
from ringfort.core.values import F64, Aggregate
from ringfort.core.views import GramView, squared_distances

__all__ = ["GeometricMedian"]

_MAX_STEPS = 1_000
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class GeometricMedian:
    """The point with the smallest sum of distances to all updates, by smoothed Weiszfeld steps.

    Args:
        smoothing: distances below this fraction of the median distance count as that, in (0, 1]; keeps the steps finite
            when the median is one of the updates.

    Call:
        view: GramView of n updates. Returns an Aggregate: delta (d,) float32, weights inverse to the distances.

    Guarantees:
        With a minority of hostile updates, however far away, delta stays within a multiple of the honest spread.
        Each step is O(n^2) on the distance matrix; at most 1,000 steps, or until no weight moves by more than 1e-9.

    Does not protect against: a constant fraction of colluders near the honest ones; its error does not vanish with f.

    Cost: one Gram matrix, O(n^2) per step, one weighted sum.

    Source: Pillutla et al. 2022, arXiv:1912.13445, Algorithm 2, with equal weights.
    """

    smoothing: float = 1e-6
    name: ClassVar[str] = "geometric-median"
    exempt: ClassVar[frozenset[str]] = frozenset({"hull"})

    def __post_init__(self) -> None:
        positive(smoothing=self.smoothing)

    def bears(self, n: int) -> int:
        """A minority: (n - 1) // 2."""
        return max(0, n - 1) // 2

    def __call__(self, view: GramView) -> Aggregate:
        """The geometric median of the cohort in view."""
        weights = _weiszfeld(squared_distances(view), self.smoothing)
        return Aggregate(view.combine(weights), view.clients, weights, self.name)


def _weiszfeld(squares: F64, smoothing: float) -> F64:
    """(n,) weights of the geometric median from (n, n) squared distances.

    For weights w that sum to one, |x_i - sum_j w_j x_j|^2 = (S w)_i - w' S w / 2, so no update is ever looked at.
    """
    n = len(squares)
    weights = np.full(n, 1 / n)
    floor = smoothing * float(np.sqrt(np.median(squares)))
    if floor == 0:
        floor = smoothing * float(np.sqrt(squares.max())) or 1.0
    for _ in range(_MAX_STEPS):
        to_all = squares @ weights
        distances = np.sqrt(np.maximum(to_all - weights @ to_all / 2, 0))
        inverse = 1 / np.maximum(distances, floor)
        moved = inverse / inverse.sum()
        still = float(np.abs(moved - weights).max()) <= _TOLERANCE
        weights = moved
        if still:
            break
    return weights
