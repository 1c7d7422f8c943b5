"""Small made-up sets, and candidates that misbehave, for the tests of the context benches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.datasets.types import Context, ContextSet, RetrievalSet
from ragopt.chunk import Chunk, Hit
from ragopt.compress import Compressed, CompressedChunk, Span

NAMES = (
    "Acacia Alder Aspen Beech Birch Cedar Cherry Chestnut Cypress Ebony Elder Fir Ginkgo Hazel "
    "Hemlock Hickory Holly Juniper Larch Laurel Linden Maple Myrtle Oak"
).split()
REST = (
    "Operators see the current value on the status page. A change is written to the audit log and "
    "takes effect at the next full hour. Older releases called this setting by another name."
)


def fact(place: int) -> str:
    return f"The retention period of bucket {NAMES[place]} is {7 + 3 * place} days."


def made_contexts(
    *, distractors: bool = True, questions: int = 24, name: str = "made"
) -> ContextSet:
    contexts = []
    for place in range(questions):
        others = [(place + step) % len(NAMES) for step in (1, 2, 3)] if distractors else []
        chunks = [_passage(one) for one in [*others[: place % 4], place, *others[place % 4 :]]]
        text = _passage(place).text
        start = text.index(fact(place))
        contexts.append(
            Context(
                id=f"q{place}",
                question=f"What is the retention period of bucket {NAMES[place]}?",
                passages=tuple(chunks),
                answers=(f"{7 + 3 * place} days",),
                evidence=((f"p{place}", start, start + len(fact(place))),),
            )
        )
    return ContextSet(
        name=name, contexts=tuple(contexts), distractors=distractors, data_hash="made"
    )


def _passage(place: int) -> Chunk:
    return Chunk(
        id=f"p{place}",
        text=f"{REST} {fact(place)} {REST}",
        title=f"Bucket {NAMES[place]}",
        metadata={"gold": True},
    )


def made_retrieval(*, runs: bool = True) -> RetrievalSet:
    """24 queries over 24 documents; the run has the right one in second place."""
    chunks = tuple(
        Chunk(id=f"doc-{place}", text=f"{fact(place)} {REST}", metadata={"grade": 3})
        for place in range(len(NAMES))
    )
    queries = {
        f"q{place}": f"retention period of bucket {name}" for place, name in enumerate(NAMES)
    }
    qrels = {f"q{place}": {"doc-0": 0, f"doc-{place}": 1} for place in range(len(NAMES))}
    run = {
        f"q{place}": tuple(
            f"doc-{one % len(NAMES)}" for one in (place + 1, place, *range(place + 2, place + 13))
        )
        for place in range(len(NAMES))
    }
    return RetrievalSet(
        name="made",
        chunks=chunks,
        queries=queries,
        qrels=qrels,
        runs={"BM25": run} if runs else {},
        data_hash="made",
    )


class Liar:
    """Claims to have kept everything, and keeps nothing."""

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        chunks = tuple(
            CompressedChunk(
                hit.chunk, hit.chunk.text, (Span(hit.chunk.id, 0, len(hit.chunk.text)),)
            )
            for hit in hits
        )
        return Compressed(chunks, "nothing", 1000, 1)


class Everything:
    """Sends all of it and says that it fits."""

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        text = "\n\n".join(f"{hit.chunk.title}\n{hit.chunk.text}" for hit in hits)
        return Compressed((), text, 1000, max_tokens or 1)


class Says:
    """Says one text, whatever it is given."""

    def __init__(self, text: str) -> None:
        self.text = text

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        return Compressed((), self.text, 1000, 1)


class Fails:
    """Fails, always or on questions that hold a word."""

    def __init__(self, word: str = "") -> None:
        self.word = word

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        if self.word in query:
            raise RuntimeError("out of cheese")
        return Compressed((), "", 1000, 0)


class Spy:
    """Remembers what it was handed."""

    def __init__(self) -> None:
        self.seen: list[Chunk] = []

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        self.seen += [hit.chunk for hit in hits]
        assert {hit.score for hit in hits} <= {0.0}
        return Compressed((), "", 1000, 0)

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        self.seen += list(chunks)
        return np.zeros(len(chunks), dtype=np.float32)


class Gives:
    """Scores of one making, whatever it is asked."""

    def __init__(self, value: float, *, more: int = 0) -> None:
        self.value = value
        self.more = more

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        return np.full(len(chunks) + self.more, self.value, dtype=np.float32)


class ByName:
    """Finds the bucket that is asked for."""

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        name = query.rsplit(" ", 1)[1]
        return np.array([10.0 if f" {name} " in one.text else 1.0 for one in chunks], np.float32)
