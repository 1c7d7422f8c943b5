"""Compute a result's figures again from the decisions it logs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ragopt.benchmarks.cache.figures import MILLION, unpack, unpack_rising
from ragopt.benchmarks.cache.pairs import Judged
from ragopt.benchmarks.cache.scoring import CERTIFIED, score_halves
from ragopt.benchmarks.cache.stream import counted
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
    for row in result.rows:
        _, name, *rest = row.name.split("/")
        if not rest or name not in decisions["policies"]:
            continue
        expected = _figure(result, decisions, name, "/".join(rest))
        if expected is not _NO_FIGURE and not _agree(row.value, expected):
            yield (
                f"{row.name}: the row says {row.value}, the logged decisions give {expected}; "
                "run the bench again"
            )


_NO_FIGURE = object()


def _figure(result: BenchResult, decisions: Mapping[str, Any], name: str, metric: str) -> Any:
    log = decisions["policies"][name]
    default = result.details["policies"][name]["default_threshold"]
    threshold = float(result.details["options"]["threshold"])
    if metric.startswith("stream/"):
        return _of_stream(decisions, log, default, threshold, metric.removeprefix("stream/"))
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


def _of_stream(
    decisions: Mapping[str, Any],
    log: Mapping[str, Any],
    default: float | None,
    threshold: float,
    metric: str,
) -> Any:
    packed = log["streams"].get("any" if default is None else f"{threshold:g}")
    if packed is None:
        return _NO_FIGURE
    groups = decisions["groups"]
    counts = counted(unpack(packed), None if groups is None else unpack(groups))
    if groups is None and metric != "hit_rate":
        return None
    return getattr(counts, metric)


def _agree(said: float | None, expected: float | None) -> bool:
    if said is None or expected is None:
        return said is expected
    return math.isclose(said, expected, rel_tol=1e-9, abs_tol=1e-12)
