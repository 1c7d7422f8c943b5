"""Datasets made of the small corpus, and options under which 24 questions can prove something."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ragopt.benchmarks.datasets.types import Context, ContextSet, RetrievalSet
from ragopt.benchmarks.road import SavingsBenchOptions
from ragopt.benchmarks.road.savings_report import Load

if TYPE_CHECKING:
    from conftest import SmallCorpus

QUESTIONS = 48
LOAD = Load(questions_per_month=250_000, vectors=3_000_000)


def options(**changes: Any) -> SavingsBenchOptions:
    plain = SavingsBenchOptions(load=LOAD, requests=80, tuning_ratio=0.5, confidence=0.3, seed=3)
    return replace(plain, **changes)


def contexts(small: SmallCorpus) -> ContextSet:
    """Each question with its own document and two others, so that all are in the corpus."""
    by_id = {chunk.id: place for place, chunk in enumerate(small.chunks)}
    made = []
    for number, item in enumerate(small.items[:QUESTIONS]):
        (gold,) = item.gold
        own = small.chunks[by_id[gold]]
        begin = own.text.index(item.answer)
        others = [small.chunks[(3 * number + more) % len(small.chunks)] for more in range(3)]
        made.append(
            Context(
                id=item.id,
                question=item.wordings[0],
                passages=(own, *(each for each in others if each.id != gold)),
                answers=(item.answer,),
                evidence=((gold, begin, begin + len(item.answer)),),
            )
        )
    return ContextSet(name="buckets", contexts=tuple(made), distractors=False, data_hash="made")


def judged(small: SmallCorpus) -> RetrievalSet:
    """The same questions with gold documents and without answers."""
    items = small.items[:QUESTIONS]
    return RetrievalSet(
        name="judged buckets",
        chunks=tuple(small.chunks),
        queries={item.id: item.wordings[0] for item in items},
        qrels={item.id: dict.fromkeys(item.gold, 1) for item in items},
        data_hash="made",
    )
