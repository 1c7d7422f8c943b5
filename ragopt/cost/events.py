"""What the ledger records: one event of cost, and sums of them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from types import MappingProxyType
from typing import Any

from ragopt.cost.model_prices import Usage
from ragopt.errors import InputError

__all__ = ["MONEY", "TAG", "USUAL_TAGS", "CostEvent", "Totals", "frozen_tags", "to_utc"]

USUAL_TAGS = (
    "team",
    "project",
    "feature",
    "environment",
    "tenant",
    "user",
    "flow",
    "prompt_version",
    "model_version",
    "intent",
)

TAG = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
MONEY = Context(prec=60, rounding=ROUND_HALF_EVEN)

_PICO = Decimal("1e-12")
_MAX_TEXT_CHARS = 512
_UNSTORABLE = re.compile("[\\0\ud800-\udfff]")
_MAX_PICO = 2**63 - 1
_MAX_TOKENS = 2**53


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _no_tags() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class CostEvent:
    """One thing that cost or saved money. Prompts and answers have no place in it.

    Args:
        kind: what it was (``"generation"``, ``"embedding"``, ``"rerank"``, ``"cache_hit"``).
        model: as in the price sheet; empty where none was called.
        usd: what it cost, 0 or more; rounded to 10^-12 dollars.
        saved_usd: what it would have cost more without ragopt; negative where a lever lost money.
        usage: its tokens, by class.
        price_id: `ModelPrice.price_id` of the price that was used.
        ms: how long it took, in milliseconds.
        outcome: ``"ok"``, or what went wrong in a word.
        tags: who and what it was for; `USUAL_TAGS` names the usual keys, others are welcome.
        time: when, with a time zone; kept in UTC to the microsecond.

    Raises:
        InputError: a value of the wrong type or range; the message names it.
    """

    kind: str
    model: str
    usd: Decimal
    saved_usd: Decimal = Decimal(0)
    usage: Usage = field(default_factory=Usage)
    price_id: str = ""
    ms: float = 0.0
    outcome: str = "ok"
    tags: Mapping[str, str] = field(default_factory=_no_tags)
    time: datetime.datetime = field(default_factory=_now)

    def __post_init__(self) -> None:
        for name in ("kind", "model", "outcome", "price_id"):
            _check_text(
                getattr(self, name), f"CostEvent.{name}", empty=name in ("model", "price_id")
            )
        for name in ("usd", "saved_usd"):
            object.__setattr__(self, name, _money(getattr(self, name), f"CostEvent.{name}"))
        if self.usd < 0:
            raise InputError(f"CostEvent.usd={self.usd}: expected 0 or more; see saved_usd")
        _check_usage(self.usage)
        object.__setattr__(self, "ms", _milliseconds(self.ms))
        object.__setattr__(self, "tags", frozen_tags(self.tags))
        object.__setattr__(self, "time", to_utc(self.time, "CostEvent.time"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Sums over a group of events.

    Args:
        key: the model, kind or tag value they share; ``None`` without such a tag, and for a
            grand total.
        events: how many.
        input_tokens: all input tokens, cached and cache-written ones included.
        cached_input_tokens: those read from the provider's prompt cache.
        cache_write_tokens: those written to it.
        output_tokens: output tokens.
        usd: what they cost, exact.
        saved_usd: what was saved, exact.
    """

    key: str | None
    events: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    usd: Decimal
    saved_usd: Decimal


def _check_text(value: Any, name: str, *, empty: bool = False) -> None:
    if not isinstance(value, str) or not (value or empty) or len(value) > _MAX_TEXT_CHARS:
        raise InputError(
            f"{name}={value!r:.80}: expected a string of 1 to {_MAX_TEXT_CHARS} characters"
        )
    # SQLite cannot hold the first, and cuts text at the second in some of its functions.
    if _UNSTORABLE.search(value):
        raise InputError(f"{name}={value!r:.80}: expected text without surrogates and NUL")


def _money(value: Any, name: str) -> Decimal:
    if not isinstance(value, Decimal):
        raise InputError(
            f"{name}={value!r}: money is Decimal, got {type(value).__name__}; see to_decimal()"
        )
    if not value.is_finite() or abs(value) > _MAX_PICO * _PICO:
        raise InputError(f"{name}={value}: expected an amount below $9.2 million")
    return value.quantize(_PICO, context=MONEY)


def _check_usage(usage: Any) -> None:
    if not isinstance(usage, Usage):
        raise InputError(f"CostEvent.usage of type {type(usage).__name__}: expected a Usage")
    for name in ("input", "output"):  # the others are parts of the input
        if getattr(usage, name) > _MAX_TOKENS:
            raise InputError(
                f"CostEvent.usage.{name}={getattr(usage, name)}: expected at most 2**53"
            )


def _milliseconds(value: Any) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    if not usable or not 0 <= value < float("inf"):
        raise InputError(f"CostEvent.ms={value!r}: expected milliseconds, 0 or more")
    return float(value)


def frozen_tags(tags: Any) -> Mapping[str, str]:
    """Tags, checked, that nobody can change afterwards."""
    if not isinstance(tags, Mapping):
        raise InputError(f"tags of type {type(tags).__name__}: expected a mapping")
    for name, value in tags.items():
        if not isinstance(name, str) or not TAG.fullmatch(name):
            raise InputError(
                f"tag {name!r:.80}: expected 1 to 64 letters, digits or any of _ . : -"
            )
        _check_text(value, f"tag {name}")
    return MappingProxyType(dict(tags))


def to_utc(moment: Any, name: str) -> datetime.datetime:
    """A moment in UTC; one without a zone is refused."""
    if not isinstance(moment, datetime.datetime) or moment.tzinfo is None:
        raise InputError(
            f"{name}={moment!r}: expected a datetime with its zone, such as "
            "datetime.now(timezone.utc)"
        )
    return moment.astimezone(datetime.timezone.utc)
