"""What all commands share: options, how errors end a command, how results are printed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

if TYPE_CHECKING:
    from ringfort.audit.finding import Finding
    from ringfort.core.errors import RingfortError

__all__ = [
    "FailOn",
    "Json",
    "Level",
    "Out",
    "Overrides",
    "Quiet",
    "RecipePath",
    "fail",
    "leave_if_failing",
    "leave_if_held_back",
    "print_result",
    "reported",
    "say_written",
    "who_decides",
]

P = ParamSpec("P")
R = TypeVar("R")

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file; see recipes/.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as train.rounds=5. Repeatable.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Where results go.", show_default=False)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only results and errors.")]


class Level(StrEnum):
    """From which severity on a finding fails the command."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


FailOn = Annotated[
    Level | None,
    typer.Option("--fail-on", help="Exit with 1 if a finding is at least so severe, or has no result."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def reported(command: Callable[P, R]) -> Callable[P, R]:
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
        fail(error)

    return wrapped


def fail(error: RingfortError) -> NoReturn:
    """Print an error in one line and leave with its exit code."""
    line = "".join(c if c.isprintable() else " " for c in str(error))
    typer.echo(f"error: {line}  [ringfort explain {error.code}]", err=True)
    raise typer.Exit(error.exit_code)


def print_result(thing: Any) -> None:
    """To stdout: text as it is, anything else as rich draws it."""
    if isinstance(thing, str):
        typer.echo(thing)
        return
    from rich.console import Console

    Console().print(thing)


def say(text: str, *, quiet: bool) -> None:
    """Talk, on stderr."""
    if not quiet:
        typer.echo(text, err=True)


def say_written(quiet: bool, written: list[Path]) -> None:
    """Name the files that a command wrote, on stderr."""
    if not quiet:
        for path in written:
            typer.echo(f"wrote {path}", err=True)


def leave_if_failing(findings: Iterable[Finding], level: Level | None) -> None:
    """Exit with 1 if there are findings of this severity or more, naming each on stderr."""
    if level is None:
        return
    from ringfort.audit.finding import Severity
    from ringfort.report import failing
    from ringfort.report.words import clean

    found = failing(findings, Severity(level.value))
    for finding in found:
        typer.echo(f"{finding.severity.value}: {clean(finding.what)}: {clean(finding.why)}", err=True)
    if found:
        raise typer.Exit(1)


def who_decides(by: str | None) -> str:
    """The name under which a person's decision is recorded: the one given, or the user's.

    Raises:
        InvalidValue (RF104): neither.
    """
    import getpass

    from ringfort.core.errors import InvalidValue

    try:
        return by or getpass.getuser()
    except (KeyError, OSError) as error:
        raise InvalidValue("this user has no name: give --by") from error


def leave_if_held_back(model: Path, code: int) -> None:
    """Leave with the audit's exit code, if it held the model back."""
    if code:
        typer.echo(
            f"the model was not released: it is in {model}, the audit's report in {model.parent / 'audit'}", err=True
        )
        raise typer.Exit(code)
