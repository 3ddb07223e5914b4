"""A recipe's pilots: run once, kept beside the run as `pilots.json`, and read again by --resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ringfort.app import build
from ringfort.app.recipe import PilotsSpec, Recipe
from ringfort.audit.pilots import calibrate
from ringfort.audit.scenario import Scenario
from ringfort.core.errors import BadCheckpoint, Incompatible, InvalidValue
from ringfort.core.files import canonical_json, write_atomic
from ringfort.core.randomness import Seeds
from ringfort.detect import Calibration, score

__all__ = ["calibrations"]

_FILE = "pilots.json"


def calibrations(
    recipe: Recipe, scenario: Scenario, folder: Path, say: Callable[[str], None]
) -> tuple[Calibration, ...]:
    """What the recipe's `pilots` detectors compare with, in their order; nothing for a recipe without.

    Raises:
        Incompatible (RF103): with [privacy].
        BadCheckpoint (RF702): the file beside the run is not what was written, or belongs to another recipe.
    """
    specs = build.pilot_specs(recipe)
    if not specs:
        return ()
    if recipe.privacy is not None:
        raise Incompatible("pilots run without noise, and noisy clients are not like theirs: leave out the pilots")
    path = folder / _FILE
    if path.exists():
        return _read(path, recipe, specs)
    found = []
    for number, spec in enumerate(specs):
        say(f"pilots: {spec.federations} honest federations of {scenario.rounds} rounds for {', '.join(spec.score)}")
        seeds = [Seeds(recipe.seed).under("pilot", number, pilot) for pilot in range(spec.federations)]
        rule = build.rule(recipe.defence.rule, recipe.defence.f)
        found.append(calibrate(scenario, rule, score(spec.score), spec.window, seeds))
    told = [{**asdict(one), "peaks": [float(peak) for peak in one.peaks]} for one in found]
    write_atomic(path, canonical_json({"v": 1, "recipe": recipe.federation_digest(), "calibrations": told}))
    return tuple(found)


def _read(path: Path, recipe: Recipe, specs: tuple[PilotsSpec, ...]) -> tuple[Calibration, ...]:
    try:
        value: Any = json.loads(path.read_bytes())
        if value["v"] != 1 or value["recipe"] != recipe.federation_digest():
            raise BadCheckpoint(f"{path} holds the pilots of another recipe: write elsewhere")
        made = tuple(
            Calibration(one["score"], one["window"], one["horizon"], np.array(one["peaks"], dtype=np.float64))
            for one in value["calibrations"]
        )
    except (ValueError, KeyError, TypeError, InvalidValue, OSError) as error:
        raise BadCheckpoint(f"{path} is not a calibration: restore it, or start over") from error
    if [(one.score, one.window) for one in made] != [(score(spec.score).name, spec.window) for spec in specs]:
        raise BadCheckpoint(f"{path} holds other pilots than the recipe names")
    return made
