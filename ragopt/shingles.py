"""Texts that say nothing new after others: containment of word shingles, and no new word.

Containment of word 3-shingles is Broder's (1997, "On the resemblance and containment of
documents"). By itself it takes a sentence about 2023 for a repetition of the one about 2022:
another number, name or preposition is another statement, so that a repetition must also bring no
new word and have the same negations.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NEGATION",
    "Shingle",
    "Shingles",
    "new_words",
    "repeats",
    "shingle_hashes",
    "shingles",
    "words",
]

Shingle = tuple[str, ...]

NEGATION = re.compile(
    r"\b(?:no|not|never|nor|neither|none|nothing|nobody|without|cannot|hardly|barely|unless"
    r"|except)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
# A number with its separators, or a word with its inner dots ("str.split", "3.14", "u.s").
_WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+(?:\.\w+)*")
_SHINGLE_WORDS = 3
# A shingle as common as that says nothing; it would make the search quadratic.
_MOST_OWNERS = 8
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)  # odd, so one to one
_ARTICLES = frozenset(("a", "an", "the"))


def words(text: str) -> list[str]:
    """Words and numbers of a text in lower case, in order; identifiers in one piece."""
    return _WORD.findall(text.lower())


def shingles(found: Sequence[str]) -> set[Shingle]:
    """The 3-shingles of some words; all of them as one where there are fewer."""
    if len(found) <= _SHINGLE_WORDS:
        return {tuple(found)} if found else set()
    return set(zip(found, found[1:], found[2:], strict=False))


def shingle_hashes(found: Sequence[str]) -> NDArray[np.uint64]:
    """`shingles` as distinct 64-bit numbers, ascending; they differ from process to process."""
    hashes = np.fromiter(map(hash, found), np.int64, len(found)).view(np.uint64)
    if len(hashes) > _SHINGLE_WORDS:
        hashes = hashes[:-2] * _MIX[0] + hashes[1:-1] * _MIX[1] + hashes[2:]
    elif len(hashes):
        hashes = np.array([hash(tuple(found))]).view(np.uint64)
    return np.unique(hashes)


class Shingles:
    """Numbered texts by their shingles, to find those that hold most of another.

    Args:
        containment: share of a text's shingles that has to be found in one other, 0 to 1.
    """

    def __init__(self, containment: float) -> None:
        self._containment = containment
        self._seen: set[Shingle] = set()
        self._known: set[int] = set()
        self._owners: dict[Shingle, list[int]] = {}
        self._waiting: list[tuple[int, set[Shingle]]] = []

    def add(self, number: int, found: set[Shingle]) -> None:
        """Remember the shingles of a text."""
        self._known.add(number)
        self._seen |= found
        self._waiting.append((number, found))

    def discard(self, number: int) -> None:
        """Forget a text; its shingles still count as seen."""
        self._known.discard(number)

    def holding(self, found: set[Shingle]) -> Iterator[int]:
        """Numbers of the texts that hold the wanted share of these shingles."""
        wanted = self._containment * len(found)
        # What all texts together do not hold, none holds: most calls end here.
        if not found or len(found) - len(found - self._seen) < wanted:
            return
        self._index()
        shared = Counter(
            owner
            for shingle in found
            for owner in self._owners.get(shingle, ())
            if owner in self._known
        )
        yield from (owner for owner, count in shared.items() if count >= wanted)

    def _index(self) -> None:
        for number, found in self._waiting:
            for shingle in found:
                owners = self._owners.setdefault(shingle, [])
                if len(owners) < _MOST_OWNERS and number not in owners:
                    owners.append(number)
        self._waiting.clear()


def new_words(found: Sequence[str], other: Sequence[str]) -> set[str]:
    """Words of a text that another one has not, articles aside."""
    return set(found).difference(other, _ARTICLES)


def repeats(text: str, found: Sequence[str], other: str, other_found: Sequence[str]) -> bool:
    """Whether a text that shares its shingles with another brings no word and no negation.

    Args:
        text: of which it is asked.
        found: its words.
        other: said before.
        other_found: its words.
    """
    if new_words(found, other_found):
        return False
    return len(NEGATION.findall(text)) == len(NEGATION.findall(other))
