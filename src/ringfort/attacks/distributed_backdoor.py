"""Teach the model a secret sign of which no attacker shows more than a part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks.trigger import Part, Patch, Stamping, stamped
from ringfort.core.checks import whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import InvalidValue

__all__ = ["DistributedBackdoor"]


@dataclass(frozen=True, slots=True)
class DistributedBackdoor(Stamping):
    """Distributed backdoor (DBA): each attacker trains on one part of the square, the model is tested on all of it.

    Args:
        target: the class that triggered inputs shall get.
        fraction: share of each attacker's examples that are stamped and relabelled, in [0, 1].
        size: the whole square's side in pixels.
        parts: how many parts there are, from 1 to size * size; the attackers take them in turn.

    Threat: knows and controls only the data of the attackers' clients, who then train as told. They agree on who takes
        which part.

    Source: Xie et al. 2020, ICLR (DBA: distributed backdoor attacks against federated learning).
    """

    target: int
    fraction: float
    size: int = 4
    parts: int = 4
    name: ClassVar[str] = "distributed-backdoor"

    def __post_init__(self) -> None:
        super(DistributedBackdoor, self).__post_init__()
        whole(1, parts=self.parts)
        if self.parts > self.size**2:
            raise InvalidValue(f"a square of {self.size**2} pixels cannot be cut into parts = {self.parts}")

    @property
    def trigger(self) -> Patch:
        """The whole square."""
        return Patch(self.size)

    def poison_as(self, rank: int, data: Dataset, rng: np.random.Generator) -> Dataset:
        """What the attacker of this rank trains on: `fraction` of its examples bear its part and are relabelled."""
        part = Part(self.trigger, rank % self.parts, self.parts)
        return stamped(data, part, self.target, self.fraction, rng)
