"""One embedder for every policy: vectors are looked up, so that embedding costs all the same."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.embed.base import unit_rows
from ragopt.errors import InputError

if TYPE_CHECKING:
    from ragopt.embed import Embedder

__all__ = ["VectorTable"]


class VectorTable:
    """An embedder that looks its vectors up.

    Args:
        rows: text to row of the matrix.
        matrix: (n, dim), scaled here to rows of length one.
        id: of the embedder that the vectors are from.
        fallback: embeds texts without a row, each once; without it they are refused.

    Attributes:
        seconds: spent in `embed` so far, for those who time a policy without its embedding.

    Raises:
        InputError: a row that the matrix does not have, or a fallback of another dim.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        matrix: NDArray[Any],
        *,
        id: str,
        fallback: Embedder | None = None,
    ) -> None:
        self._matrix = unit_rows(matrix, count=len(matrix), who=id)
        if rows and not 0 <= min(rows.values()) <= max(rows.values()) < len(matrix):
            raise InputError(
                f"{id}: rows {min(rows.values())} to {max(rows.values())} of a matrix of "
                f"{len(matrix)}; expected each text's row in it"
            )
        if fallback is not None and fallback.dim != self.dim:
            raise InputError(
                f"fallback {fallback.id!r} has dim {fallback.dim}, the stored vectors {self.dim}; "
                "expected the model that the stored vectors are from"
            )
        self._rows = dict(rows)
        self._extra: dict[str, NDArray[np.float32]] = {}
        self._fallback = fallback
        self._id = id
        self.seconds = 0.0

    @classmethod
    def of(cls, texts: Iterable[str], embedder: Embedder) -> VectorTable:
        """Embed texts once, for all policies."""
        distinct = list(dict.fromkeys(texts))
        return cls(
            {text: row for row, text in enumerate(distinct)},
            np.asarray(embedder.embed(distinct)),
            id=embedder.id,
            fallback=embedder,
        )

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._matrix.shape[1])

    @property
    def id(self) -> str:
        """Of the embedder that the vectors are from."""
        return self._id

    @property
    def texts(self) -> list[str]:
        """With a stored vector, in the order given."""
        return list(self._rows)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, dim).

        Raises:
            InputError: a text without a vector, and no fallback.
        """
        start = time.perf_counter()
        try:
            return np.stack([self.row(text) for text in texts])
        finally:
            self.seconds += time.perf_counter() - start

    def row(self, text: str) -> NDArray[np.float32]:
        """The vector (dim,) of a text."""
        place = self._rows.get(text)
        if place is not None:
            return self._matrix[place]  # type: ignore[no-any-return]
        if text not in self._extra:
            if self._fallback is None:
                raise InputError(
                    f"{text[:80]!r} has no stored vector; pass the embedder that made the others"
                )
            self._extra[text] = np.asarray(self._fallback.embed([text]), np.float32)[0]
        return self._extra[text]

    def cosine(self, one: str, other: str) -> float:
        """Of two texts."""
        return float(self.row(one) @ self.row(other))

    def known(self, text: str) -> bool:
        """Whether the text's vector is other than zero: others are similar to nothing."""
        return bool(self.row(text).any())

    def __repr__(self) -> str:
        return f"VectorTable({len(self._rows)} texts, id={self._id!r})"
