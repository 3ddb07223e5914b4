"""How much privacy a list of releases costs. dp-accounting counts; this states what is being counted, and with what.

Gaussian releases of sampled cohorts are composed as privacy loss distributions (PLD), discretised upwards. Where that
gives no finite answer (delta below about 1e-12) Renyi differential privacy (RDP) on a wide grid of orders answers, and
says so. Without sampling there is a closed form. Fixed cohorts and Skellam noise are counted by RDP from the start.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from ringfort.core.checks import positive, whole
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.extras import extra
from ringfort.core.values import F64
from ringfort.privacy.events import Event, Gaussian, SkellamSum
from ringfort.privacy.terms import Everyone, FixedCohort, Neighbouring, Poisson
from ringfort.privacy.tradeoff import gdp_epsilon

__all__ = ["Spend", "check_countable", "epsilon_curve", "skellam_rdp", "spend"]

_INTERVALS: Final = ((2.0, 1e-3), (20.0, 4e-3), (math.inf, 2e-2))
"""Up to which expected privacy loss a PLD has bins of which width: epsilon is less than a hundredth part too large."""

_WEAK: Final = 200.0
"""An expected privacy loss beyond which nobody needs the exact epsilon, and PLDs get long."""

_ORDERS: Final = tuple(
    [1 + i / 20 for i in range(1, 180)] + [*range(10, 64), *range(64, 256, 8), 256, 320, 384, 512, 768, 1024]
)
_HUGE_ORDERS: Final = (1536, 2048, 3072, 4096, 6144, 8192, 16384, 65536, 2**20)
"""For closed forms, and for very small delta."""

_SMALL_ORDERS: Final = tuple([1 + i / 20 for i in range(1, 80)] + [*range(5, 33), 40, 48, 64, 96, 128])
"""For fixed cohorts, whose bound takes order^2 steps."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What a list of releases costs.

    Args:
        epsilon: at this delta, an upper bound; infinity if there is none.
        delta: the failure probability it was asked for, sampling errors of the noise included.
        method: "closed form", "PLD" or "RDP".
        note: why, if it is RDP; empty otherwise.
    """

    epsilon: float
    delta: float
    method: str
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; infinity as None, since JSON has none."""
        return {**asdict(self), "epsilon": self.epsilon if math.isfinite(self.epsilon) else None}


def spend(charges: Iterable[tuple[Event, int]], neighbouring: Neighbouring, delta: float) -> Spend:
    """The epsilon of releases that were made, or will be, at `delta`.

    Args:
        charges: events and how often each happens. Equal events may come in parts.
        neighbouring: which data sets are to be hard to tell apart.
        delta: in (0, 1).

    Guarantees:
        An upper bound for any adaptive order of the releases. What sampled noise differs from its law is included: a
        mechanism within total variation t of one that is (epsilon, delta) private is (epsilon, delta + (1 + e^epsilon)
        t) private.

    Raises:
        Incompatible (RF103): a way of sampling that this relation cannot be claimed for.
        MissingExtra (RF105): dp-accounting is not installed (extra `privacy`).

    Cost: 50 ms for a new event, 30 ms more for a new count. Results are remembered.
    """
    positive(delta=delta)
    if delta >= 1:
        raise InvalidValue(f"delta must be below 1, got {delta}")
    counts: Counter[Event] = Counter()
    for event, count in charges:
        whole(0, count=count)
        check_countable(event, neighbouring)
        counts[event] += count
    return _spend(tuple(sorted(((e, c) for e, c in counts.items() if c), key=repr)), neighbouring, delta)


def check_countable(event: Event, neighbouring: Neighbouring) -> None:
    """Refuse what no proof covers.

    Raises:
        Incompatible (RF103): says which assumption fails.
    """
    if isinstance(event, SkellamSum):
        if neighbouring is Neighbouring.ADD_OR_REMOVE:
            raise Incompatible(
                "shares of noise show who takes part, so add-or-remove-one cannot be claimed: use zero-out-one"
            )
    elif isinstance(event.sampling, FixedCohort) and neighbouring is not Neighbouring.REPLACE:
        raise Incompatible(
            f"a fixed cohort cannot be counted as {neighbouring.value}: when one client leaves, another takes its "
            "place. Use replace-one, or Poisson sampling"
        )


def epsilon_curve(event: Event, neighbouring: Neighbouring, delta: float, rounds: Iterable[int]) -> tuple[Spend, ...]:
    """The spend after each of the numbers of rounds."""
    return tuple(spend([(event, count)], neighbouring, delta) for count in rounds)


def skellam_rdp(order: float, event: SkellamSum, reach: int) -> float:
    """An upper bound on the Renyi divergence of `order` between sums that differ by at most `reach` bounded vectors.

    order * l2^2 / 2v + min(((2 order - 1) l2^2 + 6 l1) / 4v^2, 3 l1 / 2v), at the next whole order.

    Source: Agarwal, Kairouz and Liu 2021, arXiv:2110.04995, Theorem 3.5, for whole orders above 1; the divergence
        grows with its order. The tests compare it with exact sums over the law.
    """
    v, a = event.variance, max(2, math.ceil(order))
    square, l1 = (reach * event.l2) ** 2, reach * event.l1
    return a * square / (2 * v) + min(((2 * a - 1) * square + 6 * l1) / (4 * v**2), 3 * l1 / (2 * v))


@lru_cache(maxsize=4096)
def _spend(charges: tuple[tuple[Event, int], ...], neighbouring: Neighbouring, delta: float) -> Spend:
    if not charges:
        return Spend(0.0, delta, "closed form")
    slack = sum(count * event.slack for event, count in charges)
    gaussians = tuple((e, c) for e, c in charges if isinstance(e, Gaussian))
    if len(gaussians) < len(charges):
        found = _with_slack(_rdp_of_known_units(charges, neighbouring), delta, slack)
        return Spend(found, delta, "RDP", "Skellam noise is counted by its RDP bound")
    if any(isinstance(event.sampling, FixedCohort) for event, _ in gaussians):
        found = _with_slack(_rdp(gaussians, neighbouring), delta, slack)
        return Spend(found, delta, "RDP", "fixed cohorts are counted by RDP, at twice the clip norm")
    if all(isinstance(event.sampling, Everyone) for event, _ in gaussians):
        mu = neighbouring.reach * math.sqrt(sum(count / e.noise_multiplier**2 for e, count in gaussians))
        return Spend(_with_slack(lambda at: gdp_epsilon(mu, at), delta, slack), delta, "closed form")
    if _expected_loss(gaussians) > _WEAK:
        found = _with_slack(_rdp(gaussians, neighbouring), delta, slack)
        return Spend(found, delta, "RDP", "so weak that PLD would take too long")
    epsilon = _with_slack(_pld(gaussians, neighbouring), delta, slack)
    if math.isfinite(epsilon):
        return Spend(epsilon, delta, "PLD")
    found = _with_slack(_rdp(gaussians, neighbouring), delta, slack)
    return Spend(found, delta, "RDP", "PLD gives no finite epsilon at this delta: RDP on an extended grid of orders")


def _expected_loss(charges: tuple[tuple[Gaussian, int], ...]) -> float:
    """A bound on the sum of the releases' Kullback-Leibler divergences: about the epsilon of weak noise."""
    total = 0.0
    for event, count in charges:
        rate, square = _rate(event), event.noise_multiplier**-2
        total += count * min(rate * square / 2, rate**2 * math.expm1(min(square, 700)))
    return total


EpsilonOf = Callable[[float], float]


def _with_slack(epsilon_of: EpsilonOf, delta: float, slack: float) -> float:
    """The smallest epsilon found with delta(epsilon) + (1 + e^epsilon) slack <= delta."""
    epsilon = epsilon_of(delta)
    for _ in range(8):
        room = delta - (1 + math.exp(min(epsilon, 700))) * slack
        needed = epsilon_of(room) if room > 0 else math.inf
        if needed <= epsilon:
            return epsilon
        epsilon = needed
    return math.inf


@lru_cache(maxsize=64)
def _pld(charges: tuple[tuple[Gaussian, int], ...], neighbouring: Neighbouring) -> EpsilonOf:
    total, loss = None, _expected_loss(charges)
    interval = next(width for most, width in _INTERVALS if loss <= most)
    for event, count in charges:
        many = _one_pld(event.noise_multiplier, _rate(event), neighbouring, interval).self_compose(count)
        total = many if total is None else total.compose(many)
    assert total is not None  # noqa: S101 - charges are not empty
    return lambda delta: float(total.get_epsilon_for_delta(delta))


@lru_cache(maxsize=64)
def _one_pld(noise_multiplier: float, rate: float, neighbouring: Neighbouring, interval: float) -> Any:
    """The PLD of one release."""
    accounting = _dp_accounting()
    from dp_accounting.pld import privacy_loss_distribution  # type: ignore[import-untyped]

    return privacy_loss_distribution.from_gaussian_mechanism(
        noise_multiplier,
        sampling_prob=rate,
        value_discretization_interval=interval,
        neighboring_relation=_relation(accounting, neighbouring),
    )


@lru_cache(maxsize=64)
def _rdp(charges: tuple[tuple[Gaussian, int], ...], neighbouring: Neighbouring) -> EpsilonOf:
    """RDP of Gaussian releases by dp-accounting; infinity where it knows no bound."""
    accounting = _dp_accounting()
    from dp_accounting.rdp import RdpAccountant  # type: ignore[import-untyped]

    if any(isinstance(e.sampling, Poisson) for e, _ in charges) and neighbouring is Neighbouring.REPLACE:
        return lambda _: math.inf
    fixed = any(isinstance(e.sampling, FixedCohort) for e, _ in charges)
    accountant = RdpAccountant(_SMALL_ORDERS if fixed else _ORDERS, _relation(accounting, neighbouring))
    with _quiet():
        for event, count in charges:
            # dp-accounting's RDP takes noise in units of the sum's change, not of the clip norm
            gaussian = accounting.GaussianDpEvent(event.noise_multiplier / neighbouring.reach)
            accountant.compose(_sampled(accounting, gaussian, event), count)
    return lambda delta: float(accountant.get_epsilon(delta))


def _sampled(accounting: Any, gaussian: Any, event: Gaussian) -> Any:
    if isinstance(event.sampling, Poisson):
        return accounting.PoissonSampledDpEvent(event.sampling.rate, gaussian)
    if isinstance(event.sampling, FixedCohort):
        return accounting.SampledWithoutReplacementDpEvent(event.sampling.of, event.sampling.size, gaussian)
    return gaussian


def _rdp_of_known_units(charges: tuple[tuple[Event, int], ...], neighbouring: Neighbouring) -> EpsilonOf:
    """RDP where nothing is hidden by sampling, in closed form."""
    _dp_accounting()
    from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon  # type: ignore[import-untyped]

    orders: F64 = np.array((*_ORDERS, *_HUGE_ORDERS))
    total = np.zeros_like(orders)
    for event, count in charges:
        if isinstance(event, SkellamSum):
            total += [count * skellam_rdp(order, event, neighbouring.reach) for order in orders]
        elif isinstance(event.sampling, Everyone):
            total += count * orders * (neighbouring.reach / event.noise_multiplier) ** 2 / 2
        else:
            raise Incompatible("Skellam noise and sampled cohorts cannot be counted together: keep two ledgers")
    return lambda delta: float(compute_epsilon(orders, total, delta)[0])


def _rate(event: Gaussian) -> float:
    return event.sampling.rate if isinstance(event.sampling, Poisson) else 1.0


def _relation(accounting: Any, neighbouring: Neighbouring) -> Any:
    return {
        Neighbouring.ADD_OR_REMOVE: accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
        Neighbouring.ZERO_OUT: accounting.NeighboringRelation.REPLACE_SPECIAL,
        Neighbouring.REPLACE: accounting.NeighboringRelation.REPLACE_ONE,
    }[neighbouring]


def _dp_accounting() -> Any:
    with extra("privacy", "privacy accounting needs dp-accounting"):
        import dp_accounting  # type: ignore[import-untyped]
    return dp_accounting


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without dp-accounting's warnings about orders that it leaves out."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        logger.disabled = before
