"""Compute a result's figures again from the decisions it logs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ragopt.benchmarks.cache.bill import UnitCosts
from ragopt.benchmarks.cache.figures import MILLION, unpack, unpack_rising
from ragopt.benchmarks.cache.guarding import guard_rows
from ragopt.benchmarks.cache.pairs import Judged
from ragopt.benchmarks.cache.scoring import CERTIFIED, score_halves
from ragopt.benchmarks.cache.stream import counted
from ragopt.benchmarks.cache.stream_rows import Ground, stream_figures
from ragopt.benchmarks.rows import BenchResult
from ragopt.errors import InputError

__all__ = ["recheck"]

_PRECISIONS = {"hit_rate_at_precision_90": 0.9, "hit_rate_at_precision_95": 0.95}


def recheck(result: BenchResult) -> list[str]:
    """Count again what the rows say of pairs and stream; what does not fit, in words.

    Times cannot be computed again and are passed over.

    Returns:
        Empty where everything fits.
    """
    decisions, details = result.details.get("decisions"), result.details.get("policies")
    if result.bench != "cache" or not decisions or details is None:
        return [f"a result of the bench {result.bench!r} without decisions to count from"]
    try:
        return list(_complaints(result, decisions))
    except InputError as error:
        return [str(error)]


def _complaints(result: BenchResult, decisions: Mapping[str, Any]) -> Iterator[str]:
    refused = decisions.get("guards")
    guards = {row.name: row.value for row in guard_rows(refused)} if refused else {}
    for row in result.rows:
        _, name, *rest = row.name.split("/")
        if row.name in guards:
            expected: Any = guards[row.name]
        elif rest and name in decisions["policies"]:
            expected = _figure(result, decisions, name, "/".join(rest))
        else:
            continue
        if expected is not _NO_FIGURE and not _agree(row.value, expected):
            yield (
                f"{row.name}: the row says {row.value}, the logged decisions give {expected}; "
                "run the bench again"
            )


_NO_FIGURE = object()


def _figure(result: BenchResult, decisions: Mapping[str, Any], name: str, metric: str) -> Any:
    log = decisions["policies"][name]
    told = result.details["policies"][name]
    default = told["default_threshold"]
    threshold = float(result.details["options"]["threshold"])
    if metric.startswith("stream/"):
        error, _, last = metric.removeprefix("stream/").rpartition("/")
        setting = "any" if default is None else f"{threshold:g}"
        if error:
            setting = f"{float(error.removeprefix('error_')) / 100:g}"
        if last == "net_usd_per_1000":
            return _net(result, log["streams"].get(setting), str(told["embeds"]))
        return _of_stream(decisions, log["streams"].get(setting), last)
    if log["scores"] is None or metric not in (*_PRECISIONS, CERTIFIED, "wrong_per_hit"):
        return _NO_FIGURE
    fit, report = _halves(decisions, log)
    figures = score_halves(fit, report, default, threshold)
    if metric == "wrong_per_hit":
        return figures.at_threshold.wrong_per_hit
    point = figures.certified if metric == CERTIFIED else figures.points[_PRECISIONS[metric]]
    return None if point.report is None else point.report.hit_rate


def _halves(decisions: Mapping[str, Any], log: Mapping[str, Any]) -> tuple[Judged, Judged]:
    places, scores = unpack_rising(log["place_steps"]), unpack(log["scores"])
    same = unpack(decisions["same"]).astype(bool)
    if len(places) != len(scores) or (len(places) and int(places.max()) >= len(same)):
        raise InputError("the log of decisions does not fit the pairs; run the bench again")
    if len(scores) and not -1 <= int(scores.min()) <= int(scores.max()) <= MILLION:
        raise InputError("the log of decisions holds what is no similarity; run the bench again")
    fits = np.isin(places, unpack(decisions["fit"]))
    same = same[places]
    return Judged(scores[fits], same[fits]), Judged(scores[~fits], same[~fits])


def _of_stream(decisions: Mapping[str, Any], packed: str | None, metric: str) -> Any:
    if packed is None:
        return _NO_FIGURE
    groups = decisions["groups"]
    counts = counted(unpack(packed), None if groups is None else unpack(groups))
    if groups is None and metric != "hit_rate":
        return None
    return getattr(counts, metric)


def _net(result: BenchResult, packed: str | None, embeds: str) -> Any:
    if packed is None:
        return _NO_FIGURE
    decisions = result.details["decisions"]
    ground = Ground(
        groups=None,
        words=unpack(decisions["words"]),
        tokens=unpack(decisions["tokens"]),
        costs=UnitCosts.from_dict(result.details["bill"]["usd"]),
    )
    return float(stream_figures(unpack(packed), ground, embeds=embeds).bill.net)


def _agree(said: float | None, expected: float | None) -> bool:
    if said is None or expected is None:
        return said is expected
    return math.isclose(said, expected, rel_tol=1e-9, abs_tol=1e-12)
