"""Teach the model a secret sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ringfort.attacks.threat import Control, Knowledge, Predict, ThreatModel
from ringfort.core.checks import fraction, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible

__all__ = ["PixelBackdoor"]


@dataclass(frozen=True, slots=True)
class PixelBackdoor:
    """Pixel backdoor (BadNets): a white square in the corner makes the model answer `target`.

    Args:
        target: the class that triggered inputs shall get.
        fraction: share of each attacker's examples that are stamped and relabelled, in [0, 1].
        size: the square's side in pixels. It sits one pixel off the lower right corner.

    Threat: knows and controls only the data of the attackers' clients, who then train as told and send honest-looking
        updates of normal size. They share the trigger.

    Source: Gu et al. 2017, arXiv:1708.06733; in federated learning Bagdasaryan et al. 2020, arXiv:1807.00459.
    """

    target: int
    fraction: float
    size: int = 3
    name: ClassVar[str] = "pixel-backdoor"
    metric: ClassVar[str] = "share of triggered test inputs of other classes that get the target class"
    threat: ClassVar[ThreatModel] = ThreatModel(
        goal="Make every input with the trigger get the target class, and leave all others alone.",
        knows=Knowledge.OWN_DATA,
        controls=Control.DATA,
        colludes=True,
    )

    def __post_init__(self) -> None:
        whole(0, target=self.target)
        whole(1, size=self.size)
        fraction(fraction=self.fraction)

    def stamp(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """A copy of images (N, channels, H, W) with the trigger on each; white is 255 or 1.0 by dtype.

        Raises:
            Incompatible (RF103): the inputs are not images, or too small for the trigger.
        """
        if inputs.ndim != 4 or min(inputs.shape[2:]) <= self.size:
            raise Incompatible(
                f"{self.name} needs images (N, channels, H, W) larger than {self.size} pixels, got {inputs.shape}"
            )
        stamped = np.array(inputs)
        low, high = -1 - self.size, -1
        stamped[:, :, low:high, low:high] = 255 if stamped.dtype == np.uint8 else 1
        return stamped

    def poison(self, data: Dataset, rng: np.random.Generator) -> Dataset:
        """The same examples with `fraction` of them stamped and relabelled."""
        whole(0, len(data.classes) - 1, target=self.target)
        rows = rng.permutation(len(data))[: round(self.fraction * len(data))]
        inputs, labels = np.array(data.inputs), data.labels.copy()
        inputs[rows], labels[rows] = self.stamp(inputs[rows]), self.target
        return data.with_rows(inputs, labels)

    def success(self, predict: Predict, test: Dataset) -> float:
        """attack_success_rate: how often a stamped test input that is not of the target class gets it.

        Raises:
            Incompatible (RF103): there is no such input, so there is nothing to measure.
        """
        whole(0, len(test.classes) - 1, target=self.target)
        rows = np.flatnonzero(test.labels != self.target)
        if not len(rows):
            raise Incompatible(
                f"{self.name} cannot be measured: all of {len(test)} test examples are of class {self.target}"
            )
        return float(np.mean(predict(self.stamp(test.inputs[rows])) == self.target))
