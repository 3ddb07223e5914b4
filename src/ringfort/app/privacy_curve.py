"""From a recipe and a list of epsilons to the runs that show what each costs in accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from ringfort import data
from ringfort.app import build
from ringfort.app import recipe as recipes
from ringfort.app.private import private
from ringfort.app.recipe import Recipe
from ringfort.audit.results import Manifest
from ringfort.audit.utility import Priceable, PrivacyCurve, privacy_curve, trained_accuracy
from ringfort.core.errors import InvalidValue
from ringfort.core.randomness import Seeds
from ringfort.privacy import Event, ExampleNoise, Mechanism, Neighbouring, epsilon_curve, noise_for

__all__ = ["curve"]

_SAMPLE: Final = 50
"""Test examples that are measured after each round; only the final model counts here."""


def curve(
    recipe: Recipe,
    split: data.Split,
    epsilons: Sequence[float],
    seeds: Sequence[int],
    created: str,
    manifest: Manifest,
    say: Callable[[str], None],
) -> PrivacyCurve:
    """Train the recipe at every epsilon, each with the least noise that keeps it, on every seed.

    Args:
        recipe: with [privacy]; its epsilon and noise_multiplier are replaced.
        split: the data.
        epsilons: the budgets; sorted here.
        seeds: for data split, weights and batches; the noise is the operating system's.
        created: when, in ISO 8601.
        manifest: for the report.
        say: told what was measured.

    Raises:
        InvalidValue (RF104): no [privacy], no epsilon, or one that no noise keeps.
        Incompatible (RF103): [privacy] promises nothing with this rule and seal.
    """
    if recipe.privacy is None:
        raise InvalidValue("this recipe has no [privacy]: there is no epsilon to change")
    mechanism = _mechanism(recipe, split)
    count = mechanism.steps if isinstance(mechanism, ExampleNoise) else 1
    relation = Neighbouring(recipe.privacy.neighbouring)
    budgets = []
    for epsilon in sorted(set(epsilons)):
        noise = noise_for(_event_of(mechanism), count * recipe.train.rounds, relation, epsilon, recipe.privacy.delta)
        marks = _marks(recipe.train.rounds)
        paid = epsilon_curve(_event_of(mechanism)(noise), relation, recipe.privacy.delta, [count * m for m in marks])
        priced = _with(recipe, {"epsilon": epsilon, "noise_multiplier": noise})
        run = _runner(priced, split)
        spent = tuple((mark, s.epsilon) for mark, s in zip(marks, paid, strict=True))
        budgets.append(Priceable(epsilon, noise, spent, run))
    clean, points, seconds = privacy_curve(budgets, _runner(_with(recipe, None), split), seeds, say)
    return PrivacyCurve(
        title=recipe.title,
        created=created,
        manifest=manifest,
        claim=mechanism.claim,
        delta=recipe.privacy.delta,
        rounds=recipe.train.rounds,
        seeds=tuple(seeds),
        clean=clean,
        points=points,
        seconds=seconds,
    )


def _mechanism(recipe: Recipe, split: data.Split) -> Mechanism:
    """What `ringfort train` would use, with the recipe's own noise."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        made = private(recipe, build.scenario(recipe, split), build.defence(recipe).rule.name, Path(folder), stack)
    if made.release is not None:
        return made.release.mechanism
    if made.scenario.privacy is None:
        raise InvalidValue("this recipe has no [privacy]: there is no epsilon to change")
    return made.scenario.privacy.mechanism


def _event_of(mechanism: Mechanism) -> Callable[[float], Event]:
    return lambda noise: replace(mechanism, noise_multiplier=noise).event


def _with(recipe: Recipe, privacy: dict[str, Any] | None) -> Recipe:
    """The recipe with these keys of [privacy] changed, or without [privacy]; checked anew."""
    value = recipe.resolved()
    if privacy is None:
        del value["privacy"]
    else:
        value["privacy"] |= privacy
    return recipes.parse(value)


def _marks(rounds: int) -> list[int]:
    return sorted({max(1, round(rounds * i / 10)) for i in range(1, 11)})


def _runner(recipe: Recipe, split: data.Split) -> Callable[[int], float]:
    def run(seed: int) -> float:
        seeded = recipes.parse({**recipe.resolved(), "seed": seed})
        defence = build.defence(seeded)
        scenario = build.scenario(seeded, split)
        # Every run's ledgers lie in a folder of their own: no run spends another's budget.
        with TemporaryDirectory() as folder, ExitStack() as stack:
            made = private(seeded, scenario, defence.rule.name, Path(folder), stack)
            small = replace(made.scenario, sample=min(_SAMPLE, made.scenario.sample))
            return trained_accuracy(small, defence, seeded.defence.f, Seeds(seed), made.release)

    return run
