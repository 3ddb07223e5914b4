"""Small cohorts for examples and tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ringfort.core.values import F32, client_id
from ringfort.core.views import Rows

__all__ = ["toy_rows"]


def toy_rows(matrix: F32 | Sequence[Sequence[float]]) -> Rows:
    """Rows of clients named c000, c001, ... from any (n, d) numbers."""
    values = np.asarray(matrix, dtype=np.float32)
    return Rows(tuple(client_id(f"c{i:03}") for i in range(len(values))), values)
