"""Rules that are built and fed as they should be, ours and somebody else's."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.aggregate import Krum, Mean, Median, MultiKrum, TrimmedMean
from ringfort.core import Aggregate, GramView, Rows, Rule, Total
from ringfort.rounds import Defence
from ringfort.testing import check_rule, toy_rows


def fed(total: Total, gram: GramView, rows: Rows) -> list[Aggregate]:
    return [
        Mean()(total),
        Mean()(gram),
        Mean()(rows),
        Median()(rows),
        TrimmedMean(f=1)(rows),
        Krum(f=1)(rows),
        Krum(f=1)(gram),
        MultiKrum(f=1)(rows),
        MultiKrum(f=1, m=None)(gram),
    ]


# A rule that needs less may stand wherever a rule that may see more is wanted.
of_rows: list[Rule[Rows]] = [Mean(), Median(), TrimmedMean(f=1), Krum(f=1), MultiKrum(f=1, m=2)]
of_angles: list[Rule[GramView]] = [Mean(), Krum(f=1), MultiKrum(f=1)]
of_sums: list[Rule[Total]] = [Mean()]


@dataclass(frozen=True, slots=True)
class FirstClient:
    """A third party's rule; it inherits nothing."""

    name: ClassVar[str] = "first-client"

    def bears(self, n: int) -> int:
        return 0

    def __call__(self, view: Rows) -> Aggregate:
        weights = np.zeros(view.n)
        weights[0] = 1
        return Aggregate(view.combine(weights), view.clients, weights, self.name)


theirs: Rule[Rows] = FirstClient()
walls = [Defence(theirs), Defence(FirstClient()), Defence(rule=Median())]
check_rule(theirs)
FirstClient()(toy_rows([[1, 2], [3, 4]]))
