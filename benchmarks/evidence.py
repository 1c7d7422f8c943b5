"""Questions with gold evidence, and whether a context or an answer still holds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ragopt.benchmarks.embedded.questions import Question, fold, resolve

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
        answer = fold(self.answer)
        kept = [fold(part.text) for part in context.chunks if part.chunk.id in self.gold]
        return any(text and answer in text for text in kept)

    def answer_in(self, text: str) -> bool:
        """Whether the answer's words stand in a text; without an answer nothing can be said."""
        return bool(self.answer) and fold(self.answer).casefold() in fold(text).casefold()


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
        answer = fold(question.answer or "").casefold()
        return [chunk for chunk in chunks if answer and answer in fold(chunk.text).casefold()]
    found: list[Chunk] = []
    for gold in question.gold:
        named = [chunk for chunk in chunks if gold in (chunk.id, *_names(chunk.source))]
        if not named:
            quotation = fold(gold).casefold()
            named = [chunk for chunk in chunks if quotation in fold(chunk.text).casefold()]
        found.extend(named)
    if not question.answer:
        return found
    answer = fold(question.answer).casefold()
    return [chunk for chunk in found if answer in fold(chunk.text).casefold()]


def _names(source: str) -> tuple[str, str]:
    return source, source.rsplit("/", 1)[-1]


def split(
    items: Sequence[EvalItem], *, tuning_ratio: float, seed: int
) -> tuple[list[EvalItem], list[EvalItem]]:
    """Questions to tune on and questions to report on; all wordings of one go together.

    Raises:
        InputError: too few questions for two parts.
    """
    if len(items) < 4:
        raise InputError(
            f"{len(items)} questions with evidence: tuning and reporting on different ones needs "
            "at least 4, and a useful interval 100 or more"
        )
    order = np.random.default_rng(seed).permutation(len(items))
    cut = min(len(items) - 2, max(2, round(tuning_ratio * len(items))))
    return [items[place] for place in order[:cut]], [items[place] for place in order[cut:]]
