"""The rows that a recipe speaks of: a registered data set's, or those that the parties bring themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringfort import data
from ringfort.app.recipe import PartySplit, Recipe
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.values import ClientId

__all__ = ["load", "load_here", "load_holdout", "rows_profile"]


def load(recipe: Recipe, rows: Mapping[ClientId, Path] | None = None, holdout: Path | None = None) -> data.Split:
    """What the federation trains on and is measured with, as far as it lies on this machine.

    Args:
        recipe: says which.
        rows: the clients whose own rows are here, and where; None takes everything from where the recipe says.
        holdout: the server's own rows, if they are here.

    Raises:
        UnknownName (RF101), DataUnavailable (RF106), BadData (RF703), InvalidValue (RF104): see `load`, `load_own`.
        Incompatible (RF103): rows for a recipe that splits a registered data set, or of a client that it does not name.
    """
    name, split = recipe.data.name, recipe.data.split
    if not isinstance(split, PartySplit):
        if rows or holdout is not None:
            raise Incompatible(
                f'the recipe splits the data set {name}: for somebody\'s own rows it needs data.split.by = "party"'
            )
        return data.load(name)
    if name in data.names():
        raise InvalidValue(f"{name} is a data set that Ringfort knows: give the parties' own rows another name")
    if rows is None:
        rows, holdout = {client: _rows(split, client) for client in split.clients}, Path(split.holdout)
    if strangers := sorted(set(rows) - set(split.clients)):
        raise Incompatible(f"{strangers[0]} is none of the recipe's clients: {', '.join(split.clients)}")
    return data.load_own(name, tuple(split.classes), tuple(split.input_shape), rows, holdout)


def load_holdout(recipe: Recipe) -> data.Split:
    """What a model is measured with. Of the parties' own data that is the hold-out alone; nobody's rows are read.

    Raises: as `load`.
    """
    split = recipe.data.split
    return load(recipe, {}, Path(split.holdout)) if isinstance(split, PartySplit) else load(recipe)


def rows_profile(recipe: Recipe, client: ClientId | None) -> dict[str, str]:
    """Where a client's own rows lie, or (None) the round server's, as `load_here` reads it. Paths become absolute.

    Empty where the recipe splits a registered data set.
    """
    split = recipe.data.split
    if not isinstance(split, PartySplit):
        return {}
    if client is None:
        return {"holdout": str(Path(split.holdout).resolve())}
    return {"rows": str(_rows(split, client).resolve())}


def load_here(recipe: Recipe, party: ClientId, said: Mapping[str, Any]) -> data.Split:
    """What one party of a deployment has of it: a registered data set, or what its profile calls `rows` or `holdout`.

    Raises: as `load`.
    """
    rows = {party: Path(said["rows"])} if "rows" in said else {}
    return load(recipe, rows, Path(said["holdout"]) if "holdout" in said else None)


def _rows(split: PartySplit, client: ClientId) -> Path:
    return Path(split.rows.replace("{client}", client))
