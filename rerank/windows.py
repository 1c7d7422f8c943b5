"""Long chunks scored window by window, so that no scorer reads them in part only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from ragopt.chunk import Chunk
from ragopt.errors import InputError
from ragopt.rerank.base import Reranker, scorer_id
from ragopt.rerank.scores import Scores, TellingReranker, quote_of, scores_of

__all__ = ["Windowed"]

_WORD = re.compile(r"\S+")


class Windowed(TellingReranker):
    """Another scorer over windows of long chunks; a chunk scores as its best window.

    Dai and Callan (2019), "Deeper Text Understanding for IR with Contextual Neural Language
    Modeling": of first, best and summed passage the best ("MaxP") ranked documents best or next to
    best. Every window carries the chunk's title. Chunks of one window are scored as they are.

    Args:
        reranker: scores windows; one that compares chunks with each other (an LLM) compares them.
        words: of a window, 1 or more.
        overlap: words that a window shares with the one before it, below ``words``.

    Raises:
        InputError: sizes out of their range.

    Cost: the scorer reads ``words / (words - overlap)`` times the text of long chunks.
    """

    def __init__(self, reranker: Reranker, *, words: int = 150, overlap: int = 30) -> None:
        if type(words) is not int or type(overlap) is not int or not 0 <= overlap < words:
            raise InputError(
                f"words={words!r}, overlap={overlap!r}: expected whole numbers with "
                "0 <= overlap < words"
            )
        self._reranker = reranker
        self._words = words
        self._overlap = overlap

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """Scores (n,), each of the chunk's best window.

        Raises:
            InputError: the scorer returned no number for a window.
        """
        windows: list[Chunk] = []
        owners: list[int] = []
        for place, chunk in enumerate(chunks):
            parts = self._windows(chunk)
            windows += parts
            owners += [place] * len(parts)
        found = scores_of(self._reranker, query, windows)
        values = np.full(len(chunks), -np.inf, dtype=np.float32)
        np.maximum.at(values, np.array(owners, dtype=np.int64), found.values)
        return replace(
            found,
            values=values,
            read_in_part=tuple(sorted({owners[at] for at in found.read_in_part})),
            duplicates=(),
            notes=(*found.notes, f"{len(windows)} windows of {len(chunks)} chunks"),
        )

    def quote(self, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
        """US dollars of scoring all windows."""
        return quote_of(
            self._reranker, query, [one for chunk in chunks for one in self._windows(chunk)]
        )

    def _windows(self, chunk: Chunk) -> list[Chunk]:
        found = list(_WORD.finditer(chunk.text))
        if len(found) <= self._words:
            return [chunk]
        step = self._words - self._overlap
        starts = range(0, len(found) - self._overlap, step)
        return [self._window(chunk, found[start : start + self._words]) for start in starts]

    def _window(self, chunk: Chunk, found: Sequence[re.Match[str]]) -> Chunk:
        start, end = found[0].start(), found[-1].end()
        name = f"{chunk.id}[{start}:{end}]"
        return replace(chunk, id=name, text=chunk.text[start:end], start=chunk.start + start)

    @property
    def id(self) -> str:
        """Of the scorer, and the windows."""
        return (
            f"windowed({scorer_id(self._reranker)}, words={self._words}, overlap={self._overlap})"
        )

    def __repr__(self) -> str:
        return f"Windowed({self._reranker!r}, words={self._words}, overlap={self._overlap})"
