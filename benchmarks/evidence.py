"""Questions with gold evidence, and whether a context or an answer still holds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragopt.benchmarks.embedded.questions import Question, fold, resolve
from ragopt.cache import normalise
from ragopt.chunk import Chunk
from ragopt.errors import InputError

if TYPE_CHECKING:
    from ragopt.compress import Compressed
    from ragopt.questions import EvalQuestion

__all__ = ["EvalItem", "from_embedded", "from_user", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalItem:
    """A question that quality can be measured with.

    Args:
        id: unique.
        wordings: the question and its paraphrases.
        answer: words of the documents that answer it; empty when only gold chunks are known.
        gold: ids of chunks that hold the evidence; any one of them suffices.
        traps: questions that look alike and need another answer.
    """

    id: str
    wordings: tuple[str, ...]
    answer: str
    gold: frozenset[str]
    traps: tuple[str, ...] = ()

    def evidence_in(self, context: Compressed) -> bool:
        """Whether the evidence of a gold chunk is in the context (any gold chunk suffices)."""
        answer = _folded(self.answer)
        kept = [_folded(part.text) for part in context.chunks if part.chunk.id in self.gold]
        return any(text and answer in text for text in kept)

    def answer_in(self, text: str) -> bool:
        """Whether the answer's words stand in a text; without an answer nothing can be said."""
        return bool(self.answer) and _folded(self.answer) in _folded(text)


def from_embedded(questions: Iterable[Question], chunks: Sequence[Chunk]) -> list[EvalItem]:
    """The embedded questions whose answer stands in the running Python's documentation."""
    by_source: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_source.setdefault(chunk.source, []).append(chunk)
    items = []
    for question in questions:
        gold = resolve(question, by_source)
        if gold:
            items.append(
                EvalItem(
                    id=question.id,
                    wordings=question.wordings,
                    answer=question.answer,
                    gold=frozenset(chunk.id for chunk in gold),
                    traps=tuple(trap.question for trap in question.traps),
                )
            )
    return items


def from_user(
    questions: Iterable[EvalQuestion], chunks: Sequence[Chunk]
) -> tuple[list[EvalItem], list[str]]:
    """The user's questions with their evidence, and ids of those whose evidence was not found.

    The evidence is looked for in the documents that ``gold`` names, else in all of them: chunks
    that hold the answer's words. A ``gold`` that is no document's id or file name is taken as a
    quotation. Without an answer, every chunk of a gold document is evidence.
    """
    items, unusable = [], []
    for question in questions:
        gold = _gold_chunks(question, chunks)
        if not gold:
            unusable.append(question.id)
            continue
        items.append(
            EvalItem(
                id=question.id,
                wordings=(question.question, *question.paraphrases),
                answer=question.answer or "",
                gold=frozenset(chunk.id for chunk in gold),
            )
        )
    return items, unusable


def _gold_chunks(question: EvalQuestion, chunks: Sequence[Chunk]) -> list[Chunk]:
    if not question.gold:
        return _holding(question.answer, chunks)
    found: list[Chunk] = []
    for gold in question.gold:
        named = [chunk for chunk in chunks if gold in (chunk.id, *_names(chunk.source))]
        if not named:
            named = _holding(gold, chunks)
        found.extend(named)
    return _holding(question.answer, found) if question.answer else found


def _holding(words: str, chunks: Sequence[Chunk]) -> list[Chunk]:
    """The chunks in which the words stand; no words stand nowhere."""
    sought = _folded(words)
    return [chunk for chunk in chunks if sought and sought in _folded(chunk.text)]


def _folded(text: str) -> str:
    return fold(text).casefold()


def _names(source: str) -> tuple[str, str]:
    return source, source.rsplit("/", 1)[-1]


def split(
    items: Sequence[EvalItem], *, tuning_ratio: float, seed: int
) -> tuple[list[EvalItem], list[EvalItem]]:
    """Questions to tune on and questions to report on; all wordings of one go together.

    Raises:
        InputError: too few questions for two parts, or two of one id or in the same words, of
            which one might be tuned on and the other reported on.
    """
    _check_distinct(items)
    if len(items) < 4:
        raise InputError(
            f"{len(items)} questions with evidence: tuning and reporting on different ones needs "
            "at least 4, and a useful interval some 300"
        )
    order = np.random.default_rng(seed).permutation(len(items))
    cut = min(len(items) - 2, max(2, round(tuning_ratio * len(items))))
    return [items[place] for place in order[:cut]], [items[place] for place in order[cut:]]


def _check_distinct(items: Sequence[EvalItem]) -> None:
    places: dict[str, int] = {}
    owners: dict[str, int] = {}
    for place, item in enumerate(items):
        if places.setdefault(item.id, place) != place:
            raise InputError(f"question id {item.id!r} occurs twice; expected unique ids")
        for wording in item.wordings:
            owner = owners.setdefault(normalise(wording), place)
            if owner != place:
                raise InputError(
                    f"questions {items[owner].id!r} and {item.id!r} are both put as {wording!r}; "
                    "expected each wording once: leave one of them out"
                )
