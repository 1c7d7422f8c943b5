"""What no compressor that rewrites may touch: code, data, tables, links, citations.

Extractive compressors keep or drop segments whole and need no fence. Those that drop or replace
words work between the fences and put what is inside them back byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ragopt.compress.segment import Segment, inline_json, segment
from ragopt.compress.sentences import Region, protected_regions

__all__ = ["FENCED_KINDS", "Piece", "block_regions", "fenced_pieces"]

FENCED_KINDS = frozenset({"code", "data", "header", "row", "heading"})
# An aside in parentheses is prose, unless it cites or holds something that must stay in one piece.
_CITING = re.compile(r"\d|://|www\.|[@`\[{]|\bet al\b|\bibid\b")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text, either free to be rewritten or fenced off.

    Args:
        start: first character.
        end: just past the last character.
        fenced: whether it has to come out byte for byte.
    """

    start: int
    end: int
    fenced: bool


def fenced_pieces(text: str, segments: list[Segment] | None = None) -> list[Piece]:
    """Cut a text into free and fenced pieces.

    Args:
        text: the text.
        segments: of the text, where they are known already.

    Returns:
        Pieces in order that together are the whole text; two neighbours differ in ``fenced``.

    Cost: linear in the length.
    """
    found = segment(text) if segments is None else segments
    pieces: list[Piece] = []
    at = 0
    for start, end in _joined(sorted([*block_regions(found), *_inline_regions(text)])):
        if start > at:
            pieces.append(Piece(at, start, fenced=False))
        pieces.append(Piece(start, end, fenced=True))
        at = end
    if at < len(text):
        pieces.append(Piece(at, len(text), fenced=False))
    return pieces


def block_regions(segments: list[Segment]) -> list[Region]:
    """Runs of neighbouring segments that are code, data, tables or headings."""
    regions: list[Region] = []
    open_run = False
    for found in segments:
        fenced = found.kind in FENCED_KINDS
        if fenced and open_run:
            regions[-1] = (regions[-1][0], found.end)
        elif fenced:
            regions.append((found.start, found.end))
        open_run = fenced
    return regions


def _inline_regions(text: str) -> Iterator[Region]:
    for start, end in protected_regions(text):
        if text[start] != "(" or _CITING.search(text, start, end):
            yield start, end
    if "{" in text or "[" in text:
        yield from inline_json(text)


def _joined(regions: list[Region]) -> list[Region]:
    joined: list[Region] = []
    for start, end in regions:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined
