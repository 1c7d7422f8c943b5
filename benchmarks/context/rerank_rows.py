"""Rows of the rerank bench, made from what was recorded of every query.

The bench and `recheck` make rows by the same road, so that a figure that does not follow from its
records is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.context.figures import (
    bootstrap,
    paired,
    ratio_interval,
    share,
    spread,
    unpack,
)
from ragopt.benchmarks.context.rankings import NDCG, ndcg
from ragopt.benchmarks.context.scorers import FIRST_STAGE
from ragopt.benchmarks.context.tightening import BASELINE_K, check_apart
from ragopt.benchmarks.rows import Row
from ragopt.errors import InputError

__all__ = ["ndcg_of", "rerank_rows"]


def rerank_rows(details: Mapping[str, Any], *, dataset: str, seed: int) -> list[Row]:
    """All rows of a run, candidate by candidate."""
    rows: list[Row] = []
    for name, record in details["scorers"].items():
        if record.get("reason"):
            rows.append(Row.missing(f"rerank/{name}/{dataset}", str(record["reason"])))
        else:
            rows += _scorer_rows(details, name, dataset, seed)
    for name, record in details["cuts"].items():
        if record.get("reason"):
            rows.append(Row.missing(f"rerank/{name}/{dataset}", str(record["reason"])))
        else:
            rows += _cut_rows(details, name, dataset, seed)
    return rows + _break_even_rows(details, dataset, seed)


def ndcg_of(details: Mapping[str, Any], record: Mapping[str, Any]) -> NDArray[np.float64]:
    """nDCG@10 of each of the first queries that were ranked, from the grades of the ten best.

    Raises:
        InputError: no ranking, or more of them than queries.
    """
    ideals, rankings = details["queries"]["ideal"], record["grades"]
    if not 0 < len(rankings) <= len(ideals):
        raise InputError(f"{len(rankings)} rankings of {len(ideals)} queries")
    pairs = zip(rankings, ideals, strict=False)
    return np.array([ndcg(_numbers(grades), _numbers(ideal)) for grades, ideal in pairs])


def _scorer_rows(details: Mapping[str, Any], name: str, dataset: str, seed: int) -> list[Row]:
    record = details["scorers"][name]
    values = ndcg_of(details, record)
    keys = details["queries"]["keys"][: len(values)]
    value, bounds = bootstrap(values, keys, seed=seed)
    extra = {
        "n": len(values),
        "first_stage": details["first_stage"],
        "candidates": details["candidates"],
        "form": NDCG,
        **({"read_in_part": record["read_in_part"]} if record.get("read_in_part") else {}),
        **({"setting": record["setting"]} if record.get("setting") else {}),
        **({"mean_over_runs": record["mean_over_runs"]} if "mean_over_runs" in record else {}),
    }
    control = {**details.get("control", {}), **details["scorers"]}[FIRST_STAGE]
    if name != FIRST_STAGE:
        before = ndcg_of(details, control)[: len(values)]
        extra["against_first_stage"] = paired(before, values, keys, seed=seed)
    rows = [Row.of(f"rerank/{name}/{dataset}/ndcg_at_10", value, range=bounds, **extra)]
    bills = unpack(record.get("usd", ""))
    if bills and None not in bills:
        usd = float(np.mean([value for value in bills if value is not None]))
        rows.append(Row.of(f"rerank/{name}/{dataset}/usd_per_query", usd, n=len(bills)))
    times = [value for value in unpack(record.get("ms", "")) if value is not None]
    if times:
        middle, quartiles = spread(times)
        rows.append(
            Row.of(
                f"rerank/{name}/{dataset}/ms_per_query",
                middle,
                range=quartiles,
                n=len(times),
                candidates=details["candidates"],
                one_call_at_a_time=True,
            )
        )
    return rows


def _cut_rows(details: Mapping[str, Any], name: str, dataset: str, seed: int) -> list[Row]:
    record = details["cuts"][name]
    told = details["tightening"]
    keys = details["queries"]["keys"]
    tuned = [keys[int(at)] for at in _numbers(told["tuned_on"])]
    places = [int(at) for at in _numbers(told["reported_on"])]
    reported = [keys[at] for at in places]
    check_apart(tuned, reported)
    column = {name: np.array(_numbers(told[name])) for name in _COLUMNS}
    tokens, kept = np.array(_numbers(record["tokens"])), np.array(_numbers(record["gold"]))
    if len({len(places), len(tokens), len(kept), *(len(one) for one in column.values())}) != 1:
        raise InputError(f"{name}: records of different lengths for {len(places)} queries")
    extra = {
        "setting": record["setting"],
        "scorer": told["scorer"],
        "first_stage": details["first_stage"],
        "floor": told["floor"],
        "reached_where_tuned": record["reached"],
        "n": len(places),
        "n_tuned": len(tuned),
        "resplits": record["resplits"],
    }
    ratio, ratio_bounds = ratio_interval(tokens, column["tokens_all"], seed=seed)
    to_ten, to_ten_bounds = ratio_interval(tokens, column["tokens_first"], seed=seed)
    prefix = f"rerank/{name}/{dataset}"
    rows = [
        Row.of(
            f"{prefix}/tokens_kept_ratio",
            ratio,
            range=ratio_bounds,
            against=f"all {told['candidates']} candidates",
            tokens_per_query=float(tokens.mean()),
            floor_held=_floor_held(kept, column["gold_all"], told["floor"]),
            against_first_ten={"value": to_ten, "range": list(to_ten_bounds)},
            **extra,
        )
    ]
    return rows + _evidence_rows(prefix, kept, column, reported, seed=seed, extra=extra)


def _break_even_rows(details: Mapping[str, Any], dataset: str, seed: int) -> list[Row]:
    """What reranking behind an API costs against the input tokens that the tight top-k saves.

    Saved are those of the first ten that are not sent; scores of an API would cut elsewhere.
    """
    told = details.get("break_even")
    if told is None:
        return []
    halves, keys = details["tightening"], details["queries"]["keys"]
    sent = np.array(_numbers(details["cuts"]["tighten"]["tokens"]))
    saved = np.array(_numbers(halves["tokens_first"])) - sent
    reported = [keys[int(at)] for at in _numbers(halves["reported_on"])]
    rows = []
    for name, cost in told["rerankers"].items():
        nets = saved * told["usd_per_token"] - cost["usd"]
        net, bounds = bootstrap(nets, reported, seed=seed)
        rows.append(
            Row.of(
                f"rerank/break-even-{name}/{dataset}/net_usd_per_query",
                net,
                range=bounds,
                of="saved input minus the reranker's price; the saving is the own scorer's",
                pays=net >= 0,
                tokens_saved_per_query=float(saved.mean()),
                tokens_needed_per_query=cost["usd"] / told["usd_per_token"],
                reranker=cost["model"],
                reranker_usd_per_query=cost["usd"],
                reranker_price_id=cost["price_id"],
                model=told["model"],
                price_id=told["price_id"],
            )
        )
    return rows


def _floor_held(kept: NDArray[np.float64], among: NDArray[np.float64], floor: float) -> bool | None:
    """Whether the reported queries keep what was asked for: few tokens are easy without it."""
    known = among > 0
    return bool((kept[known] / among[known]).mean() >= floor) if known.any() else None


_COLUMNS = ("tokens_all", "tokens_first", "gold_all", "gold_first", "gold_owed")


def _evidence_rows(
    prefix: str,
    kept: NDArray[np.float64],
    column: Mapping[str, NDArray[np.float64]],
    keys: Sequence[str],
    *,
    seed: int,
    extra: Mapping[str, Any],
) -> list[Row]:
    known = np.flatnonzero(column["gold_all"] > 0)
    if not known.size:
        reason = "no evidence of the reported queries is among their candidates"
        return [
            Row.missing(f"{prefix}/{metric}", reason, **extra)
            for metric in ("evidence_recall", "coverage")
        ]
    clusters = [keys[int(at)] for at in known]
    ceiling = column["gold_all"][known]
    recall = kept[known] / ceiling
    value, bounds = share(recall, clusters, seed=seed)
    every, every_bounds = share((kept[known] >= ceiling).astype(float), clusters, seed=seed)
    owed = column["gold_owed"] > 0
    more = {
        **extra,
        "n": int(known.size),
        "ceiling": float((column["gold_all"][owed] / column["gold_owed"][owed]).mean()),
        "absolute": float((kept[owed] / column["gold_owed"][owed]).mean()),
        "any_kept": float((kept[known] > 0).mean()),
        f"first_{BASELINE_K}": float((column["gold_first"][known] / ceiling).mean()),
    }
    return [
        Row.of(
            f"{prefix}/evidence_recall",
            value,
            range=bounds,
            of="share of the evidence among the candidates, mean over queries",
            **more,
        ),
        Row.of(
            f"{prefix}/coverage",
            every,
            range=every_bounds,
            of="share of queries that keep all of the evidence among their candidates",
            **more,
        ),
    ]


def _numbers(column: str) -> list[float]:
    values = unpack(column)
    if any(value is None for value in values):
        raise InputError(f"a column with a gap, where every query has a number: {column[:60]!r}")
    return [value for value in values if value is not None]
