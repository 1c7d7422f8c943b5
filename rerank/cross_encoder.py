"""A cross-encoder reads question and chunk together: the best scorer, and the dearest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ragopt.chunk import Chunk
from ragopt.errors import BackendMissing, InputError
from ragopt.rerank.base import passage
from ragopt.rerank.scores import Scores, TellingReranker

__all__ = ["CrossEncoderReranker"]


class CrossEncoderReranker(TellingReranker):
    """A sentence-transformers cross-encoder (extra ``models``).

    Args:
        model: hub name (``"cross-encoder/ms-marco-MiniLM-L6-v2"``) or local folder.
        device: ``"cpu"``, ``"cuda"``, …; the library's choice when not given.
        batch_size: pairs a forward pass.
        max_tokens: of a pair; the model's own limit when not given.

    Attributes:
        truncated: pairs so far that were longer than the limit, and so were read in part only.

    Raises:
        BackendMissing: sentence-transformers is not installed.
        InputError: there is no such model, it could not be loaded or downloaded, or a batch size
            or token limit below 1.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        batch_size: int = 32,
        max_tokens: int | None = None,
    ) -> None:
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise BackendMissing(
                "sentence-transformers", "models", "reranking with a cross-encoder"
            ) from error
        if batch_size < 1 or (max_tokens is not None and max_tokens < 1):
            raise InputError(
                f"batch_size={batch_size}, max_tokens={max_tokens}: expected at least 1 each"
            )
        self._name = str(model)
        self._batch_size = batch_size
        self.truncated = 0
        try:
            self._model = CrossEncoder(self._name, device=device, max_length=max_tokens)
        except Exception as error:
            raise InputError(
                f"cross-encoder {self._name!r} could not be loaded ({error}); expected a hub name "
                "that can be downloaded or is cached, or a folder with a saved model"
            ) from error
        self._max_tokens = max_tokens

    @cached_property
    def id(self) -> str:
        """The model, for a local folder with a hash of its files, and the limit of tokens."""
        from ragopt.embed.transformer import model_identity

        limit = "" if self._max_tokens is None else f", max_tokens={self._max_tokens}"
        return f"cross-encoder({model_identity(self._name, None)}{limit})"

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """Logits or probabilities (n,) as the model gives them: uncalibrated, for ranking only.

        Chunks beyond the token limit are read in part; see `ragopt.rerank.Windowed`.
        """
        if not chunks:
            return Scores(values=np.empty(0, dtype=np.float32))
        pairs = [(query, passage(chunk)) for chunk in chunks]
        long = self._long(pairs)
        self.truncated += len(long)
        scores = self._model.predict(
            pairs, batch_size=self._batch_size, convert_to_numpy=True, show_progress_bar=False
        )
        values = np.asarray(scores, dtype=np.float32).reshape(len(chunks), -1)[:, -1]
        return Scores(values=values, read_in_part=long)

    def _long(self, pairs: Sequence[tuple[str, str]]) -> tuple[int, ...]:
        """Places of the pairs beyond the limit."""
        tokenizer = self._model.tokenizer
        # The name changed with sentence-transformers 6, and the old one warns.
        name = "max_seq_length" if hasattr(self._model, "max_seq_length") else "max_length"
        limit = getattr(self._model, name) or tokenizer.model_max_length
        queries, texts = (list(side) for side in zip(*pairs, strict=True))
        encoded = tokenizer(queries, texts, truncation=False, verbose=False)
        return tuple(at for at, ids in enumerate(encoded["input_ids"]) if len(ids) > limit)

    def __repr__(self) -> str:
        return f"CrossEncoderReranker({self._name!r})"
