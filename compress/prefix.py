"""Prompts whose static part comes first, byte for byte, so that providers' prefix caches hit."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ragopt.compress.base import CountTokens
from ragopt.errors import InputError, UnknownPrice
from ragopt.quality import data_hash

if TYPE_CHECKING:
    from ragopt.cost.model_prices import ModelPrice
    from ragopt.cost.prices import PriceSheet

__all__ = ["PrefixChange", "PrefixLayout", "PrefixPrompt", "PromptPart", "stable_json"]

_BETWEEN = "\n\n"
# What differs from one request to the next and so ends the cached prefix where it stands.
_VOLATILE = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?"), "a time"),
    (re.compile(r"\b(?:today|now|current (?:date|time))\b[^\n.]{0,30}\d", re.IGNORECASE), "a date"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE), "a UUID"),
    (re.compile(r"\b(?:request|session|trace|user)[ _-]?id\b[^\n]{0,3}[:=]\s*\S", re.I), "an id"),
    (re.compile(r"\b1[6-9]\d{8}(?:\d{3})?\b"), "a timestamp"),
)


@dataclass(frozen=True, slots=True)
class PromptPart:
    """A part of a prompt.

    Args:
        text: as it is sent.
        static: whether it is the same for every request.
        name: for messages ("system", "tools", "examples").
    """

    text: str
    static: bool
    name: str = ""


@dataclass(frozen=True, slots=True)
class PrefixPrompt:
    """A prompt with its static parts first.

    Args:
        prefix: the static parts; byte for byte the same for every request with the same ones.
        rest: the other parts, in their order.
        prefix_tokens: of ``prefix``.
        tokens: of the whole.
        prefix_hash: tells whether two prompts share their prefix.
        warnings: what keeps the prefix from being cached.
    """

    prefix: str
    rest: str
    prefix_tokens: int
    tokens: int
    prefix_hash: str
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The prompt."""
        return _BETWEEN.join(part for part in (self.prefix, self.rest) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixChange:
    """A prompt before and after a compression, priced with the provider's prefix cache.

    Args:
        breaks: whether tokens that were read from the cache no longer are.
        tokens_before: of the prompt.
        tokens_after: of the prompt after compression.
        cached_before: of them, read from the cache.
        cached_after: still read from it.
        usd_before: price of the input of one request.
        usd_after: after compression.
        usd_rewarming: what it costs more, once per lifetime of the cache, to write the new prefix
            to it; 0 where the provider does not charge for writing, or nothing is broken.
        warning: says all that in a sentence where a cached prefix breaks; else empty.
    """

    breaks: bool
    tokens_before: int
    tokens_after: int
    cached_before: int
    cached_after: int
    usd_before: Decimal
    usd_after: Decimal
    usd_rewarming: Decimal
    warning: str

    @property
    def pays(self) -> bool:
        """Whether a request is cheaper after the compression."""
        return self.usd_after < self.usd_before


class PrefixLayout:
    """Lays prompts out for prefix caches, and prices what a compression does to a cached prefix.

    Providers cache a prompt from its first byte on and up to the first one that differs, so all
    that never changes has to stand first and be the same to the byte.

    Args:
        model: name in the price sheet, whose cached-input price is used.
        prices: the sheet; the shipped one by default.
        min_tokens: shortest prefix that the provider caches. Price lists do not say it; take it
            from the provider's documentation, 0 assumes that every prefix is cached.
        block_tokens: granularity of the cache: only whole blocks are read from it; 1 by default.
        count: token counter; by default the best at hand for the model.

    Raises:
        UnknownPrice: the sheet does not know the model.
        InputError: a negative ``min_tokens`` or ``block_tokens`` below 1.
    """

    def __init__(
        self,
        model: str,
        *,
        prices: PriceSheet | None = None,
        min_tokens: int = 0,
        block_tokens: int = 1,
        count: CountTokens | None = None,
    ) -> None:
        from ragopt.cost.prices import PriceSheet
        from ragopt.cost.tokens import token_counter

        if min_tokens < 0 or block_tokens < 1:
            raise InputError(
                f"min_tokens={min_tokens}, block_tokens={block_tokens}: expected 0 or more, and 1 "
                "or more"
            )
        self.price: ModelPrice = (prices or PriceSheet.default()).model(model)
        self.min_tokens = min_tokens
        self.block_tokens = block_tokens
        self._count = count or token_counter(model).count

    def arrange(self, parts: Sequence[PromptPart]) -> PrefixPrompt:
        """Static parts first, in their order, then the others in theirs.

        Line ends and Unicode forms of static parts are made the same on every machine; not a
        character is changed otherwise. The others stay as they are.

        Args:
            parts: of one prompt.
        """
        static = [part for part in parts if part.static and part.text]
        texts = [_steady(part.text) for part in static]
        prefix = _BETWEEN.join(texts)
        rest = _BETWEEN.join(part.text for part in parts if not part.static and part.text)
        tokens = self._count(prefix)
        whole = self._count(_BETWEEN.join(part for part in (prefix, rest) if part))
        warnings = [
            f"{part.name or 'a static part'} holds {what} ({found[0].strip()!r}), which ends the "
            "cached prefix there; move it behind the static parts"
            for part, text in zip(static, texts, strict=True)
            for pattern, what in _VOLATILE
            if (found := pattern.search(text))
        ]
        if prefix and tokens < self.min_tokens:
            warnings.append(
                f"the static prefix has {tokens:,} tokens, fewer than the {self.min_tokens:,} that "
                "the provider caches"
            )
        return PrefixPrompt(prefix, rest, tokens, whole, data_hash(prefix), tuple(warnings))

    def common(self, prompts: Sequence[str]) -> int:
        """Tokens of the longest beginning that all prompts share, as far as it can be cached.

        Args:
            prompts: of several requests, in full.

        Raises:
            InputError: no prompts.
        """
        if not prompts:
            raise InputError("there are no prompts; expected one or more")
        shortest, longest = min(prompts), max(prompts)
        return self._cacheable(_shared(shortest, longest))

    def change(self, before: str, after: str, *, cached: str | None = None) -> PrefixChange:
        """Price a prompt before and after a compression, with its cached prefix.

        Args:
            before: the whole prompt as it is sent now.
            after: the whole prompt after compression.
            cached: what the provider has cached of ``before``, a beginning of it; all of it by
                default, as in a conversation whose turns are only ever added to.

        Raises:
            InputError: ``cached`` is no beginning of ``before``.
            UnknownPrice: a rate that is needed is not published.
        """
        known = before if cached is None else cached
        if not before.startswith(known):
            raise InputError(
                f"the cached text ({len(known):,} characters) is no beginning of the prompt; give "
                "the part of the prompt that earlier requests began with"
            )
        tokens = self._count(before), self._count(after)
        reads = self._cacheable(known), self._cacheable(_shared(known, after))
        reads = min(reads[0], tokens[0]), min(reads[1], tokens[1])
        usd = self._usd(tokens[0], reads[0]), self._usd(tokens[1], reads[1])
        breaks = reads[1] < min(reads[0], tokens[1])
        rewarming = self._writing(tokens[1] - reads[1]) if breaks else Decimal(0)
        return PrefixChange(
            breaks=breaks,
            tokens_before=tokens[0],
            tokens_after=tokens[1],
            cached_before=reads[0],
            cached_after=reads[1],
            usd_before=usd[0],
            usd_after=usd[1],
            usd_rewarming=rewarming,
            warning=_warning(tokens, reads, usd) if breaks else "",
        )

    def _cacheable(self, text: str) -> int:
        tokens = self._count(text)
        return 0 if tokens < self.min_tokens else tokens // self.block_tokens * self.block_tokens

    def _usd(self, tokens: int, cached: int) -> Decimal:
        from ragopt.cost.model_prices import Usage

        return self.price.cost(Usage(input=tokens, cached_input=cached))

    def _writing(self, tokens: int) -> Decimal:
        """What it costs to write tokens to the cache, above reading them as ordinary input."""
        from ragopt.cost.model_prices import Usage

        try:
            written = self.price.cost(Usage(input=tokens, cache_write_5m=tokens))
        except UnknownPrice:  # no price for writing: input costs what it always costs
            return Decimal(0)
        return max(Decimal(0), written - self.price.cost(Usage(input=tokens)))


def stable_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON that is the same to the byte for equal values: sorted keys, no white space.

    For tool schemas and other data in the static part; dictionaries that were filled in another
    order would otherwise end the cached prefix.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _steady(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def _shared(one: str, other: str) -> str:
    """The beginning that two texts have in common, by bisection."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[:middle]):
            low = middle
        else:
            high = middle - 1
    return one[:low]


def _warning(tokens: tuple[int, int], reads: tuple[int, int], usd: tuple[Decimal, Decimal]) -> str:
    verdict = "dearer" if usd[1] > usd[0] else "cheaper" if usd[1] < usd[0] else "no cheaper"
    return (
        f"compressing {tokens[0]:,} tokens to {tokens[1]:,} breaks the cached prefix ({reads[0]:,} "
        f"cached tokens become {reads[1]:,}): ${usd[0]:.6f} a request before, ${usd[1]:.6f} after, "
        f"{verdict}"
    )
