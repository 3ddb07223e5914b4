"""Exact intervals: known values, coverage, order."""

import numpy as np
import pytest

from ringfort.audit.model.intervals import drop, share
from ringfort.core.errors import InvalidValue


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 20, 0.0, 0.16843), (5, 10, 0.18709, 0.81291), (20, 20, 0.83157, 1.0), (37, 1000, 0.02618, 0.05064)],
)
def test_the_interval_is_clopper_and_pearsons(hits, n, low, high):
    found = share(hits, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=2e-5), pytest.approx(high, abs=2e-5))
    assert found.value == hits / n


def test_nothing_counted_says_nothing():
    found = share(0, 0)
    assert (found.low, found.high, found.n) == (0.0, 1.0, 0)


def test_impossible_counts_are_refused():
    for hits, n in ((3, 2), (-1, 2), (0, -1)):
        with pytest.raises(InvalidValue):
            share(hits, n)


def test_a_drop_covers_the_truth_at_least_as_often_as_it_says():
    rng = np.random.default_rng(0)
    lost, won = rng.binomial(40, 0.2, 100), rng.binomial(40, 0.05, 100)
    intervals = [drop(int(x), int(y), 40) for x, y in zip(lost, won, strict=True)]
    assert sum(found.low <= 0.15 <= found.high for found in intervals) >= 95
    assert drop(20, 0, 40).low > 0.2 > drop(5, 5, 40).value == 0
