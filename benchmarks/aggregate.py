"""Robust aggregation beside numpy, one blocked BLAS Gram matrix, ByzFL and Flower: time ratios and extra memory.

The contenders of a job take turns on the same matrix and each keeps its best time, so that a ratio holds when the
machine's speed drifts. Jobs run on one thread and then on all cores. A peer that is not installed is named as such.

    python -m benchmarks.aggregate --out runs/bench-aggregate.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
from threadpoolctl import threadpool_limits

from ringfort.aggregate import Krum, Median, MultiKrum, TrimmedMean, _columns
from ringfort.core import parallel
from ringfort.core.files import write_atomic
from ringfort.core.values import F32
from ringfort.core.views import Rows
from ringfort.testing import toy_rows

SHAPES = ((10, 1_000_000), (100, 100_000), (1_000, 10_000))
FASTER = {10: 30, 100: 12, 1_000: 5}
"""Target: how many times faster than a peer's median and trimmed mean, on one thread."""
GRAM = 1.3
"""Target: Krum's time over that of one blocked float32 Gram matrix."""
SLOW_S = 2.0
"""A contender slower than this runs once."""

Call = Callable[[], Any]


def byzfl() -> Any:
    """ByzFL's package, with stand-ins for what it imports and aggregation does not use; None if not installed."""
    while True:
        try:
            return import_module("byzfl")
        except ModuleNotFoundError as error:
            if error.name in (None, "byzfl", "torch"):
                return None
            sys.modules[str(error.name)] = MagicMock()


def flower() -> Any:
    """Flower's module of aggregation functions; None if not installed."""
    try:
        return import_module("flwr.server.strategy.aggregate")
    except ImportError:
        return None


def blocked_gram(matrix: F32) -> F32:
    """What Krum costs at least: each inner product once, in float32, by BLAS."""
    gram = np.zeros((len(matrix), len(matrix)), dtype=np.float32)
    for start in range(0, matrix.shape[1], 16_384):
        block = matrix[:, start : start + 16_384]
        gram += block @ block.T
    return gram


def without_numba(rows: Rows, k: int) -> F32:
    """The fallback."""
    kept, _columns._network = _columns._network, lambda: None  # type: ignore[assignment]
    try:
        return _columns.trimmed_columns(rows, k)
    finally:
        _columns._network = kept


def jobs(matrix: F32) -> dict[str, dict[str, Call | None]]:
    """For each rule its contenders, ours first; None is not installed. Ours get a new view each time, with no cache."""
    n = len(matrix)
    f, middle = n // 5, (n - 1) // 2
    theirs, other = byzfl(), flower()
    results = [([row], 1) for row in matrix]

    def rows() -> Rows:
        return toy_rows(matrix)

    return {
        "median": {
            "ringfort": lambda: _columns.trimmed_columns(rows(), middle),
            "ringfort with influence": lambda: _columns.trimmed(rows(), middle),
            "ringfort as called": lambda: Median()(rows()).delta,
            "ringfort without numba": lambda: without_numba(rows(), middle),
            "numpy median": lambda: np.median(matrix, axis=0),
            "byzfl": theirs and (lambda: theirs.Median()(matrix)),
            "flower": other and (lambda: other.aggregate_median(results)),
        },
        "trimmed mean": {
            "ringfort": lambda: _columns.trimmed_columns(rows(), f),
            "ringfort with influence": lambda: _columns.trimmed(rows(), f),
            "ringfort as called": lambda: TrimmedMean(f=f)(rows()).delta,
            "ringfort without numba": lambda: without_numba(rows(), f),
            "numpy sort and mean": lambda: np.sort(matrix, axis=0)[f : n - f].mean(axis=0),
            "byzfl": theirs and (lambda: theirs.TrMean(f)(matrix)),
            "flower": other and (lambda: other.aggregate_trimmed_avg(results, 0.2)),
        },
        "krum": {
            "ringfort": lambda: Krum(f=f)(rows()).delta,
            "blocked float32 gram": lambda: blocked_gram(matrix),
            "byzfl": theirs and (lambda: theirs.Krum(f)(matrix)),
            "flower": other and (lambda: other.aggregate_krum(results, f, 0)),
        },
        "multi-krum": {
            "ringfort": lambda: MultiKrum(f=f)(rows()).delta,
            "blocked float32 gram": lambda: blocked_gram(matrix),
            "byzfl": theirs and (lambda: theirs.MultiKrum(f)(matrix)),
            "flower": other and (lambda: other.aggregate_krum(results, f, n - f)),
        },
    }


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Ours, BLAS's and OpenMP's; torch takes OpenMP's."""
    parallel.limit(n)
    with threadpool_limits(limits=n):
        yield
    parallel.limit(None)


def best_times(calls: dict[str, Call | None], turns: int) -> dict[str, float | None]:
    """Seconds, the best of some turns taken one after the other."""
    best: dict[str, float | None] = {}
    for turn in range(turns + 1):
        for name, call in calls.items():
            last = best.get(name)
            if call is None or (turn and (last is None or last > SLOW_S)):
                best.setdefault(name, None)
                continue
            start = time.perf_counter()
            call()
            took = time.perf_counter() - start
            best[name] = took if turn < 2 or last is None else min(last, took)  # the first turn warms up
    return best


def extra_share(call: Call, matrix: F32) -> float:
    """Peak memory of a call beside the step it returns, as a share of the input."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(max(0, peak - matrix[0].nbytes) / matrix.nbytes)


def compare(n: int, d: int, turns: int) -> list[dict[str, Any]]:
    """All jobs on one shape."""
    matrix = np.random.default_rng([n, d]).standard_normal((n, d), dtype=np.float32)
    found = []
    for rule, calls in jobs(matrix).items():
        with threads(1):
            alone = best_times(calls, turns)
        together = best_times(calls, turns)
        memory = {name: extra_share(call, matrix) for name, call in calls.items() if call and alone[name] is not None}
        ours = alone["ringfort"]
        assert ours is not None
        found.append(
            {
                "rule": rule,
                "n": n,
                "d": d,
                "seconds_one_thread": alone,
                "seconds_all_cores": together,
                "times_ours_one_thread": {name: s and s / ours for name, s in alone.items()},
                "gain_from_all_cores": {name: s and (s / (together[name] or s)) for name, s in alone.items()},
                "extra_memory_share": memory,
            }
        )
    return found


def show(result: dict[str, Any]) -> None:
    """One job, a line per contender."""
    n, rule = result["n"], result["rule"]
    target = f"peers at least {FASTER[n]}" if rule in ("median", "trimmed mean") else f"Gram at least {1 / GRAM:.2f}"
    print(f"\n{rule}, {n} x {result['d']} float32, f = 20 % (target: {target} times ours on one thread)")
    for name, seconds in result["seconds_one_thread"].items():
        if seconds is None:
            print(f"  {name:24} not installed")
            continue
        print(
            f"  {name:24} {seconds * 1e3:9.1f} ms {result['times_ours_one_thread'][name]:7.2f} x;  "
            f"all cores {result['seconds_all_cores'][name] * 1e3:9.1f} ms;  "
            f"extra memory {result['extra_memory_share'][name]:7.1%}"
        )


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--turns", type=int, default=7, help="counted turns per contender")
    options = parser.parse_args()
    results = []
    for n, d in SHAPES:
        for result in compare(n, d, options.turns):
            show(result)
            results.append(result)
    network = _columns._network()
    machine = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": network.numba.__version__ if network else "not installed",
        "cores": parallel.cores(),
        "processor": platform.processor() or platform.machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out, json.dumps({"results": results, "machine": machine}, indent=2).encode())


if __name__ == "__main__":
    main()
