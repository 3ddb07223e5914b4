"""The same small patch at the same place, again and again, in one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ringfort.client.sanitise.check import Signs, need_dimensions, noted
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import InvalidValue
from ringfort.core.values import F64, I64

__all__ = ["PatchConsensus"]

U64 = NDArray[np.uint64]

_BLOCK_BYTES: Final = 1 << 27


@dataclass(frozen=True, slots=True)
class PatchConsensus:
    """Patch consensus: pixel triggers. Windows that are equal, at one place, in many rows of one label and few others.

    The background is the most frequent value of all; pixels near it count as it, and windows of nothing else are not
    looked at. A trigger that is larger than a window holds several; around one that is smaller, a plain background
    repeats too.

    Args:
        sizes: sides of the square windows in pixels, as (2, 3, 4).
        share: smallest share of a label's rows that must hold the window, in [0, 1].
        least: and their smallest number, at least 2.
        elsewhere: largest share of the other labels' rows that may hold it, in [0, 1].
        contrast: pixels count as background that differ from it by less than this share of the whole range, in [0, 1].
            With 0.1 under 1 % of honest rows of Fashion-MNIST are flagged (docs/sanitisation.md).

    Guarantees: windows are compared whole (by a 64-bit hash of their 256 levels). A label alone in the data gives no
        signs, since there is nothing to compare it with.

    Does not protect against: triggers that move, that differ from row to row, that blend in or are fainter than
        `contrast`; a trigger in fewer than `least` rows; a class whose honest pictures share a patch that others lack
        (they are flagged too: a third of 8x8 digits, whose strokes are as small as triggers).

    Cost: per size, side^2 passes over the pixels and a sort of the rows at each place.

    Source: our own. The trigger it looks for is that of Gu et al. 2017, arXiv:1708.06733.
    """

    sizes: tuple[int, ...]
    share: float
    least: int
    elsewhere: float
    contrast: float
    name: ClassVar[str] = "patch-consensus"

    def __post_init__(self) -> None:
        if not self.sizes or list(self.sizes) != sorted(set(self.sizes)):
            raise InvalidValue("sizes must be one or more numbers of pixels, rising")
        for size in self.sizes:
            whole(1, 64, sizes=size)
        positive(share=self.share)
        fraction(share=self.share, elsewhere=self.elsewhere, contrast=self.contrast)
        whole(2, least=self.least)

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: how much more frequent the row's most telling window is in its label than elsewhere, in [-1, 1]."""
        need_dimensions(self.name, data, (4,), "images (N, channels, H, W)")
        scores = np.zeros(len(data))
        suspicious = np.zeros(len(data), dtype=np.bool_)
        pixels = _levels(data, self.contrast)
        for size in self.sizes:
            if pixels.size and size <= min(data.input_shape[1:]):
                self._scan(pixels, data.labels, size, scores, suspicious)
        return noted(
            scores, suspicious, "a small patch that it shares with rows of its label is rarer elsewhere by {:.2f}"
        )

    def _scan(
        self, pixels: NDArray[np.uint8], labels: I64, size: int, scores: F64, suspicious: NDArray[np.bool_]
    ) -> None:
        n, _, height, width = pixels.shape
        rng = np.random.Generator(np.random.PCG64(size))
        weights = rng.integers(0, 1 << 63, (pixels.shape[1], size, size), dtype=np.uint64) | np.uint64(1)
        ground = int(np.bincount(pixels.reshape(-1)).argmax())
        empty = (weights * np.uint64(ground)).sum(dtype=np.uint64)
        lines = max(1, _BLOCK_BYTES // (8 * n * width))
        for top in range(0, height - size + 1, lines):
            bottom = min(top + lines, height - size + 1)
            hashes = _windows(pixels[:, :, top : bottom + size - 1], weights)
            for place in hashes.reshape(n, -1).T:
                self._judge(place, empty, labels, scores, suspicious)

    def _judge(self, keys: U64, empty: np.uint64, labels: I64, scores: F64, suspicious: NDArray[np.bool_]) -> None:
        """Count the windows at one place."""
        rows = np.flatnonzero(keys != empty)
        if len(rows) < self.least:
            return
        _, which, counts = np.unique(keys[rows], return_inverse=True, return_counts=True)
        often = counts[which] >= self.least
        rows, which = rows[often], which[often]
        if not len(rows):
            return
        n_labels = int(labels.max()) + 1
        cells = which * n_labels + labels[rows]
        own = np.bincount(cells, minlength=len(counts) * n_labels)[cells]
        held = np.bincount(labels, minlength=n_labels)[labels[rows]]
        others = len(labels) - held
        inside = own / held
        outside = np.where(others > 0, (counts[which] - own) / np.maximum(others, 1), 1.0)
        np.maximum.at(scores, rows, np.where(own >= self.least, inside - outside, 0))
        found = (own >= self.least) & (inside >= self.share) & (outside <= self.elsewhere)
        suspicious[rows[found]] = True


def _levels(data: Dataset, contrast: float) -> NDArray[np.uint8]:
    """Pixels in 256 levels, those near the background set to it. Floats are cut to [0, 1]; what is no number is 0."""
    inputs: NDArray[Any] = data.inputs
    if inputs.dtype != np.uint8:
        inputs = np.minimum(np.clip(np.nan_to_num(inputs), 0, 1) * 256, 255)
    pixels: NDArray[np.uint8] = inputs.astype(np.uint8, copy=False)
    if not pixels.size:
        return pixels
    ground = int(np.bincount(pixels.reshape(-1), minlength=256).argmax())
    levels = np.arange(256)
    merged: NDArray[np.uint8] = np.where(np.abs(levels - ground) < contrast * 255, ground, levels).astype(np.uint8)
    return np.take(merged, pixels)


def _windows(pixels: NDArray[np.uint8], weights: U64) -> U64:
    """(N, H - s + 1, W - s + 1) hashes of all s x s windows of (N, channels, H, W)."""
    n, channels, height, width = pixels.shape
    size = weights.shape[1]
    out = np.zeros((n, height - size + 1, width - size + 1), dtype=np.uint64)
    for c in range(channels):
        plane = pixels[:, c].astype(np.uint64)
        for i in range(size):
            for j in range(size):
                out += weights[c, i, j] * plane[:, i : i + out.shape[1], j : j + out.shape[2]]
    return out
