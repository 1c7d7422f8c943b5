"""Each dimension by itself: 8 or 4 bits between its ends, or the side of its mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.quantize.base import Codes, Quantizer
from ragopt.indexes.quantize.packing import pack, packed_bytes, unpack
from ragopt.indexes.scoring import Vectors

__all__ = ["Binary", "Int4", "Int8"]

_LARGEST_CLIP = 0.5


@dataclass(frozen=True, slots=True)
class _Levels:
    """Evenly spaced levels of each dimension: code c stands for ``low + c * step``."""

    low: Vectors
    step: Vectors


class _Scalar(Quantizer[_Levels]):
    """Evenly spaced levels between the ends of each dimension."""

    bits: ClassVar[int]
    clip_ratio: float

    def __post_init__(self) -> None:
        value = self.clip_ratio
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"clip_ratio={value!r}: expected a number")
        if not 0 <= value < _LARGEST_CLIP:
            raise InputError(
                f"clip_ratio={value!r}: expected a share from 0 to below {_LARGEST_CLIP}"
            )

    def _learn(self, rows: Vectors) -> _Levels:
        tail = self.clip_ratio / 2
        low, high = np.quantile(rows, [tail, 1 - tail], axis=0).astype(np.float32)
        return _Levels(low, np.asarray((high - low) / self._highest, dtype=np.float32))

    def _code_bytes(self, dim: int) -> int:
        return packed_bytes(dim, self.bits)

    def _encode(self, rows: Vectors) -> Codes:
        levels = self._state
        places = np.zeros_like(rows)  # a dimension that never varied has one level
        with np.errstate(over="ignore"):
            np.divide(rows - levels.low, levels.step, out=places, where=levels.step > 0)
        places = np.rint(np.clip(places, 0, self._highest))
        return pack(places.astype(np.uint8), self.bits)

    def _decode(self, codes: Codes) -> Vectors:
        levels = self._state
        numbers = unpack(codes, self.dim, self.bits).astype(np.float32)
        return levels.low + numbers * levels.step

    @property
    def _highest(self) -> int:
        return (1 << self.bits) - 1


@dataclass(frozen=True, kw_only=True)
class Int8(_Scalar):
    """256 levels a dimension, between its smallest and largest value: dim bytes.

    Args:
        clip_ratio: share of the values, half of it at each end, that may lie beyond the levels
            and are moved to the nearest; at least 0, below 0.5.

    Raises:
        InputError: a share out of range.
    """

    bits: ClassVar[int] = 8
    clip_ratio: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Int4(_Scalar):
    """16 levels a dimension: dim / 2 bytes.

    Args:
        clip_ratio: as of `Int8`; 16 levels over the whole range would be wide apart.

    Raises:
        InputError: a share out of range.
    """

    bits: ClassVar[int] = 4
    clip_ratio: float = 0.01


@dataclass(frozen=True, slots=True)
class _Sides:
    """Threshold of each dimension, and how far from it the values lie on average."""

    centre: Vectors
    spread: Vectors


@dataclass(frozen=True, kw_only=True)
class Binary(Quantizer[_Sides]):
    """One bit a dimension, the side of its mean: dim / 8 bytes.

    A bit stands for the mean of the dimension plus or minus its mean absolute deviation. Queries
    stay real numbers (asymmetric scoring), which ranks better than counting differing bits.

    Args:
        centred: around the mean; False for around zero.

    Raises:
        InputError: ``centred`` is not a truth value.
    """

    centred: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.centred, bool):
            raise InputError(f"centred={self.centred!r}: expected True or False")

    def _learn(self, rows: Vectors) -> _Sides:
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        centre = mean if self.centred else np.zeros_like(mean)
        return _Sides(centre, np.abs(rows - centre).mean(axis=0, dtype=np.float64).astype("f4"))

    def _code_bytes(self, dim: int) -> int:
        return packed_bytes(dim, 1)

    def _encode(self, rows: Vectors) -> Codes:
        return pack((rows > self._state.centre).astype(np.uint8), 1)

    def _decode(self, codes: Codes) -> Vectors:
        sides = self._state
        signs = 2 * unpack(codes, self.dim, 1).astype(np.float32) - 1
        return sides.centre + signs * sides.spread
