"""The levers of the savings report: what each setting costs and what quality it keeps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.evidence import EvalItem
from ragopt.benchmarks.road.question_vectors import QuestionVectors
from ragopt.benchmarks.road.traffic import Request, Traffic
from ragopt.cache import ExactCache, SemanticCache
from ragopt.chunk import Chunk
from ragopt.compress import Extractive, ExtractiveOptions
from ragopt.corpus import COSINE_WEIGHT
from ragopt.llm import ExtractiveAnswerer, Message
from ragopt.pipeline import Answer, Billing, Pipeline
from ragopt.quality import PairedDifference, paired_difference
from ragopt.rerank import BM25Reranker, CorpusStatistics, Cut, FixedK
from ragopt.retrieve import Retrieved, Retriever, Retrieves

if TYPE_CHECKING:
    from ragopt.embed import Embedder
    from ragopt.indexes.base import PositionIndex

__all__ = ["CacheKind", "Measured", "Outcome", "Setting", "Workbench", "trap_hits", "worse_of"]

BASELINE_K = 10
CANDIDATES = 50
CacheKind = Literal["none", "exact", "semantic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Which levers are on, and how far.

    Args:
        index: ``"hnsw"`` (the baseline's) or ``"compact"``.
        cut: after reranking 50 candidates; None sends the search's own top 10.
        keep_score: share of the best sentence's score that compression asks of the others; None
            leaves the context alone.
        cache: which answers are remembered.
        threshold: least cosine of a semantic hit.
    """

    index: Literal["hnsw", "compact"] = "hnsw"
    cut: Cut | None = None
    keep_score: float | None = None
    cache: CacheKind = "none"
    threshold: float = 0.95

    @property
    def stateless(self) -> Setting:
        """The same road without a cache: an answer depends on the question alone."""
        return replace(self, cache="none")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answered request.

    Args:
        input_tokens: billed.
        output_tokens: billed.
        usd: billed.
        ms: of every stage but the model's.
        pages: read by the vector search.
        evidence: of the question was in the context, 0 or 1; NaN where that cannot be told.
        answer: words were in the context, 0 or 1; NaN where the question quotes none.
        hit: served from a cache.
        wrong: served from a cache, and given to another question.
        failed: a stage raised and was skipped.
    """

    input_tokens: int
    output_tokens: int
    usd: Decimal
    ms: float
    pages: int
    evidence: float
    answer: float
    hit: bool = False
    wrong: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """All outcomes of one setting over the traffic.

    Args:
        setting: what was on.
        outcomes: of each request, in order.
        items: id of the question of each request.
        cache_bytes: RAM that the cache's entries held at the end.
    """

    setting: Setting
    outcomes: Sequence[Outcome]
    items: Sequence[str]
    cache_bytes: int = 0

    def column(self, name: str) -> NDArray[np.float64]:
        """One figure of every outcome."""
        return np.array([float(getattr(outcome, name)) for outcome in self.outcomes])

    def mean(self, name: str) -> float:
        """Mean over the requests."""
        return float(self.column(name).mean())

    def by_question(self, name: str) -> float:
        """Mean over the questions, each weighing the same however often it was asked."""
        values = self.questions(name)
        return float(values.mean()) if values.size else np.nan

    def questions(self, name: str) -> NDArray[np.float64]:
        """Mean of every question of which the figure is known, in order of first asking."""
        values: dict[str, list[float]] = {}
        for item, value in zip(self.items, self.column(name), strict=True):
            if not np.isnan(value):
                values.setdefault(item, []).append(value)
        return np.array([np.mean(each) for each in values.values()])

    @property
    def usd_per_request(self) -> Decimal:
        """Mean token bill of a request."""
        return sum((outcome.usd for outcome in self.outcomes), Decimal(0)) / len(self.outcomes)

    def against(
        self, before: Measured, *, confidence: float = 0.95, seed: int = 0
    ) -> dict[str, PairedDifference]:
        """Paired differences of evidence recall and answer kept, clustered by question."""
        differences = {}
        for name in ("evidence", "answer"):
            first, second = before.column(name), self.column(name)
            known = ~(np.isnan(first) | np.isnan(second))
            if known.any():
                differences[name] = paired_difference(
                    first[known],
                    second[known],
                    clusters=[item for item, keep in zip(self.items, known, strict=True) if keep],
                    confidence=confidence,
                    seed=seed,
                )
        return differences


def worse_of(differences: Mapping[str, PairedDifference]) -> tuple[str, PairedDifference]:
    """The quality whose lower bound is the lower: what decides whether quality is held."""
    name = min(differences, key=lambda each: differences[each].lower)
    return name, differences[name]


@dataclass
class Workbench:
    """Everything that a setting needs to be run: chunks, vectors, indexes, models, prices.

    Args:
        chunks: the corpus; the place of a chunk is its id in the indexes.
        embedder: of chunks and questions.
        indexes: ``"hnsw"`` and ``"compact"``, over the chunks' vectors.
        billing: prices and token counter.
        answer_tokens: billed for every answer that a model would give; those of the extractive
            answerer's short ones by default.
    """

    chunks: Sequence[Chunk]
    embedder: Embedder
    indexes: Mapping[str, PositionIndex]
    billing: Billing
    answer_tokens: int | None = None
    _outcomes: dict[tuple[Setting, str, str], Outcome] = field(default_factory=dict, repr=False)
    _found: dict[tuple[str, bool, str], Retrieved] = field(default_factory=dict, repr=False)
    _vectors: QuestionVectors = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.embedder = self._vectors = QuestionVectors(self.embedder)

    @cached_property
    def statistics(self) -> CorpusStatistics:
        """Of the chunks' words, for BM25."""
        return CorpusStatistics.fit(self.chunks)

    @cached_property
    def _reranker(self) -> BM25Reranker:
        return BM25Reranker(self.statistics)

    def retriever(self, setting: Setting) -> Retriever:
        """The retriever of a setting."""
        return Retriever(
            chunks=self.chunks,
            embedder=self.embedder,
            index=self.indexes[setting.index],
            k=BASELINE_K,
            candidates=CANDIDATES if setting.cut is not None else BASELINE_K,
            reranker=self._reranker if setting.cut is not None else None,
            prior_weight=COSINE_WEIGHT,
            cut=setting.cut,
        )

    def pipeline(
        self,
        setting: Setting,
        *,
        cache: Any = None,
        retriever: Retrieves | None = None,
        llm: Callable[[Sequence[Message]], str] | None = None,
    ) -> Pipeline:
        """The road of a question under a setting, with the extractive answerer by default."""
        compressor = None
        if setting.keep_score is not None:
            options = ExtractiveOptions(keep_score=setting.keep_score, min_gain=0.05)
            compressor = Extractive(options, count=self.billing.counter.count)
        return Pipeline(
            retriever or self.retriever(setting),
            llm or ExtractiveAnswerer(),
            compressor=compressor,
            cache=cache,
            billing=self.billing,
        )

    def ram_bytes(self, setting: Setting) -> int:
        """Resident bytes of what the setting keeps for the corpus: index and word statistics."""
        size = self.indexes[setting.index].footprint().ram_bytes
        return size + (self.statistics.ram_bytes if setting.cut is not None else 0)

    def bounded_bytes(self, setting: Setting) -> int:
        """Resident bytes that do not grow with the corpus: the reranker's memory of words."""
        return self._reranker.ram_bytes if setting.cut is not None else 0

    def disk_bytes(self, setting: Setting) -> int:
        """Bytes on disk of the setting's index."""
        return self.indexes[setting.index].footprint().disk_bytes

    def screen(self, setting: Setting, traffic: Traffic, items: Mapping[str, EvalItem]) -> Measured:
        """`run` for settings that are tried one after the other: what was found is remembered.

        Searching and reranking are the same under every cut and compression, and what the model
        would say is not looked at: quality and input tokens are measured here, nothing else.
        """
        pipeline = self.pipeline(setting, retriever=_Remembered(self, setting), llm=_say_nothing)
        known: dict[Request, Outcome] = {}
        for request in traffic.requests:
            if request not in known:
                known[request] = self._ask(pipeline, request.text, items[request.item])[1]
        outcomes = [known[request] for request in traffic.requests]
        return Measured(setting, outcomes, [request.item for request in traffic.requests])

    def run(
        self,
        setting: Setting,
        traffic: Traffic,
        items: Mapping[str, EvalItem],
        step: Callable[[], None] = lambda: None,
    ) -> Measured:
        """Answer the traffic under a setting.

        Without a cache an answer depends on its question alone: equal texts are answered once
        and counted as often as they are asked.
        """
        if setting.cache == "none":
            outcomes = []
            for request in traffic.requests:
                outcomes.append(self._stateless(setting, request.text, items[request.item]))
                step()
            return Measured(setting, outcomes, [request.item for request in traffic.requests])
        return self._run_cached(setting, traffic, items, step)

    def _stateless(self, setting: Setting, text: str, item: EvalItem) -> Outcome:
        key = (setting, text, item.id)
        if key not in self._outcomes:
            self._outcomes[key] = self._ask(self.pipeline(setting), text, item)[1]
        return self._outcomes[key]

    def _ask(self, pipeline: Pipeline, text: str, item: EvalItem) -> tuple[Answer, Outcome]:
        """An answer and what it is worth; remembered vectors are paid for like new ones."""
        self._vectors.owed_ms = 0.0
        answer = pipeline.ask(text)
        usage, usd = answer.usage, answer.cost
        if self.answer_tokens is not None and answer.served_from == "llm":
            usage = replace(usage, output=self.answer_tokens)
            usd = self.billing.usd(usage)
        return answer, Outcome(
            input_tokens=usage.input,
            output_tokens=usage.output,
            usd=usd,
            ms=sum(stage.ms for stage in answer.stages if stage.name != "llm")
            + self._vectors.owed_ms,
            pages=sum(stage.pages_read for stage in answer.stages),
            evidence=_evidence(answer, item, compressed=pipeline.compressor is not None),
            answer=_answer(answer, item),
            hit=answer.served_from != "llm",
            failed=any(stage.failed for stage in answer.stages),
        )

    def _run_cached(
        self,
        setting: Setting,
        traffic: Traffic,
        items: Mapping[str, EvalItem],
        step: Callable[[], None],
    ) -> Measured:
        outcomes: list[Outcome] = []
        given: dict[tuple[str, str, str], Outcome] = {}  # by wording, question, answer
        with tempfile.TemporaryDirectory() as folder:
            cache = self.cache(setting, Path(folder) / "answers.sqlite")
            try:
                pipeline = self.pipeline(setting, cache=cache)
                for request in traffic.requests:
                    answer, outcome = self._ask(pipeline, request.text, items[request.item])
                    if answer.cached_question is not None:
                        served = (answer.cached_question, request.item, answer.text)
                        outcome = _served(outcome, given.get(served))
                    else:
                        given[request.text, request.item, answer.text] = outcome
                    outcomes.append(outcome)
                    step()
                size = self._cache_bytes(setting, len(cache))
            finally:
                cache.close()
        return Measured(
            setting, outcomes, [request.item for request in traffic.requests], cache_bytes=size
        )

    def _cache_bytes(self, setting: Setting, entries: int) -> int:
        """Resident bytes of a cache: answers stay in its file, vectors and their ids do not."""
        return entries * (4 * self.embedder.dim + 8) if setting.cache == "semantic" else 0

    def cache(self, setting: Setting, path: Path | None = None) -> Any:
        """An empty cache of the setting's kind."""
        if setting.cache == "exact":
            return ExactCache(path=path)
        return SemanticCache(self.embedder, threshold=setting.threshold, path=path)


def _say_nothing(_messages: Sequence[Message]) -> str:
    """A model for measurements that look at the prompt alone."""
    return ""


class _Remembered:
    """A retriever that searches and ranks once for a question, whatever cut follows."""

    def __init__(self, bench: Workbench, setting: Setting) -> None:
        self._bench = bench
        self._setting = setting

    def retrieve(self, question: str, vector: NDArray[np.float32] | None = None) -> Retrieved:
        setting = self._setting
        key = (setting.index, setting.cut is not None, question)
        found = self._bench._found.get(key)
        if found is None:
            everything = None if setting.cut is None else FixedK(CANDIDATES)
            uncut = self._bench.retriever(replace(setting, cut=everything))
            found = self._bench._found[key] = uncut.retrieve(question, vector)
        if setting.cut is None:
            return found
        return replace(found, hits=found.hits[: setting.cut.keep(found.hits)])


def trap_hits(
    workbench: Workbench, setting: Setting, items: Iterable[EvalItem]
) -> list[tuple[str, str]]:
    """Traps that a cache walks into: pairs of a cached question and one it must not answer.

    Both ways round: the question's answer is cached and the trap asked, and the reverse.
    """
    served = []
    for item in items:
        for trap in item.traps:
            for cached, asked in ((item.wordings[0], trap), (trap, item.wordings[0])):
                cache = workbench.cache(setting)
                try:
                    cache.put(cached, "the answer to another question")
                    if cache.get(asked) is not None:
                        served.append((cached, asked))
                finally:
                    cache.close()
    return served


def _evidence(answer: Answer, item: EvalItem, *, compressed: bool) -> float:
    """Whether the evidence is in the context.

    Of a question without an answer only the gold chunks are known: what compression may leave out
    of them nobody can tell.
    """
    if answer.context is None:
        return 0.0
    if compressed and not item.answer:
        return np.nan
    return float(item.evidence_in(answer.context))


def _answer(answer: Answer, item: EvalItem) -> float:
    """Whether the answer's words are in the context; NaN where the question quotes none."""
    if not item.answer:
        return np.nan
    return float(answer.context is not None and item.answer_in(answer.context.text))


def _served(outcome: Outcome, source: Outcome | None) -> Outcome:
    """A hit is as good as the answer it repeats; what was never given to this question is wrong."""
    if source is not None:
        return replace(outcome, evidence=source.evidence, answer=source.answer)
    return replace(outcome, wrong=True)
