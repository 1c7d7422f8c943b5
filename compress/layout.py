"""The segments of all hits in one row, and the way back from a choice of them to text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from ragopt.chunk import Chunk, Hit
from ragopt.compress.base import CompressedChunk, Span, render_chunk
from ragopt.compress.segment import Segment, segment
from ragopt.compress.terms import words

__all__ = ["Layout"]

_LEFT_OUT_INLINE = " … "
_LEFT_OUT_LINES = "\n…\n"
_LEFT_OUT_ROWS = "\n| … |\n"
_ONE_PER_LINE = "\n"


class Layout:
    """Segments of a list of hits under one running number each.

    Args:
        hits: the hits, in the order of the prompt.

    Attributes:
        chunks: the chunk of each hit.
        segments: all segments, chunk after chunk.
        chunk_of: number of the chunk of each segment.
        first_of: number of the first segment of each chunk.
        leads: number of the segment that has to be kept with each one, or -1.
    """

    __slots__ = ("_words", "chunk_of", "chunks", "first_of", "leads", "segments")

    def __init__(self, hits: Sequence[Hit]) -> None:
        self.chunks: list[Chunk] = [hit.chunk for hit in hits]
        self.segments: list[Segment] = []
        self.chunk_of: list[int] = []
        self.first_of: list[int] = []
        self.leads: list[int] = []
        self._words: list[list[str]] = []
        for number, chunk in enumerate(self.chunks):
            first = len(self.segments)
            found = segment(chunk.text)
            self.first_of.append(first)
            self.segments.extend(found)
            self.chunk_of.extend([number] * len(found))
            self.leads.extend(-1 if one.lead is None else first + one.lead for one in found)

    def __len__(self) -> int:
        return len(self.segments)

    def text(self, number: int) -> str:
        """Text of one segment."""
        found = self.segments[number]
        return self.chunks[self.chunk_of[number]].text[found.start : found.end]

    def texts(self) -> list[str]:
        """Text of every segment."""
        return [self.text(number) for number in range(len(self.segments))]

    def words(self) -> list[list[str]]:
        """Words of every segment in lower case; found on the first call."""
        if len(self._words) < len(self.segments):
            self._words = [words(text) for text in self.texts()]
        return self._words

    def closure(self, number: int) -> list[int]:
        """A segment and all it leads back to, first to last."""
        chain = [number]
        while self.leads[chain[-1]] >= 0:
            chain.append(self.leads[chain[-1]])
        return chain[::-1]

    def full_text(self) -> str:
        """The context with nothing left out."""
        return "\n\n".join(render_chunk(chunk.title, chunk.text) for chunk in self.chunks)

    def keep(self, kept: Iterable[int]) -> tuple[CompressedChunk, ...]:
        """The chunks with only the segments ``kept``, in source order."""
        ordered = sorted(kept)
        return tuple(
            self._compressed(number, list(group))
            for number, group in groupby(ordered, key=self.chunk_of.__getitem__)
        )

    def _compressed(self, number: int, kept: list[int]) -> CompressedChunk:
        chunk = self.chunks[number]
        parts: list[str] = []
        spans: list[Span] = []
        before = -1
        for first, last in _runs(kept):
            if spans:
                parts.append(self._separator(before, first))
            before = last
            span = Span(chunk.id, self.segments[first].start, self.segments[last].end)
            spans.append(span)
            parts.append(chunk.text[span.start : span.end])
        return CompressedChunk(chunk, "".join(parts), tuple(spans))

    def _separator(self, before: int, after: int) -> str:
        """What stands for the text left out between two segments of a chunk.

        It holds no letter and no digit and stands apart from both sides, so it can make no word
        or number out of two; rows and data lines stay rows and lines.
        """
        left, right = self.segments[before], self.segments[after]
        if right.kind == "row" and left.kind in ("row", "header"):
            return _LEFT_OUT_ROWS if "|" in self.text(after) else _ONE_PER_LINE
        if left.kind == right.kind == "data":
            return _ONE_PER_LINE
        between = self.chunks[self.chunk_of[before]].text[left.end : right.start]
        if left.kind == right.kind == "prose" and "\n" not in between:
            return _LEFT_OUT_INLINE
        return _LEFT_OUT_LINES


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """First and last of each stretch of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
