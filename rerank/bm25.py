"""BM25 over the candidates, by rank-bm25, with the corpus's own word statistics when given.

Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond".
"""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk
from ragopt.errors import InputError
from ragopt.quality import data_hash
from ragopt.rerank.base import passage
from ragopt.storage import read_folder, write_folder
from ragopt.text import terms

__all__ = ["BM25Reranker", "CorpusStatistics"]

_KIND = "corpus-statistics"
_VERSION = 1
_REMEMBERED_CHUNKS = 8_192  # some 300 bytes each
_ENTRY_BYTES = 200  # of the dictionary, the key and the array object


class CorpusStatistics:
    """Inverse document frequencies and mean length of a whole corpus, 8 bytes a term.

    Fifty candidates for one question nearly all hold its words, so frequencies counted among
    them say little; the corpus's say which word matters. Terms are kept as 32-bit hashes: two of
    a million collide with a probability of 0.02 %, and then share a frequency.

    Args:
        hashes: (terms,) uint32, ascending.
        idf: (terms,) float32.
        unknown_idf: of a term that the corpus does not hold.
        mean_length: terms a chunk.
    """

    def __init__(
        self,
        hashes: NDArray[np.uint32],
        idf: NDArray[np.float32],
        *,
        unknown_idf: float,
        mean_length: float,
    ) -> None:
        self._hashes = hashes
        self._idf = idf
        self.unknown_idf = unknown_idf
        self.mean_length = mean_length

    @classmethod
    def fit(cls, chunks: Iterable[Chunk]) -> CorpusStatistics:
        """Count the words of a corpus: linear in its text.

        Raises:
            InputError: no chunk.
        """
        frequencies: dict[int, int] = {}
        documents = length = 0
        for chunk in chunks:
            words = terms(passage(chunk))
            documents += 1
            length += len(words)
            for key in {_hash(word) for word in words}:
                frequencies[key] = frequencies.get(key, 0) + 1
        if not documents:
            raise InputError("no chunk to take word statistics of")
        hashes = np.array(sorted(frequencies), dtype=np.uint32)
        counts = np.array([frequencies[int(key)] for key in hashes], dtype=np.float64)
        return cls(
            hashes,
            _idf(counts, documents).astype(np.float32),
            unknown_idf=float(_idf(np.zeros(1), documents)[0]),
            mean_length=max(1.0, length / documents),
        )

    @cached_property
    def id(self) -> str:
        """Hash of the statistics: others give another scale of scores."""
        return data_hash(
            self._hashes, self._idf, np.array([self.unknown_idf, self.mean_length], dtype="<f8")
        )

    @property
    def ram_bytes(self) -> int:
        """Resident size."""
        return self._hashes.nbytes + self._idf.nbytes

    def idf(self, words: Iterable[str]) -> dict[str, float]:
        """Inverse document frequency of each word."""
        found = {}
        for word in words:
            key = _hash(word)
            place = int(np.searchsorted(self._hashes, key))
            known = place < len(self._hashes) and int(self._hashes[place]) == key
            found[word] = float(self._idf[place]) if known else self.unknown_idf
        return found

    def save(self, path: Path | str) -> None:
        """Write to a folder, atomically."""
        write_folder(
            Path(path),
            kind=_KIND,
            version=_VERSION,
            about={"unknown_idf": self.unknown_idf, "mean_length": self.mean_length},
            parts={"hashes": self._hashes.astype("<u4"), "idf": self._idf.astype("<f4")},
        )

    @classmethod
    def load(cls, path: Path | str) -> CorpusStatistics:
        """Read what `save` wrote.

        Raises:
            InputError: nothing was saved there.
            IndexCorrupt: a file is damaged.
        """
        about, parts = read_folder(Path(path), kind=_KIND, version=_VERSION)
        return cls(
            np.fromfile(parts["hashes"], dtype="<u4"),
            np.fromfile(parts["idf"], dtype="<f4"),
            **about,
        )

    def __repr__(self) -> str:
        return f"CorpusStatistics(terms={len(self._hashes)}, mean_length={self.mean_length:.1f})"


class BM25Reranker:
    """Okapi BM25 of the candidates.

    Args:
        statistics: of the whole corpus; without them frequencies are those of the candidates.
        k1: saturation of repeated words, above 0.
        b: strength of the length normalisation, 0 to 1.
    """

    def __init__(
        self, statistics: CorpusStatistics | None = None, *, k1: float = 1.2, b: float = 0.75
    ) -> None:
        if not 0 < k1 < math.inf or not 0 <= b <= 1:
            raise InputError(f"k1={k1}, b={b}: expected a finite k1 > 0 and b from 0 to 1")
        self._statistics = statistics
        self._k1 = k1
        self._b = b
        self._words: OrderedDict[int, NDArray[np.uint32]] = OrderedDict()

    @property
    def id(self) -> str:
        """Settings and, where given, the corpus whose statistics count."""
        of = self._statistics.id if self._statistics else "candidates"
        return f"bm25(k1={self._k1:g}, b={self._b:g}, statistics={of})"

    @property
    def ram_bytes(self) -> int:
        """Words of chunks remembered from earlier questions; bounded, whatever the corpus."""
        return sum(words.nbytes + _ENTRY_BYTES for words in tuple(self._words.values()))

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Scores (n,) >= 0; linear in the chunks' words, which are split once and remembered."""
        asked = {_hash(word): word for word in terms(query)}
        texts = [self._terms(chunk) for chunk in chunks]
        if not asked or not any(len(text) for text in texts):
            return np.zeros(len(chunks), dtype=np.float32)
        scorer = self._scorer(asked, texts)
        weighed = [_hash(word) for word in terms(query)]
        return np.asarray(scorer.get_scores(weighed), dtype=np.float32)

    def _scorer(self, asked: dict[int, str], texts: Sequence[NDArray[np.uint32]]) -> Any:
        from rank_bm25 import BM25Okapi

        # Only words of the question count, and rank-bm25's set-up is linear in the words it sees.
        wanted = np.fromiter(asked, dtype=np.uint32)
        found = [text[np.isin(text, wanted)].tolist() for text in texts]
        scorer = BM25Okapi([words or [-1] for words in found], k1=self._k1, b=self._b)
        lengths = [len(text) for text in texts]
        scorer.doc_len = [max(1, length) for length in lengths]  # of an empty chunk, b=1: 0 / 0
        scorer.avgdl = sum(lengths) / len(texts)
        if self._statistics is not None:
            scorer.avgdl = self._statistics.mean_length
            idf = self._statistics.idf(asked.values())
            scorer.idf = {number: idf[word] for number, word in asked.items()}
        else:
            vocabularies = [set(words) for words in found]
            held = [sum(number in known for known in vocabularies) for number in asked]
            rarity = _idf(np.array(held, dtype=np.float64), len(texts))
            scorer.idf = dict(zip(asked, rarity.tolist(), strict=True))
        return scorer

    def _terms(self, chunk: Chunk) -> NDArray[np.uint32]:
        """Hashed words of a chunk, remembered: popular chunks come back for other questions.

        By its text: after a re-ingestion an id may stand for another one.
        """
        text = passage(chunk)
        key = hash(text)
        words = self._words.pop(key, None)
        if words is None:
            words = np.array([_hash(word) for word in terms(text)], dtype=np.uint32)
        self._words[key] = words
        if len(self._words) > _REMEMBERED_CHUNKS:
            self._words.popitem(last=False)
        return words

    def __repr__(self) -> str:
        return f"BM25Reranker(k1={self._k1}, b={self._b}, statistics={self._statistics!r})"


def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def _idf(frequencies: NDArray[np.float64], documents: int) -> NDArray[np.float64]:
    """Never negative, as in Lucene; rank-bm25's own turns negative for common words."""
    return np.asarray(np.log1p((documents - frequencies + 0.5) / (frequencies + 0.5)))
