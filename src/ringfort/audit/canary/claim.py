"""What an implementation of differential privacy says about itself, and the trade-off that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ringfort.core.checks import fraction, positive, whole
from ringfort.core.errors import InvalidValue
from ringfort.core.extras import extra
from ringfort.core.values import F64
from ringfort.privacy.tradeoff import gdp_delta, gdp_epsilon

__all__ = ["Claim", "Curve", "scipy_stats"]

_EPSILONS = 600
_INTERVAL = 1e-3
"""The accountant's discretisation of the privacy loss; its answers are upper bounds at every size of it."""


def scipy_stats() -> Any:
    """scipy.stats, imported when first needed.

    Raises:
        MissingExtra (RF105): scipy is not installed.
    """
    with extra("privacy", "the audit of a privacy claim needs scipy"):
        from scipy import stats  # type: ignore[import-untyped,unused-ignore]
    return stats


@dataclass(frozen=True)
class Curve:
    """A trade-off curve as pairs (epsilon, delta(epsilon)): every pair holds, in both directions.

    Args:
        epsilons: (k,) increasing, >= 0.
        deltas: (k,) in [0, 1], not increasing.
    """

    epsilons: F64 = field(repr=False)
    deltas: F64 = field(repr=False)

    def __post_init__(self) -> None:
        if self.epsilons.shape != self.deltas.shape or self.epsilons.ndim != 1 or not len(self.epsilons):
            raise InvalidValue("a curve needs as many epsilons as deltas, at least one")

    @cached_property
    def _factors(self) -> tuple[F64, F64]:
        return np.exp(self.epsilons), np.exp(-self.epsilons)

    def tpr(self, fpr: F64) -> F64:
        """The largest true-positive rate that the curve permits at these false-positive rates."""
        up, down = self._factors
        at = np.asarray(fpr, dtype=np.float64)[..., None]
        allowed = np.minimum(self.deltas + up * at, 1 - down * (1 - self.deltas - at))
        rates: F64 = np.clip(allowed.min(axis=-1), 0, 1)
        return rates

    def fpr(self, tpr: float) -> float:
        """The smallest false-positive rate at which the curve permits this true-positive rate."""
        up, down = self._factors
        needed = np.maximum((tpr - self.deltas) * down, 1 - self.deltas - up * (1 - tpr))
        return float(min(max(needed.max(), 0.0), 1.0))

    def epsilon(self, delta: float) -> float:
        """The smallest listed epsilon whose delta is at most this; infinite if there is none."""
        good = np.flatnonzero(self.deltas <= delta)
        return float(self.epsilons[good[0]]) if len(good) else math.inf


@dataclass(frozen=True, slots=True)
class Claim:
    """The Gaussian mechanism on a sum of clipped updates, released round after round.

    Args:
        noise_multiplier: deviation of the noise on the sum in units of the clip norm, > 0.
        clip_norm: no unit adds more than this to one release's sum (L2), > 0.
        sampling_rate: each unit takes part in each release independently with this probability, in (0, 1].
        rounds: releases, >= 1.
        delta: the failure probability at which epsilon is quoted, in (0, 1).

    Neighbouring means one unit more or fewer (a client; an example, where each step of its client's training is a
    release); everyone may read every release.
    """

    noise_multiplier: float
    clip_norm: float
    sampling_rate: float
    rounds: int
    delta: float

    def __post_init__(self) -> None:
        positive(noise_multiplier=self.noise_multiplier, clip_norm=self.clip_norm, delta=self.delta)
        fraction(sampling_rate=self.sampling_rate, delta=self.delta)
        whole(1, rounds=self.rounds)
        if self.sampling_rate == 0 or self.delta == 1:
            raise InvalidValue("sampling_rate must be above 0 and delta below 1")

    @property
    def mu(self) -> float:
        """The Gaussian trade-off's parameter without sampling: sqrt(rounds) / noise_multiplier."""
        return math.sqrt(self.rounds) / self.noise_multiplier

    def epsilon(self) -> float:
        """Epsilon at the claim's delta.

        Raises:
            MissingExtra (RF105): dp-accounting (with sampling) or scipy is not installed.
        """
        if self.sampling_rate == 1:
            return gdp_epsilon(self.mu, self.delta)
        return float(self._losses().get_epsilon_for_delta(self.delta))

    def curve(self) -> Curve:
        """The whole curve: in closed form without sampling, else by dp-accounting's privacy loss distribution.

        Raises:
            MissingExtra (RF105): as `epsilon`.
        """
        if self.sampling_rate == 1:
            top = gdp_epsilon(self.mu, 1e-12)
            epsilons = np.linspace(0, top, _EPSILONS)
            return Curve(epsilons, np.array([gdp_delta(self.mu, float(e)) for e in epsilons]))
        losses = self._losses()
        top = float(losses.get_epsilon_for_delta(1e-9))
        if not math.isfinite(top):
            raise InvalidValue("the accountant has no finite epsilon for this claim: raise noise_multiplier")
        epsilons = np.linspace(0, top, _EPSILONS)
        return Curve(epsilons, np.asarray(losses.get_delta_for_epsilon(epsilons), dtype=np.float64))

    def _losses(self) -> Any:
        with extra("privacy", "the audit of a claim with sampling needs dp-accounting"):
            from dp_accounting.pld import privacy_loss_distribution as pld  # type: ignore[import-untyped,unused-ignore]
        one = pld.from_gaussian_mechanism(
            self.noise_multiplier, value_discretization_interval=_INTERVAL, sampling_prob=self.sampling_rate
        )
        return one.self_compose(self.rounds)
