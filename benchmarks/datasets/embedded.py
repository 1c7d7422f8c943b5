"""The embedded corpus as a dataset: the running Python's documentation and its questions."""

from __future__ import annotations

from functools import lru_cache

from ragopt.benchmarks.datasets.types import (
    Dataset,
    LabelledPair,
    PairSet,
    RetrievalSet,
)
from ragopt.benchmarks.evidence import EvalItem
from ragopt.chunk import Chunk
from ragopt.quality import data_hash

__all__ = ["NAME", "embedded_items", "embedded_pairs", "load_embedded_set"]

NAME = "embedded"


@lru_cache(maxsize=1)
def load_embedded_set() -> RetrievalSet:
    """A query per wording, all with the gold chunks of their question; some seconds, once.

    The id of a query is ``QUESTION/NUMBER``, number 0 being the question and the others its
    paraphrases: those of one question belong on one side of any split.
    """
    chunks, items = _content()
    queries = {
        f"{item.id}/{number}": wording
        for item in items
        for number, wording in enumerate(item.wordings)
    }
    gold = {
        f"{item.id}/{number}": dict.fromkeys(sorted(item.gold), 1)
        for item in items
        for number in range(len(item.wordings))
    }
    parts = [part for chunk in chunks for part in (chunk.id, chunk.title, chunk.text)]
    asked = [part for item in items for part in (item.id, *item.wordings, item.answer, *item.traps)]
    return RetrievalSet(
        name=NAME,
        chunks=chunks,
        queries=queries,
        qrels=gold,
        data_hash=data_hash(*parts, *asked),
    )


def embedded_items(dataset: Dataset) -> tuple[EvalItem, ...] | None:
    """The questions with their answers, where the dataset is the embedded corpus."""
    if (
        isinstance(dataset, RetrievalSet)
        and dataset.name == NAME
        and dataset.data_hash == load_embedded_set().data_hash
    ):
        return _content()[1]
    return None


def embedded_pairs(dataset: Dataset) -> PairSet | None:
    """A question with each of its paraphrases (same) and of its traps (not)."""
    items = embedded_items(dataset)
    if items is None:
        return None
    pairs = [
        LabelledPair(item.wordings[0], other, same)
        for item in items
        for others, same in ((item.wordings[1:], True), (item.traps, False))
        for other in others
    ]
    return PairSet(
        name=NAME,
        pairs=tuple(pairs),
        about="those of different meaning are look-alikes written to fool a cache, so that wrong "
        "hits are far more than in any traffic",
        data_hash=load_embedded_set().data_hash,
    )


@lru_cache(maxsize=1)
def _content() -> tuple[tuple[Chunk, ...], tuple[EvalItem, ...]]:
    from ragopt.benchmarks.embedded import load_embedded

    chunks, items = load_embedded()
    return tuple(chunks), tuple(items)
