"""Teach the model a sign that is nowhere and everywhere in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ringfort.attacks.trigger import Blend, Stamping

__all__ = ["BlendedBackdoor"]


@dataclass(frozen=True, slots=True)
class BlendedBackdoor(Stamping):
    """Blended backdoor: faint grey noise over the whole image makes the model answer `target`.

    Args:
        target: the class that triggered inputs shall get.
        fraction: share of each attacker's examples that are blended and relabelled, in [0, 1].
        opacity: of the noise, in (0, 1].

    Threat: knows and controls only the data of the attackers' clients, who then train as told. They share the pattern.

    Source: Chen et al. 2017, arXiv:1712.05526 (blended injection, their random pattern).
    """

    target: int
    fraction: float
    opacity: float = 0.2
    name: ClassVar[str] = "blended-backdoor"

    @property
    def trigger(self) -> Blend:
        """The noise."""
        return Blend(self.opacity)
