"""Put the backdoor where honest clients do not write, so that they do not write over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ringfort.attacks.threat import Attack, AttackerView, Knowledge
from ringfort.attacks.wrapper import Wrapper, norms, retrained, shortened
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.values import F32

__all__ = ["Neurotoxin"]


@dataclass(frozen=True, slots=True)
class Neurotoxin(Wrapper):
    """Neurotoxin: another attack's training, confined to the parameters that the last global step moved least.

    Args:
        inner: the attack on data whose backdoor is learned.
        keep: share of the parameters that the attackers may move, in (0, 1]; the others stay as they were broadcast.
        bound: the norm that no update exceeds, > 0; None takes the median norm of what the attackers' clients learned
            by training as told.
        passes: how many times the steps that the attackers were told they train, >= 1.

    Threat: what the inner attack assumes; also knows the models of this round and of the one before and what its
        clients learn by training as told, and controls how they train. In round 1, and in any other round whose
        predecessor it did not see, there is no step to read, and nothing is confined.

    Raises:
        Incompatible (RF103): the inner attack does not poison data.

    Source: Zhang et al. 2022, ICML, arXiv:2206.10341, which confines every gradient; here the update is confined after
        every stretch of training.
    """

    inner: Attack
    keep: float = 0.9
    bound: float | None = None
    passes: int = 2
    word: ClassVar[str] = "neurotoxin"
    reads: ClassVar[Knowledge] = (
        Knowledge.OWN_DATA | Knowledge.OWN_UPDATES | Knowledge.GLOBAL_MODEL | Knowledge.PAST_MODELS
    )

    def __post_init__(self) -> None:
        self.require_data_attack()
        fraction(keep=self.keep)
        positive(keep=self.keep)
        whole(1, passes=self.passes)
        if self.bound is not None:
            positive(bound=self.bound)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:  # noqa: ARG002
        """(k, d): zero in the parameters that are left to honest clients."""
        bound = float(np.median(norms(view.own_updates))) if self.bound is None else self.bound
        free = np.ones(view.d, dtype=np.float32)
        if view.past_model is not None:
            moved = np.abs(view.global_model - view.past_model)
            free[np.argsort(moved, kind="stable")[round(self.keep * view.d) :]] = 0
        return np.stack(
            [
                retrained(own, self.inner, self.passes, lambda delta: shortened(delta * free, bound))
                for own in view.own_clients
            ]
        )
