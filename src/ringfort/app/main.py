"""The command line. Results on stdout, talk on stderr; exit code 0 fine, 1 not held, 2 usage, 3 safety refusal.

Imports stay inside the commands, so that `ringfort --help` answers at once.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

if TYPE_CHECKING:
    from ringfort.core.errors import RingfortError

__all__ = ["main"]

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    name="ringfort",
    help="Walls and guards around federated learning, and a red team that proves what they are worth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="The data sets Ringfort knows: list, fetch, verify.", no_args_is_help=True)
recipe_app = typer.Typer(help="Recipes: show them resolved, validate them, print their schema.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(recipe_app, name="recipe")

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file; see recipes/.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as train.rounds=5. Repeatable.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Where results go.", show_default=False)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only results and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def _reported(command: Callable[P, R]) -> Callable[P, R]:
    """Turn errors raised on purpose, and Ctrl-C, into one line and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from ringfort.core.errors import Interrupted, RingfortError

        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            error: RingfortError = Interrupted(
                "interrupted; what was committed is on disk, nothing is half-written: continue `train` with --resume"
            )
        except RingfortError as raised:
            error = raised
        _fail(error)

    return wrapped


def _fail(error: RingfortError) -> NoReturn:
    line = "".join(c if c.isprintable() else " " for c in str(error))
    typer.echo(f"error: {line}  [ringfort explain {error.code}]", err=True)
    raise typer.Exit(error.exit_code)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ringfort {version('ringfort')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
@_reported
def drill(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
    must_hold: Annotated[
        list[str] | None,
        typer.Option("--must-hold", metavar="WALL", help="Exit with 1 unless this wall holds against every attack."),
    ] = None,
) -> None:
    """Attack a federation behind every wall of the recipe, and report which walls hold."""
    from ringfort import data, report
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.results import drill_folder, new_folder, write_provenance
    from ringfort.audit.results import Outcome, Point, Trial
    from ringfort.core.errors import UnknownName

    read = recipes.read(recipe, overrides or ())
    folder = new_folder(drill_folder(out or Path("runs") / f"{recipe.stem}-drill"))
    split = data.load(read.data.name)
    plan = build.drill(read, split)
    for wall in must_hold or ():
        if wall not in {w.rule.name for w in plan.walls}:
            raise UnknownName.of("wall", wall, [w.rule.name for w in plan.walls])
    manifest = build.manifest(read, split)
    write_provenance(folder, read, manifest)
    total = len(plan.keys())
    with report.DrillProgress(total, total * plan.scenario.rounds, quiet=quiet) as progress:
        started: dict[tuple[str, str], int] = {}

        def watch(attack: str, wall: str, event: Point | Trial) -> None:
            runs = started.setdefault((attack, wall), 0)
            key = f"{attack}/{wall}/{runs}"
            if isinstance(event, Trial):
                progress.finish(key, event.error)
                started[attack, wall] = runs + 1
            else:
                if event.round == 0:
                    progress.start(key, f"{attack} x {wall}", plan.scenario.rounds)
                progress.advance(key, event)

        result = plan.run(manifest, watch)
    written = report.write_reports(folder, result)
    _print(report.report_json(result) if as_json else report.drill_summary(result))
    _say(quiet, written)
    failed = [c for c in result.cells if c.wall in (must_hold or ()) and c.outcome not in (None, Outcome.HOLDS)]
    if failed:
        for cell in failed:
            typer.echo(f"{cell.wall} does not hold against {cell.attack}: {cell.why}", err=True)
        raise typer.Exit(1)


@app.command()
@_reported
def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last committed round in FOLDER.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the recipe's federation behind its wall; write the model, the round records and the report."""
    from ringfort import data, report
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.app.results import new_folder, run_folder, write_provenance
    from ringfort.audit.results import Point
    from ringfort.audit.training import train as run
    from ringfort.core.files import write_atomic
    from ringfort.core.randomness import Seeds
    from ringfort.rounds.journal import Journal

    read = recipes.read(recipe, overrides or ())
    folder = new_folder(run_folder(out or Path("runs") / recipe.stem, resume=resume))
    split = data.load(read.data.name)
    scenario = build.scenario(read, split)
    with Journal(folder) as journal, report.TrainProgress(quiet=quiet) as progress:
        if journal.head is None or journal.head.recipe == scenario.recipe:
            write_provenance(folder, read, build.manifest(read, split))
        begun = False

        def observe(point: Point) -> None:
            nonlocal begun
            if not begun:
                progress.start("train", read.title, scenario.rounds)
                begun = True
            progress.advance("train", point)

        result, model = run(
            scenario,
            build.defence(read),
            read.defence.f,
            Seeds(read.seed),
            journal,
            title=read.title,
            manifest=build.manifest(read, split),
            observe=observe,
        )
        progress.finish("train", None)
        write_atomic(folder / "model.safetensors", model)
        written = report.write_reports(folder, result)
    _print(report.report_json(result) if as_json else report.train_summary(result))
    _say(quiet, [folder / "model.safetensors", folder / "rounds.jsonl", *written])


@app.command()
@_reported
def explain(code: Annotated[str, typer.Argument(help="An error code, as RF301.", show_default=False)]) -> None:
    """Say what an error code means, what to do, and whether it can be an attack."""
    from ringfort.core.errors import explain as explanation

    typer.echo(str(explanation(code)))


@data_app.command("list")
@_reported
def data_list(as_json: Json = False) -> None:
    """List the data sets, where they come from and whether they are on this machine."""
    from rich.table import Table

    from ringfort import data

    rows = [
        {
            "name": name,
            "here": data.is_present(name),
            "train": data.source(name).n_train,
            "test": data.source(name).n_test,
            "kind": data.source(name).kind,
            "licence": data.source(name).licence,
            "origin": data.source(name).origin,
        }
        for name in data.names()
    ]
    if as_json:
        import json

        _print(json.dumps(rows, indent=2))
        return
    table = Table("name", "here", "train", "test", "kind", "licence", "origin")
    for row in rows:
        here = "yes" if row["here"] else "fetch"
        table.add_row(
            str(row["name"]), here, *(str(row[key]) for key in ("train", "test", "kind", "licence", "origin"))
        )
    _print(table)


@data_app.command("fetch")
@_reported
def data_fetch(
    name: Annotated[str, typer.Argument(help="A name from `ringfort data list`.", show_default=False)],
) -> None:
    """Bring a data set onto this machine and verify it. Does nothing if it is already here and intact."""
    from ringfort import data

    data.fetch(name, say=lambda line: typer.echo(line, err=True))


@data_app.command("verify")
@_reported
def data_verify(
    name: Annotated[str, typer.Argument(help="A name from `ringfort data list`.", show_default=False)],
) -> None:
    """Compare a data set on this machine with its registered digests."""
    from ringfort import data
    from ringfort.core.errors import BadData

    checks = data.verify(name)
    for check in checks:
        typer.echo(f"{check.state:13} {check.item}  {check.detail}")
    if not all(check.ok for check in checks):
        raise BadData(f"{name} is not intact: run `ringfort data fetch {name}`")


@recipe_app.command("show")
@_reported
def recipe_show(recipe: RecipePath, overrides: Overrides = None, as_json: Json = False) -> None:
    """Print the recipe as it would run: every key, with defaults and overrides."""
    import json

    from ringfort.app import recipe as recipes

    value = recipes.read(recipe, overrides or ()).resolved()
    typer.echo(json.dumps(value, indent=2) if as_json else recipes.to_toml(value), nl=False)


@recipe_app.command("validate")
@_reported
def recipe_validate(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check a recipe, its combinations included, without training. Needs its data on this machine."""
    from ringfort import data
    from ringfort.app import build
    from ringfort.app import recipe as recipes
    from ringfort.rounds.fuse import require

    read = recipes.read(recipe, overrides or ())
    split = data.load(read.data.name)
    scenario = build.scenario(read, split)
    if read.drill is not None:
        build.drill(read, split)
    from ringfort.core.randomness import Seeds

    require(build.defence(read), scenario.cohort or len(scenario.parts(Seeds(read.seed))), read.defence.f)
    typer.echo(f"{recipe}: fine, digest {read.digest()[:12]}")


@recipe_app.command("schema")
@_reported
def recipe_schema() -> None:
    """Print the JSON schema of recipes."""
    import json

    from ringfort.app.recipe import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))


def _print(thing: Any) -> None:
    if isinstance(thing, str):
        typer.echo(thing)
        return
    from rich.console import Console

    Console().print(thing)


def _say(quiet: bool, written: list[Path]) -> None:
    if not quiet:
        for path in written:
            typer.echo(f"wrote {path}", err=True)


def main() -> None:
    """Run the command line."""
    # A closed pipe (`ringfort ... | head`) ends the program quietly, as it does for other tools.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if sys.version_info < (3, 11):  # noqa: UP036 - a clear word instead of a traceback
        from ringfort.core.errors import InvalidValue

        _fail(InvalidValue("Ringfort needs Python 3.11 or newer"))
    app()
