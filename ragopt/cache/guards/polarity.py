"""Negations and opposites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ragopt.cache.guards.lexicon import ANTONYMS, NEGATORS
from ragopt.cache.guards.words import Question, Word, forms, study

__all__ = ["Polarity"]

_STUDIED = 4096  # questions whose cues are kept: entries are compared again and again


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
    return sum(
        word.folded in NEGATORS
        and not (word.quoted or word.name)
        and not (word.folded == "not" and _leaves_open(words, place))
        for place, word in enumerate(words)
    )


def _leaves_open(words: Sequence[Word], place: int) -> bool:
    """Whether "whether or", "why or why" stand before: such a "not" denies nothing."""
    before = [word.folded for word in words[max(0, place - 2) : place]]
    return before[-1:] == ["or"] or before == ["or", "why"]


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
        for word in cues.keys() & words:
            for group, side in cues[word]:
                found[group] = found.get(group, frozenset()) | {side}
    return found


_SHORTEST_STEM = 3
_PREFIXES = ("un", "in", "im", "il", "ir", "non", "dis", "de", "mis", "anti", "counter")


def _denies(one: Question, other: Question) -> bool:
    """Whether ``one`` holds "unordered" where ``other`` holds "ordered"."""
    prefixed = [word.folded for word in one.words if word.folded.startswith(_PREFIXES)]
    if not prefixed:
        return False
    theirs = other.forms - one.forms
    return any(
        word not in other.forms
        and any(not theirs.isdisjoint(forms(base)) for base in _without_prefix(word))
        for word in prefixed
    )


def _without_prefix(word: str) -> list[str]:
    stems = (word.removeprefix(prefix) for prefix in _PREFIXES)
    return [stem for stem in stems if stem != word and len(stem) > _SHORTEST_STEM]
