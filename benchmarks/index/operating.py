"""Which knob value a candidate is reported at, and what lies between its points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ragopt.benchmarks.index.truth import recalls_of
from ragopt.quality import Floor, mean_lower

__all__ = ["at_equal_recall", "equal_recalls", "judge_point", "operating_value"]

TARGETS = (0.90, 0.95, 0.98, 0.99)
"""Recalls at which figures are interpolated."""


def judge_point(
    tuning_hits: list[int], report_hits: list[int], *, wanted: int, floor: Floor, seed: int
) -> dict[str, Any]:
    """Recall of a point and its bounds, from how many results each query had right.

    Args:
        tuning_hits: tuning queries with 0, 1, … right results.
        report_hits: report queries likewise.
        wanted: results of a perfect search.
        floor: whose confidence the bounds have.
        seed: of the bounds' draws.
    """
    recalls = recalls_of(report_hits, wanted)
    return {
        "recall_tuning": float(recalls_of(tuning_hits, wanted).mean()),
        "recall_report": float(recalls.mean()),
        "recall_lower": mean_lower(recalls, confidence=floor.confidence, seed=seed),
        "recall_upper": 1 - mean_lower(1 - recalls, confidence=floor.confidence, seed=seed),
    }


def operating_value(points: Sequence[Mapping[str, Any]], floor: Floor) -> int | None:
    """The cheapest certified value; None where the floor is never reached.

    The tuning queries say how cheap a value may seem. The report queries certify, going down from
    the dearest while their lower bound keeps the floor and stopping at the first that fails, in
    an order fixed beforehand: so the bound keeps its confidence for whichever value is reached
    (fixed-sequence testing; Maurer, Hothorn and Lehmacher, 1995).

    Args:
        points: of one candidate, cheapest first.
        floor: for the mean of recall.
    """
    allowed = list(points)
    while len(allowed) > 1 and allowed[0]["recall_tuning"] < floor.limit:
        allowed.pop(0)
    value: int | None = None
    for point in reversed(allowed):
        if not floor.admits(point["recall_lower"]):
            break
        value = int(point["value"])
    return value


def equal_recalls(
    points: Sequence[Mapping[str, Any]], families: Sequence[str]
) -> list[dict[str, Any]]:
    """`at_equal_recall` of every family, in their order."""
    return [
        figures
        for family in families
        for figures in at_equal_recall(
            [point for point in points if point["family"] == family], family
        )
    ]


def at_equal_recall(points: Sequence[Mapping[str, Any]], family: str) -> list[dict[str, Any]]:
    """Speed at round recalls, between the two measured points on either side.

    The logarithm of queries a second is taken to be linear in recall. Only points that no other
    beats in both serve; nothing is extrapolated.
    """
    front = _front(points)
    found = []
    for target in TARGETS:
        for low, high in pairwise(front):
            if low["recall_report"] <= target <= high["recall_report"]:
                found.append(_between(low, high, target, family))
                break
    return found


def _front(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Points by ascending recall, without those that another beats in recall and speed."""
    front: list[Mapping[str, Any]] = []
    for point in sorted(points, key=lambda each: (-each["recall_report"], -each["qps"])):
        if not front or point["qps"] > front[-1]["qps"]:
            front.append(point)
    return front[::-1]


def _between(
    low: Mapping[str, Any], high: Mapping[str, Any], target: float, family: str
) -> dict[str, Any]:
    width = high["recall_report"] - low["recall_report"]
    share = (target - low["recall_report"]) / width if width else 0.0
    figures = {
        name: math.exp(float(np.interp(share, [0, 1], [math.log(low[name]), math.log(high[name])])))
        for name in ("qps", "p50_ms")
    }
    return {
        "family": family,
        "recall": target,
        **figures,
        "between": [low["value"], high["value"]],
        "interpolated": True,
    }
