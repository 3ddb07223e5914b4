"""What is known about a data set before it is loaded, and what loading and checking it give."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ringfort.core.dataset import Dataset
from ringfort.core.errors import BadData, DataUnavailable

__all__ = ["Check", "DataFile", "DataSource", "Split"]


class DataFile(NamedTuple):
    """One file of a data set: its name, the sha256 of its bytes, and how many there are."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DataSource:
    """A registered data set, as `ringfort data list` and every report show it.

    Args:
        name: the registered name.
        title: the name for people.
        task: one sentence: what is predicted from what.
        n_train: rows to train on.
        n_test: rows to test on.
        input_shape: the shape of one input.
        classes: the classes' names, in label order.
        licence: the data's licence, as its source states it.
        origin: one sentence: who made the data and how it comes here.
        files: what must be fetched; empty for a data set that comes inside a package.
        kind: "real" for measured data, "synthetic" for generated data.
    """

    name: str
    title: str
    task: str
    n_train: int
    n_test: int
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    licence: str
    origin: str
    files: tuple[DataFile, ...] = ()
    kind: Literal["real", "synthetic"] = "real"

    @property
    def needs_fetch(self) -> bool:
        """Whether the data must be fetched once before it can be loaded."""
        return bool(self.files)


@dataclass(frozen=True, slots=True)
class Split:
    """A loaded data set: the rows to train on, the rows to test on, and where they come from."""

    train: Dataset
    test: Dataset
    source: DataSource

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each part, for reports."""
        return {"train": self.train.digest(), "test": self.test.digest()}


@dataclass(frozen=True, slots=True)
class Check:
    """What verification found about one file, or about the arrays of a packaged data set.

    Args:
        item: the file's name, or "arrays".
        state: "missing" also stands for what cannot be read.
        detail: why, when the state is not "ok".
    """

    item: str
    state: Literal["ok", "missing", "wrong digest"]
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether the item is there and has the pinned digest."""
        return self.state == "ok"


def check_bytes(file: DataFile, content: bytes | memoryview, where: object) -> None:
    """Compare bytes with their pin; `where` names them in the error.

    Raises:
        BadData (RF703): another size or digest.
    """
    if len(content) != file.size_bytes:
        raise BadData(f"{where} has {len(content)} bytes, expected {file.size_bytes}")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise BadData(f"{where} has sha256 {found}, expected {file.sha256}")


def open_verified(folder: Path, file: DataFile) -> NDArray[np.uint8]:
    """Map a file's bytes into memory, read-only, after comparing these very bytes with the pin.

    Does not protect against: somebody who edits or cuts the file in place while it is in use. Replacing it is harmless.

    Raises:
        DataUnavailable (RF106): the file is not there or cannot be read.
        BadData (RF703): another size or digest.
    """
    path = folder / file.name
    try:
        # An empty file cannot be mapped.
        content: NDArray[Any] = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        raise DataUnavailable(f"cannot read {path}: {error.strerror or error}") from error
    check_bytes(file, content.data, path)
    return np.asarray(content)
