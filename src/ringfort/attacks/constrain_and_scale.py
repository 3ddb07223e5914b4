"""Learn the backdoor and how to look honest at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from ringfort.attacks.threat import Attack, AttackerView
from ringfort.attacks.wrapper import STRETCHES, Wrapper, norms, retrained
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.values import F32

__all__ = ["ConstrainAndScale"]


@dataclass(frozen=True, slots=True)
class ConstrainAndScale(Wrapper):
    """Constrain-and-scale: the loss is the backdoor's and the distance to an honest update; the result is then scaled.

    The distance's part of the loss is taken in steps of its own: after each stretch of training the update is drawn
    some way towards what the client learned by training as told.

    Args:
        inner: the attack on data whose backdoor is learned.
        alpha: weight of the backdoor's loss, in [0, 1]; the rest pulls towards the honest update. While a client trains
            the steps that it was told, this share of what sets it apart would be left if it learned nothing new.
        bound: the norm to which each update is scaled in the end, > 0: the largest that the server lets through. None
            takes the largest norm of what the attackers' clients learned by training as told.
        passes: how many times the steps that the attackers were told they train, >= 1.

    Threat: what the inner attack assumes; also knows what its clients learn by training as told, and controls how they
        train and the updates they send.

    Raises:
        Incompatible (RF103): the inner attack does not poison data.

    Source: Bagdasaryan et al. 2020, AISTATS, arXiv:1807.00459 (constrain-and-scale), with the distance between updates
        for the loss of anomaly.
    """

    inner: Attack
    alpha: float = 0.5
    bound: float | None = None
    passes: int = 2
    word: ClassVar[str] = "constrain-and-scale"

    def __post_init__(self) -> None:
        self.require_data_attack()
        fraction(alpha=self.alpha)
        whole(1, passes=self.passes)
        if self.bound is not None:
            positive(bound=self.bound)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:  # noqa: ARG002
        """(k, d): each of the norm that is let through; zeros stay zeros."""
        honest = view.own_updates
        bound = float(norms(honest).max()) if self.bound is None else self.bound
        kept = self.alpha ** (1 / STRETCHES)
        rows = []
        for own, told in zip(view.own_clients, honest, strict=True):
            learned = retrained(own, self.inner, self.passes, partial(_drawn, told=told, kept=kept))
            rows.append(learned * np.float32(bound / (float(norms(learned)) or 1.0)))
        return np.stack(rows)


def _drawn(delta: F32, told: F32, kept: float) -> F32:
    drawn: F32 = told + np.float32(kept) * (delta - told)
    return drawn
