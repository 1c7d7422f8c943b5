"""Numbers of 1 to 8 bits, packed without gaps; the first number in the lowest bits."""

from __future__ import annotations

import numpy as np

from ragopt.indexes.quantize.base import Codes

__all__ = ["pack", "packed_bytes", "unpack"]


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that ``count`` numbers take."""
    return (count * bits + 7) // 8


def pack(numbers: Codes, bits: int) -> Codes:
    """Numbers (n, count) below ``2 ** bits`` to bytes (n, packed_bytes)."""
    if bits == 8:
        return numbers
    single = np.unpackbits(numbers[:, :, None], axis=2, count=bits, bitorder="little")
    flat = single.reshape(len(numbers), numbers.shape[1] * bits)
    return np.packbits(flat, axis=1, bitorder="little")


def unpack(packed: Codes, count: int, bits: int) -> Codes:
    """Bytes (n, packed_bytes) to numbers (n, count)."""
    if bits == 8:
        return packed
    single = np.unpackbits(packed, axis=1, count=count * bits, bitorder="little")
    if bits == 1:
        return single
    return np.packbits(single.reshape(len(packed), count, bits), axis=2, bitorder="little")[:, :, 0]
