"""The command line. Results on stdout, talk on stderr.

Exit code 0: fine, 1: not held, 2: usage, 3: safety refusal, 4: a model is flagged, 5: its audit is inconclusive.

Imports stay inside the commands, so that `ringfort --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ringfort.app.commands import audit, bench, client, data, export, identity, log, privacy, recipe, site
from ringfort.app.commands.doctor import doctor
from ringfort.app.commands.drill import drill
from ringfort.app.commands.seals import seals
from ringfort.app.commands.shared import fail, reported
from ringfort.app.commands.train import train
from ringfort.app.commands.up import up
from ringfort.app.commands.watch import watch

__all__ = ["main"]

app = typer.Typer(
    name="ringfort",
    help="Walls and guards around federated learning, and a red team that proves what they are worth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(drill)
app.command()(train)
app.command()(watch)
app.command()(up)
app.command()(doctor)
app.command()(seals)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.add_typer(audit.app, name="audit")
app.add_typer(privacy.app, name="privacy")
app.add_typer(identity.app, name="identity")
app.add_typer(log.app, name="log")
app.add_typer(export.app, name="export")
app.add_typer(client.app, name="client")
app.add_typer(recipe.app, name="recipe")
app.add_typer(site.app, name="site")


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
@reported
def explain(code: Annotated[str, typer.Argument(help="An error code, as RF301.", show_default=False)]) -> None:
    """Say what an error code means, what to do, and whether it can be an attack."""
    from ringfort.core.errors import explain as explanation

    typer.echo(str(explanation(code)))


def main() -> None:
    """Run the command line."""
    if sys.version_info < (3, 11):  # noqa: UP036 - a clear word instead of a traceback
        from ringfort.core.errors import InvalidValue

        fail(InvalidValue("Ringfort needs Python 3.11 or newer"))
    app()
