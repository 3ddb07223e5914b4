"""Mixings: what happens to a cohort before a rule looks at it.

A mixing turns a view of n updates into a view of m rows and says whose each row is. Most are small matrices of weights,
so that nothing of size d is touched: clipping shortens each row, nearest-neighbour mixing replaces each by the mean of
its nearest. Mixed Rows are still Rows, so coordinate-wise rules follow as well as Gram rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from ringfort.aggregate._bearing import Bearing
from ringfort.core.checks import fraction, positive
from ringfort.core.values import F64
from ringfort.core.views import GramView, mix, squared_distances

__all__ = ["ARC", "NNM", "Clip", "ClipToQuantile", "Mixing", "Mixture"]


@dataclass(frozen=True, slots=True)
class Mixture:
    """What a mixing makes of a view of n rows.

    Args:
        view: of m rows, named.
        shares: (m, n) float64 >= 0: what of the old rows is in each new one. Weights are traced back through it.
    """

    view: GramView
    shares: F64 = field(repr=False)


class Mixing(Protocol):
    """A stage before the rule. A frozen dataclass, as a rule is; it may need its round, as a rule may."""

    @property
    def name(self) -> str:
        """The registered name."""
        ...

    def bears(self, n: int) -> int:
        """How many hostile rows among n it can be given; n if it does not care."""
        ...

    def leaves(self, n: int) -> int:
        """How many rows it makes of n. At most as many of them are hostile as were before."""
        ...

    def __call__(self, view: GramView, /) -> Mixture:
        """The rows that the next stage sees."""
        ...


class _Square:
    """A mixing that is a matrix: every client keeps its row and its name."""

    __slots__ = ()

    def leaves(self, n: int) -> int:
        """All of them."""
        return n

    def matrix(self, view: GramView) -> F64:
        """(n, n) weights >= 0: row i of the mixed view is sum_j matrix[i, j] x_j."""
        raise NotImplementedError

    def __call__(self, view: GramView) -> Mixture:
        """The mixed rows, which are never built."""
        matrix = self.matrix(view)
        return Mixture(mix(view, matrix, view.clients), matrix)


def _norms(view: GramView) -> F64:
    norms: F64 = np.sqrt(np.maximum(np.diagonal(view.gram()), 0))
    return norms


def _shortening(norms: F64, radius: float) -> F64:
    return np.diag(np.minimum(1, np.divide(radius, norms, out=np.ones_like(norms), where=norms > radius)))


@dataclass(frozen=True, slots=True)
class Clip(_Square):
    """Shorten every update to a fixed norm.

    Args:
        radius: the largest norm that is left alone, > 0. No default: it is the protection.

    Guarantees:
        No row is longer than `radius`; directions stay; shorter rows are not changed. If the honest mean is not longer,
        an (f, kappa)-robust rule after it is (f, kappa + 1)-robust (docs/theory.md).

    Does not protect against: many small pushes in one direction. A radius below honest norms slows training.

    Cost: n scalars from the Gram matrix.

    Source: Sun et al. 2019, arXiv:1911.07963.
    """

    radius: float
    name: ClassVar[str] = "clip"
    exempt: ClassVar[frozenset[str]] = frozenset({"shift", "scale", "constant", "breakdown"})

    def __post_init__(self) -> None:
        positive(radius=self.radius)

    def bears(self, n: int) -> int:
        """Any number: it bounds each row by itself."""
        return n

    def matrix(self, view: GramView) -> F64:
        """Shortens long rows."""
        return _shortening(_norms(view), self.radius)


@dataclass(frozen=True, slots=True)
class ClipToQuantile(_Square):
    """Shorten every update to a quantile of the cohort's norms.

    Args:
        quantile: in [0, 1]; 0.5 clips to the median norm (the lower of two middles). No default.

    Guarantees:
        With fewer than a share of 1 - quantile hostile rows, no row is left longer than the longest honest one.

    Does not protect against: attackers of normal norm. Hostile rows that are short lower the radius for all.

    Cost: n scalars from the Gram matrix.

    Source: Guerraoui et al. 2021, NDSS (clipping to the median norm).
    """

    quantile: float
    name: ClassVar[str] = "clip-to-quantile"
    exempt: ClassVar[frozenset[str]] = frozenset({"shift", "hull"})

    def __post_init__(self) -> None:
        fraction(quantile=self.quantile)

    def bears(self, n: int) -> int:
        """As many rows as lie above the quantile."""
        return n - 1 - int(self.quantile * (n - 1)) if n else 0

    def matrix(self, view: GramView) -> F64:
        """Shortens rows above the quantile to it."""
        norms = _norms(view)
        return _shortening(norms, float(np.sort(norms)[int(self.quantile * (len(norms) - 1))]))


@dataclass(frozen=True, slots=True)
class ARC(_Square, Bearing):
    """Adaptive robust clipping: shorten the longest 2 (f/n) (n - f) updates to the next longest norm.

    Args:
        f: attackers to bear, n > 2f. No default: the caller states the threat.

    Guarantees:
        No row is left longer than the longest honest one, if at most f are hostile. An (f, kappa)-robust rule after it
        is robust with (sqrt(kappa) + sqrt(r) (1 + r/sqrt(1 - r)))^2, where r <= 2f/n is the number of rows shortened
        over n - f (docs/theory.md).

    Raises:
        ToleranceExceeded (RF301): n <= 2f.

    Does not protect against: attackers of normal norm.

    Cost: n scalars from the Gram matrix.

    Source: Allouah et al. 2025, Adaptive Gradient Clipping for Robust Federated Learning, ICLR, Algorithm 2.
    """

    f: int
    name: ClassVar[str] = "arc"
    exempt: ClassVar[frozenset[str]] = frozenset({"shift", "hull"})

    def matrix(self, view: GramView) -> F64:
        """Shortens the longest rows."""
        n = len(view.clients)
        self._require(n)
        clipped = 2 * self.f * (n - self.f) // n
        norms = _norms(view)
        return _shortening(norms, float(np.sort(norms)[n - 1 - clipped]))


@dataclass(frozen=True, slots=True)
class NNM(_Square, Bearing):
    """Nearest-neighbour mixing: replace every update by the mean of the n - f updates nearest to it, itself included.

    Args:
        f: attackers to bear, n > 2f. No default: the caller states the threat.

    Guarantees:
        Before an (f, kappa)-robust rule, the chain is (f, kappa')-robust with kappa' <= 8 f/(n - f) (kappa + 1), the
        best order in f/n there is (derived in docs/theory.md).
        Ties go to the first clients in the view's order.

    Raises:
        ToleranceExceeded (RF301): n <= 2f.

    Does not protect against: attackers inside the honest spread: they are averaged into everybody.

    Cost: the distance matrix; a coordinate-wise rule after it pays one more (n, n) product per block.

    Source: Allouah et al. 2023, arXiv:2302.01772, Algorithm 2.
    """

    f: int
    name: ClassVar[str] = "nnm"

    def matrix(self, view: GramView) -> F64:
        """Replaces every row by its neighbourhood's mean."""
        n = len(view.clients)
        self._require(n)
        squares = squared_distances(view)
        np.fill_diagonal(squares, -1)  # an update is its own nearest
        nearest = np.argsort(squares, axis=1, kind="stable")[:, : n - self.f]
        matrix = np.zeros((n, n))
        np.put_along_axis(matrix, nearest, 1 / (n - self.f), axis=1)
        return matrix
