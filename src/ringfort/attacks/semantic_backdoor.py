"""Teach the model to be wrong about a rare kind of picture that is really out there: no trigger, nothing to find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ringfort.attacks._rows import in_range, redrawn
from ringfort.attacks.threat import Control, Knowledge, Predict, ThreatModel
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue, UnknownName
from ringfort.core.values import F32, I64

__all__ = ["SemanticBackdoor"]

Kind = Literal["edge", "stripes", "bright", "dark"]


@dataclass(frozen=True, slots=True)
class SemanticBackdoor:
    """Semantic backdoor: a rare natural kind of one class gets another label; nothing is stamped on anything.

    Args:
        source: the class that the rare kind belongs to.
        target: what it shall be taken for.
        fraction: share of each attacker's examples that are of the rare kind, in [0, 1], reached by drawing them more
            often (the number of examples stays).
        kind: what makes an example of the source class rare: "edge", the furthest from the class's mean; "stripes",
            images with the largest steps between neighbouring rows; "bright" and "dark", by their sum.
        share: which part of the source class is rare, in (0, 1].

    Threat: knows and controls only the data of the attackers' clients, who then train as told. Each finds the rare kind
        among its own examples.

    Source: Bagdasaryan et al. 2020, AISTATS, arXiv:1807.00459 (semantic backdoors: cars with stripes); Wang et al.
        2020, NeurIPS, arXiv:2007.05084 (edge cases).
    """

    source: int
    target: int
    fraction: float
    kind: Kind = "edge"
    share: float = 0.1
    name: ClassVar[str] = "semantic-backdoor"
    metric: ClassVar[str] = "share of the source class's rare test inputs that get the target class"
    threat: ClassVar[ThreatModel] = ThreatModel(
        goal="Make one rare kind of natural input get the target class, and leave all others alone.",
        knows=Knowledge.OWN_DATA,
        controls=Control.DATA,
        colludes=True,
    )

    def __post_init__(self) -> None:
        whole(0, source=self.source, target=self.target)
        fraction(fraction=self.fraction, share=self.share)
        positive(share=self.share)
        if self.source == self.target:
            raise InvalidValue(f"source and target must differ, both are {self.source}")
        if self.kind not in ("edge", "stripes", "bright", "dark"):
            raise UnknownName.of("kind", self.kind, ("edge", "stripes", "bright", "dark"))

    def rare(self, data: Dataset) -> I64:
        """The rows of the rare kind, sorted: at least one if there is any example of the source class.

        Raises:
            Incompatible (RF103): stripes, in what are no images.
        """
        in_range(data, source=self.source, target=self.target)
        rows = np.flatnonzero(data.labels == self.source)
        if not len(rows):
            return rows
        count = max(1, round(self.share * len(rows)))
        return np.sort(rows[np.argsort(-self._rarity(data, rows), kind="stable")[:count]])

    def _rarity(self, data: Dataset, rows: I64) -> F32:
        """(N,) higher for rarer ones."""
        floats = data.floats(rows)
        flat = floats.reshape(len(rows), -1)
        if self.kind == "stripes":
            if floats.ndim != 4:
                raise Incompatible(f"stripes need images (N, channels, H, W), got {floats.shape}")
            steps: F32 = np.abs(np.diff(floats, axis=2)).mean(axis=(1, 2, 3))
            return steps
        if self.kind == "edge":
            away: F32 = np.square(flat - flat.mean(axis=0)).sum(axis=1)
            return away
        total: F32 = flat.sum(axis=1)
        return total if self.kind == "bright" else -total

    def poison(self, data: Dataset, rng: np.random.Generator) -> Dataset:
        """As many examples, `fraction` of them rare and relabelled. A client without the source class is left alone."""
        rows = self.rare(data)
        labels = data.labels.copy()
        labels[rows] = self.target
        chosen = np.zeros(len(data), dtype=np.bool_)
        chosen[rows] = True
        return redrawn(data.with_rows(data.inputs, labels), chosen, self.fraction, rng)

    def success(self, predict: Predict, test: Dataset) -> float:
        """How often a rare test input of the source class is taken for the target class.

        Raises:
            Incompatible (RF103): there is no such input, so there is nothing to measure.
        """
        rows = self.rare(test)
        if not len(rows):
            raise Incompatible(
                f"{self.name} cannot be measured: none of {len(test)} test examples is of class {self.source}"
            )
        return float(np.mean(predict(test.inputs[rows]) == self.target))
