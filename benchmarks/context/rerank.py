"""The rerank bench: what scorers make of the candidates, and how few of them have to be sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.common import about, at_least, chosen, reason_of, silent
from ragopt.benchmarks.context.compress import counter_of
from ragopt.benchmarks.context.figures import pack
from ragopt.benchmarks.context.floors import CUT_NAMES, table_of
from ragopt.benchmarks.context.rankings import Pool, Query, draw, order_of
from ragopt.benchmarks.context.rerank_rows import ndcg_of, rerank_rows
from ragopt.benchmarks.context.scorers import (
    FIRST_STAGE,
    PEER_ENVIRONMENT,
    REMOTE,
    Scorer,
    own_scorers,
    peer_scorers,
)
from ragopt.benchmarks.context.tightening import (
    Ranked,
    Table,
    check_apart,
    rank_hits,
    split_queries,
)
from ragopt.benchmarks.datasets.types import Dataset
from ragopt.benchmarks.rows import BenchResult
from ragopt.chunk import Hit
from ragopt.cost.model_prices import Usage
from ragopt.errors import InputError
from ragopt.quality import data_hash
from ragopt.rerank import Reranker
from ragopt.rerank.base import checked_scores, passage
from ragopt.rerank.scores import Scores, scores_of

if TYPE_CHECKING:
    from ragopt.embed import Embedder

__all__ = ["RerankBenchOptions", "bench_rerank"]

Progress = Callable[[str, int, int], None]

_QUICK_QUERIES = 60
_TOP = 10
_FRONT_POINTS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankBenchOptions:
    """Settings of `bench_rerank`.

    Args:
        only: candidates to measure (scorers and cuts); all where empty.
        seed: of draw, halves and bootstrap.
        quick: few queries, and the first stage that the rows stand on alone.
        limit: queries, drawn with the seed; None takes all.
        model_limit: queries for scorers that run a model on pairs.
        depth: candidates that scorers put in order.
        candidates: of these, those that cuts choose from.
        floor: least share of the evidence that a tuned cut may keep; above 0, at most 1.
        tighten_scorer: whose order and scores are cut.
        models: scorer to hub name or folder; else the environment names them.
        device: of models.
        counter: ``"auto"`` is `ragopt.cost.tokens.token_counter`; ``"estimate"`` counts alike on
            every machine.
        priced_model: whose input tokens a tight top-k saves, in the price sheet.
    """

    only: tuple[str, ...] = ()
    seed: int = 0
    quick: bool = False
    limit: int | None = 400
    model_limit: int = 50
    depth: int = 100
    candidates: int = 50
    floor: float = 0.95
    tighten_scorer: str = "fused"
    models: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    counter: Literal["auto", "estimate"] = "auto"
    priced_model: str = "gpt-5-mini"

    def __post_init__(self) -> None:
        for name in ("limit", "model_limit", "depth", "candidates"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name))
        if not 0 < self.floor <= 1:
            raise InputError(f"floor={self.floor!r}: expected above 0, at most 1")
        if self.counter not in ("auto", "estimate"):
            raise InputError(f"counter={self.counter!r}: expected auto or estimate")
        unknown = sorted(set(self.models) - set(PEER_ENVIRONMENT))
        if unknown:
            raise InputError(f"models: {unknown}: expected some of {sorted(PEER_ENVIRONMENT)}")

    @property
    def questions(self) -> int | None:
        """How many to draw."""
        if self.quick:
            return min(self.limit or _QUICK_QUERIES, _QUICK_QUERIES)
        return self.limit


def bench_rerank(
    dataset: Dataset,
    *,
    options: RerankBenchOptions,
    embedder: Embedder | None = None,
    progress: Progress | None = None,
    scorers: Mapping[str, Scorer] | None = None,
) -> BenchResult:
    """Measure scorers by nDCG@10 and milliseconds, and cuts by tokens and evidence.

    Scorers see the query and the candidates' titles and texts under row numbers, nothing else. The
    setting of a cut is chosen on one half of the queries and told on the other.

    Args:
        dataset: judged queries; questions with passages are turned into such first.
        options: settings.
        embedder: for cosines where the set has no vectors; LSA fitted on the documents otherwise.
        progress: told about candidates and queries.
        scorers: further candidates, by name.

    Raises:
        InputError: an unknown candidate, or no judged query.
    """
    from ragopt.benchmarks.datasets.convert import as_retrieval

    judged = as_retrieval(dataset)
    pool = Pool(judged, depth=options.depth)
    ids = draw(judged, limit=options.questions, seed=options.seed)
    runs = pool.runs[:1] if options.quick else pool.runs
    queries = {run: pool.queries(run, ids) for run in runs}
    rows = sorted({row for found in queries.values() for one in found for row in one.candidates})
    known = {
        **own_scorers(judged, pool, rows, embedder),
        **peer_scorers(options.models, device=options.device),
        **(scorers or {}),
    }
    names = chosen(options.only, [*known, *CUT_NAMES])
    if options.tighten_scorer not in known:
        raise InputError(
            f"tighten_scorer={options.tighten_scorer!r}: expected one of {', '.join(known)}"
        )
    bench = _Bench(pool, queries, known, options, progress or silent)
    details = bench.details(names)
    return BenchResult(
        bench="rerank",
        rows=tuple(rerank_rows(details, dataset=dataset.name, seed=options.seed)),
        about=about(
            bench="rerank",
            dataset=dataset.name,
            data_hash=dataset.data_hash,
            seed=options.seed,
            token_counter=bench.counter.method,
            queries=len(ids),
            queries_hash=data_hash(*ids),
            quick=options.quick,
        ),
        details=details,
    )


class _Bench:
    """One run over prepared queries."""

    def __init__(
        self,
        pool: Pool,
        queries: Mapping[str, Sequence[Query]],
        known: Mapping[str, Scorer],
        options: RerankBenchOptions,
        tell: Progress,
    ) -> None:
        self.counter = counter_of(options.counter)
        self._pool = pool
        self._runs = queries
        self._main = next(iter(queries))
        self._known = known
        self._options = options
        self._tell = tell

    @property
    def _queries(self) -> Sequence[Query]:
        return self._runs[self._main]

    def details(self, names: Sequence[str]) -> dict[str, Any]:
        """Records of all candidates."""
        queries = self._queries
        details: dict[str, Any] = {
            "first_stage": self._main,
            "first_stages": list(self._runs),
            "candidates": round(float(np.mean([len(one.candidates) for one in queries])), 1),
            "unknown_ids_in_runs": self._pool.unknown,
            "gold_grade": self._pool.gold_grade,
            "queries": {
                "ids": [one.id for one in queries],
                "keys": [data_hash(one.key)[:8] for one in queries],
                "ideal": [pack(one.ideal) for one in queries],
            },
        }
        scorers = [name for name in names if name in self._known]
        details["scorers"] = {name: self._scorer(name) for name in scorers}
        if FIRST_STAGE not in scorers:
            details["control"] = {FIRST_STAGE: self._scorer(FIRST_STAGE)}
        for record in details["scorers"].values():
            self._over_runs(details, record)
        cuts = [name for name in names if name in CUT_NAMES]
        details.update(self._cuts(cuts, details["queries"]["keys"]))
        if "tighten" in details["cuts"] and "reason" not in details["cuts"]["tighten"]:
            details["break_even"] = self._break_even()
        return details

    def _break_even(self) -> dict[str, Any]:
        """What rerankers behind an API would cost a query, and the price of a model's input."""
        from ragopt.cost.prices import PriceSheet

        sheet = PriceSheet.default()
        price = sheet.model(self._options.priced_model)
        begun, tokens = [], []
        for query in self._queries:
            rows = query.candidates[: self._options.candidates]
            asked = self.counter.count(query.text)
            counts = [self.counter.count(passage(self._pool.chunks[row])) for row in rows]
            begun.append(math.ceil(len(rows) / 100))
            tokens.append(sum(counts) + asked * len(rows))
        costs = {}
        for name, (model, _) in REMOTE.items():
            row = sheet.model(model)
            usd = [
                row.rerank_cost(searches=searches, tokens=count)
                for searches, count in zip(begun, tokens, strict=True)
            ]
            costs[name] = {
                "model": model,
                "price_id": row.price_id,
                "usd": float(sum(usd, Decimal(0)) / len(usd)),
            }
        return {
            "model": self._options.priced_model,
            "price_id": price.price_id,
            "usd_per_token": float(price.cost(Usage(input=1))),
            "rerankers": costs,
        }

    def _scorer(self, name: str) -> dict[str, Any]:
        """The record of one scorer, or the reason why there is none."""
        candidate = self._known[name]
        try:
            scorer = candidate.make()
            record = self._ranked(name, scorer, self._queries, candidate.cost == "model")
            if candidate.cost != "model":
                others = [run for run in self._runs if run != self._main]
                record["runs"] = {
                    run: self._ranked(name, scorer, self._runs[run], False)["grades"]
                    for run in others
                }
        except Exception as error:  # noqa: BLE001 - one candidate's failure is not the others'
            return {"reason": reason_of(error)}
        if name == FIRST_STAGE:
            del record["ms"]
        return {**record, "setting": candidate.setting}

    def _ranked(
        self, name: str, scorer: Reranker, queries: Sequence[Query], model: bool
    ) -> dict[str, Any]:
        """Grades of the ten best of every query, and milliseconds of every call.

        A model ranks the first queries only, up to its limit.
        """
        grades, times = [], []
        told: list[Scores] = []
        asked = queries[: self._options.model_limit] if model else queries
        for number, query in enumerate(asked):
            if number % 50 == 0:
                self._tell(f"rerank {name}", number, len(asked))
            chunks = [self._pool.chunks[row] for row in query.candidates]
            begin = perf_counter()
            found = scores_of(scorer, query.text, chunks)
            times.append((perf_counter() - begin) * 1e3)
            if found.failed:  # the order of arrival is no measurement of the scorer
                raise InputError(f"query {query.id}: {found.failed}")
            told.append(found)
            order = order_of(found.values)[:_TOP]
            grades.append(pack([query.grades[place] for place in order]))
        self._tell(f"rerank {name}", len(asked), len(asked))
        return {"grades": grades, "ms": pack(times), **_told(told)}

    def _over_runs(self, details: Mapping[str, Any], record: dict[str, Any]) -> None:
        """Mean nDCG@10 of each first stage and over all of them."""
        runs = record.pop("runs", None)
        if not runs:
            return
        means = {self._main: float(ndcg_of(details, record).mean())}
        for run, grades in runs.items():
            means[run] = float(ndcg_of(details, {"grades": grades}).mean())
        record["ndcg_by_run"] = means
        record["mean_over_runs"] = float(np.mean(list(means.values())))

    def _cuts(self, names: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
        """Records of the cuts: tuned on one half, told on the other."""
        if not names:
            return {"cuts": {}, "curves": []}
        try:
            ranked = self._rank_for_cuts()
            tuned_on, reported_on = split_queries(keys, seed=self._options.seed)
            check_apart([keys[at] for at in tuned_on], [keys[at] for at in reported_on])
        except Exception as error:  # noqa: BLE001 - the scorers' rows stand
            reason = reason_of(error)
            return {"cuts": {name: {"reason": reason} for name in names}, "curves": []}
        told = [ranked[at] for at in reported_on]
        tightening = {
            "scorer": self._options.tighten_scorer,
            "setting": self._known[self._options.tighten_scorer].setting,
            "floor": self._options.floor,
            "candidates": self._options.candidates,
            "tuned_on": pack(tuned_on),
            "reported_on": pack(reported_on),
            "tokens_all": pack([int(one.tokens[-1]) for one in told]),
            "tokens_first": pack([one.first_tokens for one in told]),
            "gold_all": pack([int(one.gold[-1]) for one in told]),
            "gold_first": pack([one.first_gold for one in told]),
            "gold_owed": pack([one.owed for one in told]),
        }
        cuts, lines = {}, []
        for number, name in enumerate(names):
            self._tell(f"rerank {name}", number, len(names))
            table = table_of(name, ranked, keys)
            record, line = self._cut(name, table, tuned_on, reported_on)
            cuts[name] = record
            lines.append(line)
        return {"tightening": tightening, "cuts": cuts, "curves": [_curve(lines)]}

    def _cut(
        self, name: str, table: Table, tuned_on: Sequence[int], reported_on: Sequence[int]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        tuned = table.tune(tuned_on, self._options.floor)
        tokens, gold = table.report(tuned, reported_on)
        record = {
            "setting": str(table.cuts[tuned.place]),
            "reached": tuned.reached,
            "settings_tried": len(table.cuts),
            "tokens": pack(tokens),
            "gold": pack(gold),
            "resplits": table.resplits(self._options.floor, seed=self._options.seed),
        }
        front = table.front(tuned_on, reported_on, chosen=tuned.place)
        step = max(1, len(front) // _FRONT_POINTS)
        shown = [one for at, one in enumerate(front) if at % step == 0 or one[0] == tuned.place]
        points = [
            {"x": x, "y": y, "label": str(table.cuts[place]), "chosen": place == tuned.place}
            for place, x, y in shown
        ]
        return record, {"name": name, "points": points}

    def _rank_for_cuts(self) -> list[Ranked]:
        scorer = self._known[self._options.tighten_scorer].make()
        counts: dict[int, int] = {}
        ranked = []
        for query in self._queries:
            rows = query.candidates[: self._options.candidates]
            chunks = [self._pool.chunks[row] for row in rows]
            for row in rows:
                if row not in counts:
                    counts[row] = self.counter.count(passage(self._pool.chunks[row]))
            scores: NDArray[Any] = checked_scores(scorer, query.text, chunks)
            hits = [Hit(chunk, 0.0) for chunk in chunks]
            ranked.append(
                rank_hits(
                    query,
                    scores,
                    hits,
                    [counts[row] for row in rows],
                    gold_grade=self._pool.gold_grade,
                )
            )
        return ranked


def _told(calls: Sequence[Scores]) -> dict[str, Any]:
    """What scorers say of their calls, where they say something."""
    record: dict[str, Any] = {}
    if any(one.read_in_part for one in calls):
        record["read_in_part"] = sum(len(one.read_in_part) for one in calls)
    if any(one.calls for one in calls):
        record["usd"] = pack([None if one.usd is None else float(one.usd) for one in calls])
    return record


def _curve(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "title": "Tight top-k: evidence recall against tokens",
        "x": {
            "label": "tokens a query",
            "unit": "tokens",
            "scale": "log",
            "better": "smaller",
        },
        "y": {
            "label": "evidence recall",
            "unit": "ratio",
            "scale": "linear",
            "better": "bigger",
        },
        "lines": list(lines),
    }
