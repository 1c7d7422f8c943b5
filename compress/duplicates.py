"""Segments that say nothing new after what was already taken."""

from __future__ import annotations

import re
from collections import Counter

from ragopt.compress.layout import Layout
from ragopt.compress.terms import NEGATION

__all__ = ["NearDuplicates", "opens_with_reference"]

_SHINGLE_WORDS = 3
_SHORT_WORDS = 6
# A shingle as common as that says nothing; it would make the search quadratic.
_MOST_OWNERS = 8
_ARTICLES = frozenset(("a", "an", "the"))

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

    Containment of word 3-shingles (Broder, 1997, "On the resemblance and containment of
    documents"), and only if the segment brings no new word, articles aside (another number,
    name or preposition is another statement), and has the same negations. What points back
    ("He was born in 1950.") or is short is a duplicate only under the same title; table rows
    and list items only in a copy of the whole chunk.

    Args:
        layout: the segments.
        containment: share of a segment's shingles that has to be found in the other, 0 to 1.
    """

    def __init__(self, layout: Layout, containment: float) -> None:
        self._layout = layout
        self._containment = containment
        self._owners: dict[tuple[str, ...], list[int]] = {}
        self._known: set[int] = set()
        self._copies = _copied_chunks(layout)

    def add(self, number: int) -> None:
        """Remember a segment that was taken."""
        self._known.add(number)
        for shingle in _shingles(self._layout.words()[number]):
            owners = self._owners.setdefault(shingle, [])
            if len(owners) < _MOST_OWNERS and number not in owners:
                owners.append(number)

    def discard(self, number: int) -> None:
        """Forget a segment that was given back."""
        self._known.discard(number)

    def __contains__(self, number: int) -> bool:
        layout = self._layout
        if layout.chunk_of[number] in self._copies:
            return True
        if layout.segments[number].kind in ("row", "header", "item", "heading"):
            return False
        text = layout.text(number)
        own_words = layout.words()[number]
        shingles = _shingles(own_words)
        shared = Counter(
            owner
            for shingle in shingles
            for owner in self._owners.get(shingle, ())
            if owner in self._known
        )
        if not shared:
            return False
        bound_to_title = len(own_words) < _SHORT_WORDS or opens_with_reference(text)
        return any(
            found >= self._containment * len(shingles)
            and not (bound_to_title and not self._same_title(number, owner))
            and self._says_all(owner, text, own_words)
            for owner, found in shared.items()
        )

    def _same_title(self, one: int, other: int) -> bool:
        layout = self._layout
        chunks, chunk_of = layout.chunks, layout.chunk_of
        return chunks[chunk_of[one]].title == chunks[chunk_of[other]].title

    def _says_all(self, owner: int, text: str, own_words: list[str]) -> bool:
        new = set(own_words).difference(self._layout.words()[owner], _ARTICLES)
        if new:
            return False
        other = self._layout.text(owner)
        return len(NEGATION.findall(text)) == len(NEGATION.findall(other))


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


def _shingles(found: list[str]) -> set[tuple[str, ...]]:
    if len(found) <= _SHINGLE_WORDS:
        return {tuple(found)} if found else set()
    return set(zip(found, found[1:], found[2:], strict=False))
