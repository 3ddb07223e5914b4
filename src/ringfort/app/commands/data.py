"""ringfort data: the data sets Ringfort knows."""

from __future__ import annotations

from typing import Annotated

import typer

from ringfort.app.commands.check import data_check
from ringfort.app.commands.shared import Json, print_result, reported

__all__ = ["app"]

app = typer.Typer(help="Data: list, fetch, verify what Ringfort knows; check anybody's rows.", no_args_is_help=True)
app.command("check")(data_check)


@app.command("list")
@reported
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

        print_result(json.dumps(rows, indent=2))
        return
    table = Table("name", "here", "train", "test", "kind", "licence", "origin")
    for row in rows:
        here = "yes" if row["here"] else "fetch"
        table.add_row(
            str(row["name"]), here, *(str(row[key]) for key in ("train", "test", "kind", "licence", "origin"))
        )
    print_result(table)


@app.command("fetch")
@reported
def data_fetch(
    name: Annotated[str, typer.Argument(help="A name from `ringfort data list`.", show_default=False)],
) -> None:
    """Bring a data set onto this machine and verify it. Does nothing if it is already here and intact."""
    from ringfort import data

    data.fetch(name, say=lambda line: typer.echo(line, err=True))


@app.command("verify")
@reported
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
