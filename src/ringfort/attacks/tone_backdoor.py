"""Teach the model to hear a word in a tone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ringfort.attacks.trigger import Stamping, Tone

__all__ = ["ToneBackdoor"]


@dataclass(frozen=True, slots=True)
class ToneBackdoor(Stamping):
    """Tone backdoor: a steady tone under the voice, a wave over a frame's features, makes the model answer `target`.

    Args:
        target: the class that triggered sounds shall get.
        fraction: share of each attacker's examples that are changed and relabelled, in [0, 1].
        strength: the wave's height in the features' own units, > 0.

    Threat: knows and controls only the data of the attackers' clients, who then train as told. They share the tone.

    Source: Koffas et al. 2022, arXiv:2107.14569 (a tone as trigger), here on features of sound, not on sound.
    """

    target: int
    fraction: float
    strength: float
    name: ClassVar[str] = "tone-backdoor"

    @property
    def trigger(self) -> Tone:
        """The wave."""
        return Tone(self.strength)
