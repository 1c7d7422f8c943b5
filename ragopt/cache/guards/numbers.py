"""Numbers, units and dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ragopt.cache.guards.lexicon import DATE_WORDS, NUMBER_WORDS, ORDINAL_WORDS, UNITS
from ragopt.cache.guards.words import Word, study

__all__ = ["Numbers"]

_STUDIED = 4096  # questions whose numbers are kept: entries are compared again and again


@dataclass(frozen=True, slots=True)
class Numbers:
    """Equal numbers, units, dates and versions; ``3.10`` is not ``3.1``, ``5 GB`` is ``5GB``."""

    name: str = "numbers"

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether both hold the same numbers, each as often."""
        left, right = _numbers(asked), _numbers(cached)
        if left.keys() != right.keys():
            return False
        return all(not left[key] or not right[key] or left[key] == right[key] for key in left)


_MAGNITUDES = {"k": 1000, "m": 10**6, "bn": 10**9}
_POWERS = frozenset("hundred thousand million billion trillion lakh lakhs crore crores".split())
_CURRENCIES = frozenset({"rs", "inr", "usd", "eur", "gbp"})
_DIGITS = re.compile(r"\d+")


@lru_cache(maxsize=_STUDIED)
def _numbers(text: str) -> dict[str, frozenset[str]]:
    """The numbers, each with the units it carries (none where the text leaves them to the reader).

    "First" counts as a word, not as a number: it is as often a filler ("what to learn first").
    """
    found: dict[str, frozenset[str]] = {}
    words = study(text).words
    for place, word in enumerate(words):
        values: Sequence[str] = ()
        if word.kind == "number":
            values = [_value(word.text, words, place)]
        elif word.folded in ORDINAL_WORDS:
            values = [] if _is_unit(words, place) else [str(ORDINAL_WORDS[word.folded])]
        elif word.folded in NUMBER_WORDS:
            values = _spelled(words, place)
        elif word.folded in DATE_WORDS:
            values = [word.folded[:3]] if _dated(words, place) else []
        elif word.kind != "number":
            values = _DIGITS.findall(word.text)
        if not values:
            continue
        unit = "th" if word.folded in ORDINAL_WORDS else _unit(words, place)
        for value in values:
            if (value, unit) != ("1", "th"):
                found[value] = found.get(value, frozenset()) | ({unit} if unit else set())
    return found


def _spelled(words: Sequence[Word], place: int) -> list[str]:
    """A number in words; "one" is a pronoun unless a magnitude follows, which then counts it."""
    word = words[place].folded
    before = words[place - 1] if place else None
    counted = before is not None and (before.kind == "number" or before.folded in NUMBER_WORDS)
    if counted and word in _POWERS:
        return []
    value = str(NUMBER_WORDS[word])
    scaled = _value(value, words, place)
    return [] if word == "one" and scaled == value else [scaled]


def _value(text: str, words: Sequence[Word], place: int) -> str:
    """A number as written ("3.10" is not "3.1"), without separators, with its magnitude."""
    plain = text.lstrip("+").replace(",", "")
    after = words[place + 1].folded if place + 1 < len(words) else ""
    magnitude = _MAGNITUDES.get(after) or (NUMBER_WORDS.get(after, 0) if after in _POWERS else 0)
    return str(int(plain) * magnitude) if magnitude and plain.isdigit() else plain


def _unit(words: Sequence[Word], place: int) -> str:
    after = words[place + 1].folded if place + 1 < len(words) else ""
    before = words[place - 1].folded if place else ""
    if before in UNITS and not before[0].isalnum():
        return UNITS[before]
    if after in ("st", "nd", "rd", "th"):
        return "th"
    if before in _CURRENCIES:
        return UNITS[before]
    return UNITS.get(after, "")


def _is_unit(words: Sequence[Word], place: int) -> bool:
    """Whether "second" is the unit of time here."""
    before = words[place - 1] if place else None
    counted = before is not None and (before.kind == "number" or before.folded in NUMBER_WORDS)
    return counted or (before is not None and before.folded == "per")


def _dated(words: Sequence[Word], place: int) -> bool:
    """Whether "may", "march" or "sun" is a date here and not a common word."""
    word = words[place]
    if word.folded not in ("may", "march", "mar", "jan", "dec", "august"):
        return True
    near = [*words[max(place - 1, 0) : place], *words[place + 1 : place + 2]]
    return (word.text[0].isupper() and place > 0) or any(other.kind == "number" for other in near)
