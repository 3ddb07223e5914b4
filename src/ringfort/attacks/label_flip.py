"""Teach the model not to see one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks._rows import in_range, redrawn
from ringfort.attacks.threat import Control, Knowledge, Predict, ThreatModel
from ringfort.core.checks import fraction, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue

__all__ = ["LabelFlip"]


@dataclass(frozen=True, slots=True)
class LabelFlip:
    """Label flip: targeted data poisoning, every example of class `source` is labelled `target` (a blind spot).

    Args:
        source: the class to blind the model to.
        target: what it shall be taken for.
        fraction: share of each attacker's examples that are flipped ones, in [0, 1], reached by drawing them more often
            (the number of examples stays). None flips what is there and leaves its share alone.

    Threat: knows and controls only the data of the attackers' clients, who then train as told.

    Source: Tolpegin et al. 2020, arXiv:2007.08432.
    """

    source: int
    target: int
    fraction: float | None = None
    name: ClassVar[str] = "label-flip"
    metric: ClassVar[str] = "share of source-class test inputs taken for the target class"
    threat: ClassVar[ThreatModel] = ThreatModel(
        goal="Make the model take one class for another, and leave the rest alone.",
        knows=Knowledge.OWN_DATA,
        controls=Control.DATA,
        colludes=True,
    )

    def __post_init__(self) -> None:
        whole(0, source=self.source, target=self.target)
        if self.source == self.target:
            raise InvalidValue(f"source and target must differ, both are {self.source}")
        if self.fraction is not None:
            fraction(fraction=self.fraction)

    def poison(self, data: Dataset, rng: np.random.Generator) -> Dataset:
        """As many examples, with every one of the source class flipped. A client without any is left as it is."""
        in_range(data, source=self.source, target=self.target)
        flipped = data.labels == self.source
        poisoned = data.with_rows(data.inputs, np.where(flipped, self.target, data.labels))
        return poisoned if self.fraction is None else redrawn(poisoned, flipped, self.fraction, rng)

    def success(self, predict: Predict, test: Dataset) -> float:
        """How often a test input of the source class is taken for the target class.

        Raises:
            Incompatible (RF103): there is no such input, so there is nothing to measure.
        """
        in_range(test, source=self.source, target=self.target)
        rows = np.flatnonzero(test.labels == self.source)
        if not len(rows):
            raise Incompatible(
                f"{self.name} cannot be measured: none of {len(test)} test examples is of class {self.source}"
            )
        return float(np.mean(predict(test.inputs[rows]) == self.target))
