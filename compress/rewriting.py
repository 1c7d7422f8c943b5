"""What compressors that rewrite share: chunks without spans, and the head that fits a budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ragopt.chunk import Chunk
from ragopt.compress.base import Compressed, CompressedChunk, CountTokens, render_context

__all__ = ["foreign_numbers", "head_within", "numbers", "rewritten"]

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")


def rewritten(chunk: Chunk, text: str) -> CompressedChunk:
    """What is left of a chunk whose words were changed: it has no spans."""
    return CompressedChunk(chunk, text, ())


def head_within(
    render: Callable[[int], tuple[CompressedChunk, ...]],
    most: int,
    *,
    tokens_before: int,
    budget: int,
    count: CountTokens,
) -> Compressed:
    """The longest head of a context that fits a budget, by bisection; at least one unit.

    Args:
        render: the chunks made of the first ``n`` units.
        most: number of units, 1 or more.
        tokens_before: of the context as it came in.
        budget: tokens of the rendered context.
        count: token counter.

    Cost: the context is rendered and counted ``log2(most)`` times.
    """
    whole = _counted(render(most), tokens_before, count)
    if whole.tokens_after <= budget or most == 1:
        return whole
    low, high = 1, most
    best = _counted(render(1), tokens_before, count)
    while high - low > 1:
        middle = (low + high) // 2
        tried = _counted(render(middle), tokens_before, count)
        if tried.tokens_after <= budget:
            low, best = middle, tried
        else:
            high = middle
    return best


def numbers(text: str) -> set[str]:
    """Numbers of a text, with thousands separators taken out of "1,273"."""
    return {_plain(found) for found in _NUMBER.findall(text)}


def foreign_numbers(text: str, *sources: str) -> set[str]:
    """Numbers that a text has and none of its sources has."""
    return numbers(text).difference(*map(numbers, sources))


def _plain(number: str) -> str:
    return number.replace(",", "") if re.fullmatch(r"\d{1,3}(?:,\d{3})+", number) else number


def _counted(
    chunks: Sequence[CompressedChunk], tokens_before: int, count: CountTokens
) -> Compressed:
    text = render_context(chunks)
    return Compressed(tuple(chunks), text, tokens_before, count(text))
