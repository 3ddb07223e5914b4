"""ringfort export: a run's rounds as curves in other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringfort.app.commands.shared import reported, say_written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringfort.app.tail import Tail
    from ringfort.rounds.record import RoundRecord

__all__ = ["app"]

app = typer.Typer(help="A run's rounds as curves in TensorBoard or MLflow.", no_args_is_help=True)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder; the run may be going on.")]
Follow = Annotated[bool, typer.Option("--follow", help="Go on until the last round of the recipe.")]


@app.command("tensorboard")
@reported
def tensorboard(
    run: Run,
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="The log folder; the run gets one of its own in it.")
    ] = Path("tensorboard"),
    follow: Follow = False,
) -> None:
    """Write a run as TensorBoard events; again, and only what is new is added.

    Look at them with `tensorboard --logdir FOLDER`. Whose updates they were is not in them.
    """
    from ringfort.app.tail import Tail
    from ringfort.core.extras import extra

    with extra("tensorboard", "this export needs tensorboard"):
        from ringfort.app.sinks.tensorboard import EventFile
    tail = Tail(run)
    batches = _batches(tail, follow)
    first = next(batches)
    file = EventFile(to / _title(run, first[0]))
    file.add(first)
    say_written(False, [file.folder])
    for new in batches:
        file.add(new)


@app.command("mlflow")
@reported
def mlflow(
    run: Run,
    to: Annotated[
        str,
        typer.Option("--to", metavar="FILE|URI", help="An SQLite file, or the http(s) address of a tracking server."),
    ],
    follow: Follow = False,
) -> None:
    """Send a run to MLflow; again, and only rounds that are not there yet are sent.

    It becomes a run of the experiment `ringfort`. Nothing but what --to names is called: MLflow's telemetry is off.
    """
    from ringfort.app.sinks.mlflow import MlflowRun, quiet_mlflow
    from ringfort.app.tail import Tail

    uri = _tracking(to)
    quiet_mlflow()  # refuses now what is not installed
    tail = Tail(run)
    batches = _batches(tail, follow)
    first = next(batches)
    sink = MlflowRun(uri, _title(run, first[0]))
    sent = sink.add(first)
    for new in batches:
        sent += sink.add(new)
    typer.echo(f"sent {sent} new records to {to}", err=True)
    if tail.over():
        sink.end()


def _batches(tail: Tail, follow: bool) -> Iterator[list[RoundRecord]]:
    """What is committed, then what is new; never nothing."""
    from ringfort.core.errors import InvalidValue

    if follow:
        yield from filter(None, tail.until_over())
    elif new := tail.look():
        yield new
    else:
        raise InvalidValue("the run has no committed record yet: try again in a moment, or with --follow")


def _title(run: Path, record: RoundRecord) -> str:
    """The folder's name, for people, and the start of the run's own, which no other has."""
    import re

    from ringfort.core.errors import InvalidValue

    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", record.run):
        raise InvalidValue("the run's name is not one that Ringfort gives: letters, digits, - and _")
    folder = re.sub(r"[^A-Za-z0-9_.-]", "_", run.resolve().name).strip(".") or "run"
    return f"{folder}-{record.run[:8]}"


def _tracking(to: str) -> str:
    """The tracking store's address. A path is an SQLite file."""
    from urllib.parse import urlsplit

    from ringfort.core.errors import InvalidValue

    if "://" not in to:
        if not to or set(to) & set("?#") or Path(to).is_dir():
            raise InvalidValue("--to names a file (of SQLite), without ? and # in its name, or an address")
        if not Path(to).absolute().parent.is_dir():
            raise InvalidValue("--to names a file in a folder that is not there")
        return f"sqlite:///{Path(to).absolute()}"
    parts = urlsplit(to)
    if parts.scheme not in ("sqlite", "http", "https"):
        raise InvalidValue("--to is a file, or an address that starts with sqlite, http or https")
    if "@" in parts.netloc:
        raise InvalidValue("no password in --to: MLflow reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
    return to
