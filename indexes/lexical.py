"""First-stage lexical search over a whole corpus, by bm25s.

Lù (2024), "BM25S: Orders of magnitude faster lexical search via eager sparse scoring"
(arXiv 2407.03618): the score of every (word, chunk) pair is computed once, while building.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.base import Footprint, SearchResult, SearchStats
from ragopt.indexes.checks import check_count
from ragopt.indexes.scoring import MISSING, BestOf
from ragopt.storage import load_folder, write_folder
from ragopt.text import terms

__all__ = ["LexicalIndex"]

_KIND = "lexical-index"
_VERSION = 1
_ARRAYS = {"data": "<f4", "indices": "<i4", "indptr": "<i4"}


class LexicalIndex:
    """BM25 scores of words in chunks, as a sparse matrix; make one with `build` or `open`.

    Some 10 bytes a distinct word of a chunk, in RAM after `build`, memory-mapped after `open`.
    The vocabulary stays in RAM.
    """

    def __init__(self, scores: dict[str, Any], vocabulary: dict[str, int], count: int) -> None:
        self._scores = scores
        self._vocabulary = vocabulary
        self._count = count

    @classmethod
    def build(cls, texts: Iterable[str], *, k1: float = 1.2, b: float = 0.75) -> LexicalIndex:
        """Index texts; the id of a text is its position.

        Args:
            texts: what is searched: titles and texts of the chunks.
            k1: saturation of repeated words, 0 or more.
            b: strength of the length normalisation, 0 to 1.

        Raises:
            InputError: no text, none with a word in it, or a parameter out of range.
        """
        import bm25s

        if not (0 <= k1 < float("inf") and 0 <= b <= 1):
            raise InputError(f"k1={k1}, b={b}: expected k1 >= 0 and b from 0 to 1")
        if isinstance(texts, str):
            raise InputError("texts: got one string, expected a collection of them")
        words = [terms(text) for text in texts]
        if not any(words):
            raise InputError("no text holds a single word; there is nothing to index")
        engine = bm25s.BM25(k1=k1, b=b, method="lucene")
        engine.index(words, show_progress=False, create_empty_token=False)
        scores = {name: np.asarray(engine.scores[name], kind) for name, kind in _ARRAYS.items()}
        return cls(scores, dict(engine.vocab_dict), len(words))

    def search(self, query: str, k: int) -> SearchResult:
        """The ``k`` best texts, (1, k); -1 where fewer hold a word of the query.

        Raises:
            InputError: k below 1.
        """
        begin = perf_counter()
        k = check_count("k", k)
        scores = np.zeros(self._count, dtype=np.float32)
        starts = self._scores["indptr"]
        postings = 0
        for term in terms(query):
            column = self._vocabulary.get(term)
            if column is not None:
                part = slice(int(starts[column]), int(starts[column + 1]))
                # A word's postings name a chunk once, so plain fancy addition is right.
                scores[self._scores["indices"][part]] += self._scores["data"][part]
                postings += part.stop - part.start
        found = np.flatnonzero(scores)
        best = BestOf(1, k)
        if len(found):
            best.offer(found, scores[found][None])
        best.scores[best.positions == MISSING] = -np.inf
        stats = SearchStats(codes_scanned=postings, seconds=perf_counter() - begin)
        return SearchResult(best.positions, best.scores, stats)

    def __len__(self) -> int:
        return self._count

    def save(self, path: Path | str) -> None:
        """Write to a folder, atomically.

        Raises:
            StorageError: the disk is full, read-only or failing.
        """
        vocabulary = sorted(self._vocabulary, key=self._vocabulary.__getitem__)
        write_folder(
            Path(path),
            kind=_KIND,
            version=_VERSION,
            about={"count": self._count},
            parts={**self._scores, "vocabulary": json.dumps(vocabulary).encode()},
        )

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> LexicalIndex:
        """Open what `save` wrote; the scores stay on disk behind memory maps.

        Raises:
            InputError: nothing was saved there.
            IndexCorrupt: a file is damaged.
        """
        return load_folder(Path(path), cls._load, kind=_KIND, version=_VERSION, verify=verify)

    @classmethod
    def _load(cls, about: dict[str, Any], parts: dict[str, Path]) -> LexicalIndex:
        scores = {
            name: np.memmap(parts[name], dtype=kind, mode="r") for name, kind in _ARRAYS.items()
        }
        words = json.loads(parts["vocabulary"].read_bytes())
        return cls(scores, {word: column for column, word in enumerate(words)}, about["count"])

    def footprint(self) -> Footprint:
        """Bytes in memory and on disk, by part."""
        mapped = isinstance(self._scores["data"], np.memmap)
        sizes = {name: int(array.nbytes) for name, array in self._scores.items()}
        # A dict entry, its string object and its integer.
        vocabulary = sum(104 + 49 + len(word) + 28 for word in self._vocabulary)
        if mapped:
            return Footprint.of(ram={"vocabulary": vocabulary}, disk=sizes)
        return Footprint.of(ram={"vocabulary": vocabulary, **sizes})

    def __repr__(self) -> str:
        return f"<lexical index: {self._count:,} texts, {len(self._vocabulary):,} words>"
