"""Floor 1: rules that make one step from a cohort of updates.

`RULES` maps each registered name to its class. A rule is a frozen dataclass that takes what it must see (Rows,
GramView or Total) and returns an Aggregate; `ringfort.testing.check_rule` runs over every one of them.
"""

from typing import Any

from ringfort.aggregate.krum import Krum, MultiKrum
from ringfort.aggregate.mean import Mean
from ringfort.aggregate.median import Median
from ringfort.aggregate.trimmed_mean import TrimmedMean

__all__ = ["RULES", "Krum", "Mean", "Median", "MultiKrum", "TrimmedMean"]

RULES: dict[str, type[Any]] = {rule.name: rule for rule in (Mean, Median, TrimmedMean, Krum, MultiKrum)}
