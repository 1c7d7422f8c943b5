"""How long an answer stays true, by what it speaks of.

The time is absolute: it runs from the moment the answer was stored, and no hit renews it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ragopt.cache.checks import is_number
from ragopt.errors import InputError

__all__ = ["LIFETIMES_S", "Lifetimes", "content_class"]

_HOUR = 3600.0
LIFETIMES_S: Mapping[str, float] = MappingProxyType(
    {"facts": 30 * 24 * _HOUR, "prices": 24 * _HOUR, "realtime": _HOUR / 12}
)
"""Seconds by content class: thirty days, one day, five minutes. A class with 0 is never stored."""

_REALTIME = re.compile(
    r"\b(?:right now|at the moment|today|tonight|tomorrow|yesterday|this (?:morning|afternoon"
    r"|evening|week|weekend)|currently|nowadays|these days|breaking|live (?:score|stream|updates?)"
    r"|what(?:'s| is) the (?:time|date|weather)|what time is it|weather (?:in|for|at|forecast)"
    r"|(?:stock|share|bitcoin|btc|eth|gold|oil|gas) price|exchange rate|traffic (?:on|in|jam)"
    r"|(?:latest|current|recent|upcoming) \w+|(?:is|are) .{1,40} (?:open|down|online) now)\b",
    re.IGNORECASE,
)
_PRICES = re.compile(
    r"\b(?:prices?|priced|pricing|costs?|fees?|tariffs?|fares?|rent|salary|salaries|wages?"
    r"|discounts?|coupons?|premiums?|how much (?:is|are|was|does|do|did|will|would|for)"
    r"|cheap(?:er|est)?|afford)\b|[$€£₹¥]\s?\d",
    re.IGNORECASE,
)


def content_class(question: str) -> str:
    """What an answer to a question speaks of: ``"realtime"``, ``"prices"`` or ``"facts"``.

    Told from the words of the question alone; the first class that fits, in this order. It errs on
    the side of the shorter time: "current account" is taken for something current.
    """
    if _REALTIME.search(question):
        return "realtime"
    return "prices" if _PRICES.search(question) else "facts"


def _usual() -> Mapping[str, float]:
    return LIFETIMES_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """Seconds that answers are served, by content class.

    Args:
        seconds: by class; 0 for never, ``math.inf`` for ever.
        classify: names the class of a question that is stored without one.

    Raises:
        InputError: a class without a name, or no number of seconds.
    """

    seconds: Mapping[str, float] = field(default_factory=_usual)
    classify: Callable[[str], str] = content_class

    def __post_init__(self) -> None:
        if not isinstance(self.seconds, Mapping):
            raise InputError(f"seconds is {self.seconds!r}, expected a number by content class")
        for name, value in self.seconds.items():
            if not isinstance(name, str) or not name.strip():
                raise InputError(f"a content class is called {name!r}, expected a word")
            if not is_number(value) or value < 0:
                raise InputError(f"seconds of {name!r} are {value!r}, expected 0 or more")
        if not callable(self.classify):
            raise InputError(f"classify={self.classify!r}, expected a function of the question")

    def of(self, question: str, content_class: str | None = None) -> float:
        """Seconds that an answer to a question is served; 0 for never.

        Raises:
            InputError: a class that has no lifetime.
        """
        named = self.classify(question) if content_class is None else content_class
        try:
            return float(self.seconds[named])
        except (KeyError, TypeError):
            known = ", ".join(sorted(self.seconds))
            raise InputError(f"content class {named!r} has no lifetime, expected {known}") from None
