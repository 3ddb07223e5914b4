"""What rows must look like: dtype, shape, ranges, labels, missing values, rows per class."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import tomli_w
from numpy.typing import NDArray

from ringfort.client.sanitise.check import Signs
from ringfort.client.sanitise.check import flat as flattened
from ringfort.core.checks import at_least, fraction, whole
from ringfort.core.dataset import Dataset
from ringfort.core.errors import DataUnavailable, InvalidValue, UnknownName

__all__ = ["Specification"]

_DTYPES: Final = ("uint8", "float32")


@dataclass(frozen=True, slots=True)
class Specification:
    """Schema and ranges: rows outside the ranges, or with too many missing values, are suspicious.

    Args:
        dtype: "uint8" or "float32".
        shape: of one input.
        classes: the labels' names, in label order.
        lows: smallest value: one number for all, or one per number of a row.
        highs: largest value, likewise.
        null_fraction: largest share of a row that may be missing (NaN), in [0, 1].
        class_floor: rows that each class must have, at least; 0 asks for none.

    Guarantees: infinities are always suspicious. Bounds are closed. Another dtype, shape or label set, or a class under
        its floor, is no single row's fault: it is a problem that asks for a person, whatever `max_set_aside` is.

    Does not protect against: wrong values inside the ranges, wrong labels.

    Cost: one pass over the data.
    """

    dtype: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    null_fraction: float
    class_floor: int
    name: ClassVar[str] = "specification"

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise UnknownName.of("dtype", self.dtype, _DTYPES)
        for side in self.shape:
            whole(0, shape=side)
        if not self.classes or not all(isinstance(c, str) for c in self.classes):
            raise InvalidValue("classes must be one or more names")
        width = math.prod(self.shape)
        for bound, values in (("lows", self.lows), ("highs", self.highs)):
            if len(values) not in (1, width):
                raise InvalidValue(f"{bound} must be one number, or one for each of the {width} numbers of a row")
            for value in values:
                at_least(-math.inf, **{bound: value})
        if not np.all(np.array(self.lows) <= np.array(self.highs)):
            raise InvalidValue("a low bound lies above its high bound")
        fraction(null_fraction=self.null_fraction)
        whole(0, class_floor=self.class_floor)

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: the share of a row's numbers that are outside their range, infinite, or missing beyond the allowed."""
        if unlike := self._unlike(data):
            return Signs(np.zeros(len(data)), {}, unlike)
        flat = flattened(np.ascontiguousarray(data.inputs))
        missing = np.isnan(flat)
        with np.errstate(invalid="ignore"):
            outside = (
                (flat < np.array(self.lows, np.float32)) | (flat > np.array(self.highs, np.float32)) | np.isinf(flat)
            )
        width = max(1, flat.shape[1])
        out, null = outside.sum(axis=1), missing.sum(axis=1)
        holey = null > self.null_fraction * width
        notes = {
            int(row): "; ".join(
                [f"{out[row]} of its {width} numbers are outside their range"] * bool(out[row])
                + [f"{null[row]} of its {width} numbers are missing"] * bool(holey[row])
            )
            for row in np.flatnonzero((out > 0) | holey)
        }
        return Signs((out + np.where(holey, null, 0)) / width, notes, self._too_few(data))

    def _unlike(self, data: Dataset) -> tuple[str, ...]:
        found = (data.inputs.dtype.name, data.input_shape, data.classes)
        wanted = (self.dtype, self.shape, self.classes)
        return tuple(
            f"the data do not meet their specification: {what} is {_short(seen)}, not {_short(asked)}"
            for what, seen, asked in zip(("dtype", "shape", "classes"), found, wanted, strict=True)
            if seen != asked
        )

    def _too_few(self, data: Dataset) -> tuple[str, ...]:
        held = np.bincount(data.labels, minlength=len(self.classes))
        return tuple(
            f"class {self.classes[c]!r} has {held[c]} rows, its specification asks for {self.class_floor}"
            for c in np.flatnonzero(held < self.class_floor)
        )

    @classmethod
    def learn(cls, data: Dataset, margin: float) -> Specification:
        """The tightest specification that audited data meet, with wider ranges.

        Tables (one axis) get a range per column, all else one range. Missing values are allowed as far as the worst row
        has them; no class floor is learnt.

        Args:
            data: audited rows, one or more.
            margin: both ends of a range of floats move out by this share of its width, >= 0. Pixels keep 0 to 255.
        """
        at_least(0, margin=margin)
        if not len(data):
            raise InvalidValue("a specification is not learnt from no rows")
        flat = flattened(data.inputs)
        if flat.dtype == np.uint8:
            lows, highs, null = np.array([0.0]), np.array([255.0]), 0.0
        else:
            finite: NDArray[Any] = np.where(np.isfinite(flat), flat, np.nan).astype(np.float64)
            null = float(np.isnan(flat).mean(axis=1).max())
            if np.isnan(finite).all(axis=0).any():
                raise InvalidValue("a column without a single finite number has no range to learn")
            axis = 0 if len(data.input_shape) == 1 else None
            lows, highs = np.atleast_1d(np.nanmin(finite, axis=axis)), np.atleast_1d(np.nanmax(finite, axis=axis))
            lows, highs = lows - margin * (highs - lows), highs + margin * (highs - lows)
            lows = np.nextafter(lows.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
            highs = np.nextafter(highs.astype(np.float32), np.float32(np.inf)).astype(np.float64)
        return cls(
            data.inputs.dtype.name,
            data.input_shape,
            data.classes,
            tuple(lows.tolist()),
            tuple(highs.tolist()),
            null,
            0,
        )

    def to_toml(self) -> str:
        """As a file that `read` reads."""
        return tomli_w.dumps(asdict(self))

    @classmethod
    def read(cls, path: Path) -> Specification:
        """A specification from a .toml or .json file: exactly the keys of the arguments above.

        Raises:
            DataUnavailable (RF106): no such file. InvalidValue (RF104), UnknownName (RF101): not a specification.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataUnavailable(f"cannot read the specification {path}: {error}") from error
        try:
            value = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidValue(f"{path} is neither TOML nor, with that ending, JSON: {error}") from error
        return cls.of(value)

    @classmethod
    def of(cls, value: object) -> Specification:
        """A specification from plain values.

        Raises:
            InvalidValue (RF104), UnknownName (RF101): a key is missing, unknown or of another type.
        """
        if not isinstance(value, dict):
            raise InvalidValue("a specification is a table of keys")
        known = [field.name for field in fields(cls)]
        for key in value:
            if key not in known:
                raise UnknownName.of("key of a specification", key, known)
        missing = [key for key in known if key not in value]
        if missing:
            raise InvalidValue(f"the specification lacks {', '.join(missing)}: nothing has a default")
        for key in ("shape", "classes", "lows", "highs"):
            if not isinstance(value[key], list | tuple):
                raise InvalidValue(f"{key} must be a list")
        if not isinstance(value["dtype"], str):
            raise InvalidValue("dtype must be a name")
        return cls(
            value["dtype"],
            tuple(value["shape"]),
            tuple(value["classes"]),
            tuple(value["lows"]),
            tuple(value["highs"]),
            value["null_fraction"],
            value["class_floor"],
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
