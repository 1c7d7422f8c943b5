"""Embeddings by a sentence-transformers model, by hub name or from a local folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragopt.embed.base import unit_rows
from ragopt.embed.tokens import TokenVectors
from ragopt.errors import BackendMissing, InputError
from ragopt.quality import data_hash

__all__ = ["SentenceTransformerEmbedder", "model_identity"]

_MODEL_FILES = frozenset({".bin", ".json", ".model", ".safetensors", ".txt"})


class SentenceTransformerEmbedder:
    """A sentence-transformers model (extra ``models``).

    Args:
        model: a hub name (``"sentence-transformers/all-MiniLM-L6-v2"``) or a local folder.
        device: ``"cpu"``, ``"cuda"``, …; the library's choice when not given.
        batch_size: texts a forward pass.
        revision: of a hub model, for reproducibility.

    Raises:
        BackendMissing: sentence-transformers is not installed.
        InputError: there is no such model, it could not be loaded or downloaded, or a batch size
            below 1.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        batch_size: int = 32,
        revision: str | None = None,
    ) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise BackendMissing(
                "sentence-transformers", "models", "embedding with a transformer model"
            ) from error
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: expected at least 1")
        self._name = str(model)
        self._batch_size = batch_size
        try:
            self._model = SentenceTransformer(self._name, device=device, revision=revision)
        except Exception as error:
            raise InputError(
                f"embedding model {self._name!r} could not be loaded ({error}); expected a hub "
                "name that can be downloaded or is cached, or a folder with a saved model"
            ) from error
        self.dim = int(self.embed_batch(["dimension"]).shape[1])
        self.id = f"sentence-transformers:{model_identity(self._name, revision)}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, dim), rows of length one; longer texts are cut at the model's limit."""
        if not len(texts):
            return np.empty((0, self.dim), dtype=np.float32)
        return self.embed_batch(list(texts))

    def embed_batch(self, texts: list[str]) -> NDArray[np.float32]:
        """One call of the model, checked and normalised."""
        vectors = self._model.encode(
            texts, batch_size=self._batch_size, convert_to_numpy=True, show_progress_bar=False
        )
        return unit_rows(vectors, count=len(texts), who=f"model {self._name!r}")

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Vectors of the tokens of each text, as the model gives them before it pools them.

        Raises:
            InputError: the model has no tokenizer, or gives other tokens than that makes.
        """
        if not len(texts):
            return []
        name, tokenizer = f"model {self._name!r}", self._model.tokenizer
        if not callable(tokenizer) or not hasattr(tokenizer, "convert_ids_to_tokens"):
            raise InputError(f"{name} has no tokenizer of its own; expected a transformer model")
        found = self._model.encode(
            list(texts),
            batch_size=self._batch_size,
            output_value="token_embeddings",
            convert_to_numpy=False,
            show_progress_bar=False,
        )
        stripped = [text.strip() for text in texts]  # as the model does
        whole = tokenizer(stripped, add_special_tokens=False, truncation=False, verbose=False)
        read = tokenizer(
            stripped,
            truncation=True,
            max_length=self._model.max_seq_length,
            return_special_tokens_mask=True,
        )
        rows = zip(found, read["input_ids"], read["special_tokens_mask"], strict=True)
        return [
            self._tokens(tensor.float().cpu().numpy(), ids, special, len(every))
            for (tensor, ids, special), every in zip(rows, whole["input_ids"], strict=True)
        ]

    def _tokens(
        self, vectors: NDArray[np.float32], ids: list[int], special: list[int], total: int
    ) -> TokenVectors:
        if len(vectors) != len(ids):
            raise InputError(
                f"model {self._name!r} gave {len(vectors)} token vectors where its tokenizer made "
                f"{len(ids)} tokens; expected as many (a model with prompts cannot be used here)"
            )
        kept = np.flatnonzero(np.array(special) == 0)
        return TokenVectors(
            unit_rows(vectors[kept], count=len(kept), who=f"model {self._name!r}"),
            tuple(self._model.tokenizer.convert_ids_to_tokens([ids[place] for place in kept])),
            total,
        )

    def __repr__(self) -> str:
        return f"SentenceTransformerEmbedder({self._name!r}, dim={self.dim})"


def model_identity(name: str, revision: str | None) -> str:
    """Name and revision; for a local folder its last part and a hash of what it holds.

    Weights are read in full (some 1 GB/s): two trainings of one model differ in nothing else.
    """
    folder = Path(name)
    if not folder.is_dir():
        return f"{name}@{revision or 'default'}"
    parts = [
        part
        for path in sorted(folder.rglob("*"))
        if path.suffix in _MODEL_FILES
        for part in (path.relative_to(folder).as_posix(), _digest(path))
    ]
    return f"{folder.resolve().name}@{data_hash(*parts)}"


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()
