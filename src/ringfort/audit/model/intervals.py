"""Exact intervals of counted shares, without SciPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ringfort.core.checks import whole
from ringfort.core.values import F64

__all__ = ["Share", "drop", "share"]


@dataclass(frozen=True, slots=True)
class Share:
    """A counted share with its exact interval.

    Args:
        value: hits / n; 0 where n is 0.
        low: lower end.
        high: upper end.
        n: tries.
    """

    value: float
    low: float
    high: float
    n: int


def share(hits: int, n: int, level: float = 0.05) -> Share:
    """The Clopper-Pearson interval: it covers the true share with confidence of at least 1 - level.

    >>> found = share(0, 20)
    >>> round(found.low, 3), round(found.high, 3)
    (0.0, 0.168)
    """
    whole(0, n=n)
    whole(0, n, hits=hits)
    if n == 0:
        return Share(0.0, 0.0, 1.0, 0)
    low = 0.0 if hits == 0 else _solve(hits, n, level / 2)
    high = 1.0 if hits == n else 1 - _solve(n - hits, n, level / 2)
    return Share(hits / n, low, high, n)


def drop(lost: int, won: int, n: int, level: float = 0.05) -> Share:
    """How much smaller a share has become on the same n examples: lost (right before, wrong now) less won, over n.

    The interval joins two exact ones at half the level each, so it covers with at least 1 - level.
    """
    down, up = share(lost, n, level / 2), share(won, n, level / 2)
    return Share(down.value - up.value, down.low - up.high, down.high - up.low, n)


def _solve(hits: int, n: int, tail: float) -> float:
    """The p at which `hits` or more of n have the chance `tail`."""
    counts = np.arange(hits, n + 1)
    ways: F64 = np.array([math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in counts.tolist()])
    low, high = 0.0, 1.0
    for _ in range(50):
        p = (low + high) / 2
        chance = float(np.exp(ways + counts * math.log(p) + (n - counts) * math.log1p(-p)).sum())
        low, high = (p, high) if chance < tail else (low, p)
    return (low + high) / 2
