"""Floor 1: rules that make one step from a cohort of updates, and the mixings that may go before them.

`RULES` and `MIXINGS` map each registered name to its class; `chain` makes one rule of mixings and a rule. A rule is a
frozen dataclass that takes what it must see (Rows, GramView or Total) and returns an Aggregate;
`ringfort.testing.check_rule` runs over every one of them.
"""

from typing import Any

from ringfort.aggregate.centered_clipping import CenteredClipping
from ringfort.aggregate.chain import Chain, chain
from ringfort.aggregate.geometric_median import GeometricMedian
from ringfort.aggregate.krum import Krum, MultiKrum
from ringfort.aggregate.meamed import Meamed
from ringfort.aggregate.mean import Mean
from ringfort.aggregate.median import Median
from ringfort.aggregate.mixing import ARC, MIXINGS, NNM, Clip, ClipToQuantile, Mixing
from ringfort.aggregate.spectral_filter import CAF
from ringfort.aggregate.trimmed_mean import TrimmedMean

__all__ = [
    "ARC",
    "CAF",
    "MIXINGS",
    "NNM",
    "RULES",
    "CenteredClipping",
    "Chain",
    "Clip",
    "ClipToQuantile",
    "GeometricMedian",
    "Krum",
    "Meamed",
    "Mean",
    "Median",
    "Mixing",
    "MultiKrum",
    "TrimmedMean",
    "chain",
]

RULES: dict[str, type[Any]] = {
    rule.name: rule
    for rule in (Mean, Median, TrimmedMean, Meamed, Krum, MultiKrum, GeometricMedian, CenteredClipping, CAF)
}
