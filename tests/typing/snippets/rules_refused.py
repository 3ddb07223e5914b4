"""Rules that are built or fed wrongly."""

from ringfort.aggregate import Krum, Median, MultiKrum, TrimmedMean
from ringfort.core import GramView, Rows, Rule, Total
from ringfort.rounds import Defence


def built() -> None:
    TrimmedMean()  # error: call-arg
    Krum()  # error: call-arg
    MultiKrum()  # error: call-arg
    TrimmedMean(f="2")  # error: arg-type
    MultiKrum(f=2, m=0.5)  # error: arg-type
    Median(f=2)  # error: call-arg
    Defence()  # error: call-arg
    Defence("median")  # error: arg-type


def fed(total: Total, gram: GramView, rows: Rows) -> None:
    Median()(total)  # error: arg-type
    TrimmedMean(f=1)(total)  # error: arg-type
    Krum(f=1)(total)  # error: arg-type
    MultiKrum(f=1)(total)  # error: arg-type
    Median()(gram)  # error: arg-type
    TrimmedMean(f=1)(gram)  # error: arg-type


def narrowed() -> list[object]:
    sees_sums: Rule[Total] = Median()  # error: assignment
    sees_angles: Rule[GramView] = TrimmedMean(f=1)  # error: assignment
    sees_little: Rule[Total] = Krum(f=1)  # error: assignment
    return [sees_sums, sees_angles, sees_little]


def changed(rule: TrimmedMean) -> None:
    rule.f = 0  # error: misc
