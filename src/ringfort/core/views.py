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
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ringfort.core.errors import InvalidValue
from ringfort.core.parallel import over_columns, sum_over_columns
from ringfort.core.values import F32, F64, ClientId, Update

__all__ = ["BLOCK", "GramView", "Mixed", "Rows", "Total", "mix", "squared_distances"]

_Indices = NDArray[np.intp]
_Mask = NDArray[np.bool_]

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
    """A cohort's weighted sum of updates and its weight: all that a masked or encrypted aggregation reveals.

    Args:
        total: (d,) float32, sum_i w_i x_i.
        clients: who is in it.
        weight: sum_i w_i; None if every client has weight one.
    """

    total: F32 = field(repr=False)
    clients: tuple[ClientId, ...]
    weight: float | None = None

    def __post_init__(self) -> None:
        if not self.clients or self.total.ndim != 1:
            raise InvalidValue("a Total needs at least one client and a (d,) vector")
        if self.weight is not None and not (np.isfinite(self.weight) and self.weight > 0):
            raise InvalidValue(f"the weight of a total must be positive and finite, got {self.weight}")


@dataclass(frozen=True, eq=False)
class Rows:
    """Every update of a cohort: (n, d) float32, finite, read-only. Also a GramView.

    Args:
        clients: n distinct names.
        matrix: (n, d) float32. May be a memory map larger than RAM: it is read in column blocks and never copied.
        mixing: None, or (n, m) float64 weights >= 0: the view then shows the n rows `mixing @ matrix` of an (m, d)
            matrix. Clipping, bucketing and averaging over neighbours are such weights. The rows are never built: sums,
            products and distances are taken through the weights, blocks are mixed when somebody asks for them.

    Raises:
        InvalidValue (RF104): another shape or dtype, no rows or no columns, a name twice, or weights that are negative
            or not finite.

    Guarantees:
        Nothing here writes to `matrix`. That it is finite is the gate's promise; rules rely on it.
        Equal matrices give equal bits, whatever the number of threads.

    Cost: products and distances read the matrix once, together and for all mixings of it; `combine` reads it once.
        Memory: some (n, n) float64 matrices, and 1 to 2 MB a thread.
    """

    clients: tuple[ClientId, ...]
    matrix: F32 = field(repr=False)
    mixing: F64 | None = field(default=None, repr=False)
    _points: _Points = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.matrix.dtype != np.float32:
            raise InvalidValue(f"Rows need an (n, d) float32 matrix, got {self.matrix.shape} {self.matrix.dtype}")
        if not self.matrix.size:
            raise InvalidValue(f"Rows need at least one row and one column, got {self.matrix.shape}")
        if self.mixing is not None:
            object.__setattr__(self, "mixing", _weights(self.mixing, len(self.matrix)))
        n = len(self.matrix) if self.mixing is None else len(self.mixing)
        if len(set(self.clients)) != len(self.clients) or len(self.clients) != n:
            raise InvalidValue(f"Rows need one distinct name per row, got {len(self.clients)} for {n}")
        view = self.matrix.view()
        view.flags.writeable = False
        object.__setattr__(self, "matrix", view)
        object.__setattr__(self, "_points", _Points(view))

    @classmethod
    def of(cls, updates: Sequence[Update]) -> Rows:
        """The updates of one round, in the order of the clients' names, so that arrival order cannot matter."""
        if not updates:
            raise InvalidValue("no updates to look at")
        ordered = sorted(updates, key=lambda update: update.client)
        return cls(tuple(u.client for u in ordered), np.stack([u.delta for u in ordered]))

    def mixed(self, weights: F64, clients: Sequence[ClientId]) -> Rows:
        """The view of `weights @ rows`, named `clients`. What is known about products and distances is shared."""
        weights = _weights(weights, self.n)
        rows = Rows(tuple(clients), self.matrix, weights if self.mixing is None else _times(weights, self.mixing))
        object.__setattr__(rows, "_points", self._points)
        return rows

    @property
    def n(self) -> int:
        """The number of updates."""
        return len(self.clients)

    @property
    def d(self) -> int:
        """The number of parameters."""
        return int(self.matrix.shape[1])

    def block(self, start: int, stop: int, step: int = 1) -> F32:
        """Read-only (n, w) float32: columns start, start + step, ... before stop.

        Precision: a mixed value is good to 2e-6 of sum_j mixing[i, j] |x_j|: float32 adds up `_TOGETHER` rows, then
            these sums; float64 does where float32's range does not hold a weight or a sum.
        """
        block = self.matrix[:, start:stop:step]
        if self.mixing is None:
            return block
        mixed = None
        if self._narrow is not None:
            mixed = _mixed(self._narrow, block) if self._single is None else _scaled(*self._single, block)
        if mixed is None or not np.isfinite(mixed).all():
            mixed = (self.mixing @ block.astype(np.float64)).astype(np.float32)
        mixed.flags.writeable = False
        return mixed

    @cached_property
    def _narrow(self) -> F32 | None:
        return None if self.mixing is None else _narrow(self.mixing)

    @cached_property
    def _single(self) -> tuple[_Indices, F32] | None:
        """Where every mixed row is one row times a factor, as after clipping or leaving out: which, and how much."""
        if self._narrow is None or (np.count_nonzero(self._narrow, axis=1) > 1).any():
            return None
        rows = self._narrow.argmax(axis=1)
        return rows, np.take_along_axis(self._narrow, rows[:, None], axis=1)

    def blocks(self, width: int = BLOCK) -> Iterator[F32]:
        """Read-only (n, <= width) column blocks, left to right."""
        for start in range(0, self.d, width):
            yield self.block(start, min(start + width, self.d))

    def columns(self, step: int) -> F32:
        """Read-only (n, ceil(d / step)): every step-th column, to estimate from what is too long to look at whole."""
        return self.block(0, self.d, step)

    def gram(self) -> F64:
        """(n, n) float64 inner products, read-only; taken once and then shared by everyone who asks.

        Precision: about 1e-7 |x_i| |x_j| for n >= 32 on a million values and more, else 1e-15. The diagonal is >= 0
        and no entry exceeds |x_i| |x_j|.
        """
        return self._gram

    @cached_property
    def _gram(self) -> F64:
        if self.mixing is None:
            return self._points.gram
        return _frozen(_times(self.mixing, _times(self.mixing, self._points.gram).T))

    def squared_distances(self) -> F64:
        """(n, n) float64 |x_i - x_j|^2, read-only, shared like `gram`; never negative, 0 on the diagonal, symmetric.

        Precision: relative error at most 1e-6 for every pair, however close the two are and whatever the other rows
        hold; twins are exactly 0 apart. Of mixed rows, 1e-6 of the distances between the rows that they mix.
        """
        return self._distances

    @cached_property
    def _distances(self) -> F64:
        known = self._points.distances
        if self.mixing is None:
            return known[:-1, :-1]
        # Weights that sum to one, the origin making up the rest, give |x_i - x_j|^2 = -e'De/2 for their difference e.
        along, rest = self.mixing @ known[-1, :-1], 1 - self.mixing.sum(axis=1)
        spread = _times(self.mixing, _times(self.mixing, known[:-1, :-1]).T)
        spread += np.outer(along, rest) + np.outer(rest, along)
        half = np.diagonal(spread) / 2
        found = np.maximum((spread + spread.T) / 2 - half[:, None] - half, 0)
        np.fill_diagonal(found, 0)
        return _frozen(found)

    def combine(self, weights: F64) -> F32:
        """(d,) float32 weighted sum. Rows of weight zero are not read; one row of weight one comes back bit for bit.

        Precision: 1e-6 of sum_i |weights_i x_i| in every coordinate: float32 adds up `_IN_FLOAT32` rows, float64 the
            rest, or all where float32's range does not hold the weights or a sum.

        Cost: one pass over the rows used, at 60 to 90 % of the memory's speed.
        """
        if weights.shape != (self.n,):
            raise InvalidValue(f"expected ({self.n},) weights, got {weights.shape}")
        if self.mixing is not None:
            weights = weights @ self.mixing
        used = np.flatnonzero(weights)
        out = np.zeros(self.d, dtype=np.float32)
        if not len(used):
            return out
        cuts = range(_IN_FLOAT32, len(used), _IN_FLOAT32)
        groups = [(_as_slice(rows), weights[rows]) for rows in np.split(used, cuts)]
        first = np.float64 if _narrow(weights) is None else np.float32

        def total(start: int, stop: int, kind: type[np.floating[Any]]) -> NDArray[np.floating[Any]]:
            block = (self.matrix[rows, start:stop].astype(kind, copy=False) for rows, _ in groups)
            sums = (share.astype(kind) @ rows for rows, (_, share) in zip(block, groups, strict=True))
            return next(sums) if len(groups) == 1 else sum(sums, np.zeros(1))

        def work(start: int, stop: int) -> None:
            if len(used) == 1:
                np.multiply(self.matrix[used[0], start:stop], first(weights[used[0]]), out=out[start:stop])
                return
            with np.errstate(over="ignore", invalid="ignore"):
                found = total(start, stop, first)
            out[start:stop] = found if np.isfinite(found).all() else total(start, stop, np.float64)

        over_columns(work, self.d, _cached_width(2 * min(len(used), _IN_FLOAT32)))
        return out


@dataclass(frozen=True, eq=False)
class Mixed:
    """A GramView of mixtures of another view's rows, for views that are not Rows.

    Args:
        base: the view of n rows.
        matrix: (m, n) float64 weights >= 0; row i of this view is sum_j matrix[i, j] x_j.
        clients: m distinct names.

    Raises:
        InvalidValue (RF104): weights of another shape, negative or not finite; a name twice.

    Cost: m * n * (m + n) products for the Gram matrix, m * n for the weights of a sum; nothing of size d is touched.
    """

    base: GramView
    matrix: F64 = field(repr=False)
    clients: tuple[ClientId, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", _weights(self.matrix, len(self.base.clients)))
        if len(set(self.clients)) != len(self.clients) or len(self.clients) != len(self.matrix):
            raise InvalidValue(f"one distinct name per row, got {len(self.clients)} for {len(self.matrix)}")

    @property
    def d(self) -> int:
        """The number of parameters."""
        return self.base.d

    def gram(self) -> F64:
        """(m, m) float64: the inner products of the mixtures."""
        found: F64 = self.matrix @ self.base.gram() @ self.matrix.T
        return found

    def combine(self, weights: F64) -> F32:
        """(d,) float32: the weighted sum of the mixtures."""
        if weights.shape != (len(self.clients),):
            raise InvalidValue(f"expected ({len(self.clients)},) weights, got {weights.shape}")
        return self.base.combine(weights @ self.matrix)


@overload
def mix(view: Rows, weights: F64, clients: Sequence[ClientId]) -> Rows: ...
@overload
def mix(view: GramView, weights: F64, clients: Sequence[ClientId]) -> GramView: ...
def mix(view: GramView, weights: F64, clients: Sequence[ClientId]) -> GramView:
    """The view of the m rows `weights @ rows`, weights (m, n) >= 0. Rows stay Rows; mixing twice is mixing once."""
    if isinstance(view, Rows):
        return view.mixed(weights, clients)
    if isinstance(view, Mixed):
        return Mixed(view.base, _weights(weights, len(view.clients)) @ view.matrix, tuple(clients))
    return Mixed(view, weights, tuple(clients))


def squared_distances(view: GramView) -> F64:
    """(n, n) float64 squared distances |x_i - x_j|^2, the caller's own; never negative, exactly 0 on the diagonal.

    Precision: that of `Rows.squared_distances` for Rows. From another view's Gram matrix a pair's relative error is
    that matrix's, and at least 1e-16, times (|x_i|^2 + |x_j|^2) / |x_i - x_j|^2.
    """
    if isinstance(view, Rows):
        return view.squared_distances().copy()
    gram = view.gram()
    squares = np.diagonal(gram)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * gram, 0)
    np.fill_diagonal(distances, 0)
    return distances


def _weights(weights: F64, n: int) -> F64:
    if weights.ndim != 2 or weights.shape[1] != n or not (np.isfinite(weights) & (weights >= 0)).all():
        raise InvalidValue(f"expected (m, {n}) finite weights >= 0, got {weights.shape}")
    return _frozen(weights.astype(np.float64))


def _times(one: F64, two: F64) -> F64:
    """`one @ two`, without the n^3 products where one of them only shortens rows, as clipping does."""
    if _diagonal(one):
        return np.diagonal(one)[:, None] * two
    return one * np.diagonal(two) if _diagonal(two) else one @ two


def _diagonal(matrix: F64) -> bool:
    n, m = matrix.shape
    return n == m and int(np.count_nonzero(matrix)) == int(np.count_nonzero(np.diagonal(matrix)))


def _frozen(values: F64) -> F64:
    values.flags.writeable = False
    return values


_IN_FLOAT32 = 32
"""Rows that float32 adds up on its own."""


def _narrow(weights: F64) -> F32 | None:
    """The weights in float32, or None if its range does not hold them well."""
    sizes = np.abs(weights[weights != 0])
    fits = not sizes.size or (sizes.min() > 2.0**-100 and sizes.max() < 2.0**100)
    return weights.astype(np.float32) if fits else None


_TOGETHER = 128
"""Rows that one product mixes; adding up more of one size, float32 would round them one way."""


def _mixed(weights: F32, block: F32) -> F32:
    with np.errstate(over="ignore", invalid="ignore"):
        mixed: F32 = weights[:, :_TOGETHER] @ block[:_TOGETHER]
        for i in range(_TOGETHER, len(block), _TOGETHER):
            mixed += weights[:, i : i + _TOGETHER] @ block[i : i + _TOGETHER]
    return mixed


def _scaled(rows: _Indices, factors: F32, block: F32) -> F32:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: F32 = block[rows]
        scaled *= factors
    return scaled


def _as_slice(rows: _Indices) -> slice | _Indices:
    return slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] == len(rows) - 1 else rows


def _cached_width(n: float) -> int:
    """Columns of which n rows of float32 are 1 MB, about one core's second-level cache; at least 512."""
    return max(512, int((1 << 18) / n) // 512 * 512)


_CHUNK = 512
"""Squares that float32 adds up on its own for the second opinion: with 32 sums at a time, 16 rounded additions."""

_LITTLE = 1 << 20
"""Below as many values everything is multiplied in float64: it costs no time."""

_FAITHFUL = 5e-7
"""The most by which a float32 square may differ from the same square added up in another order."""

_EXACT = 1e-9
"""Distances of at least this share of |x_i|^2 + |x_j|^2 keep six digits and more in float64."""


class _Points:
    """The rows of a matrix and the origin: their inner products and distances, from one pass over the matrix.

    Distances cannot be had from |x|^2 + |y|^2 - 2<x, y> where x and y share a large common part, so that is first taken
    away, and to know the rows' own products the origin is shifted along as one row more. Any centre gives the same
    products and distances; a bad one costs digits, and what has lost too many is computed again:

    1. Nine rows, spread evenly over the cohort, tell from a sample of their columns whether the cohort has a large
       common part. If not, as for most updates, the centre is the origin, and the rows are multiplied where they lie.
    2. If it has, the centre is taken for each block of columns: the coordinate-wise median of three medians of three
       of the nine rows. A mean would follow a single row of 1e38, and any one row may be hostile; to move this centre
       a hostile group must hold 4 of 9 places fixed by the order of names. Whoever does, or misleads step 1, wins
       nothing but step 5's time.
    3. Products are taken in float32, some thousand columns at a time, and added up in float64. Squares that overflow
       or underflow send their range of columns to float64, about the origin: float64 holds every float32's square.
    4. Squares are taken a second time in another order, and rounded less. Where the two differ by more than `_FAITHFUL`
       the numbers round one way (all entries of one size, as after sign compression): everything is multiplied in
       float64.
    5. Pairs that are close compared with their distance from the centre are taken in float64 about one of them, and
       those still close about one that remains, until each is known to six digits. The row in doubt with most others
       goes first, and each turn settles it for good.

    A small matrix starts at step 5, with the origin as its centre and float64 products.

    Step 4 bounds the rounding that honest data can cause. An attacker who knows every row could steer the rounding of
    its own row's products by about 1e-5; it gains what moving its row by that much would have gained.
    """

    def __init__(self, matrix: F32) -> None:
        self._matrix = matrix

    @cached_property
    def gram(self) -> F64:
        """(n, n) inner products of the rows."""
        products, squares = self._products[0], self.distances[-1, :-1]
        gram = products[:-1, :-1].copy()
        if self._common:
            gram -= np.add.outer(products[-1, :-1], products[-1, :-1])
            gram += products[-1, -1]
        np.fill_diagonal(gram, squares)
        bound = np.sqrt(squares)
        bound = bound * bound[:, None]
        np.minimum(gram, bound, out=gram)
        return _frozen(np.maximum(gram, np.negative(bound, out=bound), out=gram))

    @cached_property
    def distances(self) -> F64:
        """(n + 1, n + 1) squared distances; the last point is the origin."""
        products, trusted = self._products
        found = _distances(products)
        doubt = _close(found, products, trusted)
        np.fill_diagonal(doubt, False)
        while doubt.any():
            pivot = int(np.argmax(doubt.sum(axis=1)))
            who = np.append(pivot, np.flatnonzero(doubt[pivot]))
            pairs = np.ix_(who, who)
            about = self._around(who)
            nearer = _distances(about)
            settled = doubt[pairs] & ~_close(nearer, about, _EXACT)
            found[pairs] = np.where(settled, nearer, found[pairs])
            doubt[pairs] &= ~settled
        return _frozen(found)

    @cached_property
    def _products(self) -> tuple[F64, float]:
        """(n + 1, n + 1) products about the centre, and the share of |x|^2 + |y|^2 from which a distance is good."""
        n, d = self._matrix.shape
        if n * d >= _LITTLE:
            sums = sum_over_columns(self._quick, d, self._step)
            products, gap = sums[:-1], np.abs(sums[-1])
            error = float(np.max(self._every * gap / np.maximum(np.diagonal(products), np.finfo(float).tiny)))
            if error <= _FAITHFUL:
                return products, 0.1 + 1e6 * error
        return sum_over_columns(self._exact, d, max(self._step, -(-d // 16))), _EXACT

    @cached_property
    def _common(self) -> bool:
        """Whether nine rows are closer to each other than to the origin, by a sample of their columns."""
        n, d = self._matrix.shape
        starts = range(0, d, -(-d // 16))
        sample = np.hstack([self._matrix[_nine(n), start : start + 256] for start in starts]).astype(np.float64)
        products = sample @ sample.T
        return bool(np.mean(_close(_distances(products), products, 0.4)) > 0.5)

    @cached_property
    def _step(self) -> int:
        """Columns multiplied at a time: of few rows more, for a BLAS call costs microseconds; of few columns less."""
        n, d = self._matrix.shape
        return max(1_024 if self._common else 4_096, min(32_768, int(d) // 16, _cached_width(n / 4)))

    @cached_property
    def _every(self) -> int:
        """Of as many blocks the squares of one are taken again."""
        return 4 if self._matrix.shape[1] > 8 * self._step else 1

    def _quick(self, start: int, stop: int) -> F32 | F64:
        """(n + 2, n + 1): products in float32 and, as the last row, by how much squares differ; or all in float64."""
        n, points = len(self._matrix), self._points(start, stop)
        sums = np.zeros((n + 2, n + 1), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            products = np.matmul(points, points.T, out=sums[: len(points), : len(points)])
        squares = np.diagonal(products)
        small = squares < 2.0**-60
        if not (squares < 2.0**100).all() or (small.any() and points[small].any()):
            return np.vstack([self._exact(start, stop), np.zeros(n + 1)])
        if start // self._step % self._every == 0:
            sums[-1, : len(points)] = _squares(points) - squares
        return sums

    def _points(self, start: int, stop: int) -> F32:
        """The rows as they lie, or the rows and the origin about a centre; in order, for BLAS."""
        block = self._matrix[:, start:stop]
        if not self._common:
            lies = block.flags.aligned and block.strides[1] == 4 and block.strides[0] >= 4 * block.shape[1]
            return block if lies else np.ascontiguousarray(block)
        points = np.empty((len(block) + 1, stop - start), dtype=np.float32)
        centre = _centre(block)
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(block, centre, out=points[:-1])
        np.negative(centre, out=points[-1])
        return points

    def _exact(self, start: int, stop: int) -> F64:
        """Products in float64 about the origin itself, whose own are then 0."""
        n = len(self._matrix)
        products = np.zeros((n + 1, n + 1))
        step = _cached_width(2 * n)
        for left in range(start, stop, step):
            block = self._matrix[:, left : min(left + step, stop)].astype(np.float64)
            products[:n, :n] += block @ block.T
        return products

    def _around(self, who: _Indices) -> F64:
        """Products in float64 of a few points about the first of them; differences of float32 are exact in float64."""
        n, d = self._matrix.shape
        rows, step = who < n, _cached_width(2 * len(who))

        def work(start: int, stop: int) -> F64:
            products = np.zeros((len(who), len(who)))
            for left in range(start, stop, step):
                points = np.zeros((len(who), min(step, stop - left)))
                points[rows] = self._matrix[who[rows], left : min(left + step, stop)]
                points -= points[0].copy()
                products += points @ points.T
            return products

        return sum_over_columns(work, d, max(step, -(-d // 16)))


def _squares(points: F32) -> F64:
    """(n,) squared lengths: float32 adds up `_CHUNK` at a time."""
    n, width = points.shape
    even = width - width % _CHUNK
    chunks, rest = points[:, :even].reshape(n, -1, _CHUNK), points[:, even:]
    found: F64 = np.vecdot(chunks, chunks).sum(axis=1, dtype=np.float64) + np.vecdot(rest, rest)
    return found


def _distances(products: F64) -> F64:
    squares = np.diagonal(products)
    found: F64 = np.add.outer(squares, squares)
    for _ in range(2):
        found -= products
    np.maximum(found, 0, out=found)
    np.fill_diagonal(found, 0)
    return found


def _close(distances: F64, products: F64, share: float) -> _Mask:
    """Which pairs are closer than this share of |x|^2 + |y|^2; some rows at a time, for a large cohort's sake."""
    squares = share * np.diagonal(products)
    cuts = [slice(i, i + 64) for i in range(0, len(squares), 64)]
    return np.concatenate([distances[rows] < squares[rows, None] + squares for rows in cuts])


def _nine(n: int) -> list[int]:
    return [i * (n - 1) // 8 for i in range(9)]


def _centre(block: F32) -> F32:
    """(w,): the coordinate-wise median of three medians of three rows each."""
    rows = [block[i] for i in _nine(len(block))]
    return _middle(*(_middle(*rows[i : i + 3]) for i in (0, 3, 6)))


def _middle(a: F32, b: F32, c: F32) -> F32:
    middle: F32 = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return middle
