"""Guards: what a cached question must share with the asked one, whatever its similarity.

A similarity says that two questions speak of the same matter; it does not say that they ask the
same. "Does height increase after 18 years" and "... after 16 years" have a cosine of .97, and an
embedder that forgets word order gives a reversed question 1.0. Each guard reads both texts and
refuses what its kind of difference makes another question. They err on the side of a miss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

from ragopt.cache.lexicon import (
    ANTONYMS,
    DATE_WORDS,
    NEGATORS,
    NUMBER_WORDS,
    ORDINAL_WORDS,
    UNITS,
)
from ragopt.cache.order import reversed_roles
from ragopt.cache.words import Question, Word, forms, parts, study

__all__ = [
    "DEFAULT_GUARDS",
    "Asking",
    "ContentWords",
    "Entities",
    "Guard",
    "Numbers",
    "Polarity",
    "Reversal",
]


class Guard(Protocol):
    """Anything with a name and an opinion on two questions."""

    @property
    def name(self) -> str:
        """Under which refusals are counted."""
        ...

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether nothing this guard looks at speaks against serving the cached answer."""
        ...


_STUDIED = 4096  # questions whose numbers and cues are kept: entries are compared again and again


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
        unit = _unit(words, place)
        values: Sequence[str] = ()
        if word.kind == "number":
            values = [_value(word.text, words, place)]
        elif word.folded in ORDINAL_WORDS:
            values = [] if _is_unit(words, place) else [str(ORDINAL_WORDS[word.folded])]
            unit = "th"
        elif word.folded in NUMBER_WORDS:
            values = _spelled(words, place)
        elif word.folded in DATE_WORDS:
            values = [word.folded[:3]] if _dated(words, place) else []
        elif word.kind != "number":
            values = _DIGITS.findall(word.text)
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


@dataclass(frozen=True, slots=True)
class Polarity:
    """The same negations, and no antonyms: not "enable" here and "disable" there."""

    name: str = "polarity"

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether both deny as often, and no pair of opposites is parted between them."""
        left, right = study(asked), study(cached)
        if _negations(left) != _negations(right):
            return False
        if _denies(left, right) or _denies(right, left):
            return False
        here, there = _cues(asked), _cues(cached)
        return all(here[group] == there[group] for group in here.keys() & there.keys())


def _negations(question: Question) -> int:
    words = question.words
    count = 0
    for place, word in enumerate(words):
        if word.folded not in NEGATORS or word.quoted or word.name:
            continue
        before = words[place - 1].folded if place else ""
        count += not (before == "or" and word.folded == "not")  # "whether or not" denies nothing
    return count


_Cue = tuple[int, int]  # group of opposites, side in it


def _cues_of_words(exact: bool) -> dict[str, list[_Cue]]:
    found: dict[str, list[_Cue]] = {}
    for group, sides in enumerate(ANTONYMS):
        for side, words in enumerate(sides):
            for word in words[exact]:
                found.setdefault(word, []).append((group, side))
    return found


_CUES, _EXACT_CUES = _cues_of_words(exact=False), _cues_of_words(exact=True)


@lru_cache(maxsize=_STUDIED)
def _cues(text: str) -> dict[int, frozenset[int]]:
    """Which sides of which groups of opposites a question holds."""
    question = study(text)
    found: dict[int, frozenset[int]] = {}
    for words, cues in ((question.forms, _CUES), (question.surface, _EXACT_CUES)):
        for word in words:
            for group, side in cues.get(word, ()):
                found[group] = found.get(group, frozenset()) | {side}
    return found


_SHORTEST_STEM = 3
_PREFIXES = ("un", "in", "im", "il", "ir", "non", "dis", "de", "mis", "anti", "counter")


def _denies(one: Question, other: Question) -> bool:
    """Whether ``one`` holds "unordered" where ``other`` holds "ordered"."""
    theirs = other.forms - one.forms
    return any(
        word.folded not in other.forms
        and word.folded.startswith(_PREFIXES)
        and any(not theirs.isdisjoint(forms(base)) for base in _without_prefix(word.folded))
        for word in one.words
    )


def _without_prefix(word: str) -> list[str]:
    stems = (word.removeprefix(prefix) for prefix in _PREFIXES)
    return [stem for stem in stems if stem != word and len(stem) > _SHORTEST_STEM]


@dataclass(frozen=True, slots=True)
class Entities:
    """The same identifiers, flags, operators and quoted words; no proper name swapped for another.

    A name that only one of them holds ("Trump", "Donald Trump") is left to `ContentWords`.
    """

    name: str = "entities"

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether each holds what the other writes as code, and no name took another's place."""
        left, right = study(asked), study(cached)
        if _strange(left, right, code=True) or _strange(right, left, code=True):
            return False
        return not (_strange(left, right, code=False) and _strange(right, left, code=False))


def _strange(named: Question, holder: Question, *, code: bool) -> bool:
    """Whether ``named`` has an entity (as code, or by a name) that ``holder`` has not."""
    return any(
        not _found(word, holder)
        for word in named.words
        if word.entity and (word.code or word.quoted) == code
    )


def _found(word: Word, holder: Question) -> bool:
    """Whether ``holder`` speaks of ``word``, perhaps in parts or without its code marks."""
    if word.code and word.text in holder.exact:
        return True
    if word.folded in holder.surface:
        # `List` and `list` differ when both stand there as code
        return not word.code or word.folded not in holder.exact_folded
    pieces = parts(word.text)
    if word.name and not word.code and len(pieces) == 1:
        return not forms(word.folded).isdisjoint(holder.forms)
    return bool(pieces) and pieces <= holder.pieces


@dataclass(frozen=True, slots=True)
class Reversal:
    """The same words in the same roles: "list to tuple" is not "tuple to list"."""

    name: str = "reversal"

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether no two shared words changed roles."""
        return not reversed_roles(asked, cached)


@dataclass(frozen=True, slots=True)
class ContentWords:
    """The same subject matter: what one question adds or swaps is another question.

    Words match in any inflection, through a short list of synonyms, and joined or apart ("time
    zone", "timezone"); words of grammar and of asking ("best way to", "can anyone tell me") do not
    count. The strictest guard by far: of rewordings with a cosine of .95 it loses one in four, and
    one in eleven with ``additions=1``, which in turn lets "on a class" be added.

    Args:
        additions: how many content words one of them (not both) may hold that the other lacks.
    """

    additions: int = 0
    name: str = "content_words"

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether the content words match, one-sided additions within the allowance."""
        left, right = study(asked), study(cached)
        if not any(word.content for word in (*left.words, *right.words)):
            return left.surface == right.surface  # "how are you", "who are you"
        more, less = _unmatched(left, right), _unmatched(right, left)
        return not (more and less) and max(len(more), len(less)) <= self.additions


def _unmatched(one: Question, other: Question) -> list[str]:
    alone = [
        word.folded
        for word in one.words
        if word.content
        and other.forms.isdisjoint(forms(word.folded))
        and not _found(word, other)
        and not parts(word.text) <= other.pieces
    ]
    if not alone:
        return alone
    neighbours = pairwise(word.folded for word in one.words)
    # "time zone" here, "timezone" there
    joined = {word for pair in neighbours if "".join(pair) in other.surface for word in pair}
    return [word for word in alone if word not in joined]


@dataclass(frozen=True, slots=True)
class Asking:
    """The same thing is wanted: a reason, a time, a place, a person or a quantity."""

    name: str = "asking"

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether the words that open the two questions want answers of one kind."""
        left, right = sorted((_asks(study(asked)), _asks(study(cached))))
        return not left or left == right or (left, right) in _ALIKE


_HOW_MUCH = frozenset("many much long old far often big large tall high fast deep wide".split())
_RANKED = frozenset("best good right".split())
_WHETHER = (
    dict.fromkeys("do does did is are was were will would has have".split(), "whether")
    | dict.fromkeys(("can", "could", "may"), "may")
    | dict.fromkeys(("should", "must", "shall", "ought"), "ought")
)
_ALIKE = frozenset(
    {
        ("open", "person"),
        ("open", "whether"),
        ("may", "open"),
        ("may", "whether"),
        ("open", "ought"),
        ("ought", "whether"),
    }
)
_ASKING = {
    "how": "open",
    "what": "open",
    "which": "open",
    "why": "reason",
    "when": "time",
    "where": "place",
    "who": "person",
    "whom": "person",
}


def _asks(question: Question) -> str:
    """What is wanted; empty when no word says so, as in a string of key words."""
    words = [word.folded for word in question.words]
    if words and words[0] in _WHETHER and words[1:2] not in (["there"], ["anyone"], ["you"]):
        return _WHETHER[words[0]]
    for place, word in enumerate(words[:_OPENING]):
        if word in _ASKING:
            after = words[place + 1] if place + 1 < len(words) else ""
            # "where and how", "how or why"
            return "" if after in ("and", "or", "/") else _wanted(word, after, words[place:])
    return ""


def _wanted(word: str, after: str, rest: Sequence[str]) -> str:
    if word == "how":
        return {"come": "reason"}.get(after, "quantity" if after in _HOW_MUCH else "open")
    if word in ("what", "which"):
        return {"time": "time", "year": "time", "date": "time"}.get(after, "open")
    # "where can I find" wants a way as much as a place, "where is the best" is "what is the best"
    way = word == "where" and after in ("can", "could", "do", "should", "to")
    ranked = word in ("where", "when") and not _RANKED.isdisjoint(rest[: _OPENING + 1])
    return "open" if way or ranked else _ASKING[word]


_OPENING = 4  # words; further in, "when", "where" and "who" join clauses


DEFAULT_GUARDS: tuple[Guard, ...] = (
    Numbers(),
    Polarity(),
    Entities(),
    Reversal(),
    Asking(),
    ContentWords(),
)
