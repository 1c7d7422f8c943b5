"""Questions that look like a real one and ask something else, made from real ones.

Every trap changes one thing that changes the answer: a number, a unit, a date, a name, a denial, or
who does what to whom. What is put in the place of something is of its kind, and drawn from the same
questions where it can be, so that traps read like questions that somebody might ask.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["KINDS", "Trap", "traps_of"]


@dataclass(frozen=True, slots=True)
class Trap:
    """A question and another that looks like it.

    Args:
        kind: what was changed, one of `KINDS`.
        question: as somebody asked it.
        changed: what it became; its answer is another.
    """

    kind: str
    question: str
    changed: str


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_UNITS = (
    ("kg", "pounds", "grams"), ("km", "miles", "meters"), ("cm", "inches", "feet"),
    ("GB", "MB", "TB"), ("hours", "minutes", "days"), ("weeks", "months", "years"),
    ("dollars", "euros", "rupees"), ("celsius", "fahrenheit"),
)  # fmt: skip
_OPPOSITES = (
    ("increase", "decrease"), ("gain", "lose"), ("buy", "sell"), ("enable", "disable"),
    ("before", "after"), ("with", "without"), ("start", "stop"), ("best", "worst"),
    ("advantages", "disadvantages"), ("import", "export"), ("open", "close"),
    ("legal", "illegal"), ("possible", "impossible"), ("male", "female"), ("lock", "unlock"),
    ("add", "remove"), ("more", "less"), ("hot", "cold"), ("install", "uninstall"),
)  # fmt: skip
_AUXILIARIES = (
    "can", "could", "do", "does", "did", "is", "are", "was", "were", "should", "would", "will",
)  # fmt: skip

_MOST_WORDS = 20
_NUMBER = re.compile(r"(?<![\w.$-])\d{1,3}(?![\w.,%-])")
_YEAR = re.compile(r"(?<![\w.-])(?:19|20)\d\d(?![\w.-])")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,}(?: [A-Z][a-z]{2,})?(?![\w'])")
_THING = r"((?:an? |the |my )?[\w-]{3,})(?! (?:of|[A-Z]))"
_FROM_TO = re.compile(rf"\bfrom {_THING} to {_THING}(?=[ ?.,]|$)")
_CONVERT = re.compile(
    rf"\b((?i:convert|change|turn|translate|transfer|migrate)) {_THING} (to|into) {_THING}"
    r"(?=[ ?.,]|$)"
)
_THAN = re.compile(rf"\b((?i:is|are)) {_THING} (\w+er|more \w+|less \w+) than {_THING}(?=[ ?.,]|$)")
_BETWEEN = re.compile(
    r"\b([Dd]o|[Dd]oes|[Dd]id|[Cc]an|[Cc]ould|[Ww]ill|[Ww]ould)"
    r" ([A-Z]\w+) (?!and\b|or\b)([a-z]{3,}) ([A-Z]\w+)(?=[ ?.,]|$)"
)
_NO_THINGS = re.compile(
    r"\b(?:there|where|back|home|get|into|this|that|it|one|something|someone|other|rather|more)\b",
    re.IGNORECASE,
)
_ASKING = re.compile(
    rf"(?:How|Why|What|When)? ?(?:{'|'.join(_AUXILIARIES)}) (?:I|you|we|it) ", re.IGNORECASE
)


def _replaced(text: str, match: re.Match[str], new: str, group: int = 0) -> str:
    return text[: match.start(group)] + new + text[match.end(group) :]


def _numbers(text: str, rng: random.Random) -> str | None:
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    chosen = rng.choice(found)
    value = int(chosen[0])
    others = [value + step for step in (-5, -2, -1, 1, 2, 3, 5, 10) if value + step > 1]
    return _replaced(text, chosen, str(rng.choice(others)))


def _units(text: str, rng: random.Random) -> str | None:
    options = []
    for family in _UNITS:
        for unit in family:
            for match in re.finditer(rf"(?<=\d )\b{unit}\b|\bin {unit}\b", text):
                word = match[0].rpartition(" ")[2]
                start = match.end() - len(word)
                options += [
                    text[:start] + other + text[match.end() :] for other in family if other != unit
                ]
    return rng.choice(options) if options else None


def _dates(text: str, rng: random.Random) -> str | None:
    options = [
        _replaced(text, match, str(int(match[0]) + step))
        for match in _YEAR.finditer(text)
        for step in (-2, -1, 1)
    ]
    for names in (_MONTHS, _DAYS):
        for name in names:
            for match in re.finditer(rf"\b{name}\b", text):
                options += [_replaced(text, match, other) for other in names if other != name]
    return rng.choice(options) if options else None


def _denials(text: str, rng: random.Random) -> str | None:
    options = []
    for pair in _OPPOSITES:
        for word, other in (pair, pair[::-1]):
            options += [
                _replaced(text, match, other) for match in re.finditer(rf"\b{word}\b", text)
            ]
    match = _ASKING.match(text)
    if match is not None:
        options.append(_replaced(text, match, f"{match[0]}not "))
    return rng.choice(options) if options else None


def _reversals(text: str, rng: random.Random) -> str | None:
    options = [
        _replaced(text, match, template.format(*match.groups()))
        for pattern, (one, other), template in _TURNED
        for match in pattern.finditer(text)
        if match[one].casefold() != match[other].casefold()
        # what stands there twice cannot be turned around by exchanging it once
        and text.count(match[one]) == text.count(match[other]) == 1
        and not _NO_THINGS.search(f"{match[one]} {match[other]}")
    ]
    return rng.choice(options) if options else None


_TURNED = (  # what is looked for, which groups change places, what is made of them
    (_FROM_TO, (1, 2), "from {1} to {0}"),
    (_CONVERT, (2, 4), "{0} {3} {2} {1}"),
    (_THAN, (2, 4), "{0} {3} {2} than {1}"),
    (_BETWEEN, (2, 4), "{0} {3} {2} {1}"),
)
_MAKERS: dict[str, Callable[[str, random.Random], str | None]] = {
    "number": _numbers,
    "unit": _units,
    "date": _dates,
    "polarity": _denials,
    "reversal": _reversals,
}
KINDS = (*_MAKERS, "entity")
"""What a trap may change."""


def traps_of(
    questions: Iterable[str], *, seed: int, most: int | None = None, kinds: Sequence[str] = KINDS
) -> list[Trap]:
    """Traps made from questions, at most one of each kind from each.

    Args:
        questions: as people asked them; those of more than 20 words are left out, in which one
            thing changed may change nothing.
        seed: of what is drawn.
        most: of each kind; all that can be made when None.
        kinds: to make.
    """
    asked = [each for each in dict.fromkeys(questions) if len(each.split()) <= _MOST_WORDS]
    rng = random.Random(seed)  # noqa: S311 - no secret hangs on it
    made: dict[str, list[Trap]] = {kind: [] for kind in kinds}
    names = _names(asked)
    for question in rng.sample(asked, len(asked)):
        for kind in kinds:
            if most is not None and len(made[kind]) >= most:
                continue
            if kind == "entity":
                changed = _entity(question, names, rng)
            else:
                changed = _MAKERS[kind](question, rng)
            if changed is not None and changed.casefold() != question.casefold():
                made[kind].append(Trap(kind, question, changed))
    return [trap for kind in kinds for trap in made[kind]]


def _names(questions: Sequence[str]) -> dict[int, list[str]]:
    """Names in the questions by how many words they have, each once."""
    found: dict[str, None] = {}
    for question in questions:
        found.update(dict.fromkeys(_found(question)))
    by_length: dict[int, list[str]] = {}
    for name in found:
        by_length.setdefault(name.count(" "), []).append(name)
    return by_length


def _found(question: str) -> Iterator[str]:
    """Names of a question that is not written in capitals throughout."""
    words = question.split()
    capitals = sum(word[:1].isupper() for word in words)
    if 2 * capitals <= len(words):
        yield from (match[0] for match in _NAME.finditer(question))


def _entity(question: str, names: dict[int, list[str]], rng: random.Random) -> str | None:
    mine = list(_found(question))
    if not mine:
        return None
    old = rng.choice(mine)
    others = [name for name in names[old.count(" ")] if name not in question and old not in name]
    if not others:
        return None
    return re.sub(rf"\b{re.escape(old)}\b", rng.choice(others), question)
