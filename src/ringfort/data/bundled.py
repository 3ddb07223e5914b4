"""The data sets that scikit-learn carries inside its package: nothing is downloaded."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ringfort.core.dataset import Dataset
from ringfort.core.errors import BadData
from ringfort.core.randomness import Seeds
from ringfort.core.values import F32, F64, I64
from ringfort.data.clients import one_line
from ringfort.data.extras import sklearn_file
from ringfort.data.sources import DataSource

__all__ = ["BREAST_CANCER", "DIGITS", "load_breast_cancer", "load_digits"]

DIGITS = DataSource(
    name="digits",
    title="Handwritten digits, 8x8",
    task="Read one handwritten digit from a scan of 8x8 grey pixels.",
    n_train=1438,
    n_test=359,
    input_shape=(1, 8, 8),
    classes=tuple("0123456789"),
    licence="CC BY 4.0 (UCI), inside a BSD-3-Clause package",
    origin="Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits; carried by scikit-learn.",
)
BREAST_CANCER = DataSource(
    name="breast-cancer",
    title="Breast cancer Wisconsin (diagnostic)",
    task="Tell malignant from benign tumours by 30 measurements of cell nuclei.",
    n_train=456,
    n_test=113,
    input_shape=(30,),
    classes=("malignant", "benign"),
    licence="CC BY 4.0 (UCI), inside a BSD-3-Clause package",
    origin="Wolberg, Mangasarian, Street and Street 1993, UCI Breast Cancer Wisconsin; carried by scikit-learn.",
)

# What Dataset.digest() gives for (train, test).
_DIGESTS = {
    "digits": (
        "44ad7c20f5832b38e488b0fa195c06dc85bcf52f46fc33a163b8dd2a3f8e085d",
        "8072b2dcdb176b7ed55c0fa238fe5fe1d4eff9766086f8b5514281c87fd3a0dd",
    ),
    "breast-cancer": (
        "6de63d51f53710caa2f54d53acb10ee8d1af8d7101155cd65d34a85ea34c469d",
        "9d7a8b3536b2c4b900a3d858b31985cf1b65bad7196fb8654be9f9b08423fb75",
    ),
}
_TEST_FRACTION = 0.2
_SPLIT_SEEDS = Seeds(0, ("ringfort.data", "split"))


def load_digits(source: DataSource, _folder: Path) -> tuple[Dataset, Dataset]:
    """The digits as (N, 1, 8, 8) float32 in [0, 1].

    Raises:
        MissingExtra (RF105): scikit-learn is not installed.
        BadData (RF703): its copy is not the one that was pinned.
    """
    pixels, labels = _table(source, "digits.csv.gz", header=0)
    inputs = (pixels / 16).astype(np.float32).reshape(-1, *source.input_shape)
    train, test = _stratified(labels, source.name)
    return _pinned(source, inputs, labels, train, test)


def load_breast_cancer(source: DataSource, _folder: Path) -> tuple[Dataset, Dataset]:
    """The measurements as (N, 30) float32, standardised with the mean and deviation of the training rows only.

    Raises:
        MissingExtra (RF105): scikit-learn is not installed.
        BadData (RF703): its copy is not the one that was pinned.
    """
    measured, labels = _table(source, "breast_cancer.csv", header=1)
    train, test = _stratified(labels, source.name)
    inputs = ((measured - measured[train].mean(axis=0)) / measured[train].std(axis=0)).astype(np.float32)
    return _pinned(source, inputs, labels, train, test)


def _table(source: DataSource, file: str, header: int) -> tuple[F64, I64]:
    """The numbers of one of scikit-learn's files: all columns but the last, and the last, which is the label."""
    path = sklearn_file(file)
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=header, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise BadData(f"{path} cannot be read: {one_line(error)}") from error
    if table.shape != (source.n_train + source.n_test, math.prod(source.input_shape) + 1):
        raise BadData(f"{path} is a table of another shape: {table.shape}")
    return table[:, :-1], table[:, -1].astype(np.int64)


def _stratified(labels: I64, name: str) -> tuple[I64, I64]:
    """Train and test rows, sorted: the same for ever, with a fifth of each class in the test part."""
    order = _SPLIT_SEEDS.child(name).random(len(labels))
    tested = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        tested[rows[np.argsort(order[rows])[: round(_TEST_FRACTION * len(rows))]]] = True
    return np.flatnonzero(~tested), np.flatnonzero(tested)


def _pinned(source: DataSource, inputs: F32, labels: I64, train: I64, test: I64) -> tuple[Dataset, Dataset]:
    whole = Dataset(source.name, inputs, labels, source.classes)
    parts = whole.take(train), whole.take(test)
    if tuple(part.digest() for part in parts) != _DIGESTS[source.name]:
        raise BadData(f"{source.name}: scikit-learn's copy is not the one that Ringfort pinned")
    return parts
