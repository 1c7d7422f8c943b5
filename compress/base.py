"""What every compressor takes and gives back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol, runtime_checkable

from ragopt.chunk import Chunk, Hit
from ragopt.errors import InputError

__all__ = [
    "Compressed",
    "CompressedChunk",
    "Compressor",
    "CountTokens",
    "Span",
    "check_request",
    "default_count",
    "render_chunk",
    "render_context",
    "unchanged",
    "whole_span",
]

CountTokens = Callable[[str], int]

_BETWEEN_CHUNKS = "\n\n"


@dataclass(frozen=True, slots=True)
class Span:
    """A kept stretch of a chunk: ``chunk.text[start:end]``.

    Args:
        chunk_id: the chunk it was cut from.
        start: first character, counted in the chunk's text.
        end: just past the last character.
    """

    chunk_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CompressedChunk:
    """What is left of one chunk.

    Args:
        chunk: the chunk as it came in; its title, source and offsets serve for citations
            (``chunk.start + span.start`` is the offset in the document).
        text: what goes into the prompt, title not included.
        spans: where ``text`` stands in the chunk, in order and disjoint; empty for a
            compressor that rewrites.
    """

    chunk: Chunk
    text: str
    spans: tuple[Span, ...]

    @property
    def rendered(self) -> str:
        """The text under its title, as it stands in the prompt."""
        return render_chunk(self.chunk.title, self.text)


@dataclass(frozen=True, slots=True)
class Compressed:
    """A compressed context and what it was made from.

    Args:
        chunks: what is left of each chunk, in the order of the hits; a chunk of which nothing
            is left is missing.
        text: the context as it goes into the prompt: the chunks, each under its title once.
        tokens_before: tokens of all hits rendered in the same way.
        tokens_after: tokens of ``text``.
        skipped_reason: why nothing was compressed; ``None`` when something was.
        cost_usd: US dollars that the compressor spent on a model, also where its work was then
            thrown away; 0 for one that asks no priced model.
        ms: milliseconds that it waited for its model; 0 for one without.
    """

    chunks: tuple[CompressedChunk, ...]
    text: str
    tokens_before: int
    tokens_after: int
    skipped_reason: str | None = None
    cost_usd: Decimal = Decimal(0)
    ms: float = field(default=0.0, compare=False)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Every kept stretch, in the order of ``text``."""
        return tuple(span for chunk in self.chunks for span in chunk.spans)

    @property
    def ratio(self) -> float:
        """Share of the tokens that is left, 0 to 1; 1.0 when there were none."""
        return self.tokens_after / self.tokens_before if self.tokens_before else 1.0

    @property
    def tokens_saved(self) -> int:
        """Tokens that no longer have to be paid for."""
        return self.tokens_before - self.tokens_after

    def keeps(self, chunk_id: str, start: int, end: int) -> bool:
        """Whether ``chunk.text[start:end]`` is still there, in one piece and verbatim."""
        return any(
            span.chunk_id == chunk_id and span.start <= start and end <= span.end
            for span in self.spans
        )


@runtime_checkable
class Compressor(Protocol):
    """Makes the context of a question shorter; anything of this shape plugs in."""

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        """Compress the hits of a query.

        Args:
            query: the question the context has to answer.
            hits: what was found; its order is kept.
            max_tokens: budget of the rendered context; ``None`` leaves it to the compressor.
        """
        ...


def default_count() -> CountTokens:
    """The token counter of ragopt's cost module: an estimate, no tokenizer loaded."""
    from ragopt.cost.tokens import token_counter

    return token_counter().count


def render_chunk(title: str, text: str) -> str:
    """A chunk as it stands in the prompt: its title on a line of its own, then its text."""
    return f"{title}\n{text}" if title else text


def render_context(chunks: Sequence[CompressedChunk]) -> str:
    """The chunks one after the other, with an empty line between them."""
    return _BETWEEN_CHUNKS.join(chunk.rendered for chunk in chunks)


def unchanged(hits: Sequence[Hit], count: CountTokens, reason: str) -> Compressed:
    """All hits as they came, with the reason why they were left alone."""
    chunks = tuple(_whole(hit.chunk) for hit in hits)
    text = render_context(chunks)
    tokens = count(text)
    return Compressed(chunks, text, tokens, tokens, reason)


def check_request(hits: Sequence[Hit], max_tokens: int | None) -> None:
    """Refuse what no compressor can work with.

    Raises:
        InputError: ``max_tokens`` is not a whole number of at least 1, a score is NaN, or two
            different texts share a chunk id (spans would be ambiguous).
    """
    if max_tokens is not None and (
        isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1
    ):
        raise InputError(
            f"max_tokens={max_tokens!r}: expected a whole number of at least 1, "
            "or None for the compressor's own budget"
        )
    texts: dict[str, str] = {}
    for number, hit in enumerate(hits):
        if math.isnan(hit.score):
            raise InputError(
                f"hit {number} (chunk {hit.chunk.id!r}) has the score NaN; expected a number: "
                "drop the hit or score it 0.0"
            )
        if texts.setdefault(hit.chunk.id, hit.chunk.text) != hit.chunk.text:
            raise InputError(
                f"chunk id {hit.chunk.id!r} occurs twice with different texts; "
                "expected one text per id, or spans could not be told apart"
            )


def whole_span(chunk: Chunk) -> tuple[Span, ...]:
    """The one span of a chunk that is left whole; none of an empty one."""
    return (Span(chunk.id, 0, len(chunk.text)),) if chunk.text else ()


def _whole(chunk: Chunk) -> CompressedChunk:
    return CompressedChunk(chunk, chunk.text, whole_span(chunk))
