"""Rows that are there twice, exactly or nearly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ringfort.client.sanitise.check import Signs, flat, need_dimensions, quiet
from ringfort.core.checks import fraction, whole
from ringfort.core.dataset import Dataset
from ringfort.core.tensors import digest_of
from ringfort.core.values import F32, F64, I64

__all__ = ["ExactDuplicates", "NearDuplicateImages", "NearDuplicates", "row_digests"]

U64 = NDArray[np.uint64]

_BLOCK: Final = 1_024
_BAND_BITS: Final = 16


def row_digests(data: Dataset, *, labels: bool) -> NDArray[np.bytes_]:
    """(N,) SHA-256 of each row's input, and of its label and owner if `labels`."""
    rows = flat(np.ascontiguousarray(data.inputs))
    found = np.empty(len(data), dtype="S64")
    for i, row in enumerate(rows):
        owner = "" if data.owners is None else str(data.owners[i])
        found[i] = digest_of(row.tobytes() + (f"\n{data.labels[i]}\n{owner}".encode() if labels else b"")).encode()
    return found


@dataclass(frozen=True, slots=True)
class ExactDuplicates:
    """Exact duplicates: inputs that are equal bit for bit.

    The policy: of copies with one label the first stays and the others are suspicious. Copies with different labels are
    all suspicious, since nobody can tell which label is right.

    Guarantees: every copy is found, by SHA-256.

    Does not protect against: copies that differ in one bit (`NearDuplicateImages`, `NearDuplicates`). Tables of few
        whole numbers hold equal rows honestly: leave the check out there.

    Cost: one SHA-256 of the data.
    """

    name: ClassVar[str] = "exact-duplicates"

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: how many other rows are equal."""
        _, groups = np.unique(row_digests(data, labels=False), return_inverse=True)
        return _in_groups(groups.astype(np.int64), data.labels, "an exact copy of {} other row(s)")


@dataclass(frozen=True, slots=True)
class NearDuplicateImages:
    """Near duplicates among images: 64-bit average hashes that differ in few bits, and pixels that agree.

    The hash asks of each cell of an 8x8 grid whether it is brighter than the picture's mean. Simple pictures share
    hashes honestly, so that two pictures must also correlate. Policy as for exact duplicates; of a chain of near
    duplicates one stays.

    Args:
        bits: largest Hamming distance, 0 to 3. 3 is usual.
        correlation: smallest correlation of the pixels, in [0, 1]; 0 trusts the hash alone.

    Guarantees: every pair within `bits` and `correlation` is found.

    Does not protect against: crops, rotations, mirror images.

    Cost: one pass over the pixels, and one comparison per pair that shares 16 bits of the hash.

    Source: the average hash, as in the library ImageHash; search by bands: Manku et al. 2007 (WWW).
    """

    bits: int
    correlation: float
    name: ClassVar[str] = "near-duplicate-images"

    def __post_init__(self) -> None:
        whole(0, 3, bits=self.bits)
        fraction(correlation=self.correlation)

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: how many near copies a row's group holds beside it."""
        need_dimensions(self.name, data, (4,), "images (N, channels, H, W)")
        grey = np.nan_to_num(data.floats(), posinf=0, neginf=0).mean(axis=1)
        units = _units(flat(grey))
        groups = _Groups(len(data))
        hashes = average_hashes(grey)
        for band in range(64 // _BAND_BITS):
            keys = (hashes >> np.uint64(band * _BAND_BITS)) & np.uint64((1 << _BAND_BITS) - 1)
            for bucket in _buckets(keys):
                self._pairs(bucket, hashes, units, groups)
        return _in_groups(groups.names(), data.labels, "nearly a copy of {} other row(s)")

    def _pairs(self, bucket: I64, hashes: U64, units: F32, groups: _Groups) -> None:
        for start in range(0, len(bucket), _BLOCK):
            some = bucket[start : start + _BLOCK]
            near = np.bitwise_count(hashes[some, None] ^ hashes[bucket]) <= self.bits
            left, right = np.nonzero(near & (some[:, None] < bucket))
            if self.correlation and len(left):
                alike = np.einsum("ij,ij->i", units[some[left]], units[bucket[right]]) >= self.correlation
                left, right = left[alike], right[alike]
            groups.join(some[left], bucket[right])


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Near duplicates among rows of any kind: cosines of the centred, flattened inputs.

    Policy as for exact duplicates; of a chain of near duplicates one stays.

    Args:
        cosine: smallest cosine of two near duplicates, in [0, 1]. 0.9999 finds rounding; word counts bear
            0.95.

    Guarantees: every pair is found.

    Does not protect against: copies that were shifted or scaled feature by feature.

    Cost: one product of the data with their transpose, 1,024 rows at a time.
    """

    cosine: float
    name: ClassVar[str] = "near-duplicates"

    def __post_init__(self) -> None:
        fraction(cosine=self.cosine)

    def __call__(self, data: Dataset, /) -> Signs:
        """Score: how many near copies a row's group holds beside it."""
        if not len(data):
            return quiet(0)
        rows = flat(np.nan_to_num(data.floats(), posinf=0, neginf=0))
        spread = rows.std(axis=0)
        units = _units((rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1))
        groups = _Groups(len(data))
        everybody = np.arange(len(data))
        for start in range(0, len(data), _BLOCK):
            some = everybody[start : start + _BLOCK]
            near = (units[some] @ units.T >= self.cosine) & (some[:, None] < everybody)
            left, right = np.nonzero(near)
            groups.join(some[left], right.astype(np.int64))
        return _in_groups(groups.names(), data.labels, "nearly a copy of {} other row(s)")


def average_hashes(grey: F32) -> U64:
    """(N,) 64-bit average hashes of (N, H, W) pictures. Smaller sides than 8 repeat their pixels."""
    n, height, width = grey.shape
    rows, columns = (np.arange(8) * side // 8 for side in (height, width))
    sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=1), columns, axis=2)
    sizes = [np.maximum(np.diff(np.append(at, side)), 1) for at, side in ((rows, height), (columns, width))]
    cells = (sums / (sizes[0][:, None] * sizes[1])).reshape(n, 64)
    bits = cells > cells.mean(axis=1, keepdims=True)
    hashes: U64 = (bits.astype(np.uint64) << np.arange(64, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    return hashes


def _units(rows: F32) -> F32:
    """Rows less their own mean, of length one; a constant row becomes zero."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    units: F32 = centred / np.where(lengths > 0, lengths, 1)
    return units


def _buckets(keys: U64) -> list[I64]:
    """The rows that share a key, for every key of two rows or more."""
    order = np.argsort(keys, kind="stable")
    cuts = np.flatnonzero(np.diff(keys[order])) + 1
    return [np.sort(part).astype(np.int64) for part in np.split(order, cuts) if len(part) > 1]


class _Groups:
    """Union-find over row numbers."""

    def __init__(self, n_rows: int) -> None:
        self._parent = list(range(n_rows))

    def join(self, left: I64, right: I64) -> None:
        """Put each left row into one group with its right row."""
        for one, two in zip(left.tolist(), right.tolist(), strict=True):
            a, b = self._root(one), self._root(two)
            self._parent[max(a, b)] = min(a, b)

    def names(self) -> I64:
        """(N,) the first row of each row's group."""
        return np.array([self._root(row) for row in range(len(self._parent))], dtype=np.int64)

    def _root(self, row: int) -> int:
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row


def _in_groups(groups: I64, labels: I64, note: str) -> Signs:
    """Signs of rows in groups of copies: all but the first, or all if their labels differ."""
    _, first, inverse, counts = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    others: F64 = (counts[inverse] - 1).astype(np.float64)
    differ = labels != labels[first[inverse]]
    torn = np.zeros(len(counts), dtype=np.bool_)
    torn[inverse[differ]] = True
    notes = {}
    for row in np.flatnonzero(others):
        if torn[inverse[row]]:
            notes[int(row)] = f"{note.format(int(others[row]))}, and their labels differ: none is kept"
        elif row != first[inverse[row]]:
            notes[int(row)] = f"{note.format(int(others[row]))}: one is kept"
    return Signs(others, notes)
