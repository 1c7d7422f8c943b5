"""Segments that say nothing new after what was already taken."""

from __future__ import annotations

import re

from ragopt.compress.layout import Layout
from ragopt.shingles import Shingles, repeats, shingles

__all__ = ["NearDuplicates", "opens_with_reference"]

_SHORT_WORDS = 6

_REFERENCE = re.compile(
    r"""[\s"'\u201c\u2018\u00ab(*_]*(?:
      he | she | it | they | we | this | that | these | those | his | her | hers | its | their
    | such | the[ ](?:former|latter|same) | both | there
    | however | but | nevertheless | nonetheless | therefore | thus | hence | moreover
    | furthermore | consequently | otherwise | instead | conversely | similarly | likewise
    | additionally | also | yet | so | then
    | in[ ](?:contrast|addition|turn) | as[ ]a[ ]result | on[ ]the[ ]other[ ]hand
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)


def opens_with_reference(text: str) -> bool:
    """Whether a sentence opens with a pronoun or a connective that points back."""
    return _REFERENCE.match(text) is not None


class NearDuplicates:
    """Finds segments whose shingles were already taken with one other segment.

    See `ragopt.shingles`. What points back ("He was born in 1950.") or is short is a duplicate only
    under the same title; table rows and list items only in a copy of the whole chunk.

    Args:
        layout: the segments.
        containment: share of a segment's shingles that has to be found in the other, 0 to 1.
    """

    def __init__(self, layout: Layout, containment: float) -> None:
        self._layout = layout
        self._taken = Shingles(containment)
        self._copies = _copied_chunks(layout)

    def add(self, number: int) -> None:
        """Remember a segment that was taken."""
        self._taken.add(number, shingles(self._layout.words()[number]))

    def discard(self, number: int) -> None:
        """Forget a segment that was given back."""
        self._taken.discard(number)

    def __contains__(self, number: int) -> bool:
        layout = self._layout
        if layout.chunk_of[number] in self._copies:
            return True
        if layout.segments[number].kind in ("row", "header", "item", "heading"):
            return False
        text, own_words = layout.text(number), layout.words()[number]
        bound_to_title = len(own_words) < _SHORT_WORDS or opens_with_reference(text)
        return any(
            not (bound_to_title and not self._same_title(number, owner))
            and repeats(text, own_words, layout.text(owner), layout.words()[owner])
            for owner in self._taken.holding(shingles(own_words))
        )

    def _same_title(self, one: int, other: int) -> bool:
        layout = self._layout
        chunks, chunk_of = layout.chunks, layout.chunk_of
        return chunks[chunk_of[one]].title == chunks[chunk_of[other]].title


def _copied_chunks(layout: Layout) -> set[int]:
    """Chunks that repeat an earlier one, title and text."""
    seen: set[tuple[str, str]] = set()
    copies: set[int] = set()
    for number, chunk in enumerate(layout.chunks):
        key = (chunk.title, chunk.text)
        if key in seen:
            copies.add(number)
        seen.add(key)
    return copies
