"""From a recipe's [privacy] to mechanisms, budgets and ledgers."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ringfort.app.recipe import CentralSpec, DistributedSpec, ExampleSpec, LocalSpec, Recipe
from ringfort.audit.scenario import Scenario
from ringfort.client.private import ClientPrivacy, ExamplePrivacy, require_example_gradients
from ringfort.core.errors import Incompatible
from ringfort.core.randomness import Seeds
from ringfort.privacy import (
    AdaptiveClip,
    Budget,
    CentralNoise,
    Clipping,
    DistributedNoise,
    Everyone,
    ExampleNoise,
    FixedClip,
    FixedCohort,
    LayerClip,
    Ledger,
    LocalNoise,
    Mechanism,
    Neighbouring,
    NoClaim,
    Poisson,
    Sampling,
    Unit,
    claim_for,
)
from ringfort.privacy.distributed import Grid
from ringfort.rounds.private import TARIFF, PrivateRelease
from ringfort.secagg.grouped import Grouped
from ringfort.secagg.masked import Masked

__all__ = ["Private", "private"]

LEDGER = "privacy.jsonl"
"""The run's ledger, where the server adds the noise."""
LEDGERS = "privacy"
"""The folder of the clients' ledgers, where they do."""


@dataclass(frozen=True)
class Private:
    """A scenario with its privacy.

    Args:
        scenario: with what clients do to their updates, and the seal with their noise in it.
        release: what the server does; None if clients add the noise.
    """

    scenario: Scenario
    release: PrivateRelease | None


def private(recipe: Recipe, scenario: Scenario, rule: str, folder: Path, stack: ExitStack) -> Private:
    """The scenario as [privacy] wants it. Ledgers lie in `folder`, and are closed with `stack`.

    Raises:
        Incompatible (RF103): the mechanism promises nothing with this rule, seal or way to draw cohorts.
    """
    spec = recipe.privacy
    if spec is None:
        return Private(scenario, None)
    unit = Unit.EXAMPLE if isinstance(spec, ExampleSpec) else Unit.CLIENT
    budget = Budget(spec.epsilon, spec.delta, Neighbouring(spec.neighbouring), unit)
    if isinstance(spec, CentralSpec):
        mechanism = _central(spec, _sampling(recipe, scenario), scenario)
        _require(mechanism, rule, scenario)
        ledger = stack.enter_context(Ledger(folder / LEDGER, scenario.recipe, budget, {TARIFF: mechanism.event}))
        return Private(scenario, PrivateRelease(mechanism, ledger))
    (folder / LEDGERS).mkdir(exist_ok=True)
    if isinstance(spec, LocalSpec):
        local = LocalNoise(_clip(spec, scenario), spec.noise_multiplier, budget.neighbouring)
        _require(local, rule, scenario)
        return Private(replace(scenario, privacy=ClientPrivacy(local, budget, folder / LEDGERS)), None)
    if isinstance(spec, ExampleSpec):
        example = _example(spec, scenario)
        _require(example, rule, scenario)
        return Private(replace(scenario, privacy=ExamplePrivacy(example, budget, folder / LEDGERS)), None)
    shares = _distributed(spec, scenario)
    _require(shares, rule, scenario)
    seal: Any = scenario.seal
    noisy = replace(seal, noise=shares.noise())
    noisy.require(scenario.cohort or _clients(recipe, scenario), scenario.model().schema.d)
    return Private(replace(scenario, seal=noisy, privacy=ClientPrivacy(shares, budget, folder / LEDGERS)), None)


def _central(spec: CentralSpec, sampling: Sampling, scenario: Scenario) -> CentralNoise:
    clip: Clipping = _clip(spec, scenario)
    if spec.adaptive is not None:
        if spec.per_layer:
            raise Incompatible("a clip adapts or is kept per layer, not both: leave one of the two out")
        rate, count = spec.adaptive.learning_rate, spec.adaptive.count_noise
        clip = AdaptiveClip(spec.clip_norm, spec.adaptive.quantile, rate, count)
    return CentralNoise(clip, spec.noise_multiplier, sampling, Neighbouring(spec.neighbouring))


def _example(spec: ExampleSpec, scenario: Scenario) -> ExampleNoise:
    """DP-SGD with the recipe's local steps; its batch is the expected minibatch, and what sums are divided by."""
    training = scenario.training
    if training.batch >= spec.examples:
        raise Incompatible(
            f"train.batch = {training.batch} is not below privacy.examples = {spec.examples}: minibatches are drawn by "
            "coins with chance batch / examples"
        )
    if spec.delta > 1 / spec.examples:
        raise Incompatible(f"privacy.delta must be at most one over privacy.examples, {1 / spec.examples:.3g}")
    if scenario.sanitiser is not None:
        raise Incompatible(
            "[sanitise] decides about an example by all others, so one example can change which ones are trained on, "
            "and what it reports leaves without noise: example-level privacy promises nothing after it"
        )
    require_example_gradients(scenario.model(), scenario.train)
    sampling = Poisson(training.batch / spec.examples, spec.examples)
    return ExampleNoise(_clip(spec, scenario), spec.noise_multiplier, sampling, training.steps)


def _clip(spec: CentralSpec | LocalSpec | DistributedSpec | ExampleSpec, scenario: Scenario) -> FixedClip | LayerClip:
    """The whole update to clip_norm, or every tensor to an equal part of it: the squares of the parts add up to it."""
    if not spec.per_layer:
        return FixedClip(spec.clip_norm)
    sizes = tuple(part.stop - part.start for part in scenario.model().schema.slices.values())
    return LayerClip((spec.clip_norm / math.sqrt(len(sizes)),) * len(sizes), sizes)


def _sampling(recipe: Recipe, scenario: Scenario) -> Sampling:
    """How cohorts are drawn, as the accountant must count it."""
    population = _clients(recipe, scenario)
    if scenario.rate is not None:
        return Poisson(scenario.rate, population)
    if scenario.cohort is not None and scenario.cohort < population:
        return FixedCohort(scenario.cohort, population)
    return Everyone(population)


def _distributed(spec: DistributedSpec, scenario: Scenario) -> DistributedNoise:
    """Shares on the seal's own grid, counted by what the seal lets through."""
    seal = scenario.seal
    if not isinstance(seal, Masked | Grouped):
        named = "no seal" if seal is None else f"the {seal.name!r} seal"
        raise Incompatible(f"distributed noise is added inside the masked or the grouped seal, this recipe has {named}")
    inside = seal if isinstance(seal, Masked) else seal.inside
    if inside.max_weight != 1 or inside.clip != spec.clip_norm:
        raise Incompatible(
            f"distributed noise counts on the seal's clip and on equal weights: set seal.clip to {spec.clip_norm:g} "
            "and seal.max_weight to 1"
        )
    encoding, d = inside.encoding, scenario.model().schema.d
    grid = Grid(encoding.scale(d), encoding.norm_bound(d), encoding.length(d))
    neighbouring = Neighbouring(spec.neighbouring)
    return DistributedNoise(
        _clip(spec, scenario), spec.noise_multiplier, spec.alive, spec.colluding, neighbouring, grid
    )


def _require(mechanism: Mechanism, rule: str, scenario: Scenario) -> None:
    seal = scenario.seal
    summed = 1
    if isinstance(seal, Masked):
        summed = seal.min_cohort
    elif isinstance(seal, Grouped):
        summed = seal.min_group
    claim = claim_for(mechanism, rule, "rows" if seal is None else seal.shows, summed)
    if isinstance(claim, NoClaim):
        raise Incompatible(f"[privacy] promises nothing here: {claim.reason}")


def _clients(recipe: Recipe, scenario: Scenario) -> int:
    return len(scenario.parts(Seeds(recipe.seed)))
