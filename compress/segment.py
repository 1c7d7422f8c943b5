"""Segments: the units a compressor keeps or drops, never cuts.

Sentences of prose; code, data and list items whole; table rows with their header, list items
with their lead-in. Every segment is a verbatim slice, and only white space lies between two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ragopt.compress.blocks import JSON_OPENS, Block, BlockKind, JsonFinder, scan_blocks
from ragopt.compress.sentences import Region, Regions, protected_regions, sentence_spans

__all__ = ["Segment", "inline_json", "segment"]

# An item longer than this is cut into sentences, the first of which carries its marker.
_LONG_ITEM_CHARS = 500


@dataclass(frozen=True, slots=True)
class Segment:
    """A verbatim slice of a text that is kept or dropped as one.

    Args:
        start: first character.
        end: just past the last character.
        kind: ``prose`` for a sentence, else what kind of block it is.
        lead: index of the segment without which this one says nothing (the header of a table
            row, the lead-in of a list item or a code block); always a smaller index.
    """

    start: int
    end: int
    kind: BlockKind = "prose"
    lead: int | None = None


def segment(text: str) -> list[Segment]:
    """Cut a text into segments.

    Returns:
        Segments in order and disjoint. Joined with the white space between them they give the
        text back. Empty for a text of white space alone.

    Cost: linear in the length; about 2 ms for 10,000 characters of prose.
    """
    # One line that opens with a letter can be no block: skip the scan.
    if text[:1].isalpha() and "\n" not in text and "\r" not in text:
        return [Segment(*span) for span in sentence_spans(text, protected=_protected(text))]
    builder = _Builder(text)
    for block in scan_blocks(text):
        builder.add(block)
    return builder.found


class _Builder:
    """Turns blocks into segments and remembers what the next one may depend on."""

    def __init__(self, text: str) -> None:
        self.found: list[Segment] = []
        self._text = text
        self._protected: Regions | None = None
        self._open_items: list[tuple[int, int]] = []  # indent and index, outermost first
        self._list_lead: int | None = None
        self._header: int | None = None

    def add(self, block: Block) -> None:
        """Append the segments of the next block."""
        if block.kind == "item":
            self._add_item(block)
            return
        self._open_items.clear()
        if block.kind == "prose":
            self._add_sentences(block, None)
        elif block.kind == "row":
            self._append(block, self._header)
        elif block.kind == "heading":
            self._append(block, None)
        else:
            self._append(block, self._lead_in())
            self._header = len(self.found) - 1

    def _add_item(self, block: Block) -> None:
        if not self._open_items:
            self._list_lead = self._lead_in()
        while self._open_items and self._open_items[-1][0] >= block.indent:
            self._open_items.pop()
        lead = self._open_items[-1][1] if self._open_items else self._list_lead
        self._open_items.append((block.indent, len(self.found)))
        if block.end - block.start <= _LONG_ITEM_CHARS:
            self._append(block, lead)
        else:
            self._add_sentences(block, lead)

    def _add_sentences(self, block: Block, lead: int | None) -> None:
        if self._protected is None:
            self._protected = _protected(self._text)
        spans = sentence_spans(self._text, block.start, block.end, protected=self._protected)
        self.found.extend(Segment(start, end, block.kind, lead) for start, end in spans)

    def _append(self, block: Block, lead: int | None) -> None:
        self.found.append(Segment(block.start, block.end, block.kind, lead))

    def _lead_in(self) -> int | None:
        """Index of the last segment if it announces what follows it."""
        if not self.found or self.found[-1].kind not in ("prose", "heading", "item"):
            return None
        announces = self._text[self.found[-1].end - 1] in ":\uff1a"
        return len(self.found) - 1 if announces else None


def _protected(text: str) -> Regions:
    """What no sentence boundary may fall into, JSON inside a line included."""
    regions = protected_regions(text)
    if "{" in text or "[" in text:
        regions.extend(inline_json(text))
    return Regions(regions)


def inline_json(text: str) -> Iterator[Region]:
    """JSON arrays and objects anywhere in a text, outermost ones, in order."""
    finder = JsonFinder(text)
    at = 0
    while (opening := JSON_OPENS.search(text, at)) is not None:
        end = finder.end(opening.start())
        if end is None:
            at = opening.end()
        else:
            yield opening.start(), end
            at = end
