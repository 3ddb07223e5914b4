"""A sorting network over 64 coordinates at once, compiled. Importing it needs numba and compiles, or loads the cache.

Sorting n numbers for each of a million coordinates is a million small sorts with unpredictable branches. A network
compares in an order that does not depend on the data, so one minimum and one maximum instruction act on a vector of
coordinates, and the order itself is data: one compiled kernel serves every n.

Source: Batcher 1968, AFIPS Spring Joint Computer Conference (odd-even merge); Knuth, TAOCP vol. 3, 5.2.2, Algorithm M.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ringfort.core.values import F32, F64

__all__ = ["network", "trim"]

_TILE = 64
"""Coordinates in step. 16 is 3 to 5 times slower, and 64 rows of n = 1000 still fit a second-level cache."""

_LANES = 16
"""Coordinates per instruction, as far as the code says; the compiler splits them into what the processor has."""


@lru_cache(maxsize=16)
def network(n: int, low: int, high: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """(p, 2) int32 compare-exchanges after which rows low..high-1 hold those ranks of n values, in some order.

    Walking back from the outputs, a comparison is left out when both of its rows are kept, or both are dropped, and
    nothing later looks at either. For the median that is about half of a full sort.
    """
    last_kept = np.zeros(n, dtype=bool)
    last_kept[low:high] = True
    used = np.zeros(n, dtype=bool)
    kept: list[Any] = []
    for one, two in reversed(_stages(n)):
        counts = used[one] | used[two] | (last_kept[one] != last_kept[two])
        stage = np.stack([one[counts], two[counts]], axis=1)
        used[stage] = True
        kept.append(stage)
    pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *reversed(kept)]).astype(np.int32)
    pairs.flags.writeable = False
    return pairs


def _stages(n: int) -> list[tuple[Any, Any]]:
    """Batcher's merge exchange for any n: in each stage no row stands in two comparisons."""
    stages = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            one = (np.arange(k % p, n - k, 2 * k)[:, None] + np.arange(k)).ravel()
            one = one[(one + k < n) & (one // (2 * p) == (one + k) // (2 * p))]
            stages.append((one, one + k))
            k //= 2
        p *= 2
    return stages


def trim(block: F32, k: int, out: F32, share: F64, every: int) -> None:
    """One block's part of `_columns._numpy_trim`, same contract, in machine code and without the interpreter lock.

    Cost: about n log(n)^2 / 4 vector comparisons per 64 coordinates. Memory: n * 64 float32.
    """
    n = len(block)
    pairs = network(n, k, n - k) if k else np.empty((0, 2), dtype=np.int32)
    _trim(np.require(block, requirements="A"), pairs, k, n - k, out, share, every)


def _vectors(context: Any, builder: Any, array_type: Any, array: Any, row: Any, column: Any) -> list[Any]:
    """Pointers to the vectors that make up 64 floats of a row, whatever the distance between the array's rows."""
    struct = context.make_array(array_type)(context, builder, array)
    stride = cgutils.unpack_tuple(builder, struct.strides, 2)[0]
    four = ir.Constant(stride.type, 4)
    offset = builder.add(builder.mul(row, stride), builder.mul(column, four))
    kind = ir.VectorType(ir.FloatType(), _LANES).as_pointer()
    step = 4 * _LANES
    places = (builder.add(offset, ir.Constant(offset.type, at)) for at in range(0, 4 * _TILE, step))
    return [cgutils.pointer_add(builder, struct.data, place, return_type=kind) for place in places]


def _exchange_code(typing: Any, tile: Any, one: Any, two: Any) -> Any:  # noqa: ARG001
    """Tile rows one and two become their minima and maxima. Written out, for no compiler finds it reliably in a loop.

    A select would do, but LLVM turns a select between loaded values into masked stores, which are 3 times slower.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), _LANES)
        kind = ir.FunctionType(vector, [vector, vector])
        names = (f"llvm.{name}.v{_LANES}f32" for name in ("minnum", "maxnum"))
        low, high = (cgutils.get_or_insert_function(builder.module, kind, name) for name in names)
        zero = ir.Constant(args[1].type, 0)
        rows = [_vectors(context, builder, signature.args[0], args[0], row, zero) for row in args[1:]]
        for places in zip(*rows, strict=True):
            values = [builder.load(place, align=4) for place in places]
            for place, function in zip(places, (low, high), strict=True):
                builder.store(builder.call(function, values, fastmath=("nnan", "nsz")), place, align=4)
        return context.get_dummy_value()

    return types.void(tile, types.intp, types.intp), code


def _copy_code(typing: Any, tile: Any, row: Any, block: Any, column: Any) -> Any:  # noqa: ARG001
    """64 floats that lie side by side in a row of the block become a row of the tile."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        tile, row, block, column = args
        zero = ir.Constant(row.type, 0)
        sources = _vectors(context, builder, signature.args[2], block, row, column)
        for source, place in zip(sources, _vectors(context, builder, signature.args[0], tile, row, zero), strict=True):
            builder.store(builder.load(source, align=4), place, align=4)
        return context.get_dummy_value()

    return types.void(tile, types.intp, block, types.intp), code


_exchange = intrinsic(_exchange_code)
_copy = intrinsic(_copy_code)


def _load_loop(tile: Any, block: Any, start: int, width: int) -> None:
    for i in range(len(block)):
        if width == 64 and block.strides[1] == 4:
            _copy(tile, i, block, start)
        else:
            for j in range(width):
                tile[i, j] = block[i, start + j]


def _trim_loop(block: Any, pairs: Any, low: int, high: int, out: Any, share: Any, every: int) -> None:
    """Always over its whole block: with a range of tiles as arguments the loops were 3 times slower."""
    n, d = block.shape
    tile = np.empty((n, 64), dtype=np.float32)
    total = np.empty(64)
    for start in range(0, d, 64):
        width = min(64, d - start)
        _load(tile, block, start, width)
        for p in range(len(pairs)):
            _exchange(tile, pairs[p, 0], pairs[p, 1])
        total[:] = 0
        for i in range(low, high):
            for j in range(64):
                total[j] += tile[i, j]
        for j in range(width):
            out[start + j] = total[j] / (high - low)
        if every:
            for i in range(low + 1, high):
                _exchange(tile, low, i)
            for i in range(low + 1, high - 1):
                _exchange(tile, i, high - 1)
            least, most = tile[low].copy(), tile[high - 1].copy()
            _load(tile, block, start, width)
            for j in range(64):
                if j >= width or (start + j) % every:
                    least[j], most[j] = np.inf, -np.inf
            _count(tile, least, most, low, share)


def _count_loop(tile: Any, least: Any, most: Any, k: int, share: Any) -> None:
    """Onto `share` the places that each row of the tile has between the least and the most value kept.

    Where more rows tie at an edge than there are places, they share them. A column with least > most is passed over.
    """
    n = len(tile)
    zero, one = np.float32(0), np.float32(1)
    inside = np.zeros(64, dtype=np.float32)
    for i in range(n):
        for j in range(64):
            inside[j] += one if (tile[i, j] >= least[j]) & (tile[i, j] <= most[j]) else zero
    for j in range(64):
        if least[j] <= most[j] and inside[j] != n - 2 * k:
            _ties(tile[:, j], least[j], most[j], k, share)
            least[j], most[j] = np.inf, -np.inf
    for i in range(n):
        mine = zero
        for j in range(64):
            mine += one if (tile[i, j] >= least[j]) & (tile[i, j] <= most[j]) else zero
        share[i] += mine


def _ties_loop(column: Any, least: Any, most: Any, k: int, share: Any) -> None:
    n = len(column)
    below = above = at_least = at_most = 0
    for x in column:
        below += x < least
        above += x > most
        at_least += x == least
        at_most += x == most
    one = (below + at_least - k) / at_least if least < most else (n - 2 * k) / at_least
    two = (above + at_most - k) / at_most
    for i in range(n):
        x = column[i]
        if x == least:
            share[i] += one
        elif x == most:
            share[i] += two
        elif x > least and x < most:
            share[i] += 1


def _compiled(function: Any, *signature: Any, **how: Any) -> Any:
    how = {"nogil": True, "error_model": "numpy", **how}
    try:
        return numba.njit(*signature, cache=True, **how)(function)
    except RuntimeError:  # nowhere to write a cache to
        return numba.njit(*signature, **how)(function)


_load = _compiled(_load_loop)
_ties = _compiled(_ties_loop)
_count = _compiled(_count_loop, fastmath={"reassoc", "nsz"})
_any_block = types.Array(types.float32, 2, "A", readonly=True)
_trim = _compiled(
    _trim_loop,
    types.void(
        _any_block,
        types.Array(types.int32, 2, "C", readonly=True),
        types.intp,
        types.intp,
        types.float32[::1],
        types.float64[::1],
        types.intp,
    ),
    fastmath={"reassoc", "nsz"},
)
