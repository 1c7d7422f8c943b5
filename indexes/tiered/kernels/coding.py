"""Codes of vectors, levels of queries, and inner products of both by counting bits.

Codes are those of RaBitQ (Gao and Long, SIGMOD 2024; Gao et al., SIGMOD 2025), kept as bit planes:
of each word those of all vectors of a list, so that one instruction works on several vectors.
"""

from __future__ import annotations

import math

import numpy as np

from ragopt.indexes.tiered.kernels.machine import (
    F32,
    I64,
    U8,
    U64,
    address_of,
    bits_set,
    compiled,
    inner,
    u64_at,
)
from ragopt.indexes.tiered.kernels.tables import WORD

__all__ = ["encode", "quantize_query", "scan"]

_STEPS = 13
# Steps of the best uniform quantizer of a normal variable, in standard deviations, by bits
# (Max, 1960, "Quantizing for minimum distortion"; fine ones by the same rule).
_STEP = np.array([0, 1, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308])


@compiled
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
    levels = np.int64(1) << bits
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


@inner
def _level(value: float, factor: float, levels: int) -> int:
    level = math.floor(value * factor + np.float32(levels // 2))
    return min(max(int(level), 0), levels - 1)


@inner
def _along(row: F32, factor: float, levels: int, middle: float) -> tuple[float, float]:
    """<r, y> and |y|^2 at a step."""
    dot, length = np.float32(0), np.float32(0)
    for column in range(row.shape[0]):
        y = np.float32(_level(row[column], factor, levels)) - middle
        dot += row[column] * y
        length += y * y
    return dot, length


@inner
def quantize_query(query: F32, levels: I64, planes: U64) -> tuple[float, int]:
    """A rotated query as whole numbers v, so that q is about step * v, in bit planes.

    Zero is a level: no sum over a code's own bits is then needed to centre them. What would be one
    level beyond the highest becomes the highest.

    Args:
        query: (dim,) f32.
        levels: (64,) i64, scratch.
        planes: (bits, dim / 64) u64, written: v as a two's complement number.

    Returns:
        The step, and the sum of all v.
    """
    bits, words = planes.shape
    beyond = np.int64(1) << (bits - 1)
    largest = np.float32(0)
    for column in range(query.shape[0]):
        largest = max(largest, abs(query[column]))
    step = largest / np.float32(beyond) if largest > 0 else np.float32(1)
    total = np.int64(0)
    for word in range(words):
        for column in range(WORD):
            level = np.int64(math.floor(query[word * WORD + column] / step + np.float32(0.5)))
            level = min(max(level, -beyond), beyond - 1)
            levels[column] = level
            total += level
        for bit in range(bits):
            plane = np.uint64(0)
            for column in range(WORD):
                plane |= np.uint64((levels[column] >> bit) & 1) << np.uint64(column)
            planes[bit, word] = plane
    return step, total


# Counting ---------------------------------------------------------------------------------

_PLANES = 4  # of a query that one pass over the codes looks at


@inner
def scan(planes: U64, query: U64, bits: int, counts: I64) -> None:
    """<code, v> of every code of a list and a query in levels, see `quantize_query`.

    Two words of all codes at a time: an instruction then works on several codes, and the counts
    are loaded and stored half as often.

    Args:
        planes: (bits * words * n,) u64: of each bit of a code, of each word, all n codes.
        query: (4 or 8, words) u64.
        bits: of a code.
        counts: (n,) i64, written.
    """
    query_bits, words = query.shape
    n, address = counts.shape[0], address_of(planes)
    for place in range(n):
        counts[place] = 0
    for bit in range(bits):
        for first in range(0, query_bits, _PLANES):
            sign = np.int64(-1) if first + _PLANES == query_bits else np.int64(0)
            for word in range(0, words, 2):
                one = u64_at(address + 8 * (bit * words + word) * n, n)
                other, paired = one, np.uint64(0)
                if word + 1 < words:
                    other = u64_at(address + 8 * (bit * words + word + 1) * n, n)
                    paired = ~paired
                _count(one, other, paired, query, first, word, bit + first, sign, counts)


@inner
def _count(
    one: U64,
    other: U64,
    paired: int,
    query: U64,
    first: int,
    word: int,
    shift: int,
    sign: int,
    counts: I64,
) -> None:
    """Add what two words of each code have in common with four planes of a query.

    Args:
        one: (n,) u64.
        other: (n,) u64.
        paired: 0 if the other word is none, else all ones.
        query: (query_bits, words) u64.
        first: of the planes.
        word: the first of both.
        shift: by which counts are worth more.
        sign: -1 if the last plane counts as negative, else 0.
        counts: (n,) i64, added to.
    """
    after = word + np.int64(paired & np.uint64(1))
    a0, a1 = query[first, word], query[first + 1, word]
    a2, a3 = query[first + 2, word], query[first + 3, word]
    b0, b1 = query[first, after] & paired, query[first + 1, after] & paired
    b2, b3 = query[first + 2, after] & paired, query[first + 3, after] & paired
    for place in range(counts.shape[0]):
        a, b = one[place], other[place]
        top = (bits_set(a & a3) + bits_set(b & b3)) << 3
        found = (
            bits_set(a & a0)
            + bits_set(b & b0)
            + ((bits_set(a & a1) + bits_set(b & b1)) << 1)
            + ((bits_set(a & a2) + bits_set(b & b2)) << 2)
            + ((top ^ sign) - sign)
        )
        counts[place] += found << shift
