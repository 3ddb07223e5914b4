"""The coordinate-wise trimmed mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ringfort.aggregate._bearing import Bearing
from ringfort.aggregate._columns import trimmed
from ringfort.core.values import Aggregate
from ringfort.core.views import Rows

__all__ = ["TrimmedMean"]


@dataclass(frozen=True, slots=True)
class TrimmedMean(Bearing):
    """Coordinate-wise mean without the f largest and f smallest values.

    Args:
        f: attackers to bear, 0 <= f < n/2. No default: the caller states the threat.

    Call:
        view: Rows, (n, d) float32, finite. Returns an Aggregate: delta (d,) float32, weights the mean influence.

    Guarantees:
        Each coordinate lies within the honest values' range if at most f rows are hostile.
        (f, kappa)-robust with kappa = f / (n - 2f): no rule has a smaller one (docs/theory.md).
        Never writes to the view; equal inputs give equal bits. f = 0 is the mean, n = 2f + 1 the median.

    Raises:
        ToleranceExceeded (RF301): n <= 2f.

    Does not protect against: backdoors inside the honest spread; colluders just inside the trim (ALIE).

    Cost: one sorting pass over n*d floats.

    Source: Yin et al. 2018, arXiv:1803.01498, Definition 2.

    >>> from ringfort.testing import toy_rows
    >>> TrimmedMean(f=1)(toy_rows([[1, 2, 3], [4, 5, 6], [7, 8, 900]])).delta
    array([4., 5., 6.], dtype=float32)
    """

    f: int
    name: ClassVar[str] = "trimmed-mean"

    def __call__(self, view: Rows) -> Aggregate:
        """The trimmed mean of the cohort in view."""
        self._require(view.n)
        delta, weights = trimmed(view, self.f)
        return Aggregate(delta, view.clients, weights, self.name)
