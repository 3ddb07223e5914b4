"""Where checkpoints go so that the server cannot take them back: a file elsewhere, standard output, a command."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ringfort.core.errors import InvalidValue, OutputUnwritable
from ringfort.core.files import sync_folder
from ringfort.rounds.checkpoint import Place

__all__ = ["ToCommand", "ToFile", "ToStdout", "place"]

_COMMAND = "exec:"


@dataclass(frozen=True, slots=True)
class ToFile:
    """Appends to a file: on another mount, or one that its owner made append-only (`chattr +a`).

    Args:
        path: created if it is missing. Several runs may share it.

    Does not protect against: a server that may rewrite that file too.
    """

    path: Path

    def __call__(self, line: bytes) -> None:
        """Append, with fsync; on a line of its own, whatever an interrupted writer left.

        Nothing is ever cut off, as `core.lines` would: the file may be one that nobody can cut.
        """
        try:
            new = not self.path.exists()
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if self._cut():
                    line = b"\n" + line
                while line:
                    line = line[os.write(handle, line) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            if new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise OutputUnwritable(f"cannot append the checkpoint to {self.path}: {error.strerror or error}") from error

    def _cut(self) -> bool:
        with self.path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"


@dataclass(frozen=True, slots=True)
class ToStdout:
    """One line on standard output, for a log collector."""

    def __call__(self, line: bytes) -> None:
        """Write and flush."""
        try:
            sys.stdout.write(line.decode())
            sys.stdout.flush()
        except OSError as error:
            raise OutputUnwritable(f"cannot print the checkpoint: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class ToCommand:
    """A program that reads the line from its standard input and ends with 0 once it is safe. No shell is involved.

    Args:
        argv: the program and its arguments.
        seconds: it may take so long.
    """

    argv: tuple[str, ...]
    seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.argv or shutil.which(self.argv[0]) is None:
            raise InvalidValue(f"there is no program {self.argv[0] if self.argv else ''!r} to hand checkpoints to")

    def __call__(self, line: bytes) -> None:
        """Run it once."""
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
                self.argv, input=line, stdout=subprocess.DEVNULL, timeout=self.seconds, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OutputUnwritable(f"{self.argv[0]} did not take the checkpoint: {error}") from error
        if done.returncode:
            raise OutputUnwritable(f"{self.argv[0]} did not take the checkpoint: it ended with {done.returncode}")


def place(text: str, *, commands: bool) -> Place:
    """`-` is standard output, `exec:PROGRAM ARGUMENT...` a command, anything else a file.

    Args:
        text: as above.
        commands: whether a command may be named here. A recipe may not: it can come from somebody else.

    Raises:
        InvalidValue (RF104): a command where none may be named, or no such program.
    """
    if text == "-":
        return ToStdout()
    if not text.startswith(_COMMAND):
        if not text:
            raise InvalidValue("checkpoints go to a file, to - or to exec:PROGRAM, not to an empty name")
        return ToFile(Path(text))
    if not commands:
        raise InvalidValue("a recipe does not name programs to run: give --checkpoint-to on the command line")
    try:
        return ToCommand(tuple(shlex.split(text.removeprefix(_COMMAND))))
    except ValueError as error:
        raise InvalidValue(f"cannot read {text!r}: {error}") from error
