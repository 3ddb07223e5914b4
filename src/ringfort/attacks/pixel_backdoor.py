"""Teach the model a secret sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ringfort.attacks.trigger import Patch, Stamping

__all__ = ["PixelBackdoor"]


@dataclass(frozen=True, slots=True)
class PixelBackdoor(Stamping):
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

    @property
    def trigger(self) -> Patch:
        """The square."""
        return Patch(self.size)
