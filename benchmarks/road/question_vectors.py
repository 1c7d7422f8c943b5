"""Each wording embedded once, and yet paid for every time it would be embedded."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ragopt.embed import Embedder

__all__ = ["QuestionVectors"]


class QuestionVectors:
    """An embedder that remembers the vector of every single text, and how long it took.

    A measurement asks the same wordings under many settings. A transformer takes milliseconds for
    each, the same vector every time: it is asked once, and `owed_ms` grows by what it took
    whenever the vector is wanted again, so that no setting gets for nothing what it would pay.

    Args:
        embedder: does the work; texts that come several at a time go straight to it.

    Attributes:
        owed_ms: what remembered vectors would have taken; set it to 0 to begin anew.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, tuple[NDArray[np.float32], float]] = {}
        self.owed_ms = 0.0

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._embedder.dim

    @property
    def id(self) -> str:
        """Of the embedder that does the work."""
        return self._embedder.id

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, dim), rows of length one."""
        if len(texts) != 1:
            return self._embedder.embed(texts)
        text = texts[0]
        if text in self._known:
            vectors, ms = self._known[text]
            self.owed_ms += ms
        else:
            begin = perf_counter()
            vectors = np.asarray(self._embedder.embed(texts), dtype=np.float32)
            self._known[text] = vectors, (perf_counter() - begin) * 1e3
        return np.array(vectors)

    def __repr__(self) -> str:
        return f"QuestionVectors({self._embedder!r}, {len(self._known)} remembered)"
