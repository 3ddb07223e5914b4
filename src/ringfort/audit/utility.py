"""What privacy costs: the same federation at several budgets, and how accurate each model is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from ringfort.audit.measure import predictor
from ringfort.audit.results import Manifest
from ringfort.audit.scenario import Scenario
from ringfort.core.errors import InvalidValue
from ringfort.core.randomness import Seeds
from ringfort.privacy import Claim
from ringfort.rounds.fuse import Defence
from ringfort.rounds.private import PrivateRelease

__all__ = ["Priceable", "Priced", "PrivacyCurve", "privacy_curve", "trained_accuracy"]


@dataclass(frozen=True, slots=True)
class Priced:
    """One budget.

    Args:
        epsilon: the budget.
        noise_multiplier: the least, to a thousandth, that keeps it for all rounds.
        spent: (round, epsilon) of the worst client, or of one example of it.
        accuracies: of the final model, one per seed.
    """

    epsilon: float
    noise_multiplier: float
    spent: tuple[tuple[int, float], ...]
    accuracies: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """The mean over the seeds."""
        return fmean(self.accuracies)


@dataclass(frozen=True, slots=True)
class PrivacyCurve:
    """Accuracy against epsilon.

    Args:
        title: the recipe's.
        created: when, in ISO 8601.
        manifest: recipe, versions, data and command.
        claim: what each point promises, at its epsilon.
        delta: of all budgets.
        rounds: of every run.
        seeds: of the runs; each budget had all of them.
        clean: the same federation's accuracies without [privacy], one per seed.
        points: the budgets, in increasing order.
        seconds: what it took.
    """

    title: str
    created: str
    manifest: Manifest
    claim: Claim
    delta: float
    rounds: int
    seeds: tuple[int, ...]
    clean: tuple[float, ...]
    points: tuple[Priced, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under a versioned schema name."""
        return {"schema": "ringfort-privacy-curve/1", **asdict(self), "claim": self.claim.to_json()}


@dataclass(frozen=True, slots=True)
class Priceable:
    """One budget before its runs: its noise, its spend, and how to run it."""

    epsilon: float
    noise_multiplier: float
    spent: tuple[tuple[int, float], ...]
    run: Callable[[int], float]


def privacy_curve(
    budgets: Sequence[Priceable],
    clean: Callable[[int], float],
    seeds: Sequence[int],
    say: Callable[[str], None],
) -> tuple[tuple[float, ...], tuple[Priced, ...], float]:
    """Run every budget on every seed, and the federation without privacy.

    Args:
        budgets: in increasing order of epsilon.
        clean: seed -> accuracy without [privacy].
        seeds: at least one.
        say: told what was measured.

    Returns:
        The accuracies without privacy, the budgets with theirs, and the seconds it took.

    Does not protect: the clients of these runs. Every one is a release of its own, and choosing a budget, a clip or a
        learning rate by its accuracy costs privacy that no ledger counts: plan on public data.
    """
    if not seeds or not budgets:
        raise InvalidValue("a curve needs at least one seed and one epsilon")
    started = time.monotonic()
    without = tuple(clean(seed) for seed in seeds)
    say(f"without [privacy]: {fmean(without):.1%}")
    points = []
    for budget in budgets:
        reached = tuple(budget.run(seed) for seed in seeds)
        points.append(Priced(budget.epsilon, budget.noise_multiplier, budget.spent, reached))
        say(f"epsilon {budget.epsilon:g} (noise multiplier {budget.noise_multiplier:g}): {fmean(reached):.1%}")
    return without, tuple(points), time.monotonic() - started


def trained_accuracy(
    scenario: Scenario, defence: Defence, f: int, seeds: Seeds, release: PrivateRelease | None
) -> float:
    """Train one federation to its end and measure the final model on the whole hold-out.

    Raises:
        Incompatible (RF103), ToleranceExceeded (RF301): the defence cannot see through the seal, or not bear f.
        EngineError (RF604): a round without updates, as when every client's budget is spent.
    """
    scenario.require(defence, f, seeds)
    federation = scenario.federation(seeds, defence, workers=scenario.workers, release=release)
    try:
        for last in federation.states():
            params = last.params
    finally:
        federation.exchange.close()
    predict = predictor(federation.model, params, scenario.test)
    return float(np.mean(predict(scenario.test.inputs) == scenario.test.labels))
