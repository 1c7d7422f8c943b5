"""Leaving out what was said before, in another chunk or an earlier turn of the conversation."""

from __future__ import annotations

from collections.abc import Sequence

from ragopt.chunk import Chunk, Hit
from ragopt.compress.base import (
    Compressed,
    CountTokens,
    check_request,
    default_count,
    render_context,
    unchanged,
)
from ragopt.compress.duplicates import NearDuplicates, opens_with_reference
from ragopt.compress.layout import Layout
from ragopt.compress.pack import Packer
from ragopt.errors import InputError

__all__ = ["Dedup"]

_VERBATIM = frozenset({"code", "data"})


class Dedup:
    """Leaves out sentences that repeat an earlier one; the first occurrence stays.

    A sentence repeats another if nearly all its word 3-shingles stand in that one, it brings no
    new word, and both negate alike (`ragopt.compress.duplicates`). Code and data go only if they
    are equal to the byte; table rows, list items and headings only with a copy of their whole
    chunk. What another segment leads back to stays, and so does a sentence before one that opens
    with "He" or "However".

    Args:
        near_duplicate: share of shingles that makes a sentence a repetition; above 0, at most 1.
        count: token counter; by default ragopt's estimate.

    Raises:
        InputError: ``near_duplicate`` out of range.
    """

    def __init__(self, near_duplicate: float = 0.85, *, count: CountTokens | None = None) -> None:
        if not 0 < near_duplicate <= 1:
            raise InputError(f"near_duplicate={near_duplicate!r}: expected above 0, at most 1")
        self.near_duplicate = near_duplicate
        self._count = count

    def compress(
        self,
        query: str,  # noqa: ARG002
        hits: Sequence[Hit],
        *,
        max_tokens: int | None = None,
        history: Sequence[str] = (),
    ) -> Compressed:
        """Leave out repetitions, and where that is not enough, the end.

        Args:
            query: the question; it is not looked at.
            hits: what was found; their order is kept.
            max_tokens: budget of the rendered context; what is left over it is cut after the last
                segment that fits, and at least one segment is kept. ``None`` cuts nothing.
            history: earlier turns that stand in the prompt before the context.

        Raises:
            InputError: an unusable ``max_tokens``, a NaN score, or one chunk id with two texts.

        Cost: linear in the text.
        """
        check_request(hits, max_tokens)
        count = self._count = self._count or default_count()
        layout = Layout([*_as_hits(history), *hits])
        own = _own(layout, len(history))
        if not own:
            return unchanged(hits, count, "there is no text to compress")
        before = count(Layout(hits).full_text()) if history else count(layout.full_text())
        kept = self._kept(layout, own)
        result = _result(layout, kept, before, count)
        if max_tokens is not None and result.tokens_after > max_tokens:
            packer = Packer(layout, count, max_tokens, before)
            packer.take(kept[0])
            packer.fill(kept, stop_at_misfit=True)
            result = packer.result()
        if result.tokens_saved < 1:
            return unchanged(hits, count, "nothing is said twice")
        return result

    def turns(self, turns: Sequence[str]) -> tuple[str, ...]:
        """The turns of a conversation without what earlier turns have said.

        Args:
            turns: first to last.

        Returns:
            As many texts as came in; a turn that says nothing new becomes ``""``.
        """
        layout = Layout(_as_hits(turns))
        kept = layout.keep(self._kept(layout, _own(layout, 0)))
        left = {part.chunk.id: part.text for part in kept}
        return tuple(left.get(hit.chunk.id, "") for hit in _as_hits(turns))

    def _kept(self, layout: Layout, own: range) -> list[int]:
        """Numbers of the segments that stay, in order."""
        duplicates = NearDuplicates(layout, self.near_duplicate)
        verbatim: set[str] = set()
        kept: set[int] = set()
        for number in range(len(layout)):
            if number not in own or not self._repeats(layout, number, duplicates, verbatim):
                duplicates.add(number)
                verbatim.add(_bare(layout, number))
                kept.add(number)
        kept |= {before for number in kept if (before := _antecedent(layout, number)) is not None}
        kept = {member for number in kept for member in layout.closure(number)}
        return sorted(kept.intersection(own))

    def _repeats(
        self, layout: Layout, number: int, duplicates: NearDuplicates, verbatim: set[str]
    ) -> bool:
        if layout.segments[number].kind in _VERBATIM:
            return _bare(layout, number) in verbatim
        return number in duplicates

    def __repr__(self) -> str:
        return f"Dedup({self.near_duplicate!r})"


def _as_hits(turns: Sequence[str]) -> list[Hit]:
    return [Hit(Chunk(id=f"turn {number}", text=text), 0.0) for number, text in enumerate(turns)]


def _own(layout: Layout, turns: int) -> range:
    """Numbers of the segments that are not of an earlier turn."""
    first = layout.first_of[turns] if turns < len(layout.first_of) else len(layout)
    return range(first, len(layout))


def _bare(layout: Layout, number: int) -> str:
    found = layout.segments[number]
    return layout.text(number) if found.kind in _VERBATIM else ""


def _antecedent(layout: Layout, number: int) -> int | None:
    """The sentence before one that points back, in the same chunk."""
    if number == layout.first_of[layout.chunk_of[number]]:
        return None
    return number - 1 if opens_with_reference(layout.text(number)) else None


def _result(layout: Layout, kept: list[int], before: int, count: CountTokens) -> Compressed:
    chunks = layout.keep(kept)
    text = render_context(chunks)
    return Compressed(chunks, text, before, count(text))
