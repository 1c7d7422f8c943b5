"""What a dataset holds, by kind; every loader returns one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from numpy.typing import NDArray

from ragopt.chunk import Chunk

__all__ = [
    "Context",
    "ContextSet",
    "Dataset",
    "IntentSet",
    "LabelledPair",
    "PairSet",
    "QueryLog",
    "RetrievalSet",
    "TraceSet",
    "VectorSet",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSet:
    """Vectors to index, and queries where the source has its own.

    Args:
        name: as asked for.
        vectors: (n, dim), f16 or f32 (or uint8), possibly a memory map.
        queries: (nq, dim), or None: queries are then held out of the vectors.
        texts: of the vectors, in order, where known.
        data_hash: of everything that was read.
    """

    name: str
    vectors: NDArray[Any]
    queries: NDArray[Any] | None = None
    texts: tuple[str, ...] | None = None
    data_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSet:
    """A corpus with judged queries (BEIR).

    Args:
        chunks: documents; ``id`` is the document's.
        queries: query id to text.
        qrels: query id to document id to grade; 0 is judged and irrelevant.
        runs: name of a first stage to query id to document ids, best first.
        vectors: (n, dim) of the chunks where the source has them.
        query_vectors: query id to vector, likewise.
    """

    name: str
    chunks: tuple[Chunk, ...]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    runs: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    vectors: NDArray[Any] | None = None
    query_vectors: Mapping[str, NDArray[Any]] | None = None
    data_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A question with the passages it comes with.

    Args:
        id: unique within the set.
        question: as asked.
        passages: as chunks, unique ids within the question; the same passage has the same id
            wherever it occurs in the set.
        answers: acceptable ones, verbatim; empty where the source has none that stands in a text.
        evidence: (chunk id, start, end) of the sentences that support the answer, as offsets into
            the chunk's text; a whole passage where the source marks no sentences; empty for
            unanswerable questions.
    """

    id: str
    question: str
    passages: tuple[Chunk, ...]
    answers: tuple[str, ...]
    evidence: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSet:
    """Questions with passages, answers and evidence (SQuAD, HotpotQA, MuSiQue, NQ, …).

    Args:
        contexts: the questions.
        distractors: whether each question comes with irrelevant passages of its own (HotpotQA,
            MuSiQue); otherwise passages of other questions serve as such.
    """

    name: str
    contexts: tuple[Context, ...]
    distractors: bool
    data_hash: str = ""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two texts, and whether the answer to one answers the other."""

    text_a: str
    text_b: str
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSet:
    """Labelled pairs of questions (QQP, MRPC).

    Args:
        vectors: text to row of ``matrix`` and the matrix itself, where the source has them.
        about: what a reader of figures on these pairs must know.
    """

    name: str
    pairs: tuple[LabelledPair, ...]
    vectors: tuple[Mapping[str, int], NDArray[Any]] | None = None
    about: str = ""
    data_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentSet:
    """Utterances by what they ask for (CLINC150, BANKING77): those of one intent have one answer.

    Args:
        texts: the utterances.
        intents: of each.
    """

    name: str
    texts: tuple[str, ...]
    intents: tuple[str, ...]
    data_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLog:
    """Queries in the order they were asked."""

    name: str
    queries: tuple[str, ...]
    data_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSet:
    """LLM traffic: when requests came, how long they and their answers were.

    Args:
        seconds: (n,) since the first, ascending.
        input_tokens: (n,).
        output_tokens: (n,).
        blocks: of each request's prompt, hashes of its prefix blocks; empty where not recorded.
    """

    name: str
    seconds: NDArray[Any]
    input_tokens: NDArray[Any]
    output_tokens: NDArray[Any]
    blocks: tuple[tuple[int, ...], ...] = ()
    data_hash: str = ""


Dataset: TypeAlias = (
    VectorSet | RetrievalSet | ContextSet | PairSet | IntentSet | QueryLog | TraceSet
)
