"""Labelled examples in memory, as every layer sees them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringfort.core.errors import InvalidValue
from ringfort.core.values import F32, I64

__all__ = ["Dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """N labelled examples.

    Args:
        name: the data set's registered name.
        inputs: (N, ...) uint8 or float32. uint8 are pixels: `floats` divides them by 255. Images are (N, 1, H, W).
        labels: (N,) int64, each in [0, len(classes)).
        classes: the classes' names, in label order.
        owners: (N,) natural owners (a speaker, a writer, a hospital), or None.

    Raises:
        InvalidValue (RF104): lengths that differ, another dtype, or labels out of range.
    """

    name: str
    inputs: NDArray[Any] = field(repr=False)
    labels: I64 = field(repr=False)
    classes: tuple[str, ...]
    owners: NDArray[np.str_] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.inputs.dtype not in (np.uint8, np.float32) or self.labels.dtype != np.int64:
            raise InvalidValue(f"{self.name}: inputs must be uint8 or float32 and labels int64")
        if len(self.inputs) != len(self.labels) or (self.owners is not None and len(self.owners) != len(self.labels)):
            raise InvalidValue(f"{self.name}: inputs, labels and owners differ in length")
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < len(self.classes)):
            raise InvalidValue(f"{self.name}: a label is outside 0..{len(self.classes) - 1}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.inputs.shape[1:])

    def floats(self, rows: I64 | slice = slice(None)) -> F32:
        """The inputs of these rows as float32; pixels land in [0, 1]."""
        part = self.inputs[rows]
        floats: F32 = part.astype(np.float32)
        return floats * np.float32(1 / 255) if part.dtype == np.uint8 else floats

    def take(self, rows: I64) -> Dataset:
        """These rows, as a copy, in this order."""
        return replace(
            self,
            inputs=self.inputs[rows],
            labels=self.labels[rows],
            owners=None if self.owners is None else self.owners[rows],
        )

    def with_rows(self, inputs: NDArray[Any], labels: I64) -> Dataset:
        """The same data set with other contents: what sanitisers and poisoners return.

        As many rows keep their owners; of another number of rows nobody can say whose they are.
        """
        owners = self.owners if len(labels) == len(self) else None
        return replace(self, inputs=inputs, labels=labels, owners=owners)

    def digest(self) -> str:
        """SHA-256 over shapes, inputs and labels: what a report prints to say which data it saw."""
        h = hashlib.sha256(f"{self.inputs.shape}{self.inputs.dtype}{self.classes}".encode())
        h.update(np.ascontiguousarray(self.inputs).data)
        h.update(np.ascontiguousarray(self.labels).data)
        return h.hexdigest()
