"""What a client does so that its update tells little: noise before anything leaves it, paid for from its own ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible
from ringfort.core.ports import ExampleGradients, LocalTraining, Model
from ringfort.core.randomness import SecureRandom
from ringfort.core.values import F32, ClientId
from ringfort.core.wire import Broadcast
from ringfort.privacy import (
    Account,
    Budget,
    DistributedNoise,
    ExampleNoise,
    Ledger,
    LocalNoise,
    Mechanism,
    PaidSteps,
    Share,
    read_account,
)

__all__ = ["ClientPrivacy", "ExamplePrivacy", "Privacy", "private_training", "require_example_gradients"]

_UPDATE: Final = "update"
_STEP: Final = "step"


class Privacy(Protocol):
    """What every client of a run does about its own privacy."""

    @property
    def mechanism(self) -> Mechanism:
        """With the claim that it makes."""
        ...

    def update(
        self,
        client: ClientId,
        to: Broadcast,
        model: Model,
        data: Dataset,
        training: LocalTraining,
        rng: np.random.Generator,
    ) -> F32:
        """Train, and return the update as it may leave, (d,) float32.

        Raises:
            BudgetExceeded (RF401): it could not be paid for. Nothing was released.
        """
        ...

    def accounts(self) -> tuple[Account, ...]:
        """What the clients' ledgers say, in the order of names."""
        ...


@dataclass(frozen=True)
class ClientPrivacy:
    """What every client of a run does to its update before it leaves: clip, noise (or a share of it), and the charge.

    Args:
        mechanism: local noise, or a share of distributed noise; then the seal adds the share on the mechanism's grid.
        budget: of each client. When it is spent the client fails, and answers no more.
        folder: where the clients' ledgers lie, one file each.
        random: the operating system's; tests give another.

    Does not protect: on one machine all ledgers are in one place. A client elsewhere keeps its own.
    """

    mechanism: LocalNoise | DistributedNoise
    budget: Budget
    folder: Path
    random: SecureRandom = field(default_factory=SecureRandom, repr=False)

    def update(
        self,
        client: ClientId,
        to: Broadcast,
        model: Model,
        data: Dataset,
        training: LocalTraining,
        rng: np.random.Generator,
    ) -> F32:
        """Train as usual, then `protect`."""
        return self.protect(client, to, model.train(to.params, data, training, rng))

    def protect(self, client: ClientId, to: Broadcast, delta: F32) -> F32:
        """The update as it may leave, (d,) float32.

        Raises:
            BudgetExceeded (RF401): the client's budget is spent.
        """
        tariff = {_UPDATE: self.mechanism.event}
        with Ledger(_path(self.folder, client), to.run, self.budget, tariff) as ledger:
            receipt = ledger.charge(to.round, {_UPDATE: 1}, [client])
            made = self.mechanism.protect(delta, receipt, self.random)
        return made.delta if isinstance(made, Share) else made[0]

    def accounts(self) -> tuple[Account, ...]:
        """What the clients' ledgers say, in the order of names."""
        return _accounts(self.folder)


@dataclass(frozen=True)
class ExamplePrivacy:
    """What every client of a run does while it trains: DP-SGD, every step of a round charged before the first.

    Args:
        mechanism: clip per example, noise, sampling rate, and the steps of one round.
        budget: of each client, for one example of it. When it is spent the client fails, and answers no more.
        folder: where the clients' ledgers lie, one file each.
        random: the operating system's, for noise and for the coins that draw minibatches; tests give another.

    Guarantees:
        What leaves the client depends on its examples only through paid steps. A client that crashed between the
        charge and its reply has spent the round and pays again.

    Does not protect: the client as a whole: see `ExampleNoise`. On one machine all ledgers are in one place.
    """

    mechanism: ExampleNoise
    budget: Budget
    folder: Path
    random: SecureRandom = field(default_factory=SecureRandom, repr=False)

    def update(
        self,
        client: ClientId,
        to: Broadcast,
        model: Model,
        data: Dataset,
        training: LocalTraining,
        rng: np.random.Generator,  # noqa: ARG002 - the coins of private training must not repeat
    ) -> F32:
        """Charge one round's steps, then train with them; (d,) float32.

        Raises:
            BudgetExceeded (RF401): the client's budget does not pay for the round; nothing was looked at.
            Incompatible (RF103): a model without per-example gradients.
        """
        if not isinstance(model, ExampleGradients):
            raise _without_gradients(model)
        steps = self.mechanism.steps
        tariff = {_STEP: self.mechanism.event}
        with Ledger(_path(self.folder, client), to.run, self.budget, tariff, at_once=steps) as ledger:
            receipt = ledger.charge(to.round, {_STEP: steps}, None)
        return private_training(model, to.params, data, training, self.mechanism.begin(receipt, self.random))

    def accounts(self) -> tuple[Account, ...]:
        """What the clients' ledgers say, in the order of names."""
        return _accounts(self.folder)


def private_training(
    model: ExampleGradients, params: F32, data: Dataset, training: LocalTraining, steps: PaidSteps
) -> F32:
    """Local DP-SGD with momentum: `training.steps` Poisson minibatches; delta = local - params, (d,) float32.

    Args:
        model: with per-example gradients.
        params: (d,) the broadcast model.
        data: the client's own.
        training: steps, learning rate, momentum and weight decay; `batch` is what the mechanism's sampling says.
        steps: what was paid for.

    An example whose gradient is not finite counts as zeros: an error would tell that it is there.

    Raises:
        BudgetExceeded (RF401): more steps than were paid for.
    """
    flat, velocity = params.copy(), np.zeros_like(params)
    for _ in range(training.steps):
        rows = steps.rows(len(data))
        gradients = model.example_gradients(flat, data.floats(rows), data.labels[rows])
        gradients[~np.isfinite(gradients).all(axis=1)] = 0
        velocity *= np.float32(training.momentum)
        velocity += steps.privatise(gradients)
        if training.weight_decay:
            velocity += np.float32(training.weight_decay) * flat
        flat -= np.float32(training.learning_rate) * velocity
    flat -= params
    return flat


def require_example_gradients(model: Model, like: Dataset) -> None:
    """Refuse, before anything runs, a model whose per-example gradients are missing or mix examples.

    Args:
        model: to be trained.
        like: at least one example of the data's shape; its values are not used.

    Raises:
        Incompatible (RF103): no such gradients, or one that changes with the rest of its batch (batch normalisation).
    """
    if not isinstance(model, ExampleGradients):
        raise _without_gradients(model)
    rng = np.random.default_rng(0)
    params = rng.standard_normal(model.schema.d).astype(np.float32) * np.float32(0.1)
    inputs = rng.random((3, *like.input_shape)).astype(np.float32)
    labels = np.arange(3) % len(like.classes)
    together = model.example_gradients(params, inputs, labels)
    alone = np.concatenate([model.example_gradients(params, inputs[i : i + 1], labels[i : i + 1]) for i in range(3)])
    if not np.allclose(together, alone, rtol=1e-3, atol=1e-4 * float(np.abs(alone).max())):
        raise Incompatible("this model's gradient of one example depends on the other examples of the batch")


def _without_gradients(model: object) -> Incompatible:
    return Incompatible(f"{type(model).__name__} has no per-example gradients, which example-level privacy needs")


def _path(folder: Path, client: ClientId) -> Path:
    return folder / f"{client}.jsonl"


def _accounts(folder: Path) -> tuple[Account, ...]:
    return tuple(read_account(path) for path in sorted(folder.glob("*.jsonl")))
