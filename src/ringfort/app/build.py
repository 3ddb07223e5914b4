"""From a recipe's names to objects."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ringfort import data
from ringfort.app.recipe import (
    CentralSpec,
    ChainSpec,
    DirichletSplit,
    IIDSplit,
    LabelSplit,
    ModelSpec,
    OwnerSplit,
    PartySplit,
    PilotsSpec,
    Recipe,
    WatchedSpec,
    WornSpec,
)
from ringfort.attacks import ATTACKS, WRAPPERS
from ringfort.audit.drill import Drill
from ringfort.audit.results import Manifest, Thresholds
from ringfort.audit.scenario import Scenario
from ringfort.client.guards import ActivationScreen, Guard, WeightScreen
from ringfort.client.node import client_names
from ringfort.client.numpy_models import NumpyModel
from ringfort.client.sanitise import CHECKS, Excess, Reference, Sanitiser, Specification
from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.extras import extra
from ringfort.core.ports import LocalTraining, Model
from ringfort.core.randomness import Seeds
from ringfort.core.seal import Seal
from ringfort.core.values import ClientId, client_id
from ringfort.detect import Calibrated, Calibration, Watch, score
from ringfort.engine import walls
from ringfort.engine.signed import People
from ringfort.identity.keyfiles import load_signing_key
from ringfort.rounds.checkpoint import CHECKPOINTS, Signing
from ringfort.rounds.fuse import Defence
from ringfort.rounds.gate import Gate
from ringfort.rounds.places import place
from ringfort.secagg.seals import SEALS

__all__ = [
    "attack",
    "authenticated",
    "clients",
    "defence",
    "drill",
    "environment",
    "family",
    "manifest",
    "model",
    "pilot_specs",
    "rule",
    "sanitiser",
    "scenario",
    "seal",
    "signing",
    "split",
    "wall",
    "watch",
]

_PACKAGES = ("numpy", "torch", "scikit-learn", "cbor2", "pydantic")


def split(recipe: Recipe) -> data.Partition:
    """How the recipe deals its data out."""
    return _split(recipe.data.split)


def _split(spec: IIDSplit | DirichletSplit | LabelSplit | OwnerSplit | PartySplit) -> data.Partition:
    match spec:
        case IIDSplit():
            return data.IID(spec.clients)
        case DirichletSplit():
            return data.Dirichlet(spec.clients, spec.alpha, spec.min_rows)
        case LabelSplit():
            return data.ByLabel(spec.clients, spec.labels_per_client)
        case OwnerSplit():
            return data.ByOwner(spec.min_rows)
        case PartySplit():
            return data.ByParty(tuple(spec.clients))


def clients(recipe: Recipe, parts: int) -> tuple[ClientId, ...]:
    """The names of the recipe's clients, in the order of their parts."""
    spec = recipe.data.split
    return tuple(spec.clients) if isinstance(spec, PartySplit) else client_names(parts)


def family(spec: ModelSpec, shape: tuple[int, ...], classes: int) -> Callable[[], Model]:
    """A recipe's model for inputs of this shape."""
    size = 1
    for side in shape:
        size *= side
    if spec.name == "numpy-mlp":
        return lambda: NumpyModel(size, classes, tuple(spec.hidden))
    if spec.name == "numpy-logistic":
        return lambda: NumpyModel(size, classes)
    with extra("torch", f"model {spec.name!r} needs torch (numpy-mlp does not)"):
        from ringfort.client import torch as models
    if spec.name == "cnn":
        return lambda: models.cnn(shape, classes, spec.channels, spec.hidden)
    if spec.name == "mlp":
        return lambda: models.mlp(shape, classes, spec.hidden)
    return lambda: models.logistic(shape, classes)


def _named(registry: dict[str, type[Any]], spec: Any, **told: Any) -> Any:
    """One of a registry's objects, with the recipe's numbers and what it is `told` besides."""
    return registry[spec.name](**spec.model_dump(exclude={"name"}), **told)


def rule(spec: Any, f: int) -> Any:
    """A recipe's rule or chain, told to bear f."""
    parts = [*spec.stages, spec.rule] if isinstance(spec, ChainSpec) else [spec]
    return walls.rule([part.model_dump() for part in parts], f)


def defence(recipe: Recipe, calibrations: tuple[Calibration, ...] = ()) -> Defence:
    """The recipe's defence: its rule, and its watch if it has one."""
    made = Defence(rule(recipe.defence.rule, recipe.defence.f), watch(recipe, calibrations))
    if made.watch is not None and isinstance(recipe.privacy, CentralSpec):
        raise Incompatible(
            "central noise counts on every admitted update in the sum, and the watch takes some out: leave out [watch] "
            'or use privacy.where = "local"'
        )
    return made


def watch(recipe: Recipe, calibrations: tuple[Calibration, ...] = ()) -> Watch | None:
    """The recipe's watch.

    Args:
        recipe: whose.
        calibrations: what its `pilots` detectors compare with, in their order. Without them, stand-ins of the right
            size: enough to see whether the watch fits, nothing to run.

    Raises:
        InvalidValue (RF104), UnknownName (RF101): neither a preset nor detectors, or detectors that do not fit.
    """
    if recipe.watch is None:
        return None
    ready = iter(calibrations or [_stand_in(one, recipe) for one in pilot_specs(recipe)])

    def detector(given: dict[str, Any]) -> Any:
        return Calibrated(score(given["score"]), next(ready)) if given["name"] == "pilots" else walls.detector(given)

    return walls.watch(recipe.watch.model_dump(exclude_none=True), detector)


def pilot_specs(recipe: Recipe) -> tuple[PilotsSpec, ...]:
    """The detectors that compare with pilots."""
    named = () if recipe.watch is None else recipe.watch.detectors or ()
    return tuple(one for one in named if isinstance(one, PilotsSpec))


def _stand_in(spec: PilotsSpec, recipe: Recipe) -> Calibration:
    """As many peaks as the pilots will give if every client takes part, none of them measured."""
    said = getattr(recipe.data.split, "clients", 1_000)
    clients = len(said) if isinstance(said, list) else said
    peaks = np.arange(spec.federations * clients, dtype=np.float64)
    return Calibration(score(spec.score).name, min(spec.window, recipe.train.rounds), recipe.train.rounds, peaks)


def wall(spec: Any, recipe: Recipe, calibrations: tuple[Calibration, ...] = ()) -> Defence:
    """One of a drill's walls: a rule, or the watch and a rule.

    Raises:
        InvalidValue (RF104): the watch, in a recipe without one.
    """
    if not isinstance(spec, WatchedSpec):
        return Defence(rule(spec, recipe.defence.f))
    made = watch(recipe, calibrations)
    if made is None:
        raise InvalidValue("a wall of this drill starts with the watch: say in a [watch] table what it looks at")
    return Defence(rule(spec.rule, recipe.defence.f), made)


def attack(spec: Any) -> Any:
    """A recipe's attack, in all that it wears."""
    if not isinstance(spec, WornSpec):
        return _named(ATTACKS, spec)
    made = attack(spec.attack)
    for layer in reversed(spec.wrappers):
        made = _named(WRAPPERS, layer, inner=made)
    return made


def seal(recipe: Recipe) -> Seal | None:
    """The recipe's seal, without the noise that [privacy] may add to it."""
    made: Seal | None = None if recipe.seal is None else _named(SEALS, recipe.seal)
    return made


def scenario(recipe: Recipe, split: data.Split) -> Scenario:
    """The recipe's federation over loaded data.

    Raises:
        Incompatible (RF103), BelowFloor (RF501): parts that do not fit together, before anything runs.
    """
    train = recipe.train
    root, test = _root(recipe, split.test)
    build = model(recipe, split.train)
    made = Scenario(
        train=split.train,
        test=test,
        split=_split(recipe.data.split),
        model=build,
        training=LocalTraining(train.steps, train.batch, train.learning_rate, train.momentum, train.weight_decay),
        gate=Gate(max_norm=recipe.gate.max_norm, max_examples=recipe.gate.max_examples),
        rounds=train.rounds,
        cohort=train.cohort,
        deadline_s=train.deadline_s,
        sample=train.evaluate_on,
        workers=train.workers,
        recipe=recipe.federation_digest(),
        seal=seal(recipe),
        rate=train.rate,
        guard=_guard(recipe),
        root=root,
        sanitiser=sanitiser(recipe, build, split.train if len(split.train) else test),
        names=tuple(recipe.data.split.clients) if isinstance(recipe.data.split, PartySplit) else (),
    )
    d = build().schema.d
    population = len(made.clients(Seeds(recipe.seed)))
    if train.cohort and train.cohort > population:
        raise Incompatible(f"train.cohort = {train.cohort} is more than the {population} clients there are")
    if train.cohort and train.rate:
        raise Incompatible("train.cohort and train.rate are two ways to draw a cohort: give one")
    if made.seal is not None:
        if train.rate:
            raise Incompatible("a seal needs to know how many clients there will be: give train.cohort, not train.rate")
        made.seal.require(train.cohort or population, d)
    return made


def model(recipe: Recipe, train: Dataset) -> Callable[[], Model]:
    """Makes the recipe's model for these data."""
    return family(recipe.model, train.input_shape, len(train.classes))


def sanitiser(
    recipe: Recipe, build: Callable[[], Model], train: Dataset, reference: Reference | None = None
) -> Sanitiser | None:
    """What [sanitise] asks for, tried out on a few rows; `reference` instead of the one it names.

    Raises:
        Incompatible (RF103), InvalidValue (RF104), BadCheckpoint (RF702): a check without what it needs or that does
            not fit the data, no check at all, a reference that is not the pinned one.
    """
    spec = recipe.sanitise
    if spec is None:
        return None
    if reference is None and spec.reference is not None:
        reference = Reference.load(Path(spec.reference.path), spec.reference.digest, build())
    checks: list[Any] = [] if spec.specification is None else [Specification.read(Path(spec.specification))]
    for wanted in spec.checks:
        if wanted.name == "reference-loss" and reference is None:
            raise Incompatible("sanitise: reference-loss needs sanitise.reference: an audited checkpoint, its digest")
        looks = any(field.name == "reference" for field in fields(CHECKS[wanted.name]))
        checks.append(_named(CHECKS, wanted, **({"reference": reference} if looks else {})))
    made = Sanitiser(tuple(checks), spec.max_set_aside, spec.class_floor, Excess(spec.excess))
    if len(train):
        made.try_out(train)
    return made


def authenticated(recipe: Recipe, scenario: Scenario, folder: Path) -> Scenario:
    """The scenario behind the keys that [identity] names; what is said and taken is kept in `folder`.

    Raises:
        Incompatible (RF103), UnknownClient (RF202): somebody is not enrolled.
    """
    spec = recipe.identity
    if spec is None:
        return scenario
    people = People(Path(spec.registry), Path(spec.homes), client_id(spec.server), folder)
    people.require(scenario.clients(Seeds(recipe.seed)))
    return replace(scenario, people=people)


def _guard(recipe: Recipe) -> Guard | None:
    spec = recipe.guard
    if spec is None:
        return None
    looks = None if spec.activations is None else ActivationScreen(**spec.activations.model_dump())
    return Guard(WeightScreen(spec.twins, spec.largest), looks)


def _root(recipe: Recipe, test: Dataset) -> tuple[Dataset | None, Dataset]:
    """The examples that the server trains on, if the recipe wants any, and those that are left to measure with."""
    count = recipe.defence.root_examples
    if count is None or not len(test):  # a client holds nothing of the server's
        return None, test
    if count >= len(test):
        raise Incompatible(
            f"defence.root_examples = {count} leaves none of {len(test)} hold-out examples to measure on"
        )
    order = Seeds(recipe.seed).child("root").permutation(len(test))
    return test.take(np.sort(order[:count])), test.take(np.sort(order[count:]))


def drill(recipe: Recipe, split: data.Split, calibrations: tuple[Calibration, ...] = ()) -> Drill:
    """The recipe's drill over loaded data.

    Raises:
        InvalidValue (RF104): the recipe has no [drill].
    """
    spec = recipe.drill
    if spec is None:
        raise InvalidValue("this recipe has no [drill] table: add one, or use `ringfort train`")
    if recipe.privacy is not None:
        raise Incompatible("a drill runs without [privacy]: leave it out, or use `ringfort train`")
    if recipe.identity is not None:
        raise Incompatible("a drill runs without [identity]: leave it out, or use `ringfort train`")
    return Drill(
        title=recipe.title,
        scenario=scenario(recipe, split),
        attacks=tuple(attack(a) for a in spec.attacks),
        walls=tuple(wall(w, recipe, calibrations) for w in spec.walls),
        f=recipe.defence.f,
        hostile_fraction=spec.hostile_fraction,
        seeds=tuple(spec.seeds),
        thresholds=Thresholds(spec.thresholds.accuracy_loss, spec.thresholds.attack_success),
        owners_are_honest=spec.owners_are_honest,
    )


def environment(split: data.Split) -> dict[str, Any]:
    """Versions, machine, data and command: the part of a manifest that is no recipe."""
    source = split.source
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "ringfort": metadata.version("ringfort"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": packages,
        "data": {
            "name": source.name,
            "title": source.title,
            "kind": source.kind,
            "licence": source.licence,
            "origin": source.origin,
            **split.digests(),
        },
        "command": shlex.join(["ringfort", *sys.argv[1:]]),
    }


def manifest(recipe: Recipe, split: data.Split) -> Manifest:
    """What is needed to run this again."""
    return Manifest(**environment(split), seed=recipe.seed, recipe=recipe.resolved(), recipe_digest=recipe.digest())


def signing(recipe: Recipe, folder: Path, key: Path | None, to: Sequence[str]) -> Signing | None:
    """How this run's checkpoints are signed: as the command line says, else as the recipe's [log] does.

    Raises:
        InvalidValue (RF104): places without a key, no such key, or a run whose checkpoints would stop being signed.
    """
    spec = recipe.log
    chosen = key or (Path(spec.key) if spec else None)
    if chosen is None:
        if to:
            raise InvalidValue(
                "--checkpoint-to needs a key that signs: make one with `ringfort log key`, give --log-key"
            )
        if (folder / CHECKPOINTS).exists():
            raise InvalidValue(f"{folder} has signed checkpoints: go on with the log's key, --log-key or [log]")
        return None
    places = [place(text, commands=True) for text in to] or [
        place(text, commands=False) for text in (spec.to if spec else ())
    ]
    return Signing(load_signing_key(chosen), tuple(places))
