"""The folder that holds one result."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile

from ringfort.app.recipe import Recipe, to_toml
from ringfort.audit.results import Manifest
from ringfort.core.errors import OutputUnwritable
from ringfort.core.files import canonical_json, write_atomic

__all__ = ["drill_folder", "new_folder", "run_folder", "write_provenance"]


def new_folder(folder: Path) -> Path:
    """Make the folder and try it, so that a run does not find out at its end that it cannot write.

    Raises:
        OutputUnwritable (RF107).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputUnwritable(f"cannot write to {folder}: {error.strerror or error}; use --out FOLDER") from error
    return folder


def run_folder(folder: Path, *, resume: bool) -> Path:
    """The folder of a training run; an old run in it is resumed or left alone, never overwritten.

    Raises:
        OutputUnwritable (RF107): a run is there and `resume` was not asked for, or the other way round.
    """
    there = _holds_run(folder)
    if there and not resume:
        raise OutputUnwritable(f"{folder} holds a run already: go on with --resume, or use --out FOLDER")
    if resume and not there:
        raise OutputUnwritable(f"{folder} holds no run to resume: leave out --resume, or name its folder with --out")
    return folder


def drill_folder(folder: Path) -> Path:
    """The folder of a drill; an older drill's report is replaced, a training run never.

    Raises:
        OutputUnwritable (RF107): a training run is there.
    """
    if _holds_run(folder):
        raise OutputUnwritable(f"{folder} holds a training run: use --out FOLDER")
    return folder


def _holds_run(folder: Path) -> bool:
    records = folder / "rounds.jsonl"
    return records.exists() and records.stat().st_size > 0  # empty: refused before its first record


def write_provenance(folder: Path, recipe: Recipe, manifest: Manifest) -> None:
    """The resolved recipe, and the manifest: versions, seeds, data digests, command."""
    write_atomic(folder / "recipe.toml", to_toml(recipe.resolved()).encode())
    write_atomic(folder / "manifest.json", canonical_json(asdict(manifest)))
