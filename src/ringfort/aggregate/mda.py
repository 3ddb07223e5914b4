"""MDA: the mean of the most compact majority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.aggregate._bearing import Bearing
from ringfort.aggregate._selection import mean_of
from ringfort.core.checks import whole
from ringfort.core.values import F64, I64, Aggregate
from ringfort.core.views import GramView, squared_distances

__all__ = ["MDA"]

_MOST = 24
"""f up to which the search is run. It visits at most 1.47^f places per distance tried: 10,000 for 24."""


@dataclass(frozen=True, slots=True)
class MDA(Bearing):
    """Minimum-diameter averaging: the mean of the n - f updates whose largest mutual distance is smallest.

    Args:
        f: attackers to bear, n > 2f and f <= 24, so that the search is exact in bounded time whatever attackers send.
            No default: the caller states the threat.

    Call:
        view: GramView of n updates. Returns an Aggregate: delta (d,) float32, weights 1/(n - f) for those kept.

    Guarantees:
        The diameter of what counts is at most that of the honest updates, if at most f are hostile; so no hostile
        update that counts is further than that from an honest one that does.
        Several groups can have the smallest diameter. The one found by leaving out first who is too far from most, then
        who is furthest from all, then who comes last by name is taken; the order of the view plays no part. If more
        than n - f updates fit into the smallest diameter, all of them count: that is the mean over all their choices.

    Raises:
        InvalidValue (RF104): f > 24. ToleranceExceeded (RF301): n <= 2f.

    Does not protect against: attackers inside the honest diameter.

    Cost: the distance matrix; a branch-and-bound search for at most f updates to leave out, about 2 log2(n) times;
        one weighted sum. The worst case for f = 24 takes seconds, the usual one milliseconds.

    Source: El Mhamdi et al. 2018, arXiv:1802.07927, Section 2 ("Brute"); found as a vertex cover of size f.
    """

    f: int
    name: ClassVar[str] = "mda"
    exempt: ClassVar[frozenset[str]] = frozenset({"hull"})

    def __post_init__(self) -> None:
        whole(0, _MOST, f=self.f)

    def __call__(self, view: GramView) -> Aggregate:
        """The mean of the most compact n - f updates of the cohort in view."""
        self._require(len(view.clients))
        squares = squared_distances(view)
        by_name = np.argsort(np.array(view.clients))[::-1]
        furthest_first = by_name[np.argsort(-squares[by_name].sum(axis=1), kind="stable")]
        group = furthest_first[_most_compact(squares[np.ix_(furthest_first, furthest_first)], self.f)]
        return mean_of(view, group, self.name, "outside the most compact group")


def _most_compact(squares: F64, f: int) -> I64:
    """Places of the at least n - f points whose largest squared distance is smallest."""
    levels = np.unique(squares)
    low, high = 0, len(levels) - 1
    found = everyone = (1 << len(squares)) - 1
    while low < high:
        middle = (low + high) // 2
        group = _peaceful(_conflicts(squares > levels[middle]), everyone, f)
        if group is None:
            low = middle + 1
        else:
            found, high = group, middle
    return np.array([i for i in range(len(squares)) if found >> i & 1])


def _conflicts(pairs: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> list[int]:
    """Per point, as the bits of a number, which others are too far from it."""
    return [int.from_bytes(row.tobytes(), "little") for row in np.packbits(pairs, axis=1, bitorder="little")]


def _peaceful(conflicts: list[int], left: int, f: int) -> int | None:
    """`left` without at most f points so that no two of the rest conflict; None if there is no such choice.

    A vertex cover of size f. A point in conflict with only one other stays and the other goes; else the point with most
    conflicts, three or more but for plain cycles, goes, or all that it is in conflict with go: 1.47^f choices.
    """
    worst, most, total = 0, 0, 0
    for i, against in enumerate(conflicts):
        if left >> i & 1:
            degree = (against & left).bit_count()
            total += degree
            if degree == 1 and f:
                other = against & left
                loser = other if (conflicts[other.bit_length() - 1] & left).bit_count() > 1 else 1 << i
                return _peaceful(conflicts, left & ~loser, f - 1)
            if degree > most:
                worst, most = i, degree
    if most == 0:
        return left
    if f == 0 or total > 2 * f * most:
        return None
    without = _peaceful(conflicts, left & ~(1 << worst), f - 1)
    if without is not None or most > f:
        return without
    return _peaceful(conflicts, left & ~(conflicts[worst] & left), f - most)
