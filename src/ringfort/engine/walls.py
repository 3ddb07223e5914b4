"""Walls from names and numbers: of a recipe, and of hosts whose configuration can hold nothing else."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from ringfort.aggregate import MIXINGS, RULES, chain
from ringfort.core.checks import whole
from ringfort.core.errors import ConfigError, DataUnavailable, InvalidValue, UnknownName
from ringfort.detect import Drift, InCohort, OwnPast, Policy, Watch, recommended, score
from ringfort.rounds.fuse import Defence
from ringfort.rounds.gate import Gate

__all__ = ["Walls", "detector", "read_walls", "rule", "walls", "watch"]

_DETECTORS: Final[dict[str, type[Any]]] = {"own-past": OwnPast, "in-cohort": InCohort, "drift": Drift}
_POLICY: Final = ("suspicious", "trial", "term")


@dataclass(frozen=True, slots=True)
class Walls:
    """What stands between clients and a model.

    Args:
        defence: the rule, and the watch before it.
        gate: the door.
        f: attackers to bear.
    """

    defence: Defence
    gate: Gate
    f: int


def walls(given: Mapping[str, Any]) -> Walls:
    """The walls that three tables ask for, with the keys that they have in a recipe.

    Args:
        given: `gate` (max_norm, max_examples), `defence` (f, rule) and, if wanted, `watch`: alpha with
            `preset = "recommended"`, or with detectors (own-past, in-cohort, drift) and reputation; suspicious, trial,
            term. A rule is a name, names with "|" between them, a list of names and tables, or a table.

    Guarantees:
        Strict: nothing is guessed, converted or ignored. What bounds an attack has no default.

    Raises:
        UnknownName (RF101): a table, key, rule, mixing, detector or score that is not known, with a suggestion.
        InvalidValue (RF104): one that is missing, or outside its domain.

    >>> made = walls({"gate": {"max_norm": 50.0, "max_examples": 1000}, "defence": {"f": 1, "rule": "nnm | median"}})
    >>> made.defence.label, made.f
    ('NNM(f=1) | Median', 1)
    """
    tables = _table("walls", given, ("gate", "defence"), ("watch",))
    gate = _table("[gate]", tables["gate"], ("max_norm", "max_examples"))
    defence = _table("[defence]", tables["defence"], ("f", "rule"))
    whole(0, f=defence["f"])
    watched = watch(tables["watch"]) if "watch" in tables else None
    return Walls(Defence(rule(defence["rule"], defence["f"]), watched), Gate(**gate), defence["f"])


def read_walls(path: Path) -> Walls:
    """The walls of a TOML file.

    Raises:
        DataUnavailable (RF106): no such file, or it cannot be read. InvalidValue (RF104): it is not TOML.
    """
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataUnavailable(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InvalidValue(f"{path} is not TOML: {error}") from error
    return walls(given)


def _table(where: str, given: Any, needed: Collection[str], besides: Collection[str] = ()) -> dict[str, Any]:
    """A table with these keys and no other."""
    if not isinstance(given, Mapping):
        raise InvalidValue(f"{where} must be a table, got a {type(given).__name__}")
    for key in given:
        if key not in needed and key not in besides:
            raise UnknownName.of(f"key in {where}", key, [*needed, *besides])
    missing = [key for key in needed if key not in given]
    if missing:
        raise InvalidValue(f"{where} must say {', '.join(missing)}")
    return dict(given)


def rule(given: Any, f: int) -> Any:
    """A rule, or mixings and a rule, told to bear f.

    Args:
        given: a name, names with "|" between them, a list of names and tables, or a table.
        f: attackers to bear.

    Raises:
        UnknownName (RF101), InvalidValue (RF104): as for `walls`.
    """
    if isinstance(given, str):
        given = [part.strip() for part in given.split("|")]
    parts = given if isinstance(given, list) else [given]
    if not parts:
        raise InvalidValue("defence.rule is empty")
    mixings = [_part("mixing", MIXINGS, part, f) for part in parts[:-1]]
    last = _part("rule", RULES, parts[-1], f)
    return chain(*mixings, last) if mixings else last


def _part(kind: str, registry: Mapping[str, type[Any]], given: Any, f: int) -> Any:
    """A rule or mixing, told to bear f if it wants to know."""
    table = {"name": given} if isinstance(given, str) else given
    name = _name(kind, registry, table)
    known = {one.name: one.default for one in fields(registry[name])}
    told = {"f": f} if "f" in known else {}
    needed = [key for key, default in known.items() if default is MISSING and key not in told]
    table = _table(name, table, ("name", *needed), [key for key in known if key not in told])
    return _made(name, registry[name], {**{key: value for key, value in table.items() if key != "name"}, **told})


def _name(kind: str, registry: Mapping[str, type[Any]], table: Any) -> str:
    if not isinstance(table, Mapping) or "name" not in table:
        raise InvalidValue(f"a {kind} is a name, or a table with a name")
    name = table["name"]
    if not isinstance(name, str) or name not in registry:
        raise UnknownName.of(kind, name, registry)
    return name


def _made(where: str, kind: type[Any], given: Mapping[str, Any]) -> Any:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    try:
        return kind(**values)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"{where}: {error}") from error


def detector(given: Any) -> Any:
    """A detector with its numbers, from a table.

    Raises:
        UnknownName (RF101), InvalidValue (RF104): as for `walls`.
    """
    name = _name("detector", _DETECTORS, given)
    kind = _DETECTORS[name]
    known = {one.name: one.default for one in fields(kind)}
    needed = [key for key, default in known.items() if default is MISSING]
    table = _table(name, given, ("name", *needed), known)
    del table["name"]
    names = [table["score"]] if isinstance(table["score"], str) else table["score"]
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise InvalidValue(f"{name}: score is a name or a list of names")
    return _made(name, kind, {**table, "score": score(names)})


def watch(given: Any, make: Callable[[Any], Any] = detector) -> Watch:
    """A watch, from a table: a preset, or detectors and what follows from them.

    Args:
        given: alpha, and `preset = "recommended"` or detectors (tables) and reputation; suspicious, trial, term.
        make: a detector, from its table.

    Raises:
        UnknownName (RF101), InvalidValue (RF104): as for `walls`.
    """
    table = _table("[watch]", given, ("alpha",), ("preset", "detectors", "reputation", *_POLICY))
    if "preset" in table:
        if "detectors" in table or "reputation" in table:
            raise InvalidValue("watch.preset says what detectors and reputation would say: give one or the other")
        if table["preset"] != "recommended":
            raise UnknownName.of("preset", table["preset"], ["recommended"])
        made = recommended(table["alpha"])
    elif "detectors" not in table or "reputation" not in table or not isinstance(table["detectors"], list):
        raise InvalidValue('[watch] needs detectors and reputation, or preset = "recommended"')
    else:
        made = Watch(
            tuple(make(one) for one in table["detectors"]),
            Policy(alpha=table["alpha"], reputation=table["reputation"]),
        )
    return replace(made, policy=replace(made.policy, **{key: table[key] for key in _POLICY if key in table}))
