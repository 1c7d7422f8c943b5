"""Quantizers one behind the other: reducers, then at most one coder."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias, cast

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.quantize.base import Codes, Quantizer, Reducer
from ragopt.indexes.scoring import Vectors

__all__ = ["Chain"]

_Parts: TypeAlias = tuple[tuple[Reducer[Any], ...], Quantizer[Any]]


@dataclass(frozen=True)
class Chain(Quantizer[_Parts]):
    """What ``PCA(256) | RaBitQ(4)`` makes. Codes are those of the last part.

    The parts are fitted one after the other, each on what the one before returns, as copies:
    those given stay as they are.

    Args:
        parts: at least one; chains among them are taken apart.

    Raises:
        InputError: something that is no quantizer, a part behind a coder (whose codes are no
            vectors), or a reducer to more dimensions than the one before it leaves.
    """

    parts: tuple[Quantizer[Any], ...]

    def __post_init__(self) -> None:
        flat = tuple(inner for part in _given(self.parts) for inner in _inner(part))
        for before, after in pairwise(flat):
            if not isinstance(before, Reducer):
                raise InputError(
                    f"{after} cannot stand behind {before}, whose codes are no vectors; put "
                    "reducers (Truncate, PCA) first and one coder last"
                )
            if isinstance(after, Reducer) and after.dims > before.dims:
                raise InputError(f"{after} cannot keep more dimensions than {before} leaves")
        object.__setattr__(self, "parts", flat)

    def _learn(self, rows: Vectors) -> _Parts:
        heads: list[Reducer[Any]] = []
        for part in self.parts[:-1]:
            fitted = cast("Reducer[Any]", copy(part).fit(rows))  # or the chain were refused
            rows = fitted._reduce(rows)
            heads.append(fitted)
        return tuple(heads), copy(self.parts[-1]).fit(rows)

    def _code_bytes(self, dim: int) -> int:  # noqa: ARG002
        return self._state[1].bytes_per_vector

    def _encode(self, rows: Vectors) -> Codes:
        heads, last = self._state
        for head in heads:
            rows = head._reduce(rows)
        return last._encode(rows)

    def _decode(self, codes: Codes) -> Vectors:
        heads, last = self._state
        rows = last._decode(codes)
        for head in reversed(heads):
            rows = head._expand(rows)
        return rows

    def _products(self, queries: Vectors, codes: Codes) -> Vectors:
        heads, last = self._state
        offset = np.zeros((len(queries), 1), dtype=np.float32)
        for head in heads:
            queries, added = head._project(queries)
            offset = offset + added
        return offset + last._products(queries, codes)

    def _squares(self, queries: Vectors, codes: Codes) -> Vectors:
        """By Pythagoras: to the nearest point that can be reached, and on from there."""
        heads, last = self._state
        offset = np.zeros((len(queries), 1), dtype=np.float32)
        for head in heads:
            inside = head._locate(queries)
            beside = queries - head._expand(inside)
            offset = offset + np.einsum("ij,ij->i", beside, beside)[:, None]
            queries = inside
        return offset + last._squares(queries, codes)

    def __str__(self) -> str:
        return " | ".join(map(str, self.parts))


def _given(parts: object) -> tuple[Quantizer[Any], ...]:
    if not isinstance(parts, tuple) or not parts:
        raise InputError(f"Chain: got {parts!r}, expected a tuple of at least one quantizer")
    for part in parts:
        if not isinstance(part, Quantizer):
            raise InputError(f"Chain: got {part!r}, expected quantizers such as PCA(256)")
    return parts


def _inner(part: Quantizer[Any]) -> tuple[Quantizer[Any], ...]:
    return part.parts if isinstance(part, Chain) else (part,)
