"""What detectors with a memory share: a round's scores beside what is kept of each client's earlier rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringfort.core.context import Memory, RoundContext
from ringfort.core.values import F64, ClientId
from ringfort.detect._cohort import robust_z
from ringfort.detect.detector import Score, joined, part, within
from ringfort.detect.table import Table

__all__ = ["Known", "changed", "known", "own"]

_MOST = 1e30


@dataclass(frozen=True, slots=True)
class Known:
    """The clients of whom a score says something in this round, and what is kept of each.

    Args:
        clients: by the view's order.
        z: (n,) their scores' robust z-scores, finite.
        table: everybody's rows.
        rows: theirs, a copy to change.
        scored: what the score remembers.
    """

    clients: tuple[ClientId, ...]
    z: F64
    table: Table = field(repr=False)
    rows: dict[str, NDArray[Any]] = field(repr=False)
    scored: Memory = field(repr=False)

    def memory(self) -> Memory:
        """For the next round, with the rows as they are now."""
        return joined({"score": self.scored, "own": self.table.after(self.clients, self.rows).memory()})


def known(score: Score[Any], view: Any, context: RoundContext, blank: Mapping[str, NDArray[Any]]) -> Known:
    """Score the round, and look up whom it says something about."""
    found = within(score, view, context, "score")
    z = robust_z(found.suspicion)
    there = np.flatnonzero(~np.isnan(z))
    clients = tuple(view.clients[i] for i in there)
    table = own(context.memory, blank)
    return Known(clients, np.clip(z[there], -_MOST, _MOST), table, table.rows(clients), found.memory)


def own(memory: Memory, blank: Mapping[str, NDArray[Any]]) -> Table:
    """The rows that a detector's memory holds."""
    return Table.read(part(memory, "own"), blank)


def changed(memory: Memory, table: Table, clients: Sequence[ClientId], rows: Mapping[str, NDArray[Any]]) -> Memory:
    """The memory in which these clients have these rows."""
    return joined({"score": part(memory, "score"), "own": table.after(clients, rows).memory()})
