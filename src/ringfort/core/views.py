"""What a server can see of a cohort. A rule says in its signature which view it needs.

    Total      one sum over the cohort; nothing about any client
    GramView   inner products between updates, and weighted sums of them
    Rows       every update, coordinate by coordinate

Nearly every defence is a function of the n x n Gram matrix whose output is a weighted sum of updates, so it runs on any
GramView; only the coordinate-wise rules need Rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from ringfort.core.errors import InvalidValue
from ringfort.core.values import F32, F64, ClientId, Update

__all__ = ["BLOCK", "GramView", "Rows", "Total", "squared_distances"]

BLOCK = 16_384
"""Columns per block: n = 100 float32 rows of it are 6.5 MB, about one core's share of the cache."""


@runtime_checkable
class GramView(Protocol):
    """Sight of the angles and lengths of n updates, and the power to add them up; not of their coordinates."""

    @property
    def clients(self) -> tuple[ClientId, ...]:
        """The n names, of clients or of groups."""
        ...

    @property
    def d(self) -> int:
        """The number of parameters."""
        ...

    def gram(self) -> F64:
        """(n, n) float64: the inner products <x_i, x_j>."""
        ...

    def combine(self, weights: F64) -> F32:
        """(d,) float32: sum_i weights_i x_i."""
        ...


@dataclass(frozen=True)
class Total:
    """The sum of a cohort's updates and their number: all that a masked or encrypted aggregation reveals.

    Args:
        total: (d,) float32, the sum.
        clients: who is in it.
    """

    total: F32 = field(repr=False)
    clients: tuple[ClientId, ...]

    def __post_init__(self) -> None:
        if not self.clients or self.total.ndim != 1:
            raise InvalidValue("a Total needs at least one client and a (d,) vector")


@dataclass(frozen=True, eq=False)
class Rows:
    """Every update of a cohort: (n, d) float32, finite, read-only. Also a GramView.

    Args:
        clients: n distinct names.
        matrix: (n, d) float32. May be a memory map larger than RAM: it is read in column blocks and never copied.

    Raises:
        InvalidValue (RF104): another shape or dtype, or a name twice.

    Guarantees:
        Nothing here writes to `matrix`. That it is finite is the gate's promise; rules rely on it.

    Cost: `gram` reads the matrix once, `combine` once; extra memory is one block of `BLOCK` columns as float64.
    """

    clients: tuple[ClientId, ...]
    matrix: F32 = field(repr=False)

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.matrix.dtype != np.float32:
            raise InvalidValue(f"Rows need an (n, d) float32 matrix, got {self.matrix.shape} {self.matrix.dtype}")
        if len(set(self.clients)) != len(self.clients) or len(self.clients) != len(self.matrix):
            raise InvalidValue(f"Rows need one distinct name per row, got {len(self.clients)} for {len(self.matrix)}")
        view = self.matrix.view()
        view.flags.writeable = False
        object.__setattr__(self, "matrix", view)

    @classmethod
    def of(cls, updates: Sequence[Update]) -> Rows:
        """The updates of one round, in the order of the clients' names, so that arrival order cannot matter."""
        if not updates:
            raise InvalidValue("no updates to look at")
        ordered = sorted(updates, key=lambda update: update.client)
        return cls(tuple(u.client for u in ordered), np.stack([u.delta for u in ordered]))

    @property
    def n(self) -> int:
        """The number of updates."""
        return len(self.clients)

    @property
    def d(self) -> int:
        """The number of parameters."""
        return int(self.matrix.shape[1])

    def blocks(self, width: int = BLOCK) -> Iterator[F32]:
        """Read-only (n, <= width) column blocks, left to right."""
        for start in range(0, self.d, width):
            yield self.matrix[:, start : start + width]

    @cached_property
    def _gram(self) -> F64:
        gram = np.zeros((self.n, self.n))
        for block in self.blocks():
            wide = block.astype(np.float64)
            gram += wide @ wide.T
        gram.flags.writeable = False
        return gram

    def gram(self) -> F64:
        """(n, n) float64 inner products, accumulated in float64; taken once and then shared by everyone who asks."""
        return self._gram

    def combine(self, weights: F64) -> F32:
        """(d,) float32 weighted sum, accumulated in float64. Rows of weight zero are not read."""
        if weights.shape != (self.n,):
            raise InvalidValue(f"expected ({self.n},) weights, got {weights.shape}")
        used = np.flatnonzero(weights)
        out = np.zeros(self.d, dtype=np.float32)
        for start in range(0, self.d if len(used) else 0, BLOCK):
            stop = min(start + BLOCK, self.d)
            out[start:stop] = weights[used] @ self.matrix[used, start:stop].astype(np.float64)
        return out


def squared_distances(view: GramView) -> F64:
    """(n, n) float64 squared distances |x_i - x_j|^2 from the Gram matrix; never negative, exactly 0 on the diagonal.

    Precision: float64 throughout, so a pair's relative error is about 1e-16 (|x_i|^2 + |x_j|^2) / |x_i - x_j|^2.
    """
    gram = view.gram()
    squares = np.diagonal(gram)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * gram, 0)
    np.fill_diagonal(distances, 0)
    return distances
