"""Late interaction: every token of the question looks for its match among a chunk's tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk
from ragopt.embed.tokens import TokenEmbedder, TokenVectors
from ragopt.errors import InputError
from ragopt.rerank.base import passage
from ragopt.rerank.scores import Scores, TellingReranker
from ragopt.rerank.token_vectors import TokenCodes, TokenStore, encode

__all__ = ["LateInteraction"]


class LateInteraction(TellingReranker):
    """Mean over the question's tokens of the largest cosine with a token of the chunk.

    Khattab and Zaharia (2020), "ColBERT: Efficient and Effective Passage Search via Contextualized
    Late Interaction over BERT". Theirs is a model trained for it; an ordinary sentence-transformers
    model before its pooling does as well as its own cosine, or better. Punctuation of the question
    and what the model adds itself are left out.

    Chunks' vectors are computed once a text and kept, a byte a dimension: some 390 bytes a token
    at 384 dimensions. The first question about a chunk is as dear as embedding it.

    Args:
        embedder: gives vectors of tokens, such as `ragopt.embed.SentenceTransformerEmbedder`.
        ram_bytes: budget of the vectors kept in RAM.
        path: SQLite file that keeps all of them, made when missing; none by default.

    Raises:
        InputError: an embedder without ``embed_tokens``, or a budget below 0.
        IndexCorrupt: the file is damaged or no database.
        StorageError: it cannot be written.

    Cost: question tokens x chunk tokens x dimensions multiplications of bytes.
    """

    def __init__(
        self,
        embedder: TokenEmbedder,
        *,
        ram_bytes: int = 256 << 20,
        path: Path | str | None = None,
    ) -> None:
        if not isinstance(embedder, TokenEmbedder):
            raise InputError(
                f"{type(embedder).__name__} gives no vectors of tokens; expected an embedder with "
                "embed_tokens(texts), such as SentenceTransformerEmbedder"
            )
        self._embedder = embedder
        self.store = TokenStore(ram_bytes=ram_bytes, path=path)

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """Mean largest cosines (n,), -1 to 1; 0 for all where the question has no tokens.

        Raises:
            InputError: the embedder gave no vector for a token.
            IndexCorrupt: the file was damaged in the meantime.
            StorageError: it cannot be written.
        """
        if not chunks:
            return Scores(values=np.empty(0, dtype=np.float32))
        texts = [passage(chunk) for chunk in chunks]
        coded = self.store.codes(self._embedder.id, texts, self._encode)
        (asked,) = self._embedder.embed_tokens([query])
        values = _max_similarities(_question(asked), coded)
        cut = tuple(place for place, codes in enumerate(coded) if codes.cut)
        return Scores(values=values, read_in_part=cut)

    def warm(self, chunks: Sequence[Chunk]) -> int:
        """Compute and keep the vectors of chunks beforehand; how many were new.

        Raises:
            InputError, IndexCorrupt, StorageError: as `scored`.
        """
        before = self.store.misses
        self.store.codes(self._embedder.id, [passage(one) for one in chunks], self._encode)
        return self.store.misses - before

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def _encode(self, texts: list[str]) -> list[TokenCodes]:
        found = self._embedder.embed_tokens(texts)
        return [encode(one.vectors, cut=one.cut) for one in found]

    @property
    def id(self) -> str:
        """The embedder's."""
        return f"late interaction({self._embedder.id})"

    def __repr__(self) -> str:
        return f"LateInteraction({self._embedder!r})"


def _question(asked: TokenVectors) -> TokenCodes:
    """The question without its punctuation; all of it where it is nothing else."""
    words = [place for place, token in enumerate(asked.tokens) if not _is_punctuation(token)]
    return encode(asked.vectors[words] if words else asked.vectors)


def _is_punctuation(token: str) -> bool:
    # Vocabularies mark the begin or the middle of a word with #, Ġ or a block.
    bare = token.removeprefix("##").lstrip("Ġ▁")
    return bool(bare) and all(unicodedata.category(sign)[0] == "P" for sign in bare)


def _max_similarities(question: TokenCodes, coded: Sequence[TokenCodes]) -> NDArray[np.float32]:
    from ragopt.rerank.maxsim import max_similarities

    scores = np.zeros(len(coded), dtype=np.float32)
    if not len(question.codes):
        return scores
    dim = question.codes.shape[1]
    held = [one for one in coded if len(one.scales)]
    tokens = np.concatenate([np.empty((0, dim), np.int8), *(one.codes for one in held)])
    scales = np.concatenate([np.empty(0, np.float32), *(one.scales for one in held)])
    starts = np.cumsum([0, *(len(one.scales) for one in coded)], dtype=np.int64)
    max_similarities(question.codes, question.scales, tokens, scales, starts, scores)
    return scores
