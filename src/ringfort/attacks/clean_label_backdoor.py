"""Teach the model a secret sign without one wrong label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ringfort.attacks.threat import Predict, ThreatModel
from ringfort.attacks.trigger import BACKDOOR, Patch, hit_rate
from ringfort.core.checks import fraction, whole
from ringfort.core.dataset import Dataset

__all__ = ["CleanLabelBackdoor"]


@dataclass(frozen=True, slots=True)
class CleanLabelBackdoor:
    """Clean-label backdoor: only examples of the target class get the white square, and every label stays right.

    The stamped images are faded into images of other classes, so that the square is the surest sign that is left.

    Args:
        target: the class that triggered inputs shall get.
        fraction: share of each attacker's target-class examples that are changed, in [0, 1].
        fade: weight of the other class's image in the mixture, in [0, 1]; beyond 0.5 a person would doubt the label.
        size: the square's side in pixels. It sits one pixel off the lower right corner.

    Threat: knows and controls only the data of the attackers' clients, who then train as told. They share the trigger.
        Tests that look for wrong labels find none.

    Source: Turner, Tsipras and Madry 2019, arXiv:1912.02771 (label-consistent backdoors), their interpolation done in
        pixel space.
    """

    target: int
    fraction: float
    fade: float = 0.5
    size: int = 3
    name: ClassVar[str] = "clean-label-backdoor"
    metric: ClassVar[str] = "share of triggered test inputs of other classes that get the target class"
    threat: ClassVar[ThreatModel] = BACKDOOR

    def __post_init__(self) -> None:
        whole(0, target=self.target)
        whole(1, size=self.size)
        fraction(fraction=self.fraction, fade=self.fade)

    @property
    def trigger(self) -> Patch:
        """The square."""
        return Patch(self.size)

    def poison(self, data: Dataset, rng: np.random.Generator) -> Dataset:
        """The same labels; `fraction` of the target class's images faded and stamped. Without any it stays as it is."""
        whole(0, len(data.classes) - 1, target=self.target)
        self.trigger.where(data.input_shape)
        ours, others = np.flatnonzero(data.labels == self.target), np.flatnonzero(data.labels != self.target)
        rows = rng.permutation(ours)[: round(self.fraction * len(ours))]
        inputs = np.array(data.inputs)
        if len(others):
            inputs[rows] = self._faded(inputs[rows], inputs[rng.choice(others, len(rows))])
        inputs[rows] = self.trigger(inputs[rows])
        return data.with_rows(inputs, data.labels.copy())

    def _faded(self, ours: NDArray[np.generic], others: NDArray[np.generic]) -> NDArray[np.generic]:
        mixed = np.float32(1 - self.fade) * ours.astype(np.float32) + np.float32(self.fade) * others.astype(np.float32)
        return (np.rint(mixed) if ours.dtype == np.uint8 else mixed).astype(ours.dtype)

    def success(self, predict: Predict, test: Dataset) -> float:
        """attack_success_rate: how often a stamped test input that is not of the target class gets it.

        Raises:
            Incompatible (RF103): there is no such input, so there is nothing to measure.
        """
        return hit_rate(predict, test, self.trigger, self.target, self.name)
