"""What a host engine is told about a round: metrics that one client cannot move far, and words for its log."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ringfort.rounds.record import RoundRecord

__all__ = ["counts", "medians", "said"]


def medians(found: Iterable[Mapping[Any, Any]], leave_out: str = "") -> dict[str, float]:
    """The median of each metric over the clients.

    Guarantees:
        Only finite numbers count, and only metrics that more than half of the clients report: otherwise somebody could
        make one up. No value, key or type raises.

    >>> medians([{"loss": 1.0}, {"loss": 2}, {"loss": float("nan"), "mine": 9}, {"loss": -1e30}])
    {'loss': 1.0}
    """
    reports = list(found)
    values: dict[str, list[float]] = {}
    for metrics in reports:
        for key, value in metrics.items():
            number = _number(value)
            if isinstance(key, str) and key != leave_out and number is not None:
                values.setdefault(key, []).append(number)
    return {key: statistics.median(listed) for key, listed in sorted(values.items()) if 2 * len(listed) > len(reports)}


def _number(value: object) -> float | None:
    if not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond every float
        return None
    return number if math.isfinite(number) else None


def counts(record: RoundRecord) -> dict[str, int]:
    """How many clients the round ended for in which way."""
    return {
        "accepted": sum(v.weight > 0 for v in record.verdicts),
        "left-out": sum(v.weight == 0 for v in record.verdicts),
        "refused": len(record.refusals),
        "failed": len(record.failures),
        "absent": len(record.absent),
    }


def said(record: RoundRecord) -> tuple[str, tuple[str, ...]]:
    """One line about the round, and one for each refusal."""
    out = [f"{v.client} ({v.reasons[0] if v.reasons else 'no weight'})" for v in record.verdicts if v.weight == 0]
    line = f"round {record.round}: {len(record.verdicts)} admitted, left out: {', '.join(out) or 'nobody'}"
    return line, tuple(f"refused {r.client}: {r.detail} ({r.code})" for r in record.refusals)
