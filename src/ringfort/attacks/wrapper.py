"""Attacks that wear another attack: what is done to its update, or when it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import numpy as np

from ringfort.attacks.threat import (
    Attack,
    AttackerView,
    Control,
    DataAttack,
    Knowledge,
    OwnClient,
    Predict,
    RoundDataAttack,
    ThreatModel,
    UpdateAttack,
)
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible
from ringfort.core.values import F32

__all__ = ["STRETCHES", "Wrapper", "norms", "retrained", "shortened"]

STRETCHES: Final = 6
"""How often an attacker looks up from its training, as long as it was told to train, to correct its course."""


class Wrapper:
    """An attack on updates around any other attack, `inner`, whose goal and measure it keeps."""

    __slots__ = ()
    word: ClassVar[str]
    """Its own name, before the inner attack's."""
    reads: ClassVar[Knowledge] = Knowledge.OWN_DATA | Knowledge.OWN_UPDATES
    """What it needs to know beyond what the inner attack does."""
    inner: Attack

    @property
    def name(self) -> str:
        """The wrapper's name, then the inner attack's."""
        return f"{self.word} | {self.inner.name}"

    @property
    def metric(self) -> str:
        """The inner attack's."""
        return self.inner.metric

    @property
    def threat(self) -> ThreatModel:
        """The inner attack's, and what the wrapper adds to it."""
        within = self.inner.threat
        return ThreatModel(within.goal, within.knows | self.reads, within.controls | Control.UPDATES, within.colludes)

    @property
    def stops(self) -> int | None:
        """The last hostile round, if it is known beforehand."""
        found: int | None = getattr(self.inner, "stops", None)
        return found

    def success(self, predict: Predict, test: Dataset) -> float | None:
        """The inner attack's."""
        return self.inner.success(predict, test)

    def sent_within(self, view: AttackerView, rng: np.random.Generator) -> F32:
        """(k, d): what the attackers would send without the wrapper."""
        if isinstance(self.inner, UpdateAttack):
            return self.inner.craft(view.narrowed(self.inner.threat), rng)
        return np.stack([own.train(own.poisoned(self.inner)) for own in view.own_clients])

    def require_data_attack(self) -> None:
        """Refuse (RF103) to be worn by an attack that does not poison data."""
        if isinstance(self.inner, UpdateAttack) or not isinstance(self.inner, (DataAttack, RoundDataAttack)):
            raise Incompatible(f"{self.word} trains on poisoned data, and {self.inner.name} poisons none")


def retrained(own: OwnClient, attack: Attack, passes: int, correct: Callable[[F32], F32]) -> F32:
    """What a client learns from poisoned data if it corrects its course after every sixth of its told training: (d,).

    Args:
        own: the client.
        attack: poisons its data.
        passes: how many times the steps that it was told.
        correct: from where it stands to where it goes on, both as the way from the model of the round.
    """
    data = own.poisoned(attack)
    left, delta = passes * own.steps, None
    length = max(1, own.steps // STRETCHES)
    while left:
        delta = correct(own.train(data, delta, min(length, left)))
        left -= min(length, left)
    assert delta is not None  # noqa: S101 - there is at least one step
    return delta


def norms(rows: F32) -> Any:
    """(k,) float64: each row's norm."""
    return np.linalg.norm(rows.astype(np.float64), axis=-1)


def shortened(delta: F32, bound: float) -> F32:
    """The update itself, or shrunk to this norm if it is longer."""
    norm = float(norms(delta))
    return delta if norm <= bound else (delta * np.float32(bound / norm)).astype(np.float32)
