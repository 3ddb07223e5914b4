"""What an attacker knows and controls, and a view that grants exactly that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, NotGranted
from ringfort.core.values import F32, F64, I64

__all__ = [
    "Attack",
    "AttackerView",
    "Control",
    "DataAttack",
    "DividedAttack",
    "Knowledge",
    "Memory",
    "Oracle",
    "OwnClient",
    "Predict",
    "RoundDataAttack",
    "Score",
    "ThreatModel",
    "Untargeted",
    "UpdateAttack",
]

T = TypeVar("T")

Predict = Callable[[NDArray[Any]], I64]
"""Inputs (N, ...) as stored in a Dataset -> predicted labels (N,)."""

Score = Callable[[NDArray[Any]], F32]
"""Inputs (N, ...) as stored in a Dataset -> the model's scores (N, classes), higher for likelier classes."""

Oracle = Callable[[F32], F32]
"""What the live defence would make of a round: (n, d) float32, honest rows then the attackers', -> its step (d,).

It changes nothing that lasts. It raises ToleranceExceeded (RF301) where the defence would refuse the round.
"""

Memory = dict[str, Any]
"""What the attackers wrote down for themselves: named arrays and floats, nothing else."""


class Knowledge(Flag):
    """What the attackers can read."""

    OWN_DATA = auto()
    GLOBAL_MODEL = auto()
    OWN_UPDATES = auto()
    HONEST_UPDATES = auto()
    PAST_MODELS = auto()
    DEFENCE = auto()

    def words(self) -> tuple[str, ...]:
        """For reports."""
        return tuple(item.name.lower().replace("_", " ") for item in self if item.name)


class Control(Flag):
    """What the attackers can change, on the clients they hold."""

    DATA = auto()
    UPDATES = auto()

    def words(self) -> tuple[str, ...]:
        """For reports."""
        return tuple(item.name.lower() for item in self if item.name)


@dataclass(frozen=True, slots=True)
class ThreatModel:
    """The assumption an attack needs. The harness grants this and nothing more.

    Args:
        goal: what the attacker wants, in one sentence.
        knows: what it can read.
        controls: what it can change.
        colludes: whether the attacking clients act together.
    """

    goal: str
    knows: Knowledge
    controls: Control
    colludes: bool


class OwnClient(Protocol):
    """One of the clients that the attackers hold, for attacks that train it in their own way."""

    @property
    def steps(self) -> int:
        """How many minibatches it was told to train."""
        ...

    def poisoned(self, attack: Attack, /) -> Dataset:
        """What it would train on in this round if its data were poisoned like that; its own data if they are not."""
        ...

    def train(self, data: Dataset, start: F32 | None = None, steps: int | None = None) -> F32:
        """What it learns from data, however many there are, as the way from the model of the round: (d,) float32.

        Args:
            data: to train on.
            start: where to begin, as the way from the model of the round; None begins there and, for as many steps as
                told, trains exactly as told.
            steps: minibatches; None takes as many as told.
        """
        ...


@dataclass(frozen=True, slots=True)
class AttackerView:
    """The world as the attackers of one round may see it. Reaching for more raises NotGranted (RF108).

    Args:
        threat: what is granted.
        round: from 1.
        memory: the attackers' own notes, which they may change; the harness hands over the same ones every round. What
            the attackers were granted they may remember, so nothing here needs a grant.
    """

    threat: ThreatModel
    round: int
    _global_model: F32
    _own_updates: F32
    _honest_updates: F32
    _past_model: F32 | None = None
    _oracle: Oracle | None = None
    memory: Memory = field(default_factory=dict)
    _own_clients: tuple[OwnClient, ...] = ()

    def narrowed(self, threat: ThreatModel) -> AttackerView:
        """The same world for an attack inside an attack, which is granted what both are."""
        return replace(self, threat=replace(threat, knows=threat.knows & self.threat.knows))

    def _grant(self, what: Knowledge, value: T) -> T:
        if what not in self.threat.knows:
            raise NotGranted(f"the attack's threat model does not grant {what.words()[0]}")
        return value

    @property
    def global_model(self) -> F32:
        """(d,) the parameters that were broadcast."""
        return self._grant(Knowledge.GLOBAL_MODEL, self._global_model)

    @property
    def past_model(self) -> F32 | None:
        """(d,) the parameters that were broadcast in the round before; None in round 1."""
        return self._grant(Knowledge.PAST_MODELS, self._past_model)

    @property
    def oracle(self) -> Oracle:
        """Asks the live defence: (n, d) rows, honest ones first -> the step it would make, without making it.

        Raises:
            Incompatible (RF103): it is granted, but nobody answers here.
        """
        oracle = self._grant(Knowledge.DEFENCE, self._oracle)
        if oracle is None:
            raise Incompatible("the attack asks the live defence, and this harness has none: leave the attack out")
        return oracle

    @property
    def own_updates(self) -> F32:
        """(k, d) what the attackers' k clients learned by training as told, on the data they hold."""
        return self._grant(Knowledge.OWN_UPDATES, self._own_updates)

    @property
    def own_clients(self) -> tuple[OwnClient, ...]:
        """The attackers' k clients, in the order of `own_updates`; needs the grant of their data.

        Raises:
            Incompatible (RF103): it is granted, but there are only updates here and no clients.
        """
        clients = self._grant(Knowledge.OWN_DATA, self._own_clients)
        if len(clients) != self.k:
            raise Incompatible("the attack trains its own clients, and this harness has none: leave the attack out")
        return clients

    @property
    def k(self) -> int:
        """How many clients the attackers hold in this round."""
        return len(self._own_updates)

    @property
    def n(self) -> int:
        """How many clients there are in this round, attackers included."""
        return self.k + len(self._honest_updates)

    @property
    def d(self) -> int:
        """How many parameters the model has."""
        return int(self._own_updates.shape[1])

    def all_send(self, crafted: F32 | F64) -> F32:
        """(k, d) float32: the same update from every attacker."""
        return np.repeat(crafted.astype(np.float32)[None, :], self.k, axis=0)

    @property
    def honest_updates(self) -> F32:
        """(n - k, d) what everybody else sends this round."""
        return self._grant(Knowledge.HONEST_UPDATES, self._honest_updates)


class Attack(Protocol):
    """Common to all attacks: a name, a threat model and a way to tell how well it did."""

    @property
    def name(self) -> str:
        """What recipes and reports call it; in most attacks a class variable."""
        ...

    @property
    def metric(self) -> str:
        """What `success` means in words; empty if the harm is lost accuracy."""
        ...

    @property
    def threat(self) -> ThreatModel:
        """What it assumes: a class variable, or a property if its parameters decide."""
        ...

    def success(self, predict: Predict, test: Dataset) -> float | None:
        """In [0, 1], on clean test data; None for untargeted attacks."""
        ...


class Untargeted:
    """For attacks whose harm is lost accuracy: there is nothing more to measure."""

    __slots__ = ()
    metric: ClassVar[str] = ""

    def success(self, predict: Predict, test: Dataset) -> None:  # noqa: ARG002
        """None: look at the accuracy."""
        return


@runtime_checkable
class DataAttack(Attack, Protocol):
    """Poisons the data that a client holds, once, before training."""

    def poison(self, data: Dataset, rng: np.random.Generator) -> Dataset:
        """The poisoned data of one attacking client."""
        ...


@runtime_checkable
class DividedAttack(DataAttack, Protocol):
    """Poisons each attacker's data in another way."""

    def poison_as(self, rank: int, data: Dataset, rng: np.random.Generator) -> Dataset:
        """The poisoned data of the attacking client of this rank, from 0 in the order of their names."""
        ...


@runtime_checkable
class RoundDataAttack(Attack, Protocol):
    """Poisons the data that a client holds anew in every round, after seeing the model that was broadcast."""

    def poison_round(self, data: Dataset, score: Score, rng: np.random.Generator) -> Dataset:
        """What one attacking client trains on in this round.

        Args:
            data: what the client holds; never what an earlier round made of it.
            score: the model that was broadcast in this round.
            rng: the attack's own choices.
        """
        ...


@runtime_checkable
class UpdateAttack(Attack, Protocol):
    """Replaces the updates that the attackers' clients send, in every round."""

    def craft(self, view: AttackerView, rng: np.random.Generator) -> F32:
        """(k, d) float32: what the k attacking clients send, in the order of `view.own_updates`."""
        ...
