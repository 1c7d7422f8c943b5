"""What every quantizer does: learn from vectors, encode, decode, and score codes.

Options are frozen and say all that a quantizer is before it is fitted; equality, hash and repr go
by them. What `fit` learned is held beside them and replaced by the next `fit`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import InputError
from ragopt.indexes.checks import check_vectors, to_array
from ragopt.indexes.scoring import Vectors, score_block

if TYPE_CHECKING:
    from typing_extensions import Self

    from ragopt.indexes.quantize.chain import Chain

__all__ = ["Codes", "Quantizer", "Reducer", "check_integer", "name_of", "row_blocks"]

Codes: TypeAlias = NDArray[np.uint8]
State = TypeVar("State")

_BLOCK_ROWS = 4096  # decoded at a time: 25 MB at 1,536 dimensions


class Quantizer(ABC, Generic[State]):
    """Vectors to codes of a fixed number of bytes, and back.

    Only `fit` changes a quantizer. Fitted ones hold numpy arrays alone, so they can be pickled
    and shared between threads.
    """

    _fitted: tuple[int, State] | None = None
    """Dimensions and what was learned; None before `fit`."""

    # What a quantizer provides ------------------------------------------------------------

    @abstractmethod
    def _learn(self, rows: Vectors) -> State:
        """What encoding needs to know of the vectors, at least one row."""

    @abstractmethod
    def _code_bytes(self, dim: int) -> int:
        """Bytes of one code."""

    @abstractmethod
    def _encode(self, rows: Vectors) -> Codes:
        """Codes of checked rows."""

    @abstractmethod
    def _decode(self, codes: Codes) -> Vectors:
        """Rows of checked codes."""

    def _products(self, queries: Vectors, codes: Codes) -> Vectors:
        """Inner products (nq, n)."""
        return score_block(queries, self._decode(codes), "ip")

    def _squares(self, queries: Vectors, codes: Codes) -> Vectors:
        """Squared distances (nq, n)."""
        return -score_block(queries, self._decode(codes), "l2")

    # The interface ------------------------------------------------------------------------

    def fit(self, vectors: ArrayLike) -> Self:
        """Learn from vectors like those to encode, and forget what was learned before.

        Args:
            vectors: (n, dim), representative; some thousands are enough.

        Returns:
            The quantizer itself.

        Raises:
            InputError: wrong shape, NaN, or vectors that the options do not fit; what was
                learned before stays.
        """
        rows = check_vectors("vectors", vectors)
        if not len(rows):
            raise InputError(f"{self}: got no vectors, expected at least one to fit on")
        # Frozen dataclasses refuse plain assignment, and the options are to stay frozen.
        object.__setattr__(self, "_fitted", (rows.shape[1], self._learn(rows)))
        return self

    def encode(self, vectors: ArrayLike) -> Codes:
        """Codes (n, bytes_per_vector) of vectors (n, dim).

        Raises:
            InputError: not fitted, wrong shape, or NaN.
        """
        rows = self._check_rows("vectors", vectors)
        codes = np.empty((len(rows), self.bytes_per_vector), dtype=np.uint8)
        for block in row_blocks(len(rows)):
            codes[block] = self._encode(rows[block])
        return codes

    def decode(self, codes: NDArray[Any]) -> Vectors:
        """Rows (n, dim) float32 that codes (n, bytes_per_vector) stand for.

        Raises:
            InputError: not fitted, wrong shape, or no uint8.
        """
        checked = self._check_codes(codes)
        rows = np.empty((len(checked), self.dim), dtype=np.float32)
        for block in row_blocks(len(checked)):
            rows[block] = self._decode(checked[block])
        return rows

    def distances(self, queries: ArrayLike, codes: NDArray[Any]) -> Vectors:
        """Squared Euclidean distances of full queries to what codes stand for; small is near.

        Those of decoded rows, except for `RaBitQ`, which estimates those of the rows themselves.
        O(nq n dim); memory for the result and one block of decoded rows.

        Args:
            queries: (nq, dim), or (dim,) for one.
            codes: (n, bytes_per_vector) as `encode` made them.

        Returns:
            (nq, n) float32.

        Raises:
            InputError: not fitted, wrong shapes, or NaN.
        """
        return self._compare(queries, codes, self._squares)

    def similarities(self, queries: ArrayLike, codes: NDArray[Any]) -> Vectors:
        """Inner products of full queries with what codes stand for; large is near.

        The cosine where the encoded rows and the queries have length one. Otherwise as
        `distances`.
        """
        return self._compare(queries, codes, self._products)

    @property
    def dim(self) -> int:
        """Length of the vectors it was fitted on.

        Raises:
            InputError: not fitted.
        """
        return self._known()[0]

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of one code, all that decoding needs of a vector included.

        Raises:
            InputError: not fitted.
        """
        return self._code_bytes(self.dim)

    def __or__(self, other: object) -> Chain:
        """A chain: what comes out of this one goes into the other."""
        from ragopt.indexes.quantize.chain import Chain

        return Chain((self, other)) if isinstance(other, Quantizer) else NotImplemented

    def __str__(self) -> str:
        return name_of(self)

    # Shared machinery ---------------------------------------------------------------------

    @property
    def _state(self) -> State:
        return self._known()[1]

    def _known(self) -> tuple[int, State]:
        if self._fitted is None:
            raise InputError(f"{self} is not fitted; call fit(vectors) first")
        return self._fitted

    def _compare(
        self,
        queries: ArrayLike,
        codes: NDArray[Any],
        measure: Callable[[Vectors, Codes], Vectors],
    ) -> Vectors:
        """Figures (nq, n) of checked queries and codes, block by block."""
        rows = self._check_rows("queries", np.atleast_2d(to_array("queries", queries)))
        checked = self._check_codes(codes)
        found = np.empty((len(rows), len(checked)), dtype=np.float32)
        if len(rows):
            for block in row_blocks(len(checked)):
                found[:, block] = measure(rows, checked[block])
        return found

    def _check_rows(self, name: str, vectors: ArrayLike) -> Vectors:
        rows = check_vectors(name, vectors)
        if rows.shape[1] != self.dim:
            raise InputError(
                f"{name}: {rows.shape[1]} dimensions, {self} was fitted on {self.dim}; fit it "
                "again or pass vectors of the same model"
            )
        return rows

    def _check_codes(self, codes: NDArray[Any]) -> Codes:
        given = to_array("codes", codes)
        expected = self.bytes_per_vector
        if given.dtype != np.uint8 or given.ndim != 2 or given.shape[1] != expected:
            raise InputError(
                f"codes: got shape {given.shape} of {given.dtype}, expected (n, {expected}) of "
                f"uint8 as {self} encodes them"
            )
        return given


class Reducer(Quantizer[State]):
    """A quantizer that keeps fewer dimensions, as float32; others may stand behind it in a chain.

    Expanding is affine, ``expand(0) + reduced @ basis`` with orthonormal rows of ``basis``: that
    is why a chain can compute scores among the reduced.
    """

    dims: int
    """Dimensions that are kept."""

    @abstractmethod
    def _reduce(self, rows: Vectors) -> Vectors:
        """Rows (n, dim) to (n, dims)."""

    @abstractmethod
    def _expand(self, reduced: Vectors) -> Vectors:
        """Reduced rows (n, dims) to (n, dim)."""

    @abstractmethod
    def _project(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """Queries for products: reduced (nq, dims), and what to add to each product (nq, 1)."""

    @abstractmethod
    def _locate(self, queries: Vectors) -> Vectors:
        """Queries for distances: the reduced (nq, dims) whose expansion is nearest."""

    def _code_bytes(self, dim: int) -> int:  # noqa: ARG002
        return 4 * self.dims

    def _encode(self, rows: Vectors) -> Codes:
        reduced = np.ascontiguousarray(self._reduce(rows), dtype="<f4")
        return reduced.view(np.uint8).reshape(len(rows), 4 * self.dims)

    def _decode(self, codes: Codes) -> Vectors:
        return self._expand(np.ascontiguousarray(codes).view("<f4").astype(np.float32, copy=False))


def row_blocks(count: int, size: int = _BLOCK_ROWS) -> Iterator[slice]:
    """Slices of ``size`` rows each, the last one shorter, that cover ``count`` of them."""
    return (slice(start, start + size) for start in range(0, count, size))


def name_of(quantizer: Quantizer[Any]) -> str:
    """As one would type it: ``RaBitQ(4)``, ``ProductQuantizer(48, bits=6)``; defaults left out."""
    written = []
    for place, option in enumerate(fields(quantizer)):  # type: ignore[arg-type]
        value = getattr(quantizer, option.name)
        if place == 0 and not option.kw_only and value is not None:
            written.append(repr(value))
        elif option.default is MISSING or value != option.default:
            written.append(f"{option.name}={value!r}")
    return f"{type(quantizer).__name__}({', '.join(written)})"


def check_integer(name: str, value: object, low: int, high: int | None = None) -> None:
    """Refuse what is no integer from ``low`` to ``high``.

    Raises:
        InputError: anything else, True included.
    """
    if type(value) is not int or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name}={value!r}: expected an integer {limits}")
