"""SMEA: the mean of the majority that spreads least in any direction."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, islice
from math import comb
from typing import ClassVar

import numpy as np

from ringfort.aggregate._bearing import Bearing
from ringfort.aggregate._selection import weighted
from ringfort.core.errors import ToleranceExceeded
from ringfort.core.values import F64, Aggregate
from ringfort.core.views import GramView, squared_distances

__all__ = ["SMEA"]

_WORK = 2_500_000_000
"""Groups times their size cubed, at most, with 10,000 more for each: about 3 seconds."""

_AT_ONCE = 1 << 19
"""Distances in the groups that are looked at together: 4 MB."""

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class SMEA(Bearing):
    """Smallest maximum eigenvalue averaging: the mean of the n - f updates with the smallest top variance.

    Args:
        f: attackers to bear, n > 2f. The number of groups of n - f times (n - f)^3 + 10^4 is at most 2.5e9, so that the
            search ends: n = 20 with any f is possible, n = 50 with f = 3, n = 200 with f = 1. No default: the caller
            states the threat.

    Call:
        view: GramView of n updates. Returns an Aggregate: delta (d,) float32, weights 1/(n - f) for those kept.

    Guarantees:
        In no direction is the variance of what counts larger than the largest one of the honest updates, if at most f
        are hostile. (f, kappa)-robust with kappa <= 4f/(n - 2f), derived in docs/theory.md.
        Where several groups share the smallest top variance, to nine digits, their means are averaged; the order of
        clients plays no part.

    Raises:
        ToleranceExceeded (RF301): n <= 2f, or too many groups for an exact answer; CAF answers at any size.

    Does not protect against: attackers whose shift is within the honest variance in every direction.

    Cost: the distance matrix, one eigenvalue problem of size n - f per group, one weighted sum.

    Source: Allouah et al. 2023, arXiv:2302.04787, Section 4.
    """

    f: int
    name: ClassVar[str] = "smea"
    exempt: ClassVar[frozenset[str]] = frozenset({"hull"})

    def bears(self, n: int) -> int:
        """f, if n > 2f and the groups are few enough to look at; else it refuses to run."""
        return Bearing.bears(self, n) if self._work(n) <= _WORK else 0

    def _work(self, n: int) -> int:
        return comb(n, self.f) * ((n - self.f) ** 3 + 10_000)

    def __call__(self, view: GramView) -> Aggregate:
        """The mean of the least spread n - f updates of the cohort in view."""
        n = len(view.clients)
        self._require(n)
        if self._work(n) > _WORK:
            raise ToleranceExceeded(
                f"{self.name} with f={self.f} of {n} clients would look at {comb(n, self.f):,} groups of {n - self.f}, "
                "which is too much work for an exact answer: lower f, ask fewer clients, or use caf"
            )
        weights = _least_spread(squared_distances(view), n - self.f)
        return weighted(view, weights, self.name, "outside the tightest group")


def _least_spread(squares: F64, keep: int) -> F64:
    """(n,) weights: the mean over all groups of the smallest top variance."""
    n = len(squares)
    every = combinations(range(n), keep)
    groups, tops = [], []
    while some := list(islice(every, max(1, _AT_ONCE // keep**2))):
        group = np.array(some)
        groups.append(group)
        tops.append(_top_variance(squares[group[:, :, None], group[:, None, :]]))
    top = np.concatenate(tops)
    best = np.concatenate(groups)[top <= top.min() * (1 + _SAME)]
    weights: F64 = np.bincount(best.ravel(), minlength=n) / best.size
    return weights


def _top_variance(squares: F64) -> F64:
    """(g,) largest eigenvalues of the centred products, from (g, k, k) squared distances."""
    to_all = squares.mean(axis=2)
    centred = (to_all[:, :, None] + to_all[:, None, :] - squares - to_all.mean(axis=1)[:, None, None]) / 2
    return np.maximum(np.linalg.eigvalsh(centred)[:, -1], 0)
