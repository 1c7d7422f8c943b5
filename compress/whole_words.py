"""From the output of a model that drops tokens back to whole words of the source.

Such models leave pieces of words behind ("reten", "1,2"). Their output is aligned with the source,
and what stands in the result are words of the source, whole and in order.
"""

# ruff: noqa: RUF001  (the punctuation of many scripts is the subject here)

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ragopt.compress.fence import Piece, fenced_pieces
from ragopt.compress.segment import segment
from ragopt.compress.sentences import Region
from ragopt.compress.terms import NEGATION

__all__ = ["Source", "aligned"]

_TOKEN = re.compile(r"\S+")
_CJK = re.compile(
    "([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff5e\u3001-\u301f])"
)
_OPENING = "\"'([{<«“‘¿¡*_"
_CLOSING = ".,;:!?\"')]}>»”’…*_"
_LEAST_FRAGMENT_CHARS = 3
# Beyond, the longest common subsequence would cost too much; see `aligned`.
_MOST_PAIRS = 4_000_000


@dataclass(frozen=True, slots=True)
class _Unit:
    start: int
    end: int
    fenced: bool


class Source:
    """A text as words that may be dropped and pieces that may not.

    Args:
        text: the text.
    """

    def __init__(self, text: str) -> None:
        segments = segment(text)
        pieces = fenced_pieces(text, segments)
        self.text = text
        self.units: list[_Unit] = [unit for piece in pieces for unit in _units(text, piece)]
        self.free = [place for place, unit in enumerate(self.units) if not unit.fenced]
        self._segments = segments

    @property
    def words(self) -> list[str]:
        """The words that may be dropped, in order."""
        return [self._written(place) for place in self.free]

    @property
    def free_text(self) -> str:
        """What a model gets to see: the text without its fenced pieces."""
        parts, at = [], 0
        for unit in self.units:
            if unit.fenced:
                parts.append(self.text[at : unit.start])
                at = unit.end
        parts.append(self.text[at:])
        return " ".join(part for part in map(str.strip, parts) if part)

    @property
    def fenced_text(self) -> str:
        """The fenced pieces, one per line."""
        return "\n".join(self.text[unit.start : unit.end] for unit in self.units if unit.fenced)

    def render(self, kept: set[int]) -> str:
        """The text made of its fenced pieces and the ``kept`` ones of `words`, by number.

        A negation stays, with the words next to it, where a word of its sentence does.
        """
        places = {self.free[number] for number in kept}
        places.update(self._negations(places))
        places.update(place for place, unit in enumerate(self.units) if unit.fenced)
        parts: list[str] = []
        before = -1
        for place in sorted(places):
            parts.append(self._between(before, place) if parts else "")
            parts.append(self._written(place))
            before = place
        return "".join(parts)

    def _written(self, place: int) -> str:
        unit = self.units[place]
        return self.text[unit.start : unit.end]

    def _between(self, before: int, after: int) -> str:
        left, right = self.units[before].end, self.units[after].start
        if after == before + 1:
            return self.text[left:right]
        gap = self.text[left:right]
        return "\n\n" if re.search(r"\n\s*\n", gap) else "\n" if "\n" in gap else " "

    def _negations(self, kept: set[int]) -> Iterator[int]:
        """Units of negations, and their neighbours, in sentences of which something is kept."""
        starts = [unit.start for unit in self.units]
        for match in NEGATION.finditer(self.text):
            first, last = self._sentence(match.start(), match.end())
            inside = range(bisect_left(starts, first), bisect_left(starts, last))
            if any(place in kept for place in inside):
                at = bisect_left(starts, match.end()) - 1
                yield from (place for place in (at - 1, at, at + 1) if place in inside)

    def _sentence(self, start: int, end: int) -> Region:
        at = bisect_left(self._segments, end, key=lambda found: found.end)
        if at < len(self._segments) and self._segments[at].start <= start:
            return self._segments[at].start, self._segments[at].end
        return start, end


def aligned(output: str, sources: Sequence[Source]) -> list[set[int]]:
    """Which words of each source a model's output has kept.

    The longest common subsequence of words (Hunt and Szymanski, 1977, "A fast algorithm for
    computing longest common subsequences"); what is left of the output between two common words
    is taken for a piece of the first source word there that contains it.

    Args:
        output: what the model gave back of all sources together, in their order.
        sources: in order.

    Raises:
        ValueError: so many repeated words that aligning them would take minutes.

    Cost: pairs of equal words times the logarithm of the words.
    """
    words = [word for source in sources for word in source.words]
    whole = Piece(0, len(output), fenced=False)
    said = [output[unit.start : unit.end] for unit in _units(output, whole)]
    pairs = _common(said, words)
    kept = {place for _, place in pairs} | set(_from_fragments(said, words, pairs))
    found, at = [], 0
    for source in sources:
        found.append({place - at for place in range(at, at + len(source.free)) if place in kept})
        at += len(source.free)
    return found


def _units(text: str, piece: Piece) -> Iterator[_Unit]:
    if piece.fenced:
        yield _Unit(piece.start, piece.end, fenced=True)
        return
    for token in _TOKEN.finditer(text, piece.start, piece.end):
        at = token.start()
        for part in _CJK.split(token[0]):
            for length in _parts(part):
                yield _Unit(at, at + length, fenced=False)
                at += length


def _parts(token: str) -> Iterator[int]:
    """Lengths of a token's opening punctuation, word and closing punctuation, if there are any."""
    bare = token.lstrip(_OPENING)
    opening = len(token) - len(bare)
    core = len(bare.rstrip(_CLOSING))
    yield from (length for length in (opening, core, len(bare) - core) if length)


def _common(said: Sequence[str], words: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of places of a longest common subsequence."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place in range(len(words) - 1, -1, -1):
        places[words[place]].append(place)
    if sum(len(places.get(word, ())) for word in said) > _MOST_PAIRS:
        raise ValueError("words repeat too often to align the output with its source")
    ends: list[int] = []
    chains: list[tuple[int, int, int]] = []  # place said, place in the source, chain before
    tops: list[int] = []
    for at, word in enumerate(said):
        for place in places.get(word, ()):
            length = bisect_left(ends, place)
            chains.append((at, place, tops[length - 1] if length else -1))
            if length == len(ends):
                ends.append(place)
                tops.append(len(chains) - 1)
            else:
                ends[length], tops[length] = place, len(chains) - 1
    return _chain(chains, tops[-1] if tops else -1)


def _chain(chains: list[tuple[int, int, int]], at: int) -> list[tuple[int, int]]:
    pairs = []
    while at >= 0:
        said, place, at = chains[at]
        pairs.append((said, place))
    return pairs[::-1]


def _from_fragments(
    said: Sequence[str], words: Sequence[str], pairs: list[tuple[int, int]]
) -> Iterator[int]:
    """Places of the words that unmatched output is a piece of."""
    bounds = [(-1, -1), *pairs, (len(said), len(words))]
    for (left, low), (right, high) in pairwise(bounds):
        at = low + 1
        for fragment in said[left + 1 : right]:
            if len(fragment) < _LEAST_FRAGMENT_CHARS:
                continue
            found = next((n for n in range(at, high) if fragment in words[n]), None)
            if found is not None:
                yield found
                at = found + 1
