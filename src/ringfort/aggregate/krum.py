"""Krum and Multi-Krum: trust the updates that have close neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.aggregate._bearing import Bearing
from ringfort.core.checks import whole
from ringfort.core.errors import ToleranceExceeded
from ringfort.core.values import F64, Aggregate
from ringfort.core.views import GramView, squared_distances

__all__ = ["Krum", "MultiKrum", "krum_scores"]


def krum_scores(view: GramView, f: int) -> F64:
    """(n,) sums of squared distances to the n - f - 2 nearest other updates, as in the paper (not n - f - 1).

    Raises:
        ToleranceExceeded (RF301): n < 2f + 3.
    """
    n = len(view.clients)
    if n < 2 * f + 3:
        raise ToleranceExceeded.of("krum", f, n, 2 * f + 3)
    distances = squared_distances(view)
    np.fill_diagonal(distances, np.inf)
    distances.sort(axis=1)
    scores: F64 = distances[:, : n - f - 2].sum(axis=1)
    return scores


def _average_of_best(view: GramView, f: int, m: int, name: str) -> Aggregate:
    scores = krum_scores(view, f)
    chosen = np.argsort(scores, kind="stable")[:m]
    weights = np.zeros(len(scores))
    weights[chosen] = 1 / m
    cutoff = scores[chosen[-1]]
    notes = {
        client: f"{name} score {score:.4g}, the last one chosen has {cutoff:.4g}"
        for client, score, weight in zip(view.clients, scores, weights, strict=True)
        if weight == 0
    }
    return Aggregate(view.combine(weights), view.clients, weights, name, notes)


@dataclass(frozen=True, slots=True)
class Krum(Bearing):
    """The one update that is closest to its n - f - 2 nearest others.

    Args:
        f: attackers to bear, n >= 2f + 3. No default: the caller states the threat.

    Call:
        view: GramView of n updates. Returns an Aggregate whose delta is one client's update, bit for bit.

    Guarantees:
        (f, kappa)-robust with kappa <= 5.83 (n - f)/(n - 2f - 1), derived in docs/theory.md: its error does not vanish
        with f.
        Ties go to the first client in the view's order.

    Raises:
        ToleranceExceeded (RF301): n < 2f + 3.

    Does not protect against: f colluders who agree with each other and stay close to the mean; a backdoor in an update
        of normal size. With unequal clients the model follows one client a round.

    Cost: one Gram matrix (n*n*d products) and one pass over a single row.

    Source: Blanchard et al. 2017, NeurIPS, Section 4.
    """

    f: int
    name: ClassVar[str] = "krum"

    @property
    def _least(self) -> int:
        return 2 * self.f + 3

    def __call__(self, view: GramView) -> Aggregate:
        """Krum's choice from the cohort in view."""
        return _average_of_best(view, self.f, 1, self.name)


@dataclass(frozen=True, slots=True)
class MultiKrum(Bearing):
    """The mean of the m updates with the best Krum scores.

    Args:
        f: attackers to bear, n >= 2f + 3. No default: the caller states the threat.
        m: how many to average, 1 <= m <= n - f; None takes n - f, the most that f hostile clients cannot outnumber.

    Call:
        view: GramView of n updates. Returns an Aggregate: delta (d,) float32, weights 1/m for the chosen.

    Guarantees:
        Exactly m updates count, each equally; client-claimed example counts play no part.
        (f, kappa)-robust with kappa <= 5.83 (n - f)/(n - 2f - 1) for every m <= n - f, derived in docs/theory.md.
        Ties go to the first clients in the view's order.

    Raises:
        ToleranceExceeded (RF301): n < 2f + 3, or n < m + f.

    Does not protect against: attackers close to each other at a normal norm (projected gradient descent to the bound),
        whom it can prefer to honest clients with unusual data; backdoors inside the honest spread.

    Cost: one Gram matrix (n*n*d products) and one pass over m rows.

    Source: Blanchard et al. 2017, NeurIPS, Section 4 (m-Krum).
    """

    f: int
    m: int | None = None
    name: ClassVar[str] = "multi-krum"

    def __post_init__(self) -> None:
        whole(0, f=self.f)
        if self.m is not None:
            whole(1, m=self.m)

    @property
    def _least(self) -> int:
        return max(2 * self.f + 3, self.f + (self.m or 0))

    def __call__(self, view: GramView) -> Aggregate:
        """The mean of the best-scored updates of the cohort in view."""
        n = len(view.clients)
        self._require(n, f"{self.name} with m={self.m}" if self.m else "")
        return _average_of_best(view, self.f, self.m or n - self.f, self.name)
