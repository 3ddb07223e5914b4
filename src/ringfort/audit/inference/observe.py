"""A federation of its own for the attacks to read: plain, clipped or noised, seen raw or through a seal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ringfort.audit.inference.threat import View
from ringfort.core.checks import at_least, positive, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.ports import ExampleGradients, LocalTraining, Model
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32
from ringfort.privacy import Clipping

__all__ = [
    "ExampleProtection",
    "Observation",
    "Protection",
    "Seen",
    "narrowed",
    "noise_share",
    "observe",
    "protected_update",
]


@dataclass(frozen=True, slots=True)
class Protection:
    """What clients do to an update before it leaves.

    Args:
        clip_norm: its largest length, > 0.
        noise_multiplier: deviation of the noise that each client adds, in clip norms, >= 0. A share of distributed
            noise is the whole noise over the square root of the cohort.
    """

    clip_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        positive(clip_norm=self.clip_norm)
        at_least(0, noise_multiplier=self.noise_multiplier)

    def __call__(self, delta: F32, rng: np.random.Generator) -> F32:
        """Clipped and noised, for a simulation: the noise is not fit for a real release."""
        length = float(np.linalg.norm(delta))
        kept: F32 = delta * np.float32(min(1.0, self.clip_norm / max(length, 1e-12)))
        if self.noise_multiplier:
            kept = kept + rng.standard_normal(len(kept), dtype=np.float32) * np.float32(
                self.noise_multiplier * self.clip_norm
            )
        return kept


@dataclass(frozen=True, slots=True)
class ExampleProtection(Protection):
    """DP-SGD: every example's gradient is clipped, every step of the training is noised.

    Args:
        clip: the mechanism's clip of one example's gradient; `clip_norm` is its norm.
        rate: the chance of each example to be in a minibatch, in (0, 1].
        batch: what a minibatch's sum is divided by.
    """

    clip: Clipping
    rate: float
    batch: float

    def update(
        self, model: Model, params: F32, data: Dataset, training: LocalTraining, rng: np.random.Generator
    ) -> F32:
        """Private training as a client does it, with a simulation's coins and noise.

        One step on a batch that is no larger than a minibatch takes all of it: the attacker's best case.

        Raises:
            Incompatible (RF103): a model without per-example gradients.
        """
        if not isinstance(model, ExampleGradients):
            raise Incompatible("example-level privacy needs a model with per-example gradients")
        whole_batch = training.steps == 1 and len(data) <= training.batch
        rate, divisor = (1.0, float(len(data))) if whole_batch else (self.rate, self.batch)
        flat, velocity = params.copy(), np.zeros_like(params)
        for _ in range(training.steps):
            rows = np.flatnonzero(rng.random(len(data)) < rate)
            total = np.zeros(len(params))
            for gradient in model.example_gradients(flat, data.floats(rows), data.labels[rows]):
                total += self.clip.apply(np.nan_to_num(gradient))
            total += rng.standard_normal(len(params)) * (self.noise_multiplier * self.clip_norm)
            velocity = (
                training.momentum * velocity + (total / divisor).astype(np.float32) + training.weight_decay * flat
            )
            flat -= np.float32(training.learning_rate) * velocity.astype(np.float32)
        return flat - params


def protected_update(
    model: Model,
    params: F32,
    data: Dataset,
    training: LocalTraining,
    protection: Protection | None,
    rng: np.random.Generator,
    noise: np.random.Generator,
) -> F32:
    """What one client sends, (d,) float32; `rng` draws batches, `noise` whatever the protection draws."""
    if isinstance(protection, ExampleProtection):
        return protection.update(model, params, data, training, noise)
    delta = model.train(params, data, training, rng)
    return delta if protection is None else protection(delta, noise)


@dataclass(frozen=True, slots=True)
class Seen:
    """One round, as an attacker reads it.

    Args:
        params: (d,) what was broadcast.
        updates: (k, d) one row per client, or one row with their sum.
    """

    params: F32 = field(repr=False)
    updates: F32 = field(repr=False)


@dataclass(frozen=True, slots=True)
class Observation:
    """What an attacker of one view read over a whole federation.

    Args:
        view: the view.
        rounds: what was seen of each; empty for the final model alone.
        final: (d,) the published model.
        members: per row of `updates`, whose examples are in it.
    """

    view: View
    rounds: tuple[Seen, ...] = field(repr=False)
    final: F32 = field(repr=False)
    members: tuple[Dataset, ...] = field(repr=False)


def observe(
    model: Model,
    clients: tuple[Dataset, ...],
    training: LocalTraining,
    rounds: int,
    view: View,
    seeds: Seeds,
    protection: Protection | None = None,
) -> Observation:
    """Train a federation of all clients with the plain mean, and keep what the view shows.

    Cost: the training; for raw updates rounds * clients * d floats of memory.

    Raises:
        InvalidValue (RF104): no clients.
    """
    whole(1, rounds=rounds)
    if not clients:
        raise InvalidValue("an observation needs at least one client")
    seen = list(_rounds(model, clients, training, rounds, seeds, protection))
    final = seen[-1][0] + seen[-1][1].mean(axis=0)
    together = _joined(clients)
    if view is View.RAW_UPDATES:
        return Observation(view, tuple(Seen(*one) for one in seen), final, clients)
    if view is View.TOTAL:
        totals = tuple(Seen(params, updates.sum(axis=0, keepdims=True)) for params, updates in seen)
        return Observation(view, totals, final, (together,))
    return Observation(view, (), final, (together,))


def narrowed(full: Observation, view: View) -> Observation:
    """The same federation through a narrower view.

    Raises:
        InvalidValue (RF104): `full` is not a view of raw updates.
    """
    if full.view is not View.RAW_UPDATES:
        raise InvalidValue(f"only raw updates can be narrowed, not {full.view.value}")
    if view is View.RAW_UPDATES:
        return full
    totals = tuple(Seen(seen.params, seen.updates.sum(axis=0, keepdims=True)) for seen in full.rounds)
    return Observation(view, totals if view is View.TOTAL else (), full.final, (_joined(full.members),))


def _rounds(
    model: Model,
    clients: tuple[Dataset, ...],
    training: LocalTraining,
    rounds: int,
    seeds: Seeds,
    protection: Protection | None,
) -> Iterator[tuple[F32, F32]]:
    params = model.initial(seeds)
    for number in range(rounds):
        updates = np.empty((len(clients), len(params)), dtype=np.float32)
        for row, data in enumerate(clients):
            rngs = seeds.child("train", number, row), seeds.child("noise", number, row)
            updates[row] = protected_update(model, params, data, training, protection, *rngs)
        yield params, updates
        params = params + updates.mean(axis=0)


def noise_share(noise_multiplier: float, cohort: int) -> float:
    """What each of `cohort` clients adds so that the sum carries `noise_multiplier`."""
    whole(1, cohort=cohort)
    return noise_multiplier / math.sqrt(cohort)


def _joined(parts: tuple[Dataset, ...]) -> Dataset:
    inputs = np.concatenate([part.inputs for part in parts])
    return parts[0].with_rows(inputs, np.concatenate([part.labels for part in parts]))
