"""A vector for each token of a text, from the same model that embeds it whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["TokenEmbedder", "TokenVectors"]


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """A text, token by token; what the model adds itself ([CLS], [SEP]) is left out.

    Args:
        vectors: (tokens, dim) float32, rows of length one.
        tokens: the tokens as the model's vocabulary writes them.
        total: tokens of the whole text; more than there are where it was cut at the model's limit.
    """

    vectors: NDArray[np.float32]
    tokens: tuple[str, ...]
    total: int

    @property
    def cut(self) -> bool:
        """Whether the model read only a part."""
        return self.total > len(self.tokens)


@runtime_checkable
class TokenEmbedder(Protocol):
    """An embedder that also gives the vectors of single tokens."""

    @property
    def id(self) -> str:
        """Name of the model and its revision; vectors of different ids must not be compared."""
        ...

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Vectors of the tokens of each text."""
        ...
