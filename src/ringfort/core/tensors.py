"""A model as d float32 numbers under a schema, and its one encoding in bytes: canonical safetensors.

Tensors are ordered by name, so the flat vector *is* the file's data segment: encoding is one copy, decoding none.
For a given schema the safetensors header is a constant. The decoder therefore never parses what a stranger sent: it
compares the header with the expected bytes, and only looks inside to say what differs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ringfort.core.errors import InvalidValue, MalformedUpdate
from ringfort.core.values import F32

__all__ = ["Schema", "digest_of"]

_MAX_DIAGNOSED_BYTES = 1 << 20


def digest_of(data: bytes | memoryview) -> str:
    """The lower-case hexadecimal SHA-256 of `data`; for a model file, what `sha256sum` prints."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Schema:
    """Names and shapes of a model's tensors, all float32, ordered by name.

    Args:
        tensors: (name, shape) pairs, sorted, unique.

    Raises:
        InvalidValue (RF104): no tensor, a name twice, a negative size, or safetensors' one reserved name.

    >>> Schema.of({"weight": (2, 3), "bias": (2,)}).d
    8
    """

    tensors: tuple[tuple[str, tuple[int, ...]], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.tensors]
        if not names or names != sorted(set(names)):
            raise InvalidValue("a schema needs at least one tensor, each name once, in sorted order")
        if "__metadata__" in names:
            raise InvalidValue("a tensor cannot be called '__metadata__': safetensors keeps that name for itself")
        if any(size < 0 for _, shape in self.tensors for size in shape):
            raise InvalidValue("a tensor's sizes cannot be negative")

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Schema:
        """The schema of these named shapes, in any order."""
        return cls(tuple(sorted((name, tuple(shape)) for name, shape in shapes.items())))

    @cached_property
    def d(self) -> int:
        """The number of parameters."""
        return sum(math.prod(shape) for _, shape in self.tensors)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each tensor lies in the flat vector."""
        out, start = {}, 0
        for name, shape in self.tensors:
            out[name] = slice(start, start + math.prod(shape))
            start = out[name].stop
        return out

    @cached_property
    def header(self) -> bytes:
        """The safetensors header, length prefix included: the same bytes that the safetensors library writes."""
        entries = {
            name: {"dtype": "F32", "shape": list(shape), "data_offsets": [4 * part.start, 4 * part.stop]}
            for (name, shape), part in zip(self.tensors, self.slices.values(), strict=True)
        }
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @cached_property
    def digest(self) -> str:
        """Names this schema."""
        return digest_of(self.header)

    @property
    def encoded_bytes(self) -> int:
        """The exact size of every encoded vector."""
        return len(self.header) + 4 * self.d

    def encode(self, flat: F32) -> bytes:
        """One copy: header and little-endian float32 data."""
        if flat.shape != (self.d,) or flat.dtype != np.float32:
            raise InvalidValue(f"expected ({self.d},) float32, got {flat.shape} {flat.dtype}")
        return self.header + np.ascontiguousarray(flat).astype("<f4", copy=False).tobytes()

    def decode(self, body: bytes | memoryview) -> F32:
        """A read-only (d,) view of the bytes, without a copy. Values may be NaN: the gate checks.

        Raises:
            MalformedUpdate (RF201): any other size or header; the message says which tensor differs.
        """
        head = len(self.header)
        if len(body) != self.encoded_bytes or bytes(body[:head]) != self.header:
            raise MalformedUpdate(*self._difference(body))
        flat: F32 = np.frombuffer(body, dtype="<f4", offset=head).astype(np.float32, copy=False)
        flat.flags.writeable = False
        return flat

    def views(self, flat: F32) -> dict[str, F32]:
        """The named tensors as views into the flat vector."""
        return {name: flat[self.slices[name]].reshape(shape) for name, shape in self.tensors}

    def _difference(self, body: bytes | memoryview) -> tuple[str, str]:
        """As (reason, sentence), what keeps `body` from being this schema's encoding. Echoes only names we know."""
        size = f"expected {self.encoded_bytes} bytes, got {len(body)}"
        if len(body) < 8:
            return "size", size
        length = int.from_bytes(bytes(body[:8]), "little")
        if length > min(len(body) - 8, _MAX_DIAGNOSED_BYTES):
            return "size", f"the tensor header's length is impossible: {size}"
        try:
            pairs = json.loads(bytes(body[8 : 8 + length]), object_pairs_hook=list)
            found = {str(name): dict(entry) for name, entry in pairs}
        except (ValueError, TypeError, RecursionError):
            return "header", "the tensor header is not safetensors JSON"
        if len(found) != len(pairs):
            return "keys", "a tensor is named twice"
        wanted = dict(self.tensors)
        missing = sorted(set(wanted) - set(found))
        extra = len(set(found) - set(wanted))
        if missing or extra:
            return "keys", f"tensors missing: {missing or 'none'}, unknown: {extra}"
        for name, shape in self.tensors:
            if found[name].get("dtype") != "F32":
                return "dtype", f"{name} must be float32"
            if found[name].get("shape") != list(shape):
                return "shape", f"{name} must be {shape}"
        if len(body) != self.encoded_bytes:
            return "size", size
        return "layout", "tensors must be packed in the order of their names, without metadata"
