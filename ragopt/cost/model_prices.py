"""What one model charges, and what a call with a given usage costs.

Token counts overlap as providers report them: cached and cache-written tokens are part of the
input. `Usage.leaves` splits them into disjoint classes first, so that no token bills twice.
"""

from __future__ import annotations

import decimal
import operator
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Literal, cast, get_args

from ragopt.errors import InputError, UnknownPrice

__all__ = ["LongContext", "ModelPrice", "Rates", "Tier", "TokenClass", "Usage", "to_decimal"]

Tier = Literal["standard", "batch"]
TokenClass = Literal["input", "cached_input", "cache_write_5m", "cache_write_1h", "output"]

TIERS: tuple[Tier, ...] = get_args(Tier)
TOKEN_CLASSES: tuple[TokenClass, ...] = get_args(TokenClass)

# Wide enough for any price times any count; Inexact is trapped so that money is never rounded.
_EXACT = decimal.Context(prec=100, traps=[decimal.Inexact, decimal.InvalidOperation])


def to_decimal(value: Any, name: str = "value") -> Decimal:
    """A number as the `Decimal` that its shortest decimal writing names.

    Floats go through ``repr``: ``Decimal(7.5e-08)`` would carry 50 digits of binary noise.

    Args:
        value: a `Decimal`, an integer, a float, or a string holding a plain number.
        name: what to call it in an error.

    Raises:
        InputError: a bool, NaN, an infinity, a negative number, or no number at all.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
        raise InputError(f"{name}={value!r}: expected a number of US dollars, 0 or more")
    try:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except decimal.InvalidOperation:
        raise InputError(f"{name}={value!r}: expected a number of US dollars, 0 or more") from None
    if not number.is_finite() or number < 0:
        raise InputError(f"{name}={value!r}: expected a finite number of US dollars, 0 or more")
    return number


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of one call, as the provider reports them.

    Args:
        input: all input tokens, cached and cache-written ones included. (Anthropic reports the
            uncached ones apart: add the three up.)
        cached_input: input tokens read from the provider's prompt cache.
        cache_write_5m: input tokens written to it for the provider's ordinary lifetime.
        cache_write_1h: input tokens written to it for one hour.
        output: output tokens, reasoning included.

    Raises:
        InputError: a count that is no whole number from 0 up, or parts that exceed the input.
    """

    input: int = 0
    cached_input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0

    def __post_init__(self) -> None:
        for name in TOKEN_CLASSES:
            object.__setattr__(self, name, _count(getattr(self, name), f"Usage.{name}"))
        parts = TOKEN_CLASSES[1:4]
        for part in parts:
            if getattr(self, part) > self.input:
                raise InputError(
                    f"Usage.{part}={getattr(self, part)} exceeds input={self.input}, of which it "
                    "is a part; give input with cached and cache-written tokens included"
                )
        if sum(getattr(self, part) for part in parts) > self.input:
            named = " + ".join(f"{part}={getattr(self, part)}" for part in parts)
            raise InputError(
                f"Usage: {named} together exceed input={self.input}, of which they are disjoint "
                "parts; give input with cached and cache-written tokens included"
            )

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in TOKEN_CLASSES})

    def leaves(self) -> dict[TokenClass, int]:
        """Disjoint counts by class: ``input`` holds what was neither read nor written as cache."""
        parts = self.cached_input + self.cache_write_5m + self.cache_write_1h
        return {
            "input": self.input - parts,
            "cached_input": self.cached_input,
            "cache_write_5m": self.cache_write_5m,
            "cache_write_1h": self.cache_write_1h,
            "output": self.output,
        }


def _count(value: Any, name: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    # True is an int to Python, never a number of tokens.
    if number < 0 or isinstance(value, bool):
        raise InputError(f"{name}={value!r}: expected a whole number, 0 or more")
    return number


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """US dollars per token by class; ``None`` where no price is published (which is not $0).

    Args:
        input: uncached input.
        cached_input: input read from the prompt cache.
        cache_write_5m: input written to it for the provider's ordinary lifetime.
        cache_write_1h: input written to it for one hour.
        output: output, reasoning included.
        batch_input: the same five in the batch tier.
        batch_cached_input: see ``batch_input``.
        batch_cache_write_5m: see ``batch_input``.
        batch_cache_write_1h: see ``batch_input``.
        batch_output: see ``batch_input``.
    """

    input: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    output: Decimal | None = None
    batch_input: Decimal | None = None
    batch_cached_input: Decimal | None = None
    batch_cache_write_5m: Decimal | None = None
    batch_cache_write_1h: Decimal | None = None
    batch_output: Decimal | None = None

    def __post_init__(self) -> None:
        for name in RATE_NAMES:
            _check_rate(getattr(self, name), name)

    def rate(self, token_class: TokenClass, tier: Tier) -> Decimal | None:
        """US dollars per token of a class, or ``None`` when it is not published."""
        name = token_class if tier == "standard" else f"batch_{token_class}"
        return cast("Decimal | None", getattr(self, name))


RATE_NAMES: tuple[str, ...] = tuple(field.name for field in fields(Rates))


def _check_rate(value: Any, name: str) -> None:
    if value is None:
        return
    if not isinstance(value, Decimal):
        raise InputError(
            f"{name}={value!r}: money is Decimal, got {type(value).__name__}; "
            f"pass to_decimal({value!r})"
        )
    to_decimal(value, name)


@dataclass(frozen=True, kw_only=True, slots=True)
class LongContext(Rates):
    """Rates of a whole call (not of its excess) whose input is above a number of tokens.

    Args:
        above_tokens: the rates hold for ``usage.input > above_tokens``.
    """

    above_tokens: int

    def __post_init__(self) -> None:
        Rates.__post_init__(self)
        if _count(self.above_tokens, "above_tokens") == 0:
            raise InputError("above_tokens=0: expected 1 or more; rates from 0 up are the base")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPrice(Rates):
    """One row of the price sheet: a model at a provider.

    Embedding models charge ``input`` alone. Rerankers charge ``input`` per token, or
    ``per_search``. Prices of images, audio, tools and web search are not part of it.

    Args:
        name: as the sheet lists it.
        provider: who sends the bill (``"openai"``, ``"bedrock"``).
        mode: ``"chat"``, ``"completion"``, ``"responses"``, ``"embedding"`` or ``"rerank"``.
        source: the list it was read from.
        as_of: ISO date (or month, or year) at which that list said so.
        region: ``"global"``, or where the price holds.
        confidence: ``"listed"``; ``"upper"`` where cheaper hours exist; ``"user"``;
            ``"suspect"`` once a suspect row was accepted.
        above: long-context rates, by rising threshold.
        per_search: US dollars per search of a reranker.
        suspect: why the row is not believed, empty when it is. Such a row prices nothing.

    Raises:
        InputError: an empty name, a rate that is not a `Decimal` from 0 up, thresholds unsorted.
    """

    name: str
    provider: str
    mode: str
    source: str
    as_of: str
    region: str = "global"
    confidence: str = "listed"
    above: tuple[LongContext, ...] = ()
    per_search: Decimal | None = None
    suspect: str = ""

    def __post_init__(self) -> None:
        Rates.__post_init__(self)
        _check_rate(self.per_search, "per_search")
        for name in ("name", "provider", "mode", "source", "as_of", "region", "confidence"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise InputError(f"ModelPrice.{name}={value!r}: expected a non-empty string")
        thresholds = [tier.above_tokens for tier in self.above]
        if thresholds != sorted(set(thresholds)):
            raise InputError(f"above={thresholds}: expected rising thresholds, each once")

    @property
    def unit(self) -> str:
        """What the rates are counted in."""
        return "USD per search" if self.per_search is not None else "USD per token"

    @property
    def price_id(self) -> str:
        """Names the list, the model and the date, for the ledger."""
        return f"{self.source}/{self.name}@{self.as_of}".replace(" ", "-")

    def rates_for(self, input_tokens: int) -> Rates:
        """The rates of a call with that much input: those of the highest threshold passed."""
        passed = [tier for tier in self.above if input_tokens > tier.above_tokens]
        return passed[-1] if passed else self

    def cost(self, usage: Usage, tier: Tier = "standard") -> Decimal:
        """US dollars, exact, for one call.

        Args:
            usage: its tokens. The long-context rates apply when ``usage.input`` passes their
                threshold, so usages of several calls must not be added up first.
            tier: ``"standard"`` or ``"batch"``.

        Raises:
            UnknownPrice: the tier or a rate that the usage needs is not published, the row is
                suspect, or the model is billed per search.
        """
        self._check_usable()
        if tier not in TIERS:
            raise UnknownPrice(f"tier={tier!r}: expected one of {', '.join(TIERS)}")
        if self.per_search is not None:
            raise UnknownPrice(
                f"{self.name} is billed per search, not per token; use rerank_cost(searches=...)"
            )
        rates = self.rates_for(usage.input)
        total = Decimal(0)
        # The input rate is asked for even at 0 tokens: it says whether the tier exists.
        self._rate(rates, "input", tier)
        for token_class, count in usage.leaves().items():
            if count:
                rate = self._rate(rates, token_class, tier)
                total = _EXACT.add(total, _EXACT.multiply(rate, Decimal(count)))
        return total

    def rerank_cost(self, *, searches: int | None = None, tokens: int | None = None) -> Decimal:
        """US dollars, exact, for reranking.

        Args:
            searches: for a model billed per search. Cohere counts one per query and 100
                documents begun.
            tokens: for a model billed per token: query and document tokens, as billed.

        Raises:
            UnknownPrice: the unit that the model is billed in was not given, or no price is
                published, or the row is suspect.
        """
        self._check_usable()
        if self.mode != "rerank":
            raise UnknownPrice(f"{self.name} is a {self.mode} model, not a reranker; use cost()")
        per_search = self.per_search is not None
        price, units = (self.per_search, searches) if per_search else (self.input, tokens)
        argument = "searches" if per_search else "tokens"
        if price is None:
            raise UnknownPrice(f"{self.name}: no price is published; {_WAY_OUT}")
        if units is None:
            raise UnknownPrice(f"{self.name} is billed in {argument}; give {argument}=...")
        return _EXACT.multiply(price, Decimal(_count(units, argument)))

    def _rate(self, rates: Rates, token_class: TokenClass, tier: Tier) -> Decimal:
        rate = rates.rate(token_class, tier)
        if rate is None:
            known = [name for name in RATE_NAMES if getattr(rates, name) is not None]
            above = (
                f" above {rates.above_tokens:,} tokens" if isinstance(rates, LongContext) else ""
            )
            raise UnknownPrice(
                f"{self.name}: no {tier} price for {token_class} tokens{above} is published "
                f"(known: {', '.join(known) or 'none'}); {_WAY_OUT}"
            )
        return rate

    def _check_usable(self) -> None:
        if self.suspect:
            raise UnknownPrice(
                f"{self.name}: the listed price is not believed ({self.suspect}); check it, then "
                "take it with PriceSheet.model(name, allow_suspect=True), or " + _WAY_OUT
            )


_WAY_OUT = "give your own price through PriceSheet.from_json"


def rate_mapping(rates: Rates) -> Mapping[str, Decimal]:
    """The published rates by name."""
    return {name: rate for name in RATE_NAMES if (rate := getattr(rates, name)) is not None}
