"""Named arrays as bytes: one canonical CBOR map of name -> [dtype, shape, raw little-endian bytes]. No pickle."""

from __future__ import annotations

import math
from typing import Any, Final

import cbor2
import numpy as np
from numpy.typing import NDArray

from ringfort.core.context import Memory
from ringfort.core.errors import BadCheckpoint
from ringfort.core.wire import plain_cbor

__all__ = ["decode_arrays", "encode_arrays"]

_DTYPES: Final = ("<f4", "<f8", "<i4", "<i8", "<u4", "<u8", "|b1", "|u1")


def encode_arrays(arrays: Memory) -> bytes:
    """Equal arrays give equal bytes; no arrays give none.

    >>> decode_arrays(encode_arrays({"a": np.arange(3)}))["a"]
    array([0, 1, 2])
    """
    if not arrays:
        return b""
    fields: dict[str, list[Any]] = {}
    for name, values in arrays.items():
        plain = np.asarray(values).astype(np.asarray(values).dtype.newbyteorder("<"), copy=False)
        if plain.dtype.str not in _DTYPES:
            raise TypeError(f"cannot save {name!r}: dtype {plain.dtype} is not a plain number")
        fields[name] = [plain.dtype.str, list(plain.shape), plain.tobytes()]
    return cbor2.dumps(fields, canonical=True)


def decode_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Read-only arrays, as they were saved.

    Raises:
        BadCheckpoint (RF702): not such a map.
    """
    if not data:
        return {}
    out: dict[str, NDArray[Any]] = {}
    try:
        for name, (dtype, shape, raw) in plain_cbor(data, depth=4).items():
            plain = type(name) is str and dtype in _DTYPES and type(shape) is list and type(raw) is bytes
            if not plain or any(type(size) is not int or size < 0 for size in shape):
                raise ValueError(name)
            if len(raw) != math.prod(shape) * np.dtype(dtype).itemsize or (dtype == "|b1" and raw.strip(b"\0\1")):
                raise ValueError(name)
            out[name] = np.frombuffer(raw, dtype=dtype).reshape(shape)
    except Exception as error:  # the decoder's own errors, and whatever hostile bytes make it raise
        raise BadCheckpoint("a saved memory is not a map of plain arrays") from error
    return out
