"""A random rotation of rows by signs and Hadamard transforms.

As in Ailon and Chazelle, 2009, "The fast Johnson-Lindenstrauss transform", several times over.
"""

from __future__ import annotations

import math

import numpy as np

from ragopt.indexes.tiered.kernels.machine import F32, compiled, inner

__all__ = ["rotate", "rotate_row"]


@compiled
def rotate(rows: F32, signs: F32) -> None:
    """Rotate rows in place by a random orthogonal matrix that is never written down.

    Each round flips signs, applies a Hadamard transform to the first or the last power of two of
    the dimensions, and, where they are no power of two, mixes both halves. O(dim log dim) a row.

    Args:
        rows: (n, dim) f32, dim a multiple of 64.
        signs: (rounds, dim) f32 of -1 and 1.
    """
    spare = np.empty(rows.shape[1], np.float32)
    for place in range(rows.shape[0]):
        rotate_row(rows[place], spare, signs)


@inner
def rotate_row(row: F32, spare: F32, signs: F32) -> None:
    """Rotate one row, see `rotate`.

    Args:
        row: (dim,) f32, changed in place.
        spare: (dim,) f32, scratch.
        signs: (rounds, dim) f32.
    """
    dim = row.shape[0]
    width, steps = 1, 0
    while 2 * width <= dim:
        width, steps = 2 * width, steps + 1
    other = spare[:width]
    middle, scale, mix = dim // 2, np.float32(1 / math.sqrt(width)), np.float32(math.sqrt(0.5))
    for turn in range(signs.shape[0]):
        for column in range(dim):
            row[column] *= signs[turn, column]
        part = row[:width] if turn % 2 == 0 else row[dim - width :]
        for _ in range(steps // 2):
            _butterflies(part, other)
            _butterflies(other, part)
        if steps % 2 == 1:
            _butterflies(part, other)
            for column in range(width):
                part[column] = other[column]
        for column in range(width):
            part[column] *= scale
        if width != dim:
            for column in range(middle):
                first, second = row[column], row[column + middle]
                row[column] = (first + second) * mix
                row[column + middle] = (first - second) * mix


@inner
def _butterflies(row: F32, out: F32) -> None:
    """Sums of neighbours into the first half, their differences into the second.

    As many times as the length has powers of two, this is the Hadamard transform (Pease, 1968,
    "An adaptation of the fast Fourier transform for parallel processing"). Steps look alike, so
    that all of them work on whole vectors; those in place would be scalar where the step is short.
    """
    middle = row.shape[0] // 2
    for pair in range(middle):
        first, second = row[2 * pair], row[2 * pair + 1]
        out[pair] = first + second
        out[middle + pair] = first - second
