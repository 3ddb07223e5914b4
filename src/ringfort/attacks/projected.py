"""Learn the backdoor without ever going further than an honest client would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks.threat import Attack, AttackerView, UpdateAttack
from ringfort.attacks.wrapper import Wrapper, norms, retrained, shortened
from ringfort.core.checks import positive, whole
from ringfort.core.values import F32

__all__ = ["Projected"]


@dataclass(frozen=True, slots=True)
class Projected(Wrapper):
    """Projected gradient descent (PGD): another attack's training, held inside a ball of an honest update's size.

    Around an attack on updates it only shrinks what that sends.

    Args:
        inner: the attack that is held back.
        bound: the norm that no update exceeds, > 0: the one that the server announced. None takes the median norm of
            what the attackers' clients learned by training as told.
        passes: how many times the steps that the attackers were told they train, >= 1.

    Threat: what the inner attack assumes; also knows what its clients learn by training as told, and controls how they
        train.

    Source: Wang et al. 2020, NeurIPS, arXiv:2007.05084 (PGD attack); Sun et al. 2019, arXiv:1911.07963 (norm-bounded
        backdoors).
    """

    inner: Attack
    bound: float | None = None
    passes: int = 2
    word: ClassVar[str] = "projected"

    def __post_init__(self) -> None:
        whole(1, passes=self.passes)
        if self.bound is not None:
            positive(bound=self.bound)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:
        """(k, d): each inside the ball."""
        bound = float(np.median(norms(view.own_updates))) if self.bound is None else self.bound
        if isinstance(self.inner, UpdateAttack):
            return np.stack([shortened(row, bound) for row in self.sent_within(view, rng)])
        return np.stack(
            [retrained(own, self.inner, self.passes, lambda delta: shortened(delta, bound)) for own in view.own_clients]
        )
