"""Fit a tight top-k on one half of labelled questions, tell what it keeps on the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ragopt.benchmarks.common import silent
from ragopt.benchmarks.context.rankings import Pool, draw
from ragopt.benchmarks.context.scorers import own_scorers
from ragopt.benchmarks.context.tightening import split_queries
from ragopt.benchmarks.datasets.types import Dataset, RetrievalSet
from ragopt.chunk import Hit
from ragopt.errors import InputError
from ragopt.quality import binomial_lower, binomial_upper, mean_lower
from ragopt.rerank import (
    BM25Reranker,
    ConformalFloor,
    CorpusStatistics,
    CrossEncoderReranker,
    LabelledQuery,
    Reranker,
    Tighten,
    TightenOptions,
    rerank,
    scorer_id,
)
from ragopt.rerank.conformal import Evidence, Of, Promise

if TYPE_CHECKING:
    from ragopt.embed import Embedder

__all__ = ["SCORERS", "TuneOptions", "TuneReport", "tune"]

SCORERS = ("bm25", "cosine", "fused")
_CROSS_ENCODER = "cross-encoder:"
_RESPLITS = 200
_DEPTHS = (10, 50)
_TWO_SIDED = 0.975

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """Settings of `tune`.

    Args:
        scorer: one of `SCORERS`, or ``"cross-encoder:MODEL"``.
        alpha: tolerated share of losses.
        promise: all evidence of a question, or recall in the mean.
        of: the evidence owed, or only what is among the candidates.
        confidence: of the promise for this calibration; on average over calibrations without.
        candidates: of a question.
        seed: of the halves.
        device: of a cross-encoder.
        tighten: the rest of the settings.

    Raises:
        InputError: an unknown scorer, or no candidates.
    """

    scorer: str = "fused"
    alpha: float = 0.05
    promise: Promise = "all evidence"
    of: Of = "owed"
    confidence: float | None = None
    candidates: int = 50
    seed: int = 0
    device: str = "cpu"
    tighten: TightenOptions = field(default_factory=TightenOptions)

    def __post_init__(self) -> None:
        named = self.scorer.removeprefix(_CROSS_ENCODER)
        if self.scorer not in SCORERS and (named == self.scorer or not named):
            raise InputError(
                f"scorer={self.scorer!r}: expected {', '.join(SCORERS)} or {_CROSS_ENCODER}MODEL, "
                "a hub name or a folder"
            )
        if self.candidates < 1:
            raise InputError(f"candidates={self.candidates}: expected at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneReport:
    """What was fitted on one half, and what it kept on the other.

    Args:
        tighten: fitted.
        fitted_on: questions.
        reported_on: other questions.
        kept: mean of what the promise is about: share of the questions with all evidence, or
            recall.
        kept_lower: its lower end at 95 % (two-sided; exact binomial where it counts questions).
        kept_upper: its upper end, likewise.
        recall: mean share of the evidence that is kept, of what the promise counts.
        chunks: kept a question, on average.
        tokens: likewise.
        fixed: the same of the scorer's first k, by k: tokens and recall.
        resplits: how often and how well other random halves kept the promise; only ``splits``, 0,
            where no halves both had evidence.
    """

    tighten: Tighten
    fitted_on: int
    reported_on: int
    kept: float
    kept_lower: float
    kept_upper: float
    recall: float
    chunks: float
    tokens: float
    fixed: dict[int, dict[str, float]]
    resplits: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        own = {name: getattr(self, name) for name in self.__slots__ if name != "tighten"}
        own["fixed"] = {f"top_{k}": figures for k, figures in self.fixed.items()}
        return {**own, "tighten": self.tighten.to_dict()}

    def plot(self) -> Any:
        """A matplotlib figure: tokens against evidence, tight beside fixed cuts.

        Raises:
            BackendMissing: matplotlib is not installed.
        """
        from ragopt.optional import import_backend

        figures = import_backend("matplotlib.figure", "plot", "TuneReport.plot()")
        figure = figures.Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        points = {f"top {k}": (cut["tokens"], cut["recall"]) for k, cut in self.fixed.items()}
        for name, (tokens, recall) in {"tight": (self.tokens, self.recall), **points}.items():
            axes.plot(tokens, recall, marker="o", linestyle="none", label=name)
        axes.set(xlabel="tokens a question", ylabel="evidence recall", title=str(self.tighten))
        axes.set(xlim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        return figure


def tune(
    dataset: Dataset,
    *,
    options: TuneOptions,
    embedder: Embedder | None = None,
    progress: Progress | None = None,
) -> TuneReport:
    """Score every question's candidates once; fit on one half, report on the other.

    Args:
        dataset: judged queries; questions with passages are turned into such first.
        options: settings.
        embedder: for cosines where the set has no vectors; LSA fitted on the documents otherwise.
        progress: told about questions.

    Raises:
        InputError: no judged question, or too few to halve and to fit on.
    """
    from ragopt.benchmarks.datasets.convert import as_retrieval

    tell = progress or silent
    judged = as_retrieval(dataset)
    questions = _scored(judged, options, embedder, tell)
    halves = split_queries(questions.keys, seed=options.seed)
    made = Tighten.fit_scored(
        [questions.labelled[place] for place in halves[0]],
        scorer_id=questions.scorer_id,
        alpha=options.alpha,
        promise=options.promise,
        of=options.of,
        confidence=options.confidence,
        options=options.tighten,
    )
    return _report(made, questions, halves, options, tell)


@dataclass(frozen=True, slots=True)
class _Questions:
    """Labelled questions with scored candidates, their wordings, and the scorer's id."""

    keys: list[str]
    labelled: list[LabelledQuery]
    scorer_id: str


def _scored(
    judged: RetrievalSet, options: TuneOptions, embedder: Embedder | None, tell: Progress
) -> _Questions:
    pool = Pool(judged, depth=options.candidates)
    queries = pool.queries(pool.runs[0], draw(judged, limit=None, seed=options.seed))
    rows = sorted({row for query in queries for row in query.candidates})
    scorer = _scorer(judged, pool, rows, options, embedder)
    labelled = []
    for number, query in enumerate(queries):
        hits = [Hit(pool.chunks[row], 0.0) for row in query.candidates]
        gold = {
            pool.chunks[row].id
            for row, grade in zip(query.candidates, query.grades, strict=True)
            if grade >= pool.gold_grade
        }
        # What is owed and was not found has no row here, but it counts.
        gold |= {f"missing {piece}" for piece in range(query.gold - len(gold))}
        ranked = tuple(rerank(scorer, query.text, hits))
        labelled.append(LabelledQuery(query=query.text, hits=ranked, gold=frozenset(gold)))
        tell("score questions", number + 1, len(queries))
    return _Questions([query.key for query in queries], labelled, scorer_id(scorer))


def _scorer(
    judged: RetrievalSet,
    pool: Pool,
    rows: Sequence[int],
    options: TuneOptions,
    embedder: Embedder | None,
) -> Reranker:
    if options.scorer.startswith(_CROSS_ENCODER):
        model = options.scorer.removeprefix(_CROSS_ENCODER)
        return CrossEncoderReranker(model, device=options.device)
    if options.scorer == "bm25":  # needs no vectors, which would have to be made
        return BM25Reranker(CorpusStatistics.fit(pool.chunks))
    return own_scorers(judged, pool, rows, embedder)[options.scorer].make()


class _Kept:
    """What a fitted `Tighten` keeps of one question, and what fixed cuts keep."""

    def __init__(self, tighten: Tighten, labelled: LabelledQuery) -> None:
        result = tighten.tighten(labelled.query, labelled.hits)
        stands = _stands_for(labelled, tighten)
        there = {hit.chunk.id for hit in result.hits}
        self.found = len(stands)
        self.owed = len(labelled.gold)
        self.gold = sum(stand in there for stand in stands.values())
        self.chunks = len(result.kept)
        self.tokens = result.tokens_after
        counts = [reason.tokens_before for reason in result.reasons]
        ids = [hit.chunk.id for hit in labelled.hits]
        self.fixed = {
            k: (sum(counts[:k]) + max(0, min(k, len(ids)) - 1), len(labelled.gold & set(ids[:k])))
            for k in _DEPTHS
        }


def _stands_for(labelled: LabelledQuery, tighten: Tighten) -> dict[str, str]:
    """Evidence among the candidates to the chunk that says it: itself, or what it copies."""
    copied = tighten.copies(labelled.hits).of
    return {
        hit.chunk.id: labelled.hits[place if of is None else of].chunk.id
        for place, (hit, of) in enumerate(zip(labelled.hits, copied, strict=True))
        if hit.chunk.id in labelled.gold
    }


def _report(
    made: Tighten,
    questions: _Questions,
    halves: tuple[Sequence[int], Sequence[int]],
    options: TuneOptions,
    tell: Progress,
) -> TuneReport:
    fitting, telling = halves
    outcomes = []
    for number, place in enumerate(telling):
        one = _Kept(made, questions.labelled[place])
        if options.of == "owed" or one.found:
            outcomes.append(one)
        tell("report on other questions", number + 1, len(telling))
    if not outcomes:
        raise InputError("no question to report on has evidence among its candidates")
    pieces = np.array([one.owed if options.of == "owed" else one.found for one in outcomes])
    recall = np.array([one.gold for one in outcomes]) / pieces
    whole = options.promise == "all evidence"
    kept = (recall == 1).astype(np.float64) if whole else recall
    lower, upper = _interval(kept, whole=whole)
    return TuneReport(
        tighten=made,
        fitted_on=len(fitting),
        reported_on=len(outcomes),
        kept=float(kept.mean()),
        kept_lower=lower,
        kept_upper=upper,
        recall=float(recall.mean()),
        chunks=float(np.mean([one.chunks for one in outcomes])),
        tokens=float(np.mean([one.tokens for one in outcomes])),
        fixed={
            k: {
                "tokens": float(np.mean([one.fixed[k][0] for one in outcomes])),
                "recall": float(np.mean([one.fixed[k][1] for one in outcomes] / pieces)),
            }
            for k in _DEPTHS
        },
        resplits=_resplits(made, questions, options, tell),
    )


def _interval(kept: Any, *, whole: bool) -> tuple[float, float]:
    if whole:
        successes, trials = int(kept.sum()), int(kept.size)
        return (
            binomial_lower(successes, trials, _TWO_SIDED),
            binomial_upper(successes, trials, _TWO_SIDED),
        )
    return (
        mean_lower(kept, confidence=_TWO_SIDED),
        1 - mean_lower(1 - kept, confidence=_TWO_SIDED),
    )


def _resplits(
    made: Tighten, questions: _Questions, options: TuneOptions, tell: Progress
) -> dict[str, float]:
    """Floors of other random halves on the rest.

    One calibration serves all: it does not change the order of scores, on which floors rest.
    """
    seen: dict[int, Evidence] = {}
    for place, one in enumerate(questions.labelled):
        found = made.evidence(one)
        if found is not None and (options.of == "owed" or found.found):
            seen[place] = found
    kept: list[float] = []
    for number in range(_RESPLITS):
        fit, rest = split_queries(questions.keys, seed=options.seed + 1 + number)
        fit, rest = ([place for place in half if place in seen] for half in (fit, rest))
        if not fit or not rest:
            continue
        again = ConformalFloor.fit(
            [seen[place] for place in fit],
            alpha=options.alpha,
            promise=options.promise,
            of=options.of,
            confidence=options.confidence,
        )
        kept.append(float(np.mean([again.kept(seen[place]) for place in rest])))
        tell("split again", number + 1, _RESPLITS)
    if not kept:
        return {"splits": 0}
    held = float(np.mean([value >= 1 - options.alpha - 1e-9 for value in kept]))
    return {
        "splits": len(kept),
        "kept_mean": float(np.mean(kept)),
        "held": held,
        "kept_p05": float(np.quantile(kept, 0.05)),
    }
