"""CAF: weigh down whoever lies along the direction in which the cohort is suspiciously spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.aggregate._bearing import Bearing
from ringfort.core.values import F64, Aggregate
from ringfort.core.views import GramView, squared_distances

__all__ = ["CAF"]


@dataclass(frozen=True, slots=True)
class CAF(Bearing):
    """Covariance-bound agnostic filter: soft removal along the top eigenvector of the cohort's covariance.

    Args:
        f: attackers to bear, n > 2f. No default: the caller states the threat.

    Call:
        view: GramView of n updates. Returns an Aggregate: delta (d,) float32, weights after the filter.

    Guarantees:
        Of all weightings the filter passes through until a total weight of 2f is removed, the one with the smallest top
        variance is taken. Needs no bound on the honest covariance. At most n steps: each one silences a client.

    Raises:
        ToleranceExceeded (RF301): n <= 2f.

    Does not protect against: attackers whose shift is within the honest variance in every direction.

    Cost: one Gram matrix, at most n eigenvalue problems of size n, one weighted sum.

    Source: Allouah, Guerraoui and Stephan 2025, Towards Trustworthy Federated Learning with Untrusted Participants,
        ICML, Algorithm 2.
    """

    f: int
    name: ClassVar[str] = "caf"
    exempt: ClassVar[frozenset[str]] = frozenset({"hull"})

    def __call__(self, view: GramView) -> Aggregate:
        """The filtered mean of the cohort in view."""
        self._require(len(view.clients))
        weights = _filtered(squared_distances(view), self.f)
        return Aggregate(view.combine(weights), view.clients, weights, self.name)


def _filtered(squares: F64, f: int) -> F64:
    """(n,) weights that sum to one, from (n, n) squared distances."""
    n = len(squares)
    kept = np.ones(n)
    best, smallest = kept / n, np.inf
    while kept.sum() > n - 2 * f or smallest == np.inf:
        p = kept / kept.sum()
        to_all = squares @ p
        centred = (to_all[:, None] + to_all[None, :] - squares - p @ to_all) / 2  # <x_i - mean, x_j - mean>
        root = np.sqrt(p)
        values, vectors = np.linalg.eigh(root[:, None] * centred * root[None, :])
        top = max(float(values[-1]), 0.0)
        if top < smallest:
            best, smallest = p, top
        along = (centred @ (root * vectors[:, -1])) ** 2  # squared projections on that direction, up to a factor
        worst = float(along[kept > 0].max())
        if worst <= 0:
            break
        kept = np.maximum(kept * (1 - along / worst), 0)
        if not kept.any():
            break
    return best
