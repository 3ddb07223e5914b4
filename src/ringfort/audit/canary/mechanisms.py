"""Ringfort's own mechanisms as the audit sees them: a claim, and a black box that releases noisy sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringfort.audit.canary.claim import Claim
from ringfort.audit.canary.transcript import Release
from ringfort.client.private import private_training
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible
from ringfort.core.ports import LocalTraining
from ringfort.core.randomness import SecureRandom
from ringfort.core.values import F32, F64, I64, client_id
from ringfort.core.views import Rows
from ringfort.privacy import (
    AdaptiveClip,
    CentralNoise,
    DistributedNoise,
    Everyone,
    ExampleNoise,
    Neighbouring,
    Poisson,
    Receipt,
)
from ringfort.secagg.encoding import Encoding

__all__ = [
    "central_claim",
    "central_release",
    "distributed_claim",
    "distributed_release",
    "example_claim",
    "example_release",
]


def central_claim(mechanism: CentralNoise, rounds: int, delta: float) -> Claim:
    """What a server with central noise says of `rounds` releases.

    Raises:
        Incompatible (RF103): fixed cohorts or replace-one, whose curve the canaries cannot test; an adaptive clip,
            whose bound changes between rounds.
    """
    sampling = mechanism.sampling
    if mechanism.neighbouring is not Neighbouring.ADD_OR_REMOVE or not isinstance(sampling, (Poisson, Everyone)):
        raise Incompatible("canaries test claims of add-or-remove-one, with Poisson sampling or everyone in each round")
    if isinstance(mechanism.clip, AdaptiveClip):
        raise Incompatible("canaries test a clip that stays: audit the mechanism with its clip fixed at one value")
    rate = sampling.rate if isinstance(sampling, Poisson) else 1.0
    return Claim(mechanism.noise_multiplier, mechanism.clip.norm, rate, rounds, delta)


def central_release(mechanism: CentralNoise, rng: np.random.Generator) -> Callable[[], Release]:
    """A `build` for `audit_claim`. `rng` draws cohorts; the noise is the mechanism's own, from the operating system."""
    rate = mechanism.sampling.rate if isinstance(mechanism.sampling, Poisson) else 1.0

    def release(updates: F32) -> F64:
        taken = updates[rng.random(len(updates)) < rate]
        names = tuple(client_id(f"canary-{i}") for i in range(len(taken)))
        view = Rows(names, taken) if len(taken) else None
        receipt = Receipt(1, {mechanism.event: 1}, "audit")
        delta = mechanism.release(view, updates.shape[1], receipt).delta
        return delta.astype(np.float64) * mechanism.sampling.expected

    return lambda: release


def distributed_claim(mechanism: DistributedNoise, rounds: int, delta: float) -> Claim:
    """What clients with shares of noise say of `rounds` opened sums. Skellam noise this wide is near Gaussian.

    Raises:
        Incompatible (RF103): replace-one, whose curve the canaries cannot test.
    """
    if mechanism.neighbouring is not Neighbouring.ZERO_OUT:
        raise Incompatible("canaries test claims of zero-out-one: a canary takes part with its vector or with zeros")
    return Claim(mechanism.noise_multiplier, mechanism.clip.norm, 1.0, rounds, delta)


def distributed_release(mechanism: DistributedNoise, encoding: Encoding) -> Callable[[], Release]:
    """A `build` for `audit_claim`: what a seal with this encoding opens, with the fewest honest shares in it.

    Clip, rotation, rounding, noise and decoding are those of a real round; only the masks, which cancel, are left out.
    """
    random = SecureRandom()
    honest = mechanism.alive - mechanism.colluding

    def release(updates: F32) -> F64:
        d, seed = updates.shape[1], random.token(32)
        idle = np.zeros((max(honest - len(updates), 0), d), dtype=np.float32)
        total = np.zeros(encoding.length(d), dtype=encoding.dtype)
        for number, update in enumerate(np.concatenate([updates, idle])):
            share = mechanism.protect(update, Receipt(1, {mechanism.event: 1}, "audit"), random)
            noise = share.noise if number < honest else _Silence()
            total += encoding.encode(share.delta, seed, random, noise=noise)
        return encoding.decode(total, d, seed).astype(np.float64)

    return lambda: release


def example_claim(mechanism: ExampleNoise, rounds: int, delta: float) -> Claim:
    """What one client with DP-SGD says of its examples, after `rounds` rounds: every step is a release."""
    return Claim(
        mechanism.noise_multiplier, mechanism.clip.norm, mechanism.sampling.rate, rounds * mechanism.steps, delta
    )


def example_release(mechanism: ExampleNoise) -> Callable[[], Release]:
    """A `build` for `audit_claim`: every canary is one example of a client, and its gradient is what the auditor wants.

    Worst-case gradient canaries: the client's own training loop runs (coins, clip, noise, divisor, momentum), on a
    model whose examples are their gradients. The auditor reads the client after every step, as the claim permits.
    Whether a real model's per-example gradients are those of single examples is checked when a run is built.
    """
    one = replace(mechanism, steps=1)
    training = LocalTraining(1, 1, 1.0)

    def release(updates: F32) -> F64:
        examples = Dataset("canaries", updates, np.zeros(len(updates), dtype=np.int64), ("none",))
        steps = one.begin(Receipt(1, {one.event: 1}, "audit"))
        moved = private_training(_Crafted(), np.zeros(updates.shape[1], np.float32), examples, training, steps)
        return moved.astype(np.float64) * -mechanism.sampling.expected

    return lambda: release


class _Crafted:
    """A model whose examples are their own gradients, wherever it stands."""

    def example_gradients(self, params: F32, inputs: NDArray[Any], labels: I64) -> F32:  # noqa: ARG002 - the seam's
        return np.array(inputs, dtype=np.float32)


class _Silence:
    """The noise of a client that adds none, as colluders may."""

    @property
    def bound(self) -> int:
        return 0

    def sample(self, size: int) -> I64:
        return np.zeros(size, dtype=np.int64)
