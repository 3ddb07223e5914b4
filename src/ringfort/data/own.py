"""Rows that the parties bring themselves: one file per client, and the server's hold-out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ringfort.core.dataset import Dataset
from ringfort.core.errors import InvalidValue
from ringfort.core.values import ClientId
from ringfort.data.npz import load_npz
from ringfort.data.sources import DataSource, Split

__all__ = ["load_own"]


def load_own(
    name: str,
    classes: tuple[str, ...],
    input_shape: tuple[int, ...],
    rows: Mapping[ClientId, Path],
    holdout: Path | None,
) -> Split:
    """Labelled rows from one `.npz` file per client, owned by that client, and a hold-out that the server keeps.

    Args:
        name: what the parties call their data.
        classes: their names, in label order: what everybody means by a label.
        input_shape: of one input.
        rows: the clients whose files are on this machine: at a site one, at the round server none.
        holdout: rows that nobody trains on; None where they are not, and the test part is then empty.

    Raises:
        DataUnavailable (RF106): a file is not there.
        InvalidValue (RF104): a file is no such archive (see `load_npz`), or its inputs, labels or classes are not what
            the parties agreed on.
    """
    parts = {client: _read(path, name, classes, input_shape) for client, path in rows.items()}
    test = None if holdout is None else _read(holdout, name, classes, input_shape)
    everything = [*parts.values(), *([] if test is None else [test])]
    kinds = {part.inputs.dtype for part in everything}
    if len(kinds) > 1:
        raise InvalidValue(f"{name}: some files hold pixels (uint8) and others float32: they would not mean the same")
    nothing = np.zeros((0, *input_shape), kinds.pop() if kinds else np.float32)
    train = Dataset(
        name,
        np.concatenate([nothing, *(part.inputs for part in parts.values())]),
        np.concatenate([np.zeros(0, np.int64), *(part.labels for part in parts.values())]),
        classes,
        np.repeat(np.array(list(parts), np.str_), [len(part) for part in parts.values()]),
    )
    if test is None:
        test = Dataset(name, nothing, np.zeros(0, np.int64), classes)
    source = DataSource(
        name=name,
        title=f"{name}, the parties' own rows",
        task="As the parties agreed.",
        n_train=len(train),
        n_test=len(test),
        input_shape=input_shape,
        classes=classes,
        licence="the parties'",
        origin="One file per client, and a hold-out of the server's.",
    )
    return Split(train, test, source)


def _read(path: Path, name: str, classes: tuple[str, ...], input_shape: tuple[int, ...]) -> Dataset:
    rows = load_npz(path)
    if rows.input_shape != input_shape:
        raise InvalidValue(f"{path}: one input has the shape {rows.input_shape}, agreed is {input_shape}")
    numbered = tuple(str(label) for label in range(len(rows.classes)))
    if rows.classes not in (classes, numbered):
        raise InvalidValue(f"{path}: its classes are {', '.join(rows.classes)}; agreed are {', '.join(classes)}")
    if not len(rows):
        raise InvalidValue(f"{path} holds no rows")
    return Dataset(name, rows.inputs, rows.labels, classes)
