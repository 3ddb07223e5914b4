"""The order in which a client sees its examples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ringfort.core.errors import InvalidValue
from ringfort.core.ports import LocalTraining
from ringfort.core.values import I64

__all__ = ["minibatches"]


def minibatches(n_rows: int, plan: LocalTraining, rng: np.random.Generator) -> Iterator[I64]:
    """`plan.steps` index arrays of min(plan.batch, n_rows) rows, drawn without replacement, shuffled epoch after epoch.

    An epoch's last rows that do not fill a batch are dropped and reshuffled with the rest.

    Raises:
        InvalidValue (RF104): no rows to train on.
    """
    if n_rows < 1:
        raise InvalidValue("a client needs at least one example to train on")
    size = min(plan.batch, n_rows)
    per_epoch = n_rows // size
    for step in range(plan.steps):
        place = step % per_epoch
        if place == 0:
            order = rng.permutation(n_rows)
        yield order[place * size : (place + 1) * size]
