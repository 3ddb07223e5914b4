"""What attacks on data do to rows, whatever they do it for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ringfort.core.checks import whole
from ringfort.core.dataset import Dataset

__all__ = ["in_range", "redrawn"]


def in_range(data: Dataset, **classes: int) -> None:
    """Refuse (RF104) classes that the data does not have."""
    whole(0, len(data.classes) - 1, **classes)


def redrawn(data: Dataset, chosen: NDArray[np.bool_], share: float, rng: np.random.Generator) -> Dataset:
    """As many examples, `share` of them drawn from the chosen ones and the rest from the others.

    With nothing to choose from on either side the data stays as it is.
    """
    if chosen.all() or not chosen.any():
        return data
    count = round(share * len(data))
    return data.take(
        np.concatenate(
            [rng.choice(np.flatnonzero(chosen), count), rng.choice(np.flatnonzero(~chosen), len(data) - count)]
        )
    )
