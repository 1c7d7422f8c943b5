"""Leaving out stop words: the cheap baseline among compressors that drop words."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from ragopt.chunk import Hit
from ragopt.compress.base import (
    Compressed,
    CompressedChunk,
    CountTokens,
    check_request,
    default_count,
    unchanged,
)
from ragopt.compress.fence import fenced_pieces
from ragopt.compress.layout import Layout
from ragopt.compress.rewriting import head_within, rewritten
from ragopt.compress.sentences import Region
from ragopt.compress.terms import NEGATION, STOP_WORDS

__all__ = ["StopwordPruner"]

# Without these a sentence says something else: order, quantity, condition, possibility.
_MEANINGFUL = frozenset(
    """
    about after all any before because between both by can could during each few from further had
    if just more most off once only or other out over own same should some than through to under
    until up when where which while who whom whose why will with would
    """.split()
)
_PRUNED = frozenset(STOP_WORDS - _MEANINGFUL)
_WORD = re.compile(r"(?<!\S)([A-Za-z]{1,10})[ \t]+(?!\s)")
_ENGLISH_WORD = re.compile(r"[^\W\d_]+")
# Words that no other language in Latin letters has; "in", "was" or "is" others have too.
_ENGLISH_ONLY = frozenset(
    "the and are that with this have were been which these from by than they their".split()
)
_ENGLISH_SHARE = 0.2
_SAMPLE_CHARS = 20_000
_NEAR_NEGATION_CHARS = 1


class StopwordPruner:
    """Leaves out English articles, copulas, pronouns and the like, and nothing else.

    Code, data, tables, headings, links and citations are passed through byte for byte; numbers,
    negations and the words next to them stay, and so do words that carry order, quantity or
    condition ("before", "more", "if"). Names stay: a stop word with a capital goes only at the
    beginning of a sentence. A text is left alone, as one in another language, if fewer than a fifth
    of its words are English stop words or none of these is English alone.

    The result has no spans, since words inside sentences are missing.

    Args:
        count: token counter; by default ragopt's estimate.
    """

    def __init__(self, *, count: CountTokens | None = None) -> None:
        self._count = count

    def compress(
        self,
        query: str,  # noqa: ARG002
        hits: Sequence[Hit],
        *,
        max_tokens: int | None = None,
    ) -> Compressed:
        """Leave out stop words, and where that is not enough, the end.

        Args:
            query: the question; it is not looked at.
            hits: what was found; their order is kept.
            max_tokens: budget of the rendered context; what pruning leaves is cut after the last
                segment that fits, and at least one segment is kept. ``None`` cuts nothing.

        Raises:
            InputError: an unusable ``max_tokens``, a NaN score, or one chunk id with two texts.

        Cost: linear in the text.
        """
        check_request(hits, max_tokens)
        count = self._count = self._count or default_count()
        layout = Layout(hits)
        tokens_before = count(layout.full_text())
        if not layout:
            return unchanged(hits, count, "there is no text to compress")
        pruned = _Pruned(layout)
        result = head_within(
            pruned.head,
            len(layout),
            tokens_before=tokens_before,
            budget=max_tokens or tokens_before,
            count=count,
        )
        if result.tokens_saved < 1:
            return unchanged(hits, count, "there are no stop words to leave out")
        return result

    def __repr__(self) -> str:
        return "StopwordPruner()"


class _Pruned:
    """A layout with the stretches of its chunks that are left out."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._cuts = [
            _cuts(chunk.text, sorted(starts))
            for chunk, starts in zip(layout.chunks, _segment_starts(layout), strict=True)
        ]

    def head(self, most: int) -> tuple[CompressedChunk, ...]:
        """The chunks made of the first ``most`` segments."""
        layout = self._layout
        ends: dict[int, int] = {}
        for number in range(most):
            ends[layout.chunk_of[number]] = layout.segments[number].end
        return tuple(
            rewritten(layout.chunks[chunk], _without(layout.chunks[chunk].text, cuts, end))
            for chunk, end in ends.items()
            for cuts in (self._cuts[chunk],)
        )


def _segment_starts(layout: Layout) -> list[set[int]]:
    starts: list[set[int]] = [set() for _ in layout.chunks]
    for found, chunk in zip(layout.segments, layout.chunk_of, strict=True):
        starts[chunk].add(found.start)
    return starts


def _cuts(text: str, starts: list[int]) -> list[Region]:
    """Stop words of a text, each with the blanks after it."""
    if not _is_english(text):
        return []
    negations = [match.span() for match in NEGATION.finditer(text)]
    reach = list(accumulate((end for _, end in negations), max))
    opens = set(starts)
    return [
        match.span()
        for piece in fenced_pieces(text)
        if not piece.fenced
        for match in _WORD.finditer(text, piece.start, piece.end)
        if _is_pruned(match[1], match.start() in opens)
        and not _near(match.start(), match.end(), negations, reach)
    ]


def _is_pruned(word: str, opens_sentence: bool) -> bool:
    if word in _PRUNED:
        return True
    # "The band" but not "The Who", "it" but not "IT".
    return opens_sentence and word[1:].islower() and word.lower() in _PRUNED


def _near(start: int, end: int, negations: list[Region], ends: list[int]) -> bool:
    """Whether a negation lies beside or over ``text[start:end]``."""
    at = bisect_left(ends, start - _NEAR_NEGATION_CHARS)
    return at < len(negations) and negations[at][0] <= end + _NEAR_NEGATION_CHARS


def _is_english(text: str) -> bool:
    found = _ENGLISH_WORD.findall(text[:_SAMPLE_CHARS].lower())
    if _ENGLISH_ONLY.isdisjoint(found):
        return False
    return sum(word in STOP_WORDS for word in found) >= _ENGLISH_SHARE * len(found)


def _without(text: str, cuts: list[Region], end: int) -> str:
    parts, at = [], 0
    for start, stop in cuts:
        if start >= end:
            break
        parts.append(text[at:start])
        at = min(stop, end)
    parts.append(text[at:end])
    return "".join(parts)
