"""What a model has forgotten against one that is trusted: per class, and on what the user calls a slice."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringfort.audit.model.intervals import Share, drop, share
from ringfort.core.dataset import Dataset
from ringfort.core.errors import DataUnavailable, InvalidValue, UnknownName
from ringfort.core.ports import Model
from ringfort.core.values import F32, I64

__all__ = ["ClassDrift", "Slice", "SliceFinding", "class_drift", "label_slice", "load_slice", "try_slices"]


@dataclass(frozen=True, slots=True)
class ClassDrift:
    """One class on hold-out data.

    Args:
        label: the class.
        recall: of the suspect.
        drop: recall lost against the trusted model on the same examples; None without one. The intervals of all classes
            hold together with 95 % confidence.
    """

    label: int
    recall: Share
    drop: Share | None


def class_drift(model: Model, params: F32, clean: Dataset, trusted: F32 | None = None) -> tuple[ClassDrift, ...]:
    """Recall per class, and how much of it is gone.

    Cost: one forward pass over `clean` for each model.
    """
    classes, inputs = len(clean.classes), clean.floats()
    right = model.logits(params, inputs).argmax(axis=1) == clean.labels
    once = None if trusted is None else model.logits(trusted, inputs).argmax(axis=1) == clean.labels
    rows = []
    for label in range(classes):
        of = clean.labels == label
        n, hits = int(of.sum()), int((right & of).sum())
        lost = None
        if once is not None and n:
            lost = drop(int((once & ~right & of).sum()), int((right & ~once & of).sum()), n, 0.05 / classes)
        rows.append(ClassDrift(label, share(hits, n, 0.05 / classes), lost))
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class Slice:
    """Inputs that somebody wants looked at: the red team's own, or one class of the hold-out data.

    Args:
        name: in reports.
        inputs: (N, ...) float32.
        labels: (N,) the right answers.
    """

    name: str
    inputs: F32 = field(repr=False)
    labels: I64 = field(repr=False)


@dataclass(frozen=True, slots=True)
class SliceFinding:
    """What the model says about a slice.

    Args:
        name: the slice's.
        accuracy: on it.
        drop: accuracy lost against the trusted model; None without one.
        answer: the most frequent wrong answer.
        wrong: how often it is given.
    """

    name: str
    accuracy: Share
    drop: Share | None
    answer: int
    wrong: Share


def load_slice(path: Path, like: Dataset) -> Slice:
    """A slice from an .npz file with `inputs` (as the data set stores them: uint8 pixels or float32) and `labels`.

    Nothing in the file is executed: it is read without pickle.

    Raises:
        DataUnavailable (RF106): no such file.
        InvalidValue (RF104): not such a file, or inputs that do not fit the data set.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {name: file[name] for name in ("inputs", "labels")}
    except FileNotFoundError as error:
        raise DataUnavailable(f"there is no slice {path}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidValue(f"{path} is not an .npz file with plain arrays `inputs` and `labels`") from error
    inputs, labels = arrays["inputs"], arrays["labels"]
    if inputs.shape[1:] != like.input_shape or not len(inputs):
        raise InvalidValue(f"{path}: inputs must be (N, {', '.join(map(str, like.input_shape))}), got {inputs.shape}")
    if labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu":
        raise InvalidValue(f"{path}: labels must be {len(inputs)} whole numbers")
    held = Dataset(path.stem, inputs, labels.astype(np.int64), like.classes)
    floats = held.floats()
    if not np.isfinite(floats).all():
        raise InvalidValue(f"{path}: an input is not finite")
    return Slice(path.stem, floats, held.labels)


def label_slice(name: str, clean: Dataset) -> Slice:
    """The hold-out examples of one class, by its name or number.

    Raises:
        UnknownName (RF101): no such class.
        InvalidValue (RF104): no example of it.
    """
    known = {
        **{str(number): number for number in range(len(clean.classes))},
        **dict(zip(clean.classes, range(len(clean.classes)), strict=True)),
    }
    if name not in known:
        raise UnknownName.of("class", name, clean.classes)
    rows = np.flatnonzero(clean.labels == known[name])
    if not len(rows):
        raise InvalidValue(f"no hold-out example is of class {name}")
    return Slice(f"class {name}", clean.floats(rows), clean.labels[rows])


def try_slices(
    model: Model, params: F32, slices: Sequence[Slice], trusted: F32 | None = None
) -> tuple[SliceFinding, ...]:
    """Accuracy and the most frequent wrong answer on every slice.

    Cost: one forward pass over each slice for each model.
    """
    found = []
    for one in slices:
        said, n = model.logits(params, one.inputs).argmax(axis=1), len(one.labels)
        right = said == one.labels
        counts = np.bincount(said[~right], minlength=1)
        answer = int(counts.argmax())
        lost = None
        if trusted is not None:
            once = model.logits(trusted, one.inputs).argmax(axis=1) == one.labels
            lost = drop(int((once & ~right).sum()), int((right & ~once).sum()), n)
        found.append(SliceFinding(one.name, share(int(right.sum()), n), lost, answer, share(int(counts[answer]), n)))
    return tuple(found)
