"""Somebody's own rows, from an .npz file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringfort.core.dataset import Dataset
from ringfort.core.errors import DataUnavailable, InvalidValue, UnknownName

__all__ = ["load_npz"]

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
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InvalidValue(f"{path} is one array: save `inputs` and `labels` with numpy.savez")
            arrays: dict[str, NDArray[Any]] = {name: archive[name] for name in archive.files}
    except OSError as error:
        raise DataUnavailable(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
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
    names = arrays.get("classes", np.arange(int(labels.max(initial=0)) + 1))
    owners = arrays.get("owners")
    classes = tuple(str(name) for name in names.reshape(-1))
    return Dataset(
        path.stem, inputs, labels.astype(np.int64), classes, None if owners is None else owners.astype(np.str_)
    )
