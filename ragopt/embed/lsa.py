"""Latent semantic analysis: an embedder fitted on the corpus itself.

No download, no torch, microseconds a question. TF-IDF weighted words, projected on the leading
right singular vectors of the corpus (Deerwester et al., 1990). A bag of words: blind to order,
weaker than a trained model, and the default where no model is at hand.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import InputError
from ragopt.quality import data_hash
from ragopt.storage import read_folder, write_folder
from ragopt.text import terms

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["LSAEmbedder"]

_KIND = "lsa-embedder"
_VERSION = 1
_OVERSAMPLING = 16  # extra random directions, and
_POWER_ITERATIONS = 2  # passes: Halko, Martinsson and Tropp (2011), remark 4.3 and section 4.5
_ROUNDING = 1e-5  # what is smaller than so much of the largest is float32 noise


class LSAEmbedder:
    """TF-IDF and truncated SVD; make one with `fit` or `load`.

    Args:
        vocabulary: term to row of ``projection``.
        projection: (terms, dim) float32, inverse document frequencies included.
    """

    def __init__(self, vocabulary: dict[str, int], projection: NDArray[np.float32]) -> None:
        self._vocabulary = vocabulary
        self._projection = np.ascontiguousarray(projection, dtype=np.float32)
        self.dim = int(projection.shape[1])
        words = "\n".join(vocabulary)
        self.id = f"lsa-{self.dim}-{data_hash(words, self._projection)}"

    @classmethod
    def fit(cls, texts: Iterable[str], *, dim: int = 512, seed: int = 0) -> LSAEmbedder:
        """Fit on a corpus: a second or two for 6,000 chunks, linear in their words.

        Args:
            texts: the corpus; for good results the very texts that will be searched.
            dim: length of a vector; lowered to what the corpus supports.
            seed: of the randomised decomposition.

        Raises:
            InputError: dim below 1, or no text with a word in it.
        """
        if dim < 1:
            raise InputError(f"dim={dim}: expected at least 1")
        counts, vocabulary = _count_terms(texts)
        if not vocabulary:
            raise InputError("no text holds a single word; LSA needs a corpus to be fitted on")
        weights = _inverse_document_frequencies(counts)
        rows = _tf_idf(counts, weights)
        directions = _right_singular_vectors(rows, min(dim, *rows.shape), seed)
        return cls(vocabulary, (directions * weights[:, None]).astype(np.float32))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, dim) with rows of length one.

        Zero for a text without a known word, or whose words the kept directions do not tell of.
        """
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            counts = Counter(
                index for term in terms(text) if (index := self._vocabulary.get(term)) is not None
            )
            if counts:
                weights = 1 + np.log(np.fromiter(counts.values(), np.float32, len(counts)))
                vector = weights @ self._projection[list(counts)]
                length = np.linalg.norm(vector)
                if length > _ROUNDING * np.linalg.norm(weights):
                    row[:] = vector / length
        return vectors

    def save(self, path: Path | str) -> None:
        """Write to a folder, atomically.

        Raises:
            StorageError: the disk is full, read-only or failing.
        """
        write_folder(
            Path(path),
            kind=_KIND,
            version=_VERSION,
            about={"dim": self.dim, "terms": len(self._vocabulary)},
            parts={
                "vocabulary": json.dumps(list(self._vocabulary)).encode(),
                "projection": self._projection.astype("<f4"),
            },
        )

    @classmethod
    def load(cls, path: Path | str) -> LSAEmbedder:
        """Read what `save` wrote.

        Raises:
            InputError: nothing was saved there.
            IndexCorrupt: a file is damaged.
        """
        about, parts = read_folder(Path(path), kind=_KIND, version=_VERSION)
        words = json.loads(parts["vocabulary"].read_bytes())
        projection = np.fromfile(parts["projection"], dtype="<f4").reshape(len(words), -1)
        vocabulary = {word: row for row, word in enumerate(words)}
        return cls(vocabulary, projection[:, : about["dim"]].astype(np.float32))

    def __repr__(self) -> str:
        return f"LSAEmbedder(dim={self.dim}, terms={len(self._vocabulary)})"


def _count_terms(texts: Iterable[str]) -> tuple[csr_matrix, dict[str, int]]:
    from scipy.sparse import csr_matrix

    vocabulary: dict[str, int] = {}
    columns: list[int] = []
    ends = [0]
    for text in texts:
        columns.extend(vocabulary.setdefault(term, len(vocabulary)) for term in terms(text))
        ends.append(len(columns))
    counts = csr_matrix(
        (np.ones(len(columns), np.float32), columns, ends), shape=(len(ends) - 1, len(vocabulary))
    )
    counts.sum_duplicates()
    return _without_single_use(counts, vocabulary)


def _without_single_use(
    counts: csr_matrix, vocabulary: dict[str, int]
) -> tuple[csr_matrix, dict[str, int]]:
    """Drop terms of a single text: they relate it to no other, and are half of the vocabulary."""
    frequent = np.bincount(counts.indices, minlength=len(vocabulary)) >= 2
    if not frequent.any():
        return counts, vocabulary
    kept = [term for term, keep in zip(vocabulary, frequent, strict=True) if keep]
    return counts[:, frequent], {term: row for row, term in enumerate(kept)}


def _inverse_document_frequencies(counts: csr_matrix) -> NDArray[np.float64]:
    documents, terms_ = counts.shape
    occurrences = np.bincount(counts.indices, minlength=terms_)
    return np.asarray(np.log((1 + documents) / (1 + occurrences)) + 1, dtype=np.float64)


def _tf_idf(counts: csr_matrix, weights: NDArray[np.float64]) -> csr_matrix:
    rows = counts.copy()
    rows.data = (1 + np.log(rows.data)) * weights[rows.indices]
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    rows.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(rows.indptr))
    return rows.astype(np.float32)


def _right_singular_vectors(rows: Any, rank: int, seed: int) -> NDArray[np.float32]:
    """Leading right singular vectors (terms, rank or fewer) by randomised subspace iteration.

    Halko, Martinsson and Tropp (2011), algorithms 4.4 and 5.1. Signs are fixed so that one seed
    gives one result on every platform up to rounding.
    """
    width = min(rank + _OVERSAMPLING, *rows.shape)
    block = np.random.default_rng(seed).standard_normal((rows.shape[1], width), dtype=np.float32)
    for _ in range(_POWER_ITERATIONS):
        block = rows.T @ _orthonormal(rows @ block)
    vectors = _orthonormal(rows.T @ _orthonormal(rows @ block))[:, :rank]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    return np.asarray(vectors * signs, dtype=np.float32)


def _orthonormal(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Left singular vectors of a tall block, largest first, from its Gram matrix.

    Two matrix products and a small eigenproblem: some ten times faster than Householder QR, and
    exact enough here, since the columns come from an orthonormal block and the squared spread of
    a corpus's leading singular values is far from single precision's limit.
    """
    squares, right = np.linalg.eigh((block.T @ block).astype(np.float64))
    kept = squares > _ROUNDING * squares[-1]
    scaled = (right[:, kept] / np.sqrt(squares[kept]))[:, ::-1]
    return np.asarray(block @ scaled.astype(np.float32), dtype=np.float32)
