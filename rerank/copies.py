"""Candidates that repeat a better one, and how much of each is new."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Hit
from ragopt.rerank.base import passage
from ragopt.shingles import Shingles, repeats, shingle_hashes, shingles, words

__all__ = ["Copies", "Hashes", "hashes_of"]

Hashes = Callable[[str], NDArray[np.uint64]]


def hashes_of(text: str) -> NDArray[np.uint64]:
    """Hashed shingles of a text."""
    return shingle_hashes(words(text))


class Copies:
    """Near-duplicates among ranked candidates, titles included; see `ragopt.shingles`.

    Args:
        hits: best first.
        containment: share of a chunk's shingles in one better chunk from which it is a copy.
        hashes: `hashes_of`, or the same remembered.

    Attributes:
        of: of each hit the place of the better one that it repeats, or None.
        unseen: share of each hit's shingles that no better one holds; 0 of an empty text.
    """

    def __init__(self, hits: Sequence[Hit], containment: float, hashes: Hashes = hashes_of) -> None:
        self._texts = [passage(hit.chunk) for hit in hits]
        self.unseen = _unseen([hashes(text) for text in self._texts])
        self.of: list[int | None] = []
        self._known = Shingles(containment)
        self._waiting: list[int] = []
        first: dict[str, int] = {}
        for place, text in enumerate(self._texts):
            same = first.setdefault(text, place)
            # What all better ones together do not hold, none holds: most go no further.
            near = 1 - self.unseen[place] >= containment
            of = self._copied(place) if near and same == place else None
            if same < place:  # which may be a copy itself
                of = same if self.of[same] is None else self.of[same]
            self.of.append(of)
            if of is None:
                self._waiting.append(place)

    def _copied(self, place: int) -> int | None:
        for other in self._waiting:
            self._known.add(other, shingles(words(self._texts[other])))
        self._waiting.clear()
        text = self._texts[place]
        found = words(text)
        holding = self._known.holding(shingles(found))
        for other in sorted(holding):
            known = self._texts[other]
            if repeats(text, found, known, words(known)):
                return other
        return None


def _unseen(hashes: Sequence[NDArray[np.uint64]]) -> list[float]:
    """Share of each one's numbers that stand in none before it."""
    if not hashes:
        return []
    sizes = np.array([len(one) for one in hashes])
    owners = np.repeat(np.arange(len(hashes)), sizes)
    _, first = np.unique(np.concatenate(hashes), return_index=True)
    new = np.bincount(owners[first], minlength=len(hashes))
    return [float(share) for share in new / np.maximum(sizes, 1)]
