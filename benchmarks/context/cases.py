"""Questions with the passages that compressors are given, and the contexts that time them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np

from ragopt.benchmarks.context.judge import Evidence, evidence_of, held_answers
from ragopt.benchmarks.datasets.types import Context, ContextSet, Dataset
from ragopt.cache import normalise
from ragopt.chunk import Chunk, Document, Hit, chunk_document
from ragopt.compress.base import render_chunk
from ragopt.errors import InputError
from ragopt.quality import data_hash

__all__ = ["Case", "Half", "half_of", "prepare", "timing_contexts"]

Half = Literal["all", "fit", "report"]

_BETWEEN_CHUNKS = "\n\n"
_SPARE = 20
_TIMED_CHUNKS = 10
_TIMED_TOKENS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question as compressors see it, and as the judge sees it.

    Args:
        id: in the dataset.
        key: of the wording; questions of one key stand or fall together.
        question: as asked.
        hits: the passages, numbered, without a score or a word of who is right.
        source: all of them rendered, which is what a budget is a share of.
        tokens: of ``source``.
        evidence: to be found again.
        answers: acceptable ones that stand in ``source``.
    """

    id: str
    key: str
    question: str
    hits: tuple[Hit, ...]
    source: str
    tokens: int
    evidence: tuple[Evidence, ...]
    answers: tuple[str, ...]

    def budget(self, ratio: float) -> int:
        """Tokens that compression by ``ratio`` leaves."""
        return max(1, int(self.tokens / ratio))


def prepare(
    dataset: Dataset,
    count: Callable[[str], int],
    *,
    half: Half = "all",
    limit: int | None = None,
    passages: int = 10,
    seed: int = 0,
) -> list[Case]:
    """The questions that can be judged, in a seeded order.

    Questions without distractors are given some; see `ragopt.benchmarks.datasets.convert`.

    Args:
        dataset: questions with passages, or what can be made into such.
        count: token counter.
        half: of the questions; see `half_of`.
        limit: at most so many.
        passages: of a question in a set without distractors.
        seed: of draw, halves and order.

    Raises:
        InputError: no question has evidence or an answer that could be kept.
    """
    from ragopt.benchmarks.datasets.convert import as_contexts

    if isinstance(dataset, ContextSet):
        dataset = replace(dataset, contexts=tuple(_usable(dataset.contexts)))
        if not dataset.contexts:
            raise _nothing(dataset.name)
    wanted = limit
    if limit is not None and half != "all":
        wanted = 2 * limit + _SPARE  # some half of them is in the other half
    given = as_contexts(dataset, passages=passages, seed=seed, limit=wanted)
    drawn = [
        one for one in _usable(given.contexts) if half in ("all", half_of(one.question, seed=seed))
    ]
    order = np.random.default_rng(seed).permutation(len(drawn))
    cases = [_case(drawn[place], count) for place in order[:limit]]
    judged = [case for case in cases if case.evidence or case.answers]
    if not judged:
        raise _nothing(given.name)
    return judged


def half_of(question: str, *, seed: int) -> Half:
    """The half that a question is in: by its wording, whatever else is drawn or left out."""
    return "report" if int(data_hash(normalise(question), str(seed)), 16) % 2 else "fit"


def _usable(contexts: Sequence[Context]) -> list[Context]:
    return [one for one in contexts if one.passages and (one.evidence or one.answers)]


def _nothing(name: str) -> InputError:
    return InputError(
        f"{name}: no question with evidence or an answer that stands in its passages; there is "
        "nothing to keep"
    )


def timing_contexts(
    cases: Sequence[Case], count: Callable[[str], int], *, calls: int
) -> list[tuple[str, tuple[Hit, ...]]]:
    """Questions with ten chunks of some 200 tokens each, cut from the questions' own passages."""
    questions = list(dict.fromkeys(case.question for case in cases))[:calls]
    texts = dict.fromkeys(hit.chunk.text for case in cases for hit in case.hits)
    needed = int(calls * _TIMED_CHUNKS * _TIMED_TOKENS * 6)  # characters; more than enough
    joined = " ".join(islice(texts, max(1, needed // 100)))[:needed]
    density = count(joined[:20_000]) / max(1, len(joined[:20_000]))
    size = max(1, round(1.1 * _TIMED_TOKENS / max(density, 0.05)))
    chunks = list(chunk_document(Document(id="", text=joined), max_chars=size))
    found = []
    for place, question in enumerate(questions):
        start = place * _TIMED_CHUNKS
        part = chunks[start : start + _TIMED_CHUNKS] or chunks[:_TIMED_CHUNKS]
        found.append((question, _hits(part)))
    return found


def _case(context: Context, count: Callable[[str], int]) -> Case:
    hits = _hits(context.passages)
    source = _BETWEEN_CHUNKS.join(render_chunk(hit.chunk.title, hit.chunk.text) for hit in hits)
    return Case(
        id=context.id,
        key=normalise(context.question),
        question=context.question,
        hits=hits,
        source=source,
        tokens=count(source),
        evidence=evidence_of(context),
        answers=held_answers(context.answers, source),
    )


def _hits(chunks: Sequence[Chunk]) -> tuple[Hit, ...]:
    """Chunks under plain numbers: ids and metadata of a dataset may tell which one is right."""
    return tuple(
        Hit(Chunk(id=str(place), text=chunk.text, title=chunk.title), 0.0)
        for place, chunk in enumerate(chunks)
    )
