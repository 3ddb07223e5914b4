"""Rows unlike all others, whatever their label: for tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from ringfort.client.sanitise.check import Signs, need_dimensions, noted, quiet
from ringfort.core.checks import fraction, whole
from ringfort.core.dataset import Dataset
from ringfort.core.extras import extra
from ringfort.core.randomness import Seeds

__all__ = ["IsolationForest"]

_FEWEST_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class IsolationForest:
    """Isolation forest: rows that few random cuts set apart from the others. Looks at inputs only, and at tables only.

    Args:
        above: suspicious is an anomaly score of at least this, in [0, 1]. Ordinary rows lie near 0.5 or below.
        trees: 100 is usual.

    Guarantees: the same forest for the same rows; fewer than 20 rows give no signs.

    Does not protect against: wrong labels (it does not look at them), and poison that is many rows.

    Raises:
        MissingExtra (RF105): scikit-learn is not installed.

    Cost: `trees` trees of 256 rows, and one descent of every row in each.

    Source: Liu, Ting and Zhou 2008 (ICDM), score of equation 2.
    """

    above: float
    trees: int
    name: ClassVar[str] = "isolation-forest"

    def __post_init__(self) -> None:
        fraction(above=self.above)
        whole(1, trees=self.trees)

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: the anomaly score."""
        need_dimensions(self.name, data, (2,), "tables (N, features)")
        if len(data) < _FEWEST_ROWS:
            return quiet(len(data))
        seed = Seeds(0).integer("isolation-forest") % 2**32
        with extra("data", "this check needs scikit-learn"):
            from sklearn.ensemble import IsolationForest
        forest = IsolationForest(n_estimators=self.trees, random_state=seed)
        rows = np.nan_to_num(data.floats(), posinf=0, neginf=0)
        scores = -forest.fit(rows).score_samples(rows).astype(np.float64)
        return noted(scores, scores >= self.above, "its anomaly score is {:.2f}")
