"""The embedder protocol, and the adapter that makes one of any callable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import InputError

__all__ = ["CallableEmbedder", "Embedder", "unit_rows"]


@runtime_checkable
class Embedder(Protocol):
    """Anything that turns texts into vectors of one length.

    Attributes:
        dim: length of a vector.
        id: names the model and its revision; vectors of different ids must never be compared.
    """

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def id(self) -> str:
        """Name of the model and its revision."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, dim) with rows of length one.

        A row is zero where the embedder knows nothing of the text: it is then similar to nothing.
        """
        ...


def unit_rows(vectors: ArrayLike, *, count: int, who: str) -> NDArray[np.float32]:
    """Check vectors that a model returned and scale their rows to length one.

    Args:
        vectors: expected of shape (count, dim), any real dtype.
        count: number of texts that were embedded.
        who: named in messages.

    Raises:
        InputError: no numbers, another shape, or values that are NaN or infinite.
    """
    try:
        with np.errstate(over="ignore"):  # too large for float32: infinite, and rejected below
            array = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{who} returned no table of numbers ({error}), expected (n, dim)"
        ) from error
    if array.ndim != 2 or array.shape[0] != count or not array.shape[1]:
        raise InputError(f"{who} returned shape {array.shape} for {count} texts, expected (n, dim)")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise InputError(f"{who} returned NaN or infinite values for text number {row}")
    # In float32 the squares of very long and very short rows overflow and vanish.
    lengths = np.sqrt(np.einsum("ij,ij->i", array, array, dtype=np.float64))[:, None]
    return np.asarray(array / np.where(lengths > 0, lengths, 1), dtype=np.float32)


class CallableEmbedder:
    """Any function from texts to vectors, checked and normalised.

    Args:
        function: takes a list of texts, returns (n, dim) numbers.
        id: names the model and its revision.
        dim: length of a vector; asked of the function, with one word, when not given.

    Raises:
        InputError: the function returns something else than (n, dim) finite numbers.

    Example:
        >>> embedder = CallableEmbedder(lambda texts: [[len(t), 1.0] for t in texts], id="length")
        >>> embedder.embed(["ab"]).shape
        (1, 2)
    """

    def __init__(
        self,
        function: Callable[[list[str]], ArrayLike],
        *,
        id: str,
        dim: int | None = None,
    ) -> None:
        self._function = function
        self.id = id
        self.dim = dim if dim is not None else self._call(["dimension"]).shape[1]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, dim), rows of length one.

        Raises:
            InputError: the function returned another shape than (n, dim), or NaN.
        """
        if not len(texts):
            return np.empty((0, self.dim), dtype=np.float32)
        vectors = self._call(list(texts))
        if vectors.shape[1] != self.dim:
            raise InputError(
                f"embedder {self.id!r} returned {vectors.shape[1]} dimensions, expected {self.dim}"
            )
        return vectors

    def _call(self, texts: list[str]) -> NDArray[np.float32]:
        return unit_rows(self._function(texts), count=len(texts), who=f"embedder {self.id!r}")

    def __repr__(self) -> str:
        return f"CallableEmbedder(id={self.id!r}, dim={self.dim})"
