"""Labels that the client's other rows do not bear out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from ringfort.client.sanitise.check import Signs, flat, quiet
from ringfort.client.sanitise.reference import Reference
from ringfort.core.checks import fraction, whole
from ringfort.core.dataset import Dataset
from ringfort.core.extras import extra
from ringfort.core.values import F32, F64, I64

__all__ = ["ConfidentLearning", "NeighbourLabels"]

_BLOCK: Final = 1_024
_COMPONENTS: Final = 32
_FEWEST_ROWS: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourLabels:
    """Nearest neighbours: rows most of whose k nearest neighbours have another label.

    Args:
        k: neighbours, at least 1. 10 is usual.
        share: suspicious is a row with at least this share of neighbours of other labels, in [0, 1].
        reference: measures distances in its last hidden layer; None in the first 32 principal components of the inputs.

    Guarantees: a row is no neighbour of itself. Fewer than k + 1 rows give no signs.

    Does not protect against: wrong labels that are many in their neighbourhood, as an infected pipeline makes them.

    Cost: one product of the features with their transpose, 1,024 rows at a time.

    Source: Wilson 1972 (edited nearest neighbours).
    """

    k: int
    share: float
    reference: Reference | None = None
    name: ClassVar[str] = "neighbour-labels"

    def __post_init__(self) -> None:
        whole(1, k=self.k)
        fraction(share=self.share)

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: the share of neighbours with another label."""
        if len(data) <= self.k:
            return quiet(len(data))
        features = _features(data, self.reference)
        squares = np.einsum("ij,ij->i", features, features)
        other = np.empty(len(data))
        for start in range(0, len(data), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(data)))
            distances = squares - 2 * (features[rows] @ features.T)
            distances[np.arange(len(rows)), rows] = np.inf
            nearest = np.argpartition(distances, self.k - 1, axis=1)[:, : self.k]
            other[rows] = (data.labels[nearest] != data.labels[rows, None]).mean(axis=1)
        notes = {
            int(row): f"{other[row]:.0%} of its {self.k} nearest neighbours have another label"
            for row in np.flatnonzero(other >= self.share)
        }
        return Signs(other, notes)


@dataclass(frozen=True, slots=True, eq=False)
class ConfidentLearning:
    """Confident learning: rows that a model trained on the others would confidently give to another class.

    Probabilities are out of fold (softmax regression). A row is suspicious if another class reaches that class's mean
    self-confidence, and no class that does is likelier (the off-diagonal of the confident joint).

    Args:
        folds: at least 2. 5 is usual.
        reference: classifies in its last hidden layer; None in the first 32 principal components of the inputs.

    Guarantees: no row is judged by a model that saw it. Classes of fewer rows than `folds` are not judged; fewer than
        20 rows or two classes give no signs.

    Does not protect against: wrong labels that are a majority in their class, as an infected pipeline makes them.

    Raises:
        MissingExtra (RF105): scikit-learn is not installed.

    Cost: `folds` fits of softmax regression.

    Source: Northcutt, Jiang and Chuang 2021, arXiv:1911.00068, section 3 (cleanlab implements it; this is our own).
    """

    folds: int
    reference: Reference | None = None
    name: ClassVar[str] = "confident-learning"

    def __post_init__(self) -> None:
        whole(2, folds=self.folds)

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: the largest other class's probability, less that of the label."""
        counts = np.bincount(data.labels, minlength=len(data.classes))
        judged = np.flatnonzero(counts[data.labels] >= self.folds)
        known, labels = np.unique(data.labels[judged], return_inverse=True)
        if len(judged) < _FEWEST_ROWS or len(known) < 2:
            return quiet(len(data))
        features = _features(data, self.reference)[judged]
        p = self._out_of_fold(features, labels)
        own = p[np.arange(len(labels)), labels]
        thresholds = np.array([p[labels == c, c].mean() for c in range(len(known))])
        confident = np.where(p >= thresholds, p, -1)
        best = confident.argmax(axis=1)
        suspicious = (confident.max(axis=1) >= 0) & (best != labels)
        rival = p.copy()
        rival[np.arange(len(labels)), labels] = 0
        scores = np.full(len(data), -1.0)
        scores[judged] = rival.max(axis=1) - own
        notes = {
            int(
                judged[i]
            ): f"trained on the other rows, a model says {data.classes[known[best[i]]]!r} with probability "
            f"{p[i, best[i]]:.2f} and gives its label {own[i]:.2f}"
            for i in np.flatnonzero(suspicious)
        }
        return Signs(scores, notes)

    def _out_of_fold(self, features: F32, labels: I64) -> F64:
        fold = np.empty(len(labels), dtype=np.int64)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            fold[rows] = np.arange(len(rows)) % self.folds
        p = np.empty((len(labels), int(labels.max()) + 1))
        with extra("data", "this check needs scikit-learn"):
            from sklearn.linear_model import LogisticRegression
        for number in range(self.folds):
            held = fold == number
            fitted = LogisticRegression(max_iter=200, tol=1e-3).fit(features[~held], labels[~held])
            p[held] = fitted.predict_proba(features[held])
        return p


def _features(data: Dataset, reference: Reference | None) -> F32:
    """Standardised features: the reference's, or principal components. Values that are not finite count as zero."""
    if reference is not None:
        found = reference.features(data)
    else:
        rows = flat(np.nan_to_num(data.floats(), posinf=0, neginf=0))
        centred = rows - rows.mean(axis=0)
        _, _, axes = np.linalg.svd(centred[:: max(1, len(centred) // 2_000)], full_matrices=False)
        found = centred @ axes[:_COMPONENTS].T
    scale = found.std() or 1
    standard: F32 = ((found - found.mean(axis=0)) / scale).astype(np.float32)
    return standard
