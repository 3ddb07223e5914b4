"""Somebody's own rows, from an .npz file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ringfort.core.dataset import Dataset
from ringfort.core.errors import DataUnavailable, InvalidValue, UnknownName

__all__ = ["load_npz", "read_npz"]

_MOST_BYTES = 8 << 30
_MOST_CLASSES = 1 << 16
_ARRAYS = ("inputs", "labels", "classes", "owners")


def load_npz(path: Path) -> Dataset:
    """Labelled rows from a numpy archive: `inputs` (N, ...), `labels` (N,), and if given `classes` and `owners`.

    float64 inputs become float32, whole labels int64. Without `classes` they are "0", "1", ... up to the largest label.
    The data set gets the file's name.

    Guarantees: nothing in the file is executed: arrays of objects are refused.

    Raises:
        DataUnavailable (RF106): no such file. InvalidValue (RF104): not such an archive. UnknownName (RF101): an array
            of another name.
    """
    try:
        with path.open("rb") as file:
            return read_npz(file, path)
    except OSError as error:
        raise DataUnavailable(f"cannot read {path}: {error.strerror or error}") from error


def read_npz(file: BinaryIO, path: Path) -> Dataset:
    """The same from an open file; `path` is what errors call it, and its stem the data set's name.

    Guarantees: an archive that says it holds more than 8 GiB is not unpacked.
    """
    try:
        with zipfile.ZipFile(file) as parts:
            if sum(part.file_size for part in parts.infolist()) > _MOST_BYTES:
                raise InvalidValue(f"{path} says it holds more than {_MOST_BYTES >> 30} GiB")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            arrays: dict[str, NDArray[Any]] = {name: archive[name] for name in archive.files}
    except zipfile.BadZipFile as error:
        file.seek(0)
        one = file.read(6) == b"\x93NUMPY"
        said = "is one array: save `inputs` and `labels` with numpy.savez" if one else "is not a numpy archive"
        raise InvalidValue(f"{path} {said}") from error
    except InvalidValue:
        raise
    except Exception as error:  # what zlib, zipfile and NumPy's header reader make of a damaged or hostile archive
        raise InvalidValue(f"{path} is not a numpy archive of plain arrays: {error}") from error
    for name in arrays:
        if name not in _ARRAYS:
            raise UnknownName.of(f"array in {path}", name, _ARRAYS)
    for name in _ARRAYS[:2]:
        if name not in arrays:
            raise InvalidValue(f"{path} lacks the array {name!r}")
    inputs, labels = arrays["inputs"], arrays["labels"]
    if inputs.dtype == np.float64:
        with np.errstate(over="ignore"):
            inputs = inputs.astype(np.float32)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or inputs.ndim < 2:
        raise InvalidValue(f"{path}: inputs must be (N, ...) and labels (N,) whole numbers")
    largest = int(labels.max(initial=0))
    if "classes" not in arrays and largest >= _MOST_CLASSES:
        raise InvalidValue(f"{path}: labels go up to {largest}: give `classes`, or number them from 0")
    names = arrays.get("classes", np.arange(largest + 1))
    owners = arrays.get("owners")
    classes = tuple(str(name) for name in names.reshape(-1))
    return Dataset(
        path.stem, inputs, labels.astype(np.int64), classes, None if owners is None else owners.astype(np.str_)
    )
