"""Cosine between the question's vector and the chunks', by any embedder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk
from ragopt.rerank.base import passage

if TYPE_CHECKING:
    from ragopt.embed import Embedder

__all__ = ["CosineReranker"]


class CosineReranker:
    """Embeds the question and the chunks.

    Give it a `ragopt.embed.StoredEmbedder` where embedding is dear: chunks come back often.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def id(self) -> str:
        """The embedder's."""
        return f"cosine({self._embedder.id})"

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Cosines (n,), -1 to 1."""
        if not chunks:
            return np.empty(0, dtype=np.float32)
        vectors = self._embedder.embed([query, *(passage(chunk) for chunk in chunks)])
        return np.asarray(vectors[1:] @ vectors[0], dtype=np.float32)

    def __repr__(self) -> str:
        return f"CosineReranker({self._embedder!r})"
