"""The savings bench: the whole road against the usual baseline, on any corpus with questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ragopt.benchmarks.common import about, chosen
from ragopt.benchmarks.road.curves import curves
from ragopt.benchmarks.road.part import part_of
from ragopt.benchmarks.road.recorded import recorded_load, recorded_log
from ragopt.benchmarks.road.savings_report import LEVERS, Load, SavingsOptions, SavingsReport
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.errors import InputError

if TYPE_CHECKING:
    from ragopt.benchmarks.datasets.types import Dataset
    from ragopt.benchmarks.evidence import EvalItem
    from ragopt.chunk import Chunk
    from ragopt.corpus import Progress
    from ragopt.embed import Embedder
    from ragopt.pipeline import Billing

__all__ = ["SavingsBenchOptions", "bench_savings", "savings_report"]

CANDIDATES = (*LEVERS, "combined", "combined_without_cache")
MOST_QUESTIONS = 1_000
QUICK_QUESTIONS, QUICK_CHUNKS = 220, 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingsBenchOptions:
    """How savings are measured on a dataset.

    Args:
        only: levers to report, ``combined`` and ``combined_without_cache`` among them; all by
            default. The combination is made of the other levers named, of all where none is.
        seed: of every draw.
        quick: a part of questions and corpus and fewer settings, in less than a minute.
        questions: most questions taken, drawn with the seed.
        load: of the monthly bill.
        traffic: ``"zipf"``, ``"once"``, or name or path of a query log.
        arrivals: name or path of a trace whose busiest minute and mean answer the load is given;
            none by default.
        requests: in Zipf traffic; twice the wordings by default.
        zipf: exponent of the law.
        threshold: of the semantic cache.
        tuning_ratio: share of the questions that knobs are tuned on.
        confidence: of every bound.
        recall: floor of the compact index's recall@10.
    """

    only: tuple[str, ...] = ()
    seed: int = 0
    quick: bool = False
    questions: int = MOST_QUESTIONS
    load: Load = field(default_factory=Load)
    traffic: str = "zipf"
    arrivals: str = ""
    requests: int | None = None
    zipf: float = 0.8
    threshold: float = 0.95
    tuning_ratio: float = 0.3
    confidence: float = 0.95
    recall: float = 0.95

    def __post_init__(self) -> None:
        chosen(self.only, CANDIDATES)
        if self.questions < 4:
            raise InputError(f"questions={self.questions}: expected at least 4, better some 300")
        self.savings(self.load)  # refuses what it cannot use

    def savings(self, load: Load) -> SavingsOptions:
        """The options of the measurement itself."""
        return SavingsOptions(
            load=load,
            levers=tuple(name for name in self.only if name in LEVERS),
            traffic=self.traffic,
            requests=self.requests,
            zipf=self.zipf,
            threshold=self.threshold,
            tuning_ratio=self.tuning_ratio,
            confidence=self.confidence,
            recall=self.recall,
            coarse=self.quick,
            seed=self.seed,
        )


def bench_savings(
    dataset: Dataset,
    *,
    options: SavingsBenchOptions | None = None,
    embedder: Embedder | None = None,
    billing: Billing,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure what each lever saves on a dataset, at what quality.

    Rows are ``savings/<lever>/<figure>``; a lever that cannot be measured on this dataset
    (compression, where no question quotes an answer) is a row that says why.

    Args:
        dataset: questions with contexts, judged queries, or the embedded corpus.
        options: of the run.
        embedder: of chunks and questions; LSA fitted on the chunks by default.
        billing: priced model and token counter.
        progress: told of every step.

    Raises:
        InputError: a dataset without questions that can be judged, too few of them, a model
            without a price, or names of traffic or arrivals that are something else.
    """
    from ragopt.benchmarks.road.savings import measure_savings
    from ragopt.corpus import embed_chunks

    options = options or SavingsBenchOptions()
    load, log = recorded_load(options.arrivals, options.load), recorded_log(options.traffic)
    every_chunk, every_item = _corpus(dataset)
    chunks, items = part_of(
        every_chunk,
        every_item,
        most_chunks=QUICK_CHUNKS if options.quick else None,
        most_questions=min(options.questions, QUICK_QUESTIONS)
        if options.quick
        else options.questions,
        seed=options.seed,
    )
    embedder = embedder or _fitted(chunks, progress)
    report = measure_savings(
        chunks,
        items,
        embedder,
        vectors=embed_chunks(embedder, chunks, progress=progress),
        billing=billing,
        options=options.savings(load),
        log=log,
        about={
            "corpus": dataset.name,
            "part": f"{len(items):,} of {len(every_item):,} questions, {len(chunks):,} of "
            f"{len(every_chunk):,} chunks",
        },
        progress=progress,
    )
    return _result(dataset, options, report)


def savings_report(result: BenchResult) -> SavingsReport:
    """The report that a savings result holds, to print it or to make a page of it.

    Raises:
        InputError: a result of another bench, or one without a whole report.
    """
    from ragopt.benchmarks.road.savings_read import read_report

    if result.bench != "savings":
        raise InputError(f"a result of the {result.bench} bench, expected one of savings")
    return read_report({**result.details, "about": result.about})


def _corpus(dataset: Dataset) -> tuple[list[Chunk], list[EvalItem]]:
    """Chunks and questions; where few answers are quotations, with the gold passages alone."""
    from ragopt.benchmarks.datasets import ContextSet
    from ragopt.benchmarks.datasets.convert import as_corpus, as_retrieval

    if not isinstance(dataset, ContextSet):
        return as_corpus(dataset)
    judged = as_corpus(as_retrieval(dataset))
    try:
        quoted = as_corpus(dataset)
    except InputError:
        return judged
    return quoted if 2 * len(quoted[1]) >= len(judged[1]) else judged


def _fitted(chunks: Sequence[Chunk], progress: Progress | None) -> Embedder:
    from ragopt.embed import LSAEmbedder
    from ragopt.rerank.base import passage

    if progress is not None:
        progress("fit the embedder", 0, 1)
    embedder = LSAEmbedder.fit(passage(chunk) for chunk in chunks)
    if progress is not None:
        progress("fit the embedder", 1, 1)
    return embedder


def _result(dataset: Dataset, options: SavingsBenchOptions, report: SavingsReport) -> BenchResult:
    from ragopt.report.serialise import plain

    content = report.to_dict()
    named = chosen(options.only, CANDIDATES)
    rows = [Row.from_dict(row) for row in content["rows"]]
    told: dict[str, Any] = {
        name: value
        for name, value in report.about.items()
        if name not in ("created", "command", "environment", "data_hash")
    }
    apart = ("kind", "rows", "about")
    return BenchResult(
        bench="savings",
        rows=tuple(row for row in rows if row.name.split("/")[1] in named),
        about=about(
            bench="savings",
            dataset=dataset.name,
            data_hash=report.about["data_hash"],
            seed=options.seed,
            dataset_hash=dataset.data_hash,
            quick=options.quick,
            options=plain(options),
            **told,
        ),
        details={
            **{name: value for name, value in content.items() if name not in apart},
            "curves": curves(report),
        },
    )
