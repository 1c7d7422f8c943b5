"""What a question wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragopt.cache.guards.words import Question, study

__all__ = ["Asking"]


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
