"""One pass over the coordinates, each sorted on its own: median and trimmed mean are two names for it."""

from __future__ import annotations

import numpy as np

from ringfort.core.values import F32, F64
from ringfort.core.views import Rows

__all__ = ["trimmed_columns", "trimmed_influence"]

_WIDTH = 2_048
"""Columns sorted at a time: the transposed copy of n = 100 rows is 0.8 MB and stays in the second-level cache."""

_SAMPLE = 65_536
"""Coordinates from which influence is estimated."""


def trimmed_columns(view: Rows, k: int) -> F32:
    """Per coordinate, the mean of all but the k smallest and k largest of n values; n > 2k. Returns (d,) float32."""
    out = np.empty(view.d, dtype=np.float32)
    start = 0
    for block in view.blocks(_WIDTH):
        columns = np.array(block.T, order="C")  # a copy even where block.T is contiguous: n = 1, d = 1, column-major
        columns.sort(axis=1)
        stop = start + len(columns)
        out[start:stop] = columns[:, k : view.n - k].mean(axis=1, dtype=np.float64)
        start = stop
    return out


def trimmed_influence(view: Rows, k: int) -> F64:
    """(n,) mean share of each row in `trimmed_columns`; rows that tie at the edge share the places left for them.

    Exact for d <= 65,536, else over that many evenly spaced coordinates.
    """
    columns = np.ascontiguousarray(view.matrix[:, :: -(-view.d // _SAMPLE)].T)
    ordered = np.sort(columns, axis=1)
    middle = ordered[:, k : view.n - k]
    low, high = middle[:, :1], middle[:, -1:]
    kept = ((columns > low) & (columns < high)).astype(np.float64)
    for edge in (high, low):  # where both are one value, the last one to be written counts every place once
        ties = columns == edge
        places = np.count_nonzero(middle == edge, axis=1) / np.count_nonzero(ties, axis=1)
        np.copyto(kept, places[:, None], where=ties)
    influence: F64 = kept.mean(axis=0) / middle.shape[1]
    return influence
