"""How the benchmarks of engines say what their exchanges took."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["show", "write"]


def show(times: Mapping[str, Mapping[str, Sequence[float]]], digits: int) -> None:
    """Median and p90 of each kind of exchange, in seconds."""
    for name, took in times.items():
        for what, values in took.items():
            ordered = sorted(values)
            median, p90 = statistics.median(values), ordered[int(0.9 * (len(ordered) - 1))]
            print(f"{name:6} {what:8} median {median:.{digits}f} s  p90 {p90:.{digits}f} s  of {len(values)}")


def write(out: Path | None, result: Mapping[str, Any]) -> None:
    """The result as JSON, if it is wanted."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1))
