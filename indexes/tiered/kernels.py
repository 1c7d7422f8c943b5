"""Numeric kernels of the tiered index: plain functions over arrays, compiled by numba on first use.

Arrays are C-contiguous and of the dtype that a docstring names; nothing is checked here, callers do.
Kernels release the GIL, allocate nothing and give the same bits in every run. Machine code is kept
beside the package (or in ``NUMBA_CACHE_DIR``): only the first use on a machine compiles.

Codes are those of RaBitQ (Gao and Long, SIGMOD 2024; Gao et al., SIGMOD 2025), kept as bit planes:
of each word those of all vectors of a list, so that one instruction works on several vectors.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import carray
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = [
    "COSTS",
    "LAYOUT_COLUMNS",
    "LIST_COLUMNS",
    "PAGE_BYTES",
    "SEGMENT_COLUMNS",
    "WORD",
    "block_bytes",
    "encode",
    "half_dot",
    "keep_nearest",
    "list_of",
    "nearest_lists",
    "offer",
    "order_places",
    "place_codes",
    "quantize_query",
    "rotate",
    "scan",
    "scan_weights",
    "search",
    "sort_heap",
]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U64 = NDArray[np.uint64]

WORD = 64
"""Dimensions in a word of a bit plane."""

_STEPS = 13
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Machine code without the interpreter, kept on disk."""
    return cast(_Function, numba.njit(nogil=True, cache=True)(function))


def _summing(function: _Function) -> _Function:
    """The same, sums taken in whatever order is fastest; the order is fixed when it is compiled."""
    options = {"nogil": True, "cache": True, "fastmath": {"reassoc", "contract", "nsz"}}
    return cast(_Function, numba.njit(**options)(function))


@intrinsic  # type: ignore[misc]
def _popcount(_context: Any, _word: Any) -> Any:
    """Bits set in a word: one instruction where the processor has it, for eight words at a time."""

    def code(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), code


@intrinsic  # type: ignore[misc]
def _half(_context: Any, _bits: Any) -> Any:
    """The value of a float16 given as its bits."""
    from llvmlite import ir

    def code(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), code


@intrinsic  # type: ignore[misc]
def _prefetch(_context: Any, _address: Any) -> Any:
    """Ask for a line of memory that is needed soon."""
    from llvmlite import ir

    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        to_read, once_more, data = (ir.Constant(word, value) for value in (0, 3, 1))
        address = builder.inttoptr(arguments[0], pointer)
        builder.call(fetch, [address, to_read, once_more, data])
        return context.get_dummy_value()

    return types.void(types.int64), code


def _pointer_to(kind: Any) -> Any:
    """An address as a pointer, for `carray`."""

    @intrinsic  # type: ignore[misc]
    def pointer(_context: Any, _address: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            target = context.get_value_type(signature.return_type)
            return builder.inttoptr(arguments[0], target)

        return types.CPointer(kind)(types.int64), code

    return pointer


_f32_at, _u16_at, _i32_at = (_pointer_to(kind) for kind in (types.float32, types.uint16, types.int32))
_i64_at, _u64_at = _pointer_to(types.int64), _pointer_to(types.uint64)

# Of the C library, called without the interpreter. Where a system lacks them nothing is announced:
# pages are then read one after the other as they are touched.
_ANNOUNCES = sys.platform.startswith("linux")
_mincore = types.ExternalFunction("mincore", types.int32(types.intp, types.intp, types.intp))
_madvise = types.ExternalFunction("madvise", types.int32(types.intp, types.intp, types.int32))
_WILL_NEED = 3


# Rotation ---------------------------------------------------------------------------------


@_compiled
def rotate(rows: F32, signs: F32) -> None:
    """Rotate rows in place by a random orthogonal matrix that is never written down.

    Each round flips signs, applies a Hadamard transform to the first or the last power of two of
    the dimensions, and, where they are no power of two, mixes both halves. O(dim log dim) a row.

    Args:
        rows: (n, dim) f32, dim a multiple of 64.
        signs: (rounds, dim) f32 of -1 and 1.
    """
    dim = rows.shape[1]
    width = 1
    while 2 * width <= dim:
        width *= 2
    half, scale, mix = dim // 2, np.float32(1 / math.sqrt(width)), np.float32(math.sqrt(0.5))
    for place in range(rows.shape[0]):
        row = rows[place]
        for turn in range(signs.shape[0]):
            for column in range(dim):
                row[column] *= signs[turn, column]
            start = 0 if turn % 2 == 0 else dim - width
            _hadamard(row[start : start + width])
            for column in range(start, start + width):
                row[column] *= scale
            if width != dim:
                for column in range(half):
                    first, second = row[column], row[column + half]
                    row[column] = (first + second) * mix
                    row[column + half] = (first - second) * mix


@_compiled
def _hadamard(row: F32) -> None:
    """Unscaled Walsh-Hadamard transform in place; the length is a power of two."""
    step = 1
    while step < row.shape[0]:
        for start in range(0, row.shape[0], 2 * step):
            for place in range(start, start + step):
                first, second = row[place], row[place + step]
                row[place] = first + second
                row[place + step] = first - second
        step *= 2


# Coding -----------------------------------------------------------------------------------


@_compiled
def encode(residuals: F32, bits: int, codes: U8, scales: F32, cosines: F32) -> None:
    """Codes of rotated residuals: with y = code - (2^bits - 1) / 2, <r, q> is about scale * <y, q>.

    One bit is the sign. More bits are levels of a uniform quantizer whose step is the one, of
    thirteen, that points y most nearly along r. The estimate is unbiased over rotations; its error
    has a standard deviation of at most |r| |q| sqrt(1 / cosine^2 - 1) / sqrt(dim - 1).

    Args:
        residuals: (n, dim) f32.
        bits: 1 to 8.
        codes: (n, dim) u8, written.
        scales: (n,) f32, written; 0 for a residual of length 0.
        cosines: (n,) f32, written: between r and y; 1 for a residual of length 0.
    """
    dim = residuals.shape[1]
    levels = 1 << bits
    middle = np.float32(levels - 1) / np.float32(2)
    for place in range(residuals.shape[0]):
        row = residuals[place]
        square = np.float64(0)
        for column in range(dim):
            square += np.float64(row[column]) * np.float64(row[column])
        if square == 0:
            scales[place], cosines[place] = np.float32(0), np.float32(1)
            for column in range(dim):
                codes[place, column] = 0
            continue
        best, chosen = np.float64(-1), np.float32(0)
        usual = math.sqrt(dim / square) / _STEP[bits]
        for step in range(1 if bits == 1 else _STEPS):
            factor = np.float32(usual * (0.7 + 0.05 * step))
            dot, length = _along(row, factor, levels, middle)
            if dot > 0 and dot * dot / length > best:
                best, chosen = dot * dot / length, factor
        dot, _ = _along(row, chosen, levels, middle)
        for column in range(dim):
            codes[place, column] = _level(row[column], chosen, levels)
        scales[place] = np.float32(square / dot)
        cosines[place] = np.float32(math.sqrt(best / square))


# Steps of the best uniform quantizer of a normal variable, in standard deviations, by bits
# (Max, 1960, "Quantizing for minimum distortion"; fine ones by the same rule).
_STEP = np.array([0, 1, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308])


@_compiled
def _level(value: float, factor: float, levels: int) -> int:
    level = math.floor(value * factor + np.float32(levels // 2))
    return min(max(int(level), 0), levels - 1)


@_compiled
def _along(row: F32, factor: float, levels: int, middle: float) -> tuple[float, float]:
    """<r, y> and |y|^2 at a step."""
    dot, length = np.float32(0), np.float32(0)
    for column in range(row.shape[0]):
        y = np.float32(_level(row[column], factor, levels)) - middle
        dot += row[column] * y
        length += y * y
    return dot, length


# Scan -------------------------------------------------------------------------------------


@_compiled
def quantize_query(query: F32, bits: int, planes: U64) -> tuple[float, float]:
    """A rotated query as levels v, so that q is about step * (v - (2^bits - 1) / 2), in bit planes.

    Args:
        query: (dim,) f32.
        bits: of a level.
        planes: (bits + 1, dim / 64) u64, written; the last is all ones, which counts codes.

    Returns:
        The step, and the sum of all levels.
    """
    dim = query.shape[0]
    levels = 1 << bits
    largest = np.float32(0)
    for column in range(dim):
        largest = max(largest, abs(query[column]))
    step = largest * 2 / levels if largest > 0 else np.float32(1)
    total = 0
    for word in range(dim // WORD):
        for bit in range(bits):
            planes[bit, word] = 0
        planes[bits, word] = np.uint64(0xFFFFFFFFFFFFFFFF)
        for column in range(WORD):
            level = _level(query[word * WORD + column], 1 / step, levels)
            total += level
            for bit in range(bits):
                planes[bit, word] |= np.uint64((level >> bit) & 1) << np.uint64(column)
    return step, np.float32(total)


@_compiled
def scan_weights(step: float, total: float, dim: int, bits: int, query_bits: int, out: F32) -> None:
    """What turns counts of bits into <y, q>.

    Args:
        step: of the query's levels.
        total: sum of its levels.
        dim: of code and query.
        bits: of a code.
        query_bits: of a level.
        out: (3,) f32, written: of the weighted count, of the code's own sum, and what is added.
    """
    middle, middle_of_query = np.float32((1 << bits) - 1) / 2, np.float32((1 << query_bits) - 1) / 2
    out[0] = step
    out[1] = -step * middle_of_query
    out[2] = step * middle * (dim * middle_of_query - total)


_PLANES = 4  # of a query that one pass over the codes looks at


@_compiled
def scan(
    planes: U64, query: U64, bits: int, query_bits: int, weights: F32, counts: U64, dots: F32
) -> None:
    """<y, q> of every code of a list; see `encode`, `quantize_query` and `scan_weights`.

    Two words of all codes at a time: an instruction then works on several codes, and the counts
    are loaded and stored half as often.

    Args:
        planes: (bits * words * n,) u64: of each bit of a code, of each word, all n codes.
        query: (query_bits + 1, words) u64.
        bits: of a code.
        query_bits: of a level of the query, 4 or 8.
        weights: (3,) f32.
        counts: (2, at least n) u64, scratch.
        dots: (n,) f32, written.
    """
    n, words = dots.shape[0], query.shape[1]
    for place in range(n):
        counts[0, place] = 0
        counts[1, place] = 0
    shared, own = counts[0, :n], counts[1, :n]
    for bit in range(bits):
        for first in range(0, query_bits, _PLANES):
            for word in range(0, words, 2):
                start = (bit * words + word) * n
                one, other = planes[start : start + n], planes[start : start + n]
                one_query, other_query = query[first : first + _PLANES, word], query[:_PLANES, word]
                if word + 1 < words:
                    other = planes[start + n : start + 2 * n]
                    other_query = query[first : first + _PLANES, word + 1]
                paired = np.uint64(word + 1 < words)
                _count(
                    one, other, one_query, other_query, paired, bit + first, shared,
                    np.uint64(first == 0) << np.uint64(bit), own,
                )  # fmt: skip
    for place in range(n):
        shared_count = np.float32(np.int64(shared[place]))
        own_count = np.float32(np.int64(own[place]))
        dots[place] = weights[0] * shared_count + weights[1] * own_count + weights[2]


@_compiled
def _count(
    one: U64, other: U64, one_query: U64, other_query: U64, paired: int, shift: int, shared: U64,
    own_weight: int, own: U64,
) -> None:  # fmt: skip
    """Add the bits that two words of each code share with four planes of a query, and their own."""
    a0, a1, a2, a3 = one_query[0], one_query[1], one_query[2], one_query[3]
    mask = np.uint64(0) - paired  # without a second word its bits count for nothing
    b0, b1, b2, b3 = (
        other_query[0] & mask, other_query[1] & mask, other_query[2] & mask, other_query[3] & mask,
    )  # fmt: skip
    step = np.uint64(shift)
    for place in range(shared.shape[0]):
        a, b = one[place], other[place]
        found = (
            _popcount(a & a0) + _popcount(b & b0)
            + ((_popcount(a & a1) + _popcount(b & b1)) << np.uint64(1))
            + ((_popcount(a & a2) + _popcount(b & b2)) << np.uint64(2))
            + ((_popcount(a & a3) + _popcount(b & b3)) << np.uint64(3))
        )  # fmt: skip
        shared[place] += found << step
        own[place] += own_weight * (_popcount(a) + _popcount(b & mask))


# Heaps ------------------------------------------------------------------------------------


@_compiled
def offer(distances: F32, places: NDArray[np.int64], size: int, distance: float, place: int) -> int:
    """Offer a candidate to a heap that keeps the nearest, the farthest of them on top.

    Equal distances keep the lower place, so that the order of offers does not matter.

    Args:
        distances: (capacity,) f32.
        places: (capacity,) i64.
        size: candidates in it.
        distance: of the one offered.
        place: of the one offered.

    Returns:
        The new size. O(log capacity).
    """
    capacity = distances.shape[0]
    if size < capacity:
        child = size
        while child > 0:
            parent = (child - 1) // 2
            if not _farther(distance, place, distances[parent], places[parent]):
                break
            distances[child], places[child] = distances[parent], places[parent]
            child = parent
        distances[child], places[child] = distance, place
        return size + 1
    if _farther(distances[0], places[0], distance, place):
        _sink(distances, places, capacity, distance, place)
    return size


@_compiled
def _farther(one: float, place: int, other: float, other_place: int) -> bool:
    return one > other or (one == other and place > other_place)


@_compiled
def _sink(
    distances: F32, places: NDArray[np.int64], size: int, distance: float, place: int
) -> None:
    """Put a candidate on top and let it sink to where it belongs."""
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        if child + 1 < size and _farther(
            distances[child + 1], places[child + 1], distances[child], places[child]
        ):
            child += 1
        if not _farther(distances[child], places[child], distance, place):
            break
        distances[parent], places[parent] = distances[child], places[child]
        parent = child
    distances[parent], places[parent] = distance, place


@_compiled
def sort_heap(distances: F32, places: NDArray[np.int64], size: int) -> None:
    """Put the first ``size`` candidates of a heap in order, nearest first."""
    for last in range(size - 1, 0, -1):
        distance, place = distances[last], places[last]
        distances[last], places[last] = distances[0], places[0]
        _sink(distances, places, last, distance, place)


# Candidates -------------------------------------------------------------------------------


_BUCKETS = 64


@_compiled
def keep_nearest(distances: F32, bounds: F32, places: I64, size: int, wanted: int) -> float:
    """Bring the ``wanted`` nearest of ``size`` candidates to the front, in their order.

    By a histogram: to compare random numbers costs a mispredicted branch each, to count them does
    not. Only those in the one bucket that the border runs through are compared. Of equal distances
    the first stay. O(size), and the square of that bucket.

    Args:
        distances: (at least size,) f32, by which they are chosen; all finite.
        bounds: (at least size,) f32, moved along; or empty.
        places: (at least size,) i64, moved along.
        size: candidates, at least ``wanted``.
        wanted: how many to keep, at least 1.

    Returns:
        The distance of the farthest kept.
    """
    least, most = distances[0], distances[0]
    for entry in range(size):
        least = min(least, distances[entry])
        most = max(most, distances[entry])
    if size == wanted:
        return most
    scale = np.float32(0)
    if least < most:
        scale = np.float32(_BUCKETS - 1) / (most - least)
    counts = np.zeros(_BUCKETS, dtype=np.int64)
    for entry in range(size):
        counts[int((distances[entry] - least) * scale)] += 1
    border, before = 0, 0
    while before + counts[border] < wanted:
        before += counts[border]
        border += 1
    edge, edges = np.empty(counts[border] + 1, dtype=np.float32), 0
    for entry in range(size):
        edge[edges] = distances[entry]
        edges += int((distances[entry] - least) * scale) == border
    limit, ties = _of_rank(edge[:edges], wanted - before)
    kept = 0
    for entry in range(size):
        distance = distances[entry]
        tied = distance == limit
        distances[kept], places[kept] = distance, places[entry]
        if bounds.shape[0] > 0:
            bounds[kept] = bounds[entry]
        kept += (distance < limit) | (tied & (ties > 0))
        ties -= tied
        if kept == wanted:
            break
    return limit


@_compiled
def _of_rank(values: F32, rank: int) -> tuple[float, int]:
    """The value of a rank, from 1 on, and how many that equal it rank no higher; sorts them."""
    for end in range(1, values.shape[0]):
        value, at = values[end], end
        while at > 0 and values[at - 1] > value:
            values[at] = values[at - 1]
            at -= 1
        values[at] = value
    found, equal = values[rank - 1], 1
    while equal < rank and values[rank - 1 - equal] == found:
        equal += 1
    return found, equal


@_compiled
def order_places(distances: F32, bounds: F32, places: I64, size: int, order: I64) -> int:
    """Candidates in order of their places; of those with the same place one, at its best.

    Args:
        distances: (at least size,) f32; of candidates with the same place the lower counts.
        bounds: (at least size,) f32, likewise.
        places: (at least size,) i64, below 2^47.
        size: candidates, at most 65,536.
        order: (at least size,) i64, written: which candidates remain.

    Returns:
        How many remain. O(size^2) at worst: there are some dozens, in runs that are sorted.
    """
    for entry in range(size):
        key, at = places[entry] << 16 | entry, entry
        while at > 0 and order[at - 1] > key:
            order[at] = order[at - 1]
            at -= 1
        order[at] = key
    kept, last = 0, 0
    for entry in range(size):
        chosen = order[entry] & 0xFFFF
        if kept > 0 and places[chosen] == places[last]:
            distances[last] = min(distances[last], distances[chosen])
            bounds[last] = min(bounds[last], bounds[chosen])
        else:
            order[kept], last = chosen, chosen
            kept += 1
    return kept


@_summing
def half_dot(row: U16, query: F32) -> float:
    """Inner product of a float16 row, given as bits, and a query."""
    total = np.float32(0)
    for column in range(query.shape[0]):
        total += _half(row[column]) * query[column]
    return total


@_summing
def _half_distance(row: U16, query: F32) -> float:
    total = np.float32(0)
    for column in range(query.shape[0]):
        apart = _half(row[column]) - query[column]
        total += apart * apart
    return total


@_summing
def _dot(row: F32, query: F32) -> float:
    total = np.float32(0)
    for column in range(query.shape[0]):
        total += row[column] * query[column]
    return total


@_summing
def _distance(row: F32, query: F32) -> float:
    total = np.float32(0)
    for column in range(query.shape[0]):
        apart = row[column] - query[column]
        total += apart * apart
    return total


@_compiled
def place_codes(
    blocks: U64, offsets: I64, totals: I64, lists: I32, entries: I64, words: U64,
    constants: F32, scales: F32,
) -> None:  # fmt: skip
    """Put codes where they belong among the blocks of a segment, see `search`.

    Args:
        blocks: (size,) u64, written.
        offsets: (lists,) i64, the word at which each list's block begins.
        totals: (lists,) i64, entries of each list.
        lists: (n,) i32, the list of each code.
        entries: (n,) i64, its place there.
        words: (n, bits * words) u64.
        constants: (n,) f32.
        scales: (n,) f32.
    """
    code_words = words.shape[1]
    factors = blocks.view(np.float32)
    for code in range(lists.shape[0]):
        start, n = offsets[lists[code]], totals[lists[code]]
        for word in range(code_words):
            blocks[start + word * n + entries[code]] = words[code, word]
        first = 2 * (start + code_words * n) + entries[code]
        factors[first] = constants[code]
        factors[first + n] = scales[code]


# Where a search finds things: columns of the tables that `search` takes. Addresses are those
# of arrays and maps that the caller keeps alive.
SEGMENT_COLUMNS = ("base", "count", "lists", "rows")
BASE, COUNT, LISTS, ROWS = range(4)
LIST_COLUMNS = ("ram", "file", "own", "spilled", "first", "hot")
RAM, FILE, OWN, SPILLED, FIRST, HOT = range(6)
LAYOUT_COLUMNS = ("rows_a_page", "page_bytes", "row_bytes")
ROWS_A_PAGE, SLOT_BYTES, ROW_BYTES = range(3)
COSTS = ("codes", "pages", "rounds")
CODES, PAGES, ROUNDS = range(3)

PAGE_BYTES = 4096
_LINE_BYTES = 64
_BLOCK = 32  # estimates that are looked at together
_ROWS_AHEAD = 3  # rows that are on their way from memory while one is scored
_NOWHERE = 0


@_compiled
def block_bytes(own: int, spilled: int, code_words: int) -> int:
    """Size of a list's block: bit planes, two f32 factors an entry, an i32 row a spilled one."""
    return (own + spilled) * (8 * code_words + 8) + 4 * spilled


@_compiled
def nearest_lists(
    products: F32, order: F32, sums: F32, near: F32, probed: I64, probes: int
) -> None:
    """The lists to scan, nearest first. O(lists + probes^2).

    Args:
        products: (lists,) f32, -2 <q, c>.
        order: (lists,) f32, what is added.
        sums: (lists,) f32, scratch.
        near: (at least 2 probes + 32,) f32, scratch.
        probed: likewise i64, written: the first ``probes`` count.
        probes: how many, at most as many as there are lists.
    """
    lists, size, limit = products.shape[0], np.int64(0), np.float32(np.inf)
    for place in range(lists):
        sums[place] = products[place] + order[place]
    for begin in range(0, lists, _BLOCK):
        end, nearer = min(begin + _BLOCK, lists), 0
        for place in range(begin, end):
            nearer += sums[place] < limit
        if nearer == 0:
            continue
        for place in range(begin, end):
            near[size], probed[size] = sums[place], place
            size += sums[place] < limit
        if size >= 2 * probes:
            limit = keep_nearest(near, near[:0], probed, size, probes)
            size = probes
    keep_nearest(near, near[:0], probed, size, probes)
    for end in range(1, probes):
        distance, place, at = near[end], probed[end], end
        while at > 0 and _farther(near[at - 1], probed[at - 1], distance, place):
            near[at], probed[at] = near[at - 1], probed[at - 1]
            at -= 1
        near[at], probed[at] = distance, place


@_compiled
def list_of(lists: I64, row: int) -> int:
    """The list (by `LIST_COLUMNS`) whose own rows include this row of a segment. O(log lists)."""
    low, high = 0, lists.shape[0]
    while high - low > 1:
        middle = (low + high) >> 1
        if lists[middle, FIRST] <= row:
            low = middle
        else:
            high = middle
    return low


@_compiled
def _segment_of(segments: I64, place: int) -> int:
    segment = segments.shape[0] - 1
    while place < segments[segment, BASE]:
        segment -= 1
    return segment


@_compiled
def _announce(address: int, size: int) -> None:
    """Have the pages of a map read in the background."""
    if _ANNOUNCES:
        start = address - address % PAGE_BYTES
        _madvise(start, address + size - start, _WILL_NEED)


@_compiled
def _announce_rows(addresses: I64, count: int, size: int, seen: U8) -> None:
    """Have rows read side by side, unless one of them is in memory already.

    Asking costs a microsecond a page; where most are there, a sample of three says little more.
    """
    if not _ANNOUNCES:
        return
    start = addresses[count // 2] - addresses[count // 2] % PAGE_BYTES
    _mincore(start, PAGE_BYTES, seen.ctypes.data)
    if seen[0] & 1 == 0:
        for place in range(count):
            _announce(addresses[place], size)


@_compiled
def _announce_lists(segments: I64, probed: I64, lists: int, code_words: int) -> int:
    """Have lists that are not in RAM read side by side; how many there are."""
    away = 0
    for segment in range(segments.shape[0]):
        table = carray(_i64_at(segments[segment, LISTS]), (lists, len(LIST_COLUMNS)))
        for probe in range(probed.shape[0]):
            at = probed[probe]
            if table[at, RAM] == _NOWHERE and table[at, OWN] + table[at, SPILLED] > 0:
                _announce(
                    table[at, FILE], block_bytes(table[at, OWN], table[at, SPILLED], code_words)
                )
                away += 1
    return away


@_compiled
def _score(address: int, half: bool, query: F32, by_square: bool) -> float:
    """Distance of a row, by where it stands: the squared one, or the product times -1."""
    if half:
        bits = carray(_u16_at(address), query.shape)
        return _half_distance(bits, query) if by_square else -half_dot(bits, query)
    row = carray(_f32_at(address), query.shape)
    return _distance(row, query) if by_square else -_dot(row, query)


@_compiled
def _scan_fresh(
    fresh: I64, layout: I64, may: U8, query: F32, by_square: bool, best: F32, winners: I64
) -> int:
    """Offer rows that are in no list yet; how many results there are."""
    found, k, size = 0, best.shape[0], layout[ROW_BYTES]
    half, base = size == 2 * query.shape[0], fresh[BASE]
    for row in range(fresh[COUNT]):
        if may.shape[0] == 0 or may[base + row]:
            distance = _score(fresh[ROWS] + row * size, half, query, by_square)
            if found < k or distance < best[0]:
                found = offer(best, winners, found, distance, base + row)
    return found


@_compiled
def _scan_list(
    entry_of: I64, block: int, code_words: int, bits: int, query_bits: int, start: int, base: float, error: float, levels: U64, weights: F32,
    counts: U64, estimates: F32, may: U8, limit: float,
    distances: F32, bounds: F32, places: I64, size: int,
) -> tuple[int, int]:  # fmt: skip
    """Collect a list's codes that are estimated nearer than a limit.

    Args:
        entry_of: the list's row of its table.
        block: its address.
        start: place of the segment's first row.
        base: |c|^2 - 2 <q, c>.
        error: standard error of an estimate, by scale.

    Returns:
        How many candidates there are now, and how many codes may be found.
    """
    own, spilled = entry_of[OWN], entry_of[SPILLED]
    n = own + spilled
    factors = block + 8 * code_words * n
    planes = carray(_u64_at(block), (n * code_words,))
    constants = carray(_f32_at(factors), (n,))
    scales = carray(_f32_at(factors + 4 * n), (n,))
    others = carray(_i32_at(factors + 8 * n), (spilled,))
    estimate = estimates[:n]
    scan(planes, levels, bits, query_bits, weights, counts, estimate)
    for entry in range(n):
        estimate[entry] = constants[entry] + base - scales[entry] * estimate[entry]
    first = start + entry_of[FIRST]
    passed = n
    if may.shape[0] > 0:
        passed = 0
        for entry in range(n):
            place = first + entry if entry < own else start + others[entry - own]
            passed += may[place]
            if may[place] == 0:
                estimate[entry] = np.inf
    for begin in range(0, n, _BLOCK):
        end = min(begin + _BLOCK, n)
        near = 0
        for entry in range(begin, end):
            near += estimate[entry] < limit
        if near == 0:  # as for most blocks, once a few lists are scanned
            continue
        for entry in range(begin, end):
            distances[size] = estimate[entry]
            bounds[size] = estimate[entry] - error * scales[entry]
            places[size] = first + entry if entry < own else start + others[entry - own]
            size += estimate[entry] < limit
    return size, passed


@_compiled
def _read_rows(
    segments: I64, lists: int, layout: I64, chosen: I64, addresses: I64, count: int,
    heat: F32, seen: U8, query: F32, by_square: bool, best: F32, winners: I64, found: int,
    cost: I64,
) -> int:  # fmt: skip
    """Offer rows by their exact distances, all of them asked for at once."""
    k, size = best.shape[0], layout[ROW_BYTES]
    half = size == 2 * query.shape[0]
    page, cold = -1, 0
    for entry in range(count):
        segment = _segment_of(segments, chosen[entry])
        row = chosen[entry] - segments[segment, BASE]
        slot, place = row // layout[ROWS_A_PAGE], row % layout[ROWS_A_PAGE]
        address = segments[segment, ROWS] + slot * layout[SLOT_BYTES] + place * size
        if heat.shape[1] > 0:
            table = carray(_i64_at(segments[segment, LISTS]), (lists, len(LIST_COLUMNS)))
            at = list_of(table, row)
            heat[1, at] += 1
            if table[at, HOT] != _NOWHERE:
                address = table[at, HOT] + (row - table[at, FIRST]) * size
                addresses[entry] = -address
                continue
        addresses[entry] = address
        if address // PAGE_BYTES != page:
            page = address // PAGE_BYTES
            cost[PAGES] += (size + PAGE_BYTES - 1) // PAGE_BYTES
        cold += 1
    if cold > 0:
        cost[ROUNDS] += 1
        if cold == count:
            _announce_rows(addresses, count, size, seen)
        else:
            for entry in range(count):
                if addresses[entry] > 0:
                    _announce(addresses[entry], size)
    for entry in range(count):
        ahead = entry + _ROWS_AHEAD
        if ahead < count:
            for line in range(0, size, _LINE_BYTES):
                _prefetch(abs(addresses[ahead]) + line)
        distance = _score(abs(addresses[entry]), half, query, by_square)
        if found < k or distance <= best[0]:
            found = offer(best, winners, found, distance, chosen[entry])
    return found


@_compiled
def search(
    queries: F32,
    signs: F32,
    centroids: U16,
    squares: F32,
    order: F32,
    segments: I64,
    fresh: I64,
    may: U8,
    layout: I64,
    by_square: bool,
    bits: int,
    query_bits: int,
    probes: int,
    enough: int,
    candidates: int,
    at_once: int,
    slack: float,
    heat: F32,
    found_places: I64,
    scores: F32,
    costs: I64,
) -> None:
    """The nearest rows of each query: lists, codes, then rows in at most two rounds.

    Estimates of the squared distance less |q|^2, or of -2 <x, q>, are constant + |c|^2 -
    2 <q, c> - scale <y, q>; their standard error goes with scale |c - q|.

    Args:
        queries: (nq, dim) f32.
        signs: (rounds, padded) f32, see `rotate`.
        centroids: (lists, padded) u16, float16 as bits, rotated.
        squares: (lists,) f32, of their lengths.
        order: (lists,) f32: what a list's place in the order of probing depends on besides
            -2 <q, c>.
        segments: (segments, 4) i64 by `SEGMENT_COLUMNS`; each names a table (lists, 6) i64 by
            `LIST_COLUMNS`. A list is a block of bit planes as `scan` takes them, then
            constants f32, scales f32, and i32 rows of those that spilled into it; its own rows
            stand side by side.
        fresh: (4,) i64 by `SEGMENT_COLUMNS`: rows that are in no list yet, side by side.
        may: (places,) u8, 0 for what must not be found; empty where all may.
        layout: (3,) i64 by `LAYOUT_COLUMNS`.
        by_square: score by squared distance rather than by product.
        bits: of a code.
        query_bits: of a level of the query, 4 or 8.
        probes: lists to scan, at most as many as there are.
        enough: scanned codes that may be found, after which scanning ends early.
        candidates: rows to read at most.
        at_once: how many of them in the first round.
        slack: standard errors by which a candidate of the second round may be better than
            estimated, times the standard error at scale 1.
        heat: (2, lists) f32, counts how often lists are scanned and their rows read; or (2, 0).
        found_places: (nq, k) i64, written, best first; -1 where there are fewer.
        scores: (nq, k) f32, written.
        costs: (nq, 3) i64, written, by `COSTS`.
    """
    lists, dim = centroids.shape
    words = dim // WORD
    code_words = bits * words
    width, k = queries.shape[1], found_places.shape[1]
    longest = 0
    for segment in range(segments.shape[0]):
        table = carray(_i64_at(segments[segment, LISTS]), (lists, len(LIST_COLUMNS)))
        for place in range(lists):
            longest = max(longest, table[place, OWN] + table[place, SPILLED])
    products = np.empty(lists, dtype=np.float32)
    sums, tops = np.empty(lists, np.float32), 2 * probes + _BLOCK + 1
    near, probed = np.empty(tops, np.float32), np.empty(tops, np.int64)
    levels = np.empty((query_bits + 1, words), dtype=np.uint64)
    weights = np.empty(3, dtype=np.float32)
    counts, estimates = np.empty((2, longest), np.uint64), np.empty(longest, np.float32)
    room = 2 * candidates + longest + 1
    distances, bounds = np.empty(room, np.float32), np.empty(room, np.float32)
    places, ranked = np.empty(room, np.int64), np.empty(candidates, np.float32)
    order_of = np.empty(candidates, np.int64)
    chosen, addresses = np.empty(candidates, np.int64), np.empty(candidates, np.int64)
    best, winners = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.int64)
    rotated = np.zeros((1, dim), np.float32)
    seen = np.zeros(1, dtype=np.uint8)
    for turn in range(queries.shape[0]):
        query, cost = queries[turn], costs[turn]
        for part in range(cost.shape[0]):
            cost[part] = 0
        found = _scan_fresh(fresh, layout, may, query, by_square, best, winners)
        size, passed = 0, 0
        if segments.shape[0] > 0:
            for column in range(dim):
                rotated[0, column] = query[column] if column < width else 0
            rotate(rotated, signs)
            square = _dot(rotated[0], rotated[0])
            for place in range(lists):
                products[place] = -2 * half_dot(centroids[place], rotated[0])
            nearest_lists(products, order, sums, near, probed, probes)
            step, total = quantize_query(rotated[0], query_bits, levels)
            scan_weights(step, total, dim, bits, query_bits, weights)
            if _announce_lists(segments, probed[:probes], lists, code_words) > 0:
                cost[ROUNDS] += 1
            limit = np.float32(np.inf)
            for probe in range(probes):
                at = probed[probe]
                if heat.shape[1] > 0:
                    heat[0, at] += 1
                base = products[at] + squares[at]
                error = slack * math.sqrt(max(base + square, np.float32(0)))
                for segment in range(segments.shape[0]):
                    table = carray(_i64_at(segments[segment, LISTS]), (lists, len(LIST_COLUMNS)))
                    n = table[at, OWN] + table[at, SPILLED]
                    if n == 0:
                        continue
                    block = table[at, RAM]
                    if block == _NOWHERE:
                        block = table[at, FILE]
                        read = block_bytes(table[at, OWN], table[at, SPILLED], code_words)
                        cost[PAGES] += (read + PAGE_BYTES - 1) // PAGE_BYTES
                    cost[CODES] += n
                    if probe + 1 < probes:
                        ahead = table[probed[probe + 1]]
                        if ahead[RAM] != _NOWHERE:
                            read = block_bytes(ahead[OWN], ahead[SPILLED], code_words)
                            for line in range(0, read, _LINE_BYTES):
                                _prefetch(ahead[RAM] + line)
                    size, may_be = _scan_list(
                        table[at], block, code_words, bits, query_bits, segments[segment, BASE], base,
                            error, levels, weights,
                        counts, estimates, may, limit, distances, bounds, places, size,
                    )  # fmt: skip
                    passed += may_be
                    if size >= 2 * candidates:
                        limit = keep_nearest(distances, bounds, places, size, candidates)
                        size = candidates
                if passed >= enough:
                    break
            if size > candidates:
                keep_nearest(distances, bounds, places, size, candidates)
                size = candidates
            size = order_places(distances, bounds, places, size, order_of)
            last = np.float32(np.inf)
            if size > at_once:
                for entry in range(size):
                    ranked[entry], addresses[entry] = distances[order_of[entry]], 0
                last = keep_nearest(ranked, ranked[:0], addresses, size, at_once)
            for late in range(2):
                count = 0
                for turn_of in range(size):
                    entry = order_of[turn_of]
                    if (distances[entry] > last) != (late == 1):
                        continue
                    bound = bounds[entry] + square if by_square else bounds[entry] / 2
                    if late == 0 or found < k or bound < best[0]:
                        chosen[count] = places[entry]
                        count += 1
                found = _read_rows(
                    segments, lists, layout, chosen, addresses, count, heat, seen, query,
                    by_square, best, winners, found, cost,
                )  # fmt: skip
        sort_heap(best, winners, found)
        for entry in range(k):
            found_places[turn, entry] = winners[entry] if entry < found else -1
            scores[turn, entry] = -best[entry] if entry < found else -np.inf

