"""One pass over the coordinates, each sorted on its own: median and trimmed mean are two names for it."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np

from ringfort.core.parallel import over_columns
from ringfort.core.values import F32, F64
from ringfort.core.views import Rows

__all__ = ["trimmed", "trimmed_columns", "trimmed_influence"]

_WIDTH = 2_048
"""Columns sorted at a time by numpy: the transposed copy of n = 100 rows is 0.8 MB and stays in the second cache."""

_VALUES = 1 << 18
"""Values per call of the compiled kernel: some 0.2 ms of work, 1 MB."""

_SAMPLE = 65_536
"""Coordinates from which influence is estimated."""

_DENSE = 8
"""Steps between sampled coordinates up to which one pass over all is quicker than a second one over the sample."""

_COMPILED_FROM = 1_000_000
"""Values from which the compiled kernel pays for its loading, 0.3 s once per process."""


def trimmed(view: Rows, k: int) -> tuple[F32, F64]:
    """`trimmed_columns` and `trimmed_influence`, in one pass where that is quicker than two."""
    step = _step(view)
    return _pass(view, k, 1, step) if step <= _DENSE else (trimmed_columns(view, k), trimmed_influence(view, k))


def trimmed_columns(view: Rows, k: int) -> F32:
    """Per coordinate, the mean of all but the k smallest and k largest of n values; n > 2k. Returns (d,) float32.

    Kept values are added in float64 and rounded once.

    Cost: one pass, compute-bound: with the compiled kernel (numba, from a million values on) 10 values a coordinate
        take 0.8 ns each, 100 take 2 ns, 1000 take 3 ns on one core, and it scales with cores; without numba 3 to 6
        times that. Memory beside the result: at most 1 MB a thread, whatever the layout, on a memory map too.
    """
    return _pass(view, k, 1, 0)[0]


def trimmed_influence(view: Rows, k: int) -> F64:
    """(n,) mean share of each row in `trimmed_columns`; rows that tie at the edge share the places left for them.

    Exact for d <= 65,536, else over that many evenly spaced coordinates.
    """
    return _pass(view, k, _step(view), 1)[1]


def _step(view: Rows) -> int:
    return max(1, -(-view.d // _SAMPLE))


def _pass(view: Rows, k: int, step: int, every: int) -> tuple[F32, F64]:
    """The trimmed mean of every step-th column, and the mean share of each row in every `every`-th of these."""
    n, d, stride = view.n, -(-view.d // step), max(1, every)
    network = _network() if n * view.d >= _COMPILED_FROM else None
    width = max(64, _VALUES // n // 64 * 64) if network else min(_WIDTH, max(64, _VALUES // 2 // n))
    trim = network.trim if network else _numpy_trim
    out = np.empty(d, dtype=np.float32)

    def work(start: int, stop: int) -> F64:
        share = np.zeros(n)
        trim(view.block(start * step, min(stop * step, view.d), step), k, out[start:stop], share, every)
        return share

    parts = over_columns(work, d, -(-width // stride) * stride)
    share: F64 = np.sum(parts, axis=0) / (-(-d // stride) * (n - 2 * k))
    return out, share


@cache
def _network() -> ModuleType | None:
    """The compiled kernel, or None where numba is missing or does not fit this Python and numpy."""
    try:
        from ringfort.aggregate import _network
    except ImportError:
        return None
    return _network


def _numpy_trim(block: F32, k: int, out: F32, share: F64, every: int) -> None:
    """Into `out` the trimmed mean of each column of an (n, w) block; onto `share` the places each row has in some.

    These are the columns 0, every, 2 * every, ...; none if every is 0.
    """
    n = len(block)
    columns = np.array(block.T, order="C")  # a copy even where block.T is contiguous: n = 1, d = 1, column-major
    ordered = columns.copy() if every else columns
    ordered.sort(axis=1)
    middle = ordered[:, k : n - k]
    out[:] = middle.mean(axis=1, dtype=np.float64)
    if not every:
        return
    columns, middle = columns[::every], middle[::every]
    low, high = middle[:, :1], middle[:, -1:]
    kept = ((columns > low) & (columns < high)).astype(np.float64)
    for edge in (high, low):  # where both are one value, the last one to be written counts every place once
        ties = columns == edge
        places = np.count_nonzero(middle == edge, axis=1) / np.count_nonzero(ties, axis=1)
        np.copyto(kept, places[:, None], where=ties)
    share += kept.sum(axis=0)
