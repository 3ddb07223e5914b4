"""Checks of a privacy design that need no statistics: what was built against what was counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from ringfort.audit.finding import Finding, Severity, worst_first
from ringfort.core.checks import fraction, positive, whole
from ringfort.core.errors import InvalidValue
from ringfort.privacy.terms import Neighbouring
from ringfort.privacy.tradeoff import gdp_epsilon

__all__ = [
    "Accountant",
    "Arithmetic",
    "Cohorts",
    "Divisor",
    "Extra",
    "NoisePlace",
    "NoiseSource",
    "PrivacyDesign",
    "check_design",
    "classical_epsilon",
]


class NoisePlace(Enum):
    """Who adds the noise."""

    LOCAL = "each client enough for itself"
    DISTRIBUTED = "each client a share"
    CENTRAL = "the server, after the sum"
    EXAMPLE = "each client in every step of its training"


class Cohorts(Enum):
    """How a round's clients are chosen, or are counted as chosen."""

    EVERYONE = "everyone"
    POISSON = "each independently"
    FIXED_SIZE = "a fixed number"
    AVAILABLE = "whoever is there"


class Accountant(Enum):
    """Where epsilon comes from."""

    PLD = "privacy loss distribution"
    RDP = "Renyi"
    CLT = "central limit theorem"
    CLASSICAL = "classical Gaussian formula"


class NoiseSource(Enum):
    """Where the noise's randomness comes from."""

    OPERATING_SYSTEM = "operating system"
    GENERATOR = "an ordinary generator"
    SEED = "a seed in the configuration"


class Arithmetic(Enum):
    """What the noise is drawn on."""

    INTEGER_GRID = "integers"
    FLOAT = "floating point"


class Divisor(Enum):
    """What the noisy sum is divided by."""

    EXPECTED = "the fixed expected cohort"
    REALISED = "the realised cohort"


class Extra(Enum):
    """What else leaves, beside the noisy sum."""

    BUFFERS = "buffers of normalisation layers"
    METRICS = "metrics"
    COUNTS = "numbers of examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyDesign:
    """A privacy design as its checks read it.

    Args:
        place: who adds the noise.
        cohorts: how cohorts are drawn.
        counted_cohorts: how the accountant believes they are drawn.
        neighbouring: what it means in the claim.
        clip_norm: what an update is clipped to, > 0.
        sensitivity: what the noise is scaled to, > 0.
        noise_multiplier: noise deviation over sensitivity, > 0.
        epsilon: what is claimed, > 0.
        delta: with which failure probability, in (0, 1).
        rounds: releases, >= 1.
        composed: whether epsilon is for all rounds together.
        accountant: where epsilon comes from.
        source: of the noise's randomness.
        arithmetic: what the noise is drawn on.
        divisor: what the sum is divided by.
        sealed: whether a secure aggregation hides single updates.
        selecting_rule: whether a rule that selects or reorders updates runs before the noise.
        extras: what else leaves the clients without noise.
        population: everyone enrolled, or the planned examples of one client under DP-SGD, >= 1.
    """

    place: NoisePlace
    cohorts: Cohorts
    counted_cohorts: Cohorts
    neighbouring: Neighbouring
    clip_norm: float
    sensitivity: float
    noise_multiplier: float
    epsilon: float
    delta: float
    rounds: int
    composed: bool
    accountant: Accountant
    source: NoiseSource
    arithmetic: Arithmetic
    divisor: Divisor
    sealed: bool
    selecting_rule: bool
    extras: frozenset[Extra]
    population: int

    def __post_init__(self) -> None:
        positive(
            clip_norm=self.clip_norm,
            sensitivity=self.sensitivity,
            noise_multiplier=self.noise_multiplier,
            epsilon=self.epsilon,
            delta=self.delta,
        )
        fraction(delta=self.delta)
        whole(1, rounds=self.rounds, population=self.population)
        if self.delta == 1:
            raise InvalidValue("delta must be below 1")


def check_design(design: PrivacyDesign) -> tuple[Finding, ...]:
    """Every check's findings, the most severe first. No findings is no proof: play canaries as well.

    Does not protect against: a description that is not what runs.
    """
    found = [finding for check in _CHECKS if (finding := check(design)) is not None]
    return worst_first(found)


def classical_epsilon(epsilon: float, delta: float, sensitivity_ratio: float = 1.0, rounds: int = 1) -> float:
    """What noise of sqrt(2 ln(1.25 / delta)) / epsilon really gives, all rounds together.

    Args:
        epsilon: what the formula was asked for.
        delta: likewise.
        sensitivity_ratio: the true sensitivity over the one in the formula.
        rounds: independent releases.
    """
    deviation = math.sqrt(2 * math.log(1.25 / delta)) / epsilon
    return gdp_epsilon(math.sqrt(rounds) * sensitivity_ratio / deviation, delta)


def _sampling(design: PrivacyDesign) -> Finding | None:
    if design.cohorts is design.counted_cohorts or design.counted_cohorts is Cohorts.EVERYONE:
        return None
    return Finding(
        "sampling",
        Severity.HIGH,
        f"Cohorts are {design.cohorts.value}; the accountant counts {design.counted_cohorts.value}.",
        "The discount for sampling belongs to the sampling that happens. Fixed cohorts counted as independent draws "
        "have printed epsilon 7.9 where 14.1 was provable.",
        "Draw every client independently in every round, or count the cohorts that are drawn.",
    )


def _sensitivity(design: PrivacyDesign) -> Finding | None:
    # Who reads a client's own update sees that it is there: against it, removing means replacing.
    seen = design.place is NoisePlace.LOCAL and design.neighbouring is Neighbouring.ADD_OR_REMOVE
    needed = design.clip_norm * (2 if seen else design.neighbouring.reach)
    if design.sensitivity >= needed * (1 - 1e-9):
        return None
    mu = needed / design.sensitivity / design.noise_multiplier
    true = gdp_epsilon(mu * math.sqrt(design.rounds if design.composed else 1), design.delta)
    return Finding(
        "sensitivity",
        Severity.HIGH,
        f"Noise is scaled to sensitivity {design.sensitivity:g}; clip {design.clip_norm:g} allows {needed:g}.",
        f"One client can move the release by {needed / design.sensitivity:.3g} times what the noise covers; without "
        f"sampling this noise gives epsilon {true:.4g} at delta {design.delta:g}.",
        "Set the sensitivity to the clip norm, or to twice the clip norm where a client's update is replaced or noised "
        "on its own.",
    )


def _classical(design: PrivacyDesign) -> Finding | None:
    if design.accountant is not Accountant.CLASSICAL or design.epsilon < 1:
        return None
    true = classical_epsilon(design.epsilon, design.delta)
    return Finding(
        "classical formula",
        Severity.HIGH if true > design.epsilon else Severity.MEDIUM,
        f"sqrt(2 ln(1.25/delta))/epsilon at epsilon {design.epsilon:g}.",
        f"The formula is proven below epsilon 1 only. This noise really gives epsilon {true:.2f} for one release.",
        "Calibrate with the analytic Gaussian mechanism or a privacy loss distribution.",
    )


def _clt(design: PrivacyDesign) -> Finding | None:
    if design.accountant is not Accountant.CLT:
        return None
    return Finding(
        "accountant",
        Severity.HIGH,
        "Epsilon comes from a central limit theorem.",
        "It is an approximation from either side; measured, it reports 8 to 15 % less than what is provably spent.",
        "Use a privacy loss distribution.",
    )


def _composition(design: PrivacyDesign) -> Finding | None:
    if design.composed or design.rounds == 1:
        return None
    mu = math.sqrt(design.rounds) / design.noise_multiplier
    return Finding(
        "composition",
        Severity.HIGH,
        f"Epsilon {design.epsilon:g} is for one of {design.rounds} rounds.",
        f"Rounds add up: without sampling all of them spend {gdp_epsilon(mu, design.delta):.4g} at delta "
        f"{design.delta:g}.",
        "State epsilon for the whole run.",
    )


def _seed(design: PrivacyDesign) -> Finding | None:
    if design.source is NoiseSource.OPERATING_SYSTEM:
        return None
    known = design.source is NoiseSource.SEED
    return Finding(
        "randomness",
        Severity.HIGH if known else Severity.MEDIUM,
        f"The noise comes from {design.source.value}.",
        "Whoever knows the seed subtracts the noise."
        if known
        else "Its state can be recovered from outputs; the privacy is then a matter of the attacker's patience.",
        "Draw privacy noise from the operating system.",
    )


def _float(design: PrivacyDesign) -> Finding | None:
    if design.arithmetic is Arithmetic.INTEGER_GRID:
        return None
    return Finding(
        "floating-point noise",
        Severity.MEDIUM,
        "The noise is drawn in floating point.",
        "Which numbers can come out depends on the secret: one value in four tells for certain which of two neighbours "
        "was there, whatever epsilon is printed.",
        "Round to an integer grid, bound the sensitivity there, and add integer noise.",
    )


def _divisor(design: PrivacyDesign) -> Finding | None:
    if design.divisor is Divisor.EXPECTED or design.cohorts is Cohorts.EVERYONE:
        return None
    return Finding(
        "divisor",
        Severity.MEDIUM,
        "The sum is divided by the realised cohort.",
        "The cohort's size depends on who took part, so it is a second release, without noise; and a mean over a small "
        "cohort has a larger sensitivity than the claim.",
        "Divide by the fixed expected cohort.",
    )


def _unsealed(design: PrivacyDesign) -> Finding | None:
    if design.place is not NoisePlace.DISTRIBUTED or design.sealed:
        return None
    return Finding(
        "distributed noise without a seal",
        Severity.HIGH,
        "Each client adds a share of the noise, and the server reads each update.",
        "One update carries only its own share; against the server that protects nobody.",
        "Add a secure aggregation, or enough noise at each client.",
    )


def _rule(design: PrivacyDesign) -> Finding | None:
    if not design.selecting_rule or design.place in (NoisePlace.LOCAL, NoisePlace.EXAMPLE):
        return None
    return Finding(
        "robust rule before the noise",
        Severity.HIGH,
        "A rule that selects or reorders updates runs before the noise is complete.",
        "Its sensitivity is not the clip norm: one client can change which updates count.",
        "Use a clipped mean under this noise, or noise at the clients (the rule is then post-processing), or claim "
        "nothing.",
    )


def _extras(design: PrivacyDesign) -> Finding | None:
    if not design.extras:
        return None
    named = ", ".join(sorted(extra.value for extra in design.extras))
    return Finding(
        "other releases",
        Severity.HIGH,
        f"Without noise leave: {named}.",
        "Every number computed from data is a release; the claim covers only what got noise.",
        "Keep them on the client, or noise and count them. Use normalisation without buffers (GroupNorm).",
    )


def _delta(design: PrivacyDesign) -> Finding | None:
    if design.delta < 1 / design.population:
        return None
    return Finding(
        "delta",
        Severity.MEDIUM,
        f"Delta {design.delta:g} with {design.population} {_units(design)}.",
        "At delta of 1/n and more, publishing the data of one of them outright satisfies the claim.",
        "Choose delta well below 1/n.",
    )


def _units(design: PrivacyDesign) -> str:
    return "examples to a client" if design.place is NoisePlace.EXAMPLE else "clients"


_CHECKS: tuple[Callable[[PrivacyDesign], Finding | None], ...] = (
    _sampling,
    _sensitivity,
    _composition,
    _classical,
    _clt,
    _unsealed,
    _rule,
    _extras,
    _seed,
    _float,
    _divisor,
    _delta,
)
