"""Kernels called from Python, and in numpy what they make: codes, levels and their bits."""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.kernels import coding

Array = NDArray[Any]
I64, F32 = np.int64, np.float32


@functools.cache
def opened(kernel: Any, *, checked: bool = True) -> Any:
    """A kernel that only others call, with a way in from Python; checks every index it uses."""
    options = {k: v for k, v in kernel.targetoptions.items() if k != "no_cpython_wrapper"}
    return numba.jit(**(options | {"boundscheck": checked}))(kernel.py_func)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(F32)


def signs(dim: int, seed: int = 0) -> Array:
    drawn = np.random.default_rng(seed).integers(0, 2, size=(4, dim))
    return (2 * drawn - 1).astype(F32)


def coded(rows: Array, bits: int) -> tuple[Array, Array, Array]:
    codes = np.zeros(rows.shape, dtype=np.uint8)
    scales, cosines = np.zeros(len(rows), dtype=F32), np.zeros(len(rows), dtype=F32)
    kernels.encode(rows, bits, codes, scales, cosines)
    return codes, scales, cosines


def centred(codes: Array, bits: int) -> Array:
    return codes.astype(np.float64) - (2**bits - 1) / 2


def words_of(codes: Array, bits: int) -> Array:
    """Of each code, bit by bit, its words."""
    planes = [
        np.packbits((codes >> bit) & 1, axis=1, bitorder="little").view("<u8")
        for bit in range(bits)
    ]
    return np.ascontiguousarray(np.concatenate(planes, axis=1))


def planes_of(codes: Array, bits: int) -> Array:
    """As `scan` takes them: bit by bit, word by word, the words of all codes."""
    return np.ascontiguousarray(words_of(codes, bits).T).reshape(-1)


def levels_of(query: Array, bits: int) -> tuple[Array, np.float32]:
    """Whole numbers of two's complement, and their step."""
    beyond = 1 << (bits - 1)
    largest = np.abs(query).max()
    step = largest / F32(beyond) if largest else F32(1)
    level = np.clip(np.floor(query / step + F32(0.5)), -beyond, beyond - 1)
    return level.astype(I64), step


def quantized(query: Array, bits: int) -> tuple[Array, float, int]:
    planes = np.zeros((bits, len(query) // kernels.WORD), dtype=np.uint64)
    step, total = opened(coding.quantize_query)(query, np.zeros(64, dtype=I64), planes)
    return planes, step, total
