"""Summaries by a language model: priced, checked against their source, skipped when they fail."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from ragopt.chunk import Chunk, Hit
from ragopt.compress.base import (
    Compressed,
    CompressedChunk,
    CountTokens,
    check_request,
    default_count,
    render_context,
    unchanged,
)
from ragopt.compress.fence import block_regions
from ragopt.compress.layout import Layout
from ragopt.compress.rewriting import foreign_numbers, rewritten
from ragopt.compress.segment import segment
from ragopt.compress.sentences import protected_regions
from ragopt.compress.truncate import Truncate
from ragopt.errors import InputError

if TYPE_CHECKING:
    from ragopt.cost.prices import PriceSheet
    from ragopt.llm.base import LLM, Completion, Message

__all__ = ["SUMMARY_PROMPT", "Summarize"]

# Equal for every question, so that providers can serve it from their prompt caches.
SUMMARY_PROMPT = (
    "Shorten numbered passages for somebody who has to answer a question from them. For each "
    "passage that may help, write one paragraph that begins with its number in brackets, as in "
    '"[2] ...". Leave out passages that cannot help. Keep every name, number, date, condition and '
    "negation that bears on the question exactly as it is written; add nothing, conclude nothing, "
    "and do not answer the question."
)
_NUMBERED = re.compile(r"^[ \t]*\[(\d{1,4})\][ \t]*", re.MULTILINE)
_LINK = re.compile(r"(?:https?|ftp)://[^\s<>\")\]]+|\bwww\.[^\s<>\")\]]+")
_CUT_SHORT = frozenset({"length", "content_filter"})
_WORDS_PER_TOKEN = 0.75


@dataclass(frozen=True, slots=True)
class _Passage:
    """A chunk as the model sees it, and what of it the model does not see."""

    chunk: Chunk
    prose: str
    blocks: tuple[str, ...]


class Summarize:
    """Has a language model shorten what was found, all passages of a question in one call.

    Code, data and tables are not shown to it and stand byte for byte after the summary of their
    passage. A summary is refused, and the context stays as it was, when the model fails or is cut
    short, when the reply does not number its passages, when it holds a number or a link that its
    passage has not, and when it saves nothing; `Compressed.skipped_reason` says which. What it cost
    stands in `Compressed.cost_usd` either way. Whether its words are true to the source beyond
    that is not checked: the other compressors of this package are safer, and most are free.

    Args:
        llm: any synchronous callable from messages to a `ragopt.llm.Completion` or a string.
        model: name in the price sheet; ``None`` prices nothing, as for a model of one's own.
        prices: the sheet; the shipped one by default.
        keep_ratio: length asked for, as a share of the tokens that came in, when the call names
            none.
        cached: ids of chunks that stand in a prefix which the provider has cached. The hits up to
            the first other one are left alone: to change them would pay for the prefix again.
        count: token counter; by default ragopt's estimate.

    Raises:
        InputError: an ``llm`` that cannot be called, or a ``keep_ratio`` out of range.
        UnknownPrice: the sheet does not know the model.
    """

    def __init__(
        self,
        llm: LLM | Callable[[Sequence[Message]], str],
        *,
        model: str | None = None,
        prices: PriceSheet | None = None,
        keep_ratio: float = 0.3,
        cached: Collection[str] = (),
        count: CountTokens | None = None,
    ) -> None:
        if not callable(llm):
            raise InputError(
                f"llm is {type(llm).__name__}, expected a callable from messages to a Completion "
                "or a string"
            )
        if not 0 < keep_ratio <= 1:
            raise InputError(f"keep_ratio={keep_ratio!r}: expected above 0, at most 1")
        self.llm = llm
        self.keep_ratio = keep_ratio
        self.cached = frozenset(cached)
        self._count = count
        self._price = None
        if model is not None:
            from ragopt.cost.prices import PriceSheet

            self._price = (prices or PriceSheet.default()).model(model)

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        """Summarise the hits for a question; never raises for what the model does.

        Args:
            query: the question the context has to answer.
            hits: what was found; their order is kept.
            max_tokens: budget of the rendered context; a summary over it is cut at the last
                sentence that fits.

        Raises:
            InputError: an unusable ``max_tokens``, a NaN score, or one chunk id with two texts.

        Cost: one call of the model.
        """
        check_request(hits, max_tokens)
        count = self._count = self._count or default_count()
        before = count(Layout(hits).full_text())
        if max_tokens is not None and before <= max_tokens:
            return unchanged(hits, count, f"{before} tokens are within the budget")
        first = self._first_free(hits)
        passages = [_passage(hit.chunk) for hit in hits[first:]]
        if not query.strip() or not any(passage.prose for passage in passages):
            return unchanged(hits, count, "there is no question or no prose to summarise")
        budget = max_tokens or max(1, int(self.keep_ratio * before))
        completion, cost, reason = self._asked(query, passages, budget, count)
        if completion is None:
            return replace(unchanged(hits, count, reason), cost_usd=cost)
        chunks, reason = _checked(completion.text, passages)
        whole = tuple(_untouched(hit.chunk) for hit in hits[:first])
        result = _fitted((*whole, *chunks), before, max_tokens, count)
        if not reason and result.tokens_saved < 1:
            reason = "the summary saves nothing"
        if reason:
            result = unchanged(hits, count, reason)
        return replace(result, cost_usd=cost, ms=completion.ms or 0.0)

    def expected_usd(self, tokens: int, max_tokens: int | None) -> Decimal:
        """About what a call on a context of so many tokens costs.

        Args:
            tokens: of the context.
            max_tokens: budget of the summary.

        Raises:
            UnknownPrice: the model's rates are not published.
        """
        from ragopt.cost.model_prices import Usage

        if self._price is None:
            return Decimal(0)
        count = self._count = self._count or default_count()
        written = min(max_tokens or tokens, max(1, int(self.keep_ratio * tokens)))
        return self._price.cost(Usage(input=tokens + count(SUMMARY_PROMPT), output=written))

    def _first_free(self, hits: Sequence[Hit]) -> int:
        """Number of leading hits that the provider has cached."""
        free = (place for place, hit in enumerate(hits) if hit.chunk.id not in self.cached)
        return next(free, len(hits))

    def _asked(
        self, query: str, passages: Sequence[_Passage], budget: int, count: CountTokens
    ) -> tuple[Completion | None, Decimal, str]:
        """The model's answer and its cost, or why there is none."""
        from ragopt.llm.base import complete

        messages = _messages(query, passages, budget)
        try:
            completion = complete(self.llm, messages)
        except Exception as error:  # noqa: BLE001 - a summary that fails must not fail a question
            return None, Decimal(0), f"the summarising model failed: {error!r}"
        try:
            cost = self._cost(messages, completion, count)
        except Exception as error:  # noqa: BLE001 - what cannot be priced is not used
            return None, Decimal(0), f"the summary could not be priced: {error!r}"
        if completion.finish_reason in _CUT_SHORT:
            return None, cost, f"the summary was cut short ({completion.finish_reason})"
        return completion, cost, ""

    def _cost(
        self, messages: Sequence[Message], completion: Completion, count: CountTokens
    ) -> Decimal:
        from ragopt.cost.model_prices import Usage

        if self._price is None:
            return Decimal(0)
        asked = sum(count(message.content) for message in messages)
        usage = completion.usage or Usage(input=asked, output=count(completion.text))
        return self._price.cost(usage)

    def __repr__(self) -> str:
        name = None if self._price is None else self._price.name
        return f"Summarize({type(self.llm).__name__}, model={name!r})"


def _passage(chunk: Chunk) -> _Passage:
    text = chunk.text
    regions = block_regions(segment(text))
    prose, at = [], 0
    for start, end in regions:
        prose.append(text[at:start])
        at = end
    prose.append(text[at:])
    bare = "\n\n".join(part for part in map(str.strip, prose) if part)
    return _Passage(chunk, bare, tuple(text[start:end] for start, end in regions))


def _messages(query: str, passages: Sequence[_Passage], budget: int) -> list[Message]:
    from ragopt.llm.base import Message, render_prompt

    shown = [(passage.chunk.title, passage.prose or "(nothing)") for passage in passages]
    system, user = render_prompt(query, shown, system=SUMMARY_PROMPT)
    words = max(1, int(budget * _WORDS_PER_TOKEN))
    limit = f"{user.content}\n\nWrite at most {words} words in all."
    return [system, Message("user", limit)]


def _checked(reply: str, passages: Sequence[_Passage]) -> tuple[tuple[CompressedChunk, ...], str]:
    """The chunks with their summaries, and why they may not be used (``""`` if they may)."""
    summaries = _by_number(reply)
    if not summaries:
        return (), "the summary does not number its passages"
    if not set(summaries) <= {place for place, one in enumerate(passages, 1) if one.prose}:
        return (), "the summary names a passage that there is not"
    chunks = []
    for place, passage in enumerate(passages, 1):
        summary = summaries.get(place, "")
        source = f"{passage.chunk.title}\n{passage.prose}"
        if strange := foreign_numbers(summary, source):
            shown = ", ".join(sorted(strange)[:3])
            return (), f"the summary has a number that passage {place} has not: {shown}"
        if not _links(summary) <= _links(source):
            return (), f"the summary has a link that passage {place} has not"
        if any(piece not in source for piece in _verbatim(summary)):
            return (), f"the summary has code or a citation that passage {place} has not"
        if summary or not passage.prose:
            text = "\n\n".join(part for part in (summary, *passage.blocks) if part)
            chunks.append(rewritten(passage.chunk, text))
    return tuple(chunk for chunk in chunks if chunk.text), ""


def _links(text: str) -> set[str]:
    return {link.rstrip(".,;:!?'") for link in _LINK.findall(text)}


def _verbatim(text: str) -> list[str]:
    """Inline code, citations and links of a text."""
    found = (text[start:end] for start, end in protected_regions(text))
    return [piece for piece in found if not piece.startswith("(")]


def _by_number(reply: str) -> dict[int, str]:
    """Summaries by number of their passage; none unless the numbers rise."""
    found = list(_NUMBERED.finditer(reply))
    order = [int(match[1]) for match in found]
    if not found or order != sorted(set(order)) or reply[: found[0].start()].strip():
        return {}
    ends = [match.start() for match in found[1:]] + [len(reply)]
    texts = (reply[match.end() : end].strip() for match, end in zip(found, ends, strict=True))
    return {number: text for number, text in zip(order, texts, strict=True) if text}


def _untouched(chunk: Chunk) -> CompressedChunk:
    return rewritten(chunk, chunk.text)


def _fitted(
    chunks: tuple[CompressedChunk, ...], before: int, max_tokens: int | None, count: CountTokens
) -> Compressed:
    """The summary within the budget, cut after the last sentence that fits."""
    text = render_context(chunks)
    tokens = count(text)
    if max_tokens is None or tokens <= max_tokens:
        return Compressed(chunks, text, before, tokens)
    own = {str(place): part.chunk for place, part in enumerate(chunks)}
    hits = [
        Hit(Chunk(id=str(place), text=part.text, title=part.chunk.title), 0.0)
        for place, part in enumerate(chunks)
    ]
    cut = Truncate(count=count).compress("", hits, max_tokens=max_tokens)
    left = tuple(rewritten(own[part.chunk.id], part.text) for part in cut.chunks)
    return Compressed(left, cut.text, before, cut.tokens_after)
