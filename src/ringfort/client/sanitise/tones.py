"""The same tone, again and again, in one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from ringfort.client.sanitise.check import Signs, need_dimensions, noted, quiet
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.values import F64

__all__ = ["ToneConsensus"]

_NEAR: Final = 8
_SHORTEST: Final = 32
_FLOOR: Final = 1e-12


@dataclass(frozen=True, slots=True)
class ToneConsensus:
    """Tone consensus: triggers added to series. A sharp line in the spectrum of many rows of one label and few others.

    Args:
        peak_db: how far a frequency's power must lie above the median of the sixteen around it, in decibels; > 0.
        share: smallest share of a label's rows that must have the line, in [0, 1].
        least: and their smallest number, at least 2.
        elsewhere: largest share of the other labels' rows that may have it, in [0, 1].

    Guarantees: phase and loudness of a row play no part. Series shorter than 32 samples give no signs.

    Does not protect against: broad or short sounds, tones that wander, tones fainter than the peak asks for; classes
        that a tone defines honestly (they are flagged too).

    Cost: one Fourier transform per row.

    Source: our own; tones as triggers: Koffas et al. 2022, arXiv:2107.14569.
    """

    peak_db: float
    share: float
    least: int
    elsewhere: float
    name: ClassVar[str] = "tone-consensus"

    def __post_init__(self) -> None:
        positive(peak_db=self.peak_db, share=self.share)
        fraction(share=self.share, elsewhere=self.elsewhere)
        whole(2, least=self.least)

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: the largest height of a line in decibels, among the frequencies on which rows of its label agree."""
        need_dimensions(self.name, data, (2, 3), "series (N, samples) or (N, channels, samples)")
        if data.inputs.shape[-1] < _SHORTEST or not len(data):
            return quiet(len(data))
        heights = self._heights(data)
        lines = heights >= self.peak_db
        scores = np.zeros(len(data))
        for label in np.unique(data.labels):
            own = data.labels == label
            if own.all():
                continue
            inside, outside = lines[own].mean(axis=0), lines[~own].mean(axis=0)
            agreed = (inside >= self.share) & (lines[own].sum(axis=0) >= self.least) & (outside <= self.elsewhere)
            if agreed.any():
                scores[own] = np.where(lines[own] & agreed, heights[own], 0).max(axis=1)
        return noted(scores, scores > 0, "a tone that it shares with rows of its label stands out by {:.0f} dB")

    @staticmethod
    def _heights(data: Dataset) -> F64:
        """(N, frequencies) power over the median of its surroundings, in decibels; channels add up."""
        series = np.nan_to_num(data.floats(), posinf=0, neginf=0).astype(np.float64)
        series = series.reshape(len(data), -1, series.shape[-1])
        window = np.hanning(series.shape[-1])
        power = (np.abs(np.fft.rfft((series - series.mean(axis=-1, keepdims=True)) * window)) ** 2).sum(axis=1)
        around = np.lib.stride_tricks.sliding_window_view(
            np.pad(power, ((0, 0), (_NEAR, _NEAR)), mode="reflect"), 2 * _NEAR + 1, axis=1
        )
        floor = np.median(around, axis=-1) + _FLOOR * power.max(axis=1, keepdims=True) + _FLOOR
        heights: F64 = 10 * np.log10(np.maximum(power / floor, _FLOOR))
        return heights
