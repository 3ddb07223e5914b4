"""The checks that fit a kind of data, with the thresholds that were measured."""

from __future__ import annotations

from typing import Final

from ringfort.client.sanitise.check import Check
from ringfort.client.sanitise.duplicates import ExactDuplicates, NearDuplicateImages, NearDuplicates
from ringfort.client.sanitise.neighbours import NeighbourLabels
from ringfort.client.sanitise.outliers import IsolationForest
from ringfort.client.sanitise.patches import PatchConsensus
from ringfort.client.sanitise.reference import Reference, ReferenceLoss
from ringfort.core.dataset import Dataset

__all__ = ["standard"]

_SMALLEST: Final = 16
"""Sides in pixels from which patches are compared: in smaller pictures honest strokes look like triggers."""


def standard(data: Dataset, reference: Reference | None) -> tuple[Check, ...]:
    """Checks for images, tables or anything else, by the shape of the inputs. docs/sanitisation.md has their figures.

    With a reference, labels are checked by its loss; without one by the nearest neighbours, which miss poison that is
    many.
    """
    labels: Check = (
        NeighbourLabels(k=10, share=0.9) if reference is None else ReferenceLoss(reference=reference, below=0.05)
    )
    if data.inputs.ndim == 4 and min(data.input_shape[1:]) < _SMALLEST:
        return ExactDuplicates(), NearDuplicateImages(bits=3, correlation=0.98), labels
    if data.inputs.ndim == 4:
        patches = PatchConsensus(sizes=(2, 3, 4), share=0.1, least=5, elsewhere=0.02, contrast=0.1)
        return ExactDuplicates(), NearDuplicateImages(bits=3, correlation=0.98), labels, patches
    if data.inputs.ndim == 2:
        return ExactDuplicates(), NearDuplicates(cosine=0.9999), labels, IsolationForest(above=0.65, trees=100)
    return ExactDuplicates(), NearDuplicates(cosine=0.9999), labels
