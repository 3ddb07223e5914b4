"""What a check of a data set says, and what it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ringfort.core.dataset import Dataset
from ringfort.core.errors import Incompatible
from ringfort.core.values import F64, I64

__all__ = ["Check", "Signs", "need_dimensions", "quiet"]


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """What one check saw in N rows.

    Args:
        scores: (N,) float64, finite; the larger, the more suspicious. Only comparable within one check.
        notes: why, for every row that is suspicious and for no other. For the owner's eyes: measures and class names,
            never a row's values.
        problems: what is wrong with the data as a whole, so that a person must look; usually nothing.
    """

    scores: F64 = field(repr=False)
    notes: Mapping[int, str] = field(repr=False)
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", MappingProxyType(dict(self.notes)))

    @property
    def rows(self) -> I64:
        """The suspicious rows, sorted."""
        return np.array(sorted(self.notes), dtype=np.int64)


@runtime_checkable
class Check(Protocol):
    """Looks at a client's rows, beside the data. A frozen dataclass; `ringfort.testing.check_check` checks the rest.

    Guarantees:
        Never writes to the data. Equal data give equal signs. Data that are too few to judge give none.

    Raises:
        Incompatible (RF103): it is not made for data of this shape.
    """

    name: ClassVar[str]

    def __call__(self, data: Dataset, /) -> Signs:
        """The signs of all rows."""
        ...


def quiet(n_rows: int) -> Signs:
    """Nothing suspicious."""
    return Signs(np.zeros(n_rows), {})


def flat(inputs: NDArray[Any]) -> NDArray[Any]:
    """(N, numbers per row), also of no rows."""
    return inputs.reshape(len(inputs), math.prod(inputs.shape[1:]))


def noted(scores: F64, suspicious: NDArray[np.bool_], note: str) -> Signs:
    """Signs whose notes differ in the score only: `note` has one place for it."""
    return Signs(scores, {int(row): note.format(scores[row]) for row in np.flatnonzero(suspicious)})


def need_dimensions(name: str, data: Dataset, wanted: tuple[int, ...], what: str) -> None:
    """Refuse data of another kind.

    Raises:
        Incompatible (RF103): the inputs do not have one of the wanted numbers of dimensions, rows included.
    """
    if data.inputs.ndim not in wanted:
        raise Incompatible(f"{name} is made for {what}, {data.name} has inputs of shape {data.inputs.shape}")
