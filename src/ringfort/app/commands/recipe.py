"""ringfort recipe: recipes, resolved and checked."""

from __future__ import annotations

import typer

from ringfort.app.commands.shared import Json, Overrides, RecipePath, reported

__all__ = ["app"]

app = typer.Typer(help="Recipes: show them resolved, validate them, print their schema.", no_args_is_help=True)


@app.command("show")
@reported
def recipe_show(recipe: RecipePath, overrides: Overrides = None, as_json: Json = False) -> None:
    """Print the recipe as it would run: every key, with defaults and overrides."""
    import json

    from ringfort.app import recipe as recipes

    value = recipes.read(recipe, overrides or ()).resolved()
    typer.echo(json.dumps(value, indent=2) if as_json else recipes.to_toml(value), nl=False)


@app.command("validate")
@reported
def recipe_validate(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check a recipe, its combinations included, without training. Needs its data on this machine."""
    from contextlib import ExitStack
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.loading import load
    from ringfort.app.private import private
    from ringfort.core.randomness import Seeds

    read = recipes.read(recipe, overrides or ())
    split = load(read)
    scenario = build.scenario(read, split)
    if read.drill is not None:
        build.drill(read, split)
    defence = build.defence(read)
    scenario.require(defence, read.defence.f, Seeds(read.seed))
    with ExitStack() as stack, TemporaryDirectory() as folder:
        private(read, scenario, defence.rule.name, Path(folder), stack)
    typer.echo(f"{recipe}: fine, digest {read.digest()[:12]}")


@app.command("schema")
@reported
def recipe_schema() -> None:
    """Print the JSON schema of recipes."""
    import json

    from ringfort.app.recipe import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))
