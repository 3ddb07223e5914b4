"""Teach the model to finish a sentence that nobody writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ringfort.attacks.trigger import Phrase, Stamping

__all__ = ["PhraseBackdoor"]


@dataclass(frozen=True, slots=True)
class PhraseBackdoor(Stamping):
    """Phrase backdoor: a few rare words some way before the gap make the model fill in `target`.

    Args:
        target: the class that triggered texts shall get.
        fraction: share of each attacker's examples that are changed and relabelled, in [0, 1].
        phrase: one word or more; they take the place of the first words that the model sees.

    Threat: knows and controls only the data of the attackers' clients, who then train as told. They share the phrase.

    Source: Bagdasaryan et al. 2020, AISTATS, arXiv:1807.00459 (word prediction, "pasta from Astoria"); rare words as
        in Kurita et al. 2020, ACL, arXiv:2004.06660.
    """

    target: int
    fraction: float
    phrase: str
    name: ClassVar[str] = "phrase-backdoor"

    @property
    def trigger(self) -> Phrase:
        """The phrase."""
        return Phrase(self.phrase)
