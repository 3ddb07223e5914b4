"""A record in numbers, for whatever draws curves. Few names, whoever takes part: never a series per client."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from ringfort.core.values import Action
from ringfort.detect.reputation import Standing
from ringfort.rounds.record import RoundRecord

__all__ = ["decided", "measured", "numbers", "spending", "spent_share"]

_METRICS: Final = 20
_LONGEST: Final = 80


def numbers(record: RoundRecord) -> dict[str, float]:
    """What one record adds to a run's curves.

    Returns:
        `model/NAME` for the server's measurements of the model, `updates/DECISION` (how many, of those asked),
        `clients/STANDING` where there is a watch, `privacy/...` where the record says what is spent, `secagg/aborts`
        under a seal.

    Guarantees:
        At most 37 names, of ASCII letters, digits, `_`, `.`, `-` and one `/`, whatever a record holds.
    """
    out: dict[str, float] = {}
    for name, value in measured(record).items():
        out[_free(f"model/{_plain(name)}", out)] = value
    if record.round:
        counts = decided(record)
        counts["refused"] = len(record.refusals)
        out |= {f"updates/{decision}": float(count) for decision, count in counts.items()}
    if "standings" in record.watch:
        counts = Counter(record.watch["standings"])
        names = (standing.name.lower() for standing in Standing)
        out |= {f"clients/{name}": float(counts[name]) for name in names}
    out |= {f"privacy/{name}": value for name, value in spending(record).items()}
    if record.seal:
        out["secagg/aborts"] = float(len(record.aborts))
    return out


def measured(record: RoundRecord) -> dict[str, float]:
    """The server's measurements of the model, by their own names: the first 20."""
    return {name: float(value) for name, value in sorted(record.metrics.items())[:_METRICS]}


def decided(record: RoundRecord) -> Counter[str]:
    """How many clients, by what became of them; refusals, which have reasons, aside. Zeros are there."""
    counts = Counter({action.value: 0 for action in Action})
    counts.update(verdict.action.value for verdict in record.verdicts)
    counts["failed"], counts["absent"] = len(record.failures), len(record.absent)
    return counts


def spending(record: RoundRecord) -> dict[str, float]:
    """`epsilon_spent`, `epsilon_budget` and their ratio `budget_spent_ratio`; empty where the record says nothing."""
    if "spent" not in record.privacy:
        return {}
    spent, budget = (float(record.privacy[name]["epsilon"]) for name in ("spent", "budget"))
    return {"epsilon_spent": spent, "epsilon_budget": budget, "budget_spent_ratio": spent / budget}


def spent_share(record: RoundRecord) -> float:
    """The share of the privacy budget that is spent, as far as the record says; 0 where it says nothing."""
    return spending(record).get("budget_spent_ratio", 0.0)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name[:_LONGEST]).strip(".") or "_"


def _free(name: str, taken: dict[str, float]) -> str:
    number = 2
    found = name
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found
