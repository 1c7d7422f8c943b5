"""What the loaders of questions with contexts share: passages, evidence, answers."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from ragopt.benchmarks.datasets.types import Context
from ragopt.chunk import Chunk
from ragopt.errors import InputError

__all__ = [
    "Contexts",
    "Evidence",
    "Passages",
    "identifier",
    "merged",
    "occurrences",
    "sentence_around",
    "standing",
    "supporting",
    "trimmed",
    "whole",
]

Evidence = tuple[str, int, int]

# Sentence ends as plain as can be, on purpose none of the compressors' own: evidence must not be
# cut along the units of one of those that are measured with it.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\Wa-z_])|\n\s*\n\s*")  # noqa: RUF001
_NO_END = re.compile(
    r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|St|Prof|Sr|Jr|Gen|Col|Lt|Sen|Rep|Gov|Inc|Ltd|Co|No|vs|ca|e\.g"
    r"|i\.e|U\.S|U\.K|Ph\.D))\.$"
)
_LONGEST_NO_END = 8


class Passages:
    """Passages of a whole set: the same title and text get the same id and the same object."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Chunk] = {}

    def chunk(self, title: str, text: str) -> Chunk:
        """The passage, as a document of its own.

        Raises:
            InputError: it is empty.
        """
        if not text.strip():
            raise InputError(f"the passage {title!r} is empty; expected text")
        if (title, text) not in self._known:
            name = f"p{len(self._known)}"
            self._known[title, text] = Chunk(id=name, text=text, source=name, title=title)
        return self._known[title, text]


class Contexts:
    """Questions of a set as they are read; ids must be unique."""

    def __init__(self) -> None:
        self._contexts: dict[str, Context] = {}

    def add(
        self,
        *,
        id: str,
        question: str,
        passages: Sequence[Chunk],
        answers: Iterable[str] = (),
        evidence: Iterable[Evidence] = (),
    ) -> None:
        """Add a question; of a passage given twice, one is kept.

        Raises:
            InputError: the id is taken, or there is no passage.
        """
        if id in self._contexts:
            raise InputError(f"question id {id!r} occurs twice; expected unique ids")
        distinct = tuple({chunk.id: chunk for chunk in passages}.values())
        if not distinct:
            raise InputError("the question comes with no passage")
        self._contexts[id] = Context(
            id=id,
            question=question,
            passages=distinct,
            answers=tuple(dict.fromkeys(answers)),
            evidence=merged(evidence),
        )

    def __len__(self) -> int:
        return len(self._contexts)

    def all(self) -> tuple[Context, ...]:
        """The questions, in order."""
        return tuple(self._contexts.values())


def identifier(value: Any, number: int) -> str:
    """An id as text; the number of the row where there is none."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None:
        return str(number)
    raise InputError(f"id {value!r}: expected text or a whole number")


def whole(chunk: Chunk) -> Evidence:
    """All of a passage, but for the white space around it."""
    start, end = trimmed(chunk.text, 0, len(chunk.text))
    return chunk.id, start, end


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A slice without the white space around it."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))


def merged(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Evidence in the order given, each span once."""
    return tuple(dict.fromkeys(evidence))


def occurrences(text: str, answer: str) -> list[int]:
    """Where an answer stands in a text, as whole words."""
    sought = answer.strip()
    if not sought:
        return []
    before = r"(?<!\w)" if sought[0].isalnum() else ""
    after = r"(?!\w)" if sought[-1].isalnum() else ""
    return [match.start() for match in re.finditer(before + re.escape(sought) + after, text)]


def standing(answers: Iterable[str], passages: Sequence[Chunk]) -> list[str]:
    """The answers that stand in one of the passages, verbatim and as whole words."""
    return [
        answer.strip()
        for answer in answers
        if any(occurrences(chunk.text, answer) for chunk in passages)
    ]


def sentence_around(text: str, place: int) -> tuple[int, int]:
    """The sentence that a place of the text is in, without white space around it."""
    cuts = _cuts(text)
    after = bisect_right(cuts, place, hi=len(cuts) - 1)
    return trimmed(text, cuts[after - 1], cuts[after])


def supporting(chunk: Chunk, answers: Iterable[str]) -> tuple[Evidence, ...]:
    """The sentence that holds the answers of a passage that is known to answer.

    The whole passage where they stand in several sentences: the source does not say which of them
    supports the answer.
    """
    sentences = {
        (min(sentence_around(chunk.text, place)[0], place), _end(chunk.text, place, answer))
        for answer in answers
        for place in occurrences(chunk.text, answer)
    }
    if not sentences:
        return (whole(chunk),)
    starts = {start for start, _ in sentences}
    if len(starts) > 1:
        return (whole(chunk),)
    return ((chunk.id, starts.pop(), max(end for _, end in sentences)),)


@lru_cache(maxsize=64)
def _cuts(text: str) -> tuple[int, ...]:
    """Where sentences begin, and the end of the text."""
    found = (
        match.end()
        for match in _SENTENCE_END.finditer(text)
        if "\n" in match.group()
        or not _NO_END.search(text[max(0, match.start() - _LONGEST_NO_END) : match.start()])
    )
    return (0, *(cut for cut in found if cut < len(text)), len(text))


def _end(text: str, place: int, answer: str) -> int:
    """End of the sentence in which an answer at a place ends."""
    return sentence_around(text, place + len(answer.strip()) - 1)[1]
