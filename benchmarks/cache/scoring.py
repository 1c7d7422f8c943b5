"""From decisions to figures and rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache.figures import (
    MILLION,
    NOT_SERVED,
    Counted,
    interval,
    millionths,
    pack,
    pack_rising,
)
from ragopt.benchmarks.cache.material import Material
from ragopt.benchmarks.cache.measure import Measured, taken_by
from ragopt.benchmarks.cache.options import CacheBenchOptions
from ragopt.benchmarks.cache.pairs import (
    PRECISIONS,
    Judged,
    OperatingPoint,
    certified_point,
    curve,
    judge,
    operating_point,
)
from ragopt.benchmarks.cache.stream_rows import (
    Ground,
    StreamFigures,
    label,
    stream_figures,
    stream_rows,
    wrong_row,
)
from ragopt.benchmarks.rows import Row

__all__ = ["CERTIFIED", "PairFigures", "Scored", "rows_of", "score", "score_halves"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFigures:
    """What the pairs show of a policy.

    Args:
        points: precision to its operating point.
        certified: at the threshold whose error is bounded, see `pairs.certified_point`.
        at_threshold: on the half that reports, at the threshold all are compared at.
        out_of_the_box: likewise, at the policy's own default.
        curve: likewise, at a grid of thresholds.
    """

    points: Mapping[float, OperatingPoint]
    certified: OperatingPoint
    at_threshold: Counted
    out_of_the_box: Counted
    curve: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One candidate with its figures."""

    measured: Measured
    pairs: PairFigures | None = None
    same_pairs: PairFigures | None = None
    streams: Mapping[float | None, StreamFigures] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the candidate."""
        return self.measured.candidate.name

    def to_dict(self) -> dict[str, Any]:
        """Everything but the decisions."""
        found = self.measured
        content: dict[str, Any] = {
            "about": found.candidate.about,
            "peer": found.candidate.peer,
            "default_threshold": found.candidate.default,
            "refused": found.refused,
            "failed": dict(found.failed),
            "after_update": found.updated,
            "asked_again": {str(t / MILLION): n for t, n in found.checked.items()},
            "latency": found.latency,
            "takes": found.candidate.takes,
            "embeds": found.candidate.embeds,
            "stream": {label(each): figures.to_dict() for each, figures in self.streams.items()},
        }
        for name, figures in (("pairs", self.pairs), ("same_pairs_as_peers", self.same_pairs)):
            if figures is not None:
                content[name] = {
                    "operating_points": [point.to_dict() for point in figures.points.values()],
                    "certified": figures.certified.to_dict(),
                    "at_threshold": figures.at_threshold.to_dict(),
                    "out_of_the_box": figures.out_of_the_box.to_dict(),
                    "curve": figures.curve,
                }
        return content

    def decisions(self) -> dict[str, Any]:
        """The logs, packed."""
        found = self.measured
        return {
            "place_steps": None if found.places is None else pack_rising(found.places),
            "scores": None if found.scores is None else pack(found.scores),
            "streams": {label(t): pack(log) for t, log in found.streams.items()},
        }


def score(
    found: Measured, material: Material, options: CacheBenchOptions, ground: Ground
) -> Scored:
    """Count what a candidate did; nothing is counted of one that was refused."""
    if found.refused:
        return Scored(measured=found)
    figures = same_pairs = None
    if material.split is not None and found.places is not None and found.scores is not None:
        halves = judge(material.pairs, material.split, found.places, found.scores)
        figures = score_halves(*halves, found.candidate.default, options.threshold)
        if not found.candidate.peer and material.subset is not None:
            kept = np.isin(found.places, material.subset)
            halves = judge(material.pairs, material.split, found.places[kept], found.scores[kept])
            same_pairs = score_halves(*halves, found.candidate.default, options.threshold)
    embeds = found.candidate.embeds
    return Scored(
        measured=found,
        pairs=figures,
        same_pairs=same_pairs,
        streams={
            each: stream_figures(log, ground, embeds=embeds, said=found.said.get(each, ""))
            for each, log in found.streams.items()
        },
    )


def score_halves(
    fit: Judged, report: Judged, default: float | None, threshold: float
) -> PairFigures:
    """Figures of one policy; one without a threshold is the same at all of them."""
    if default is None:
        fit, report = _flat(fit), _flat(report)
    points = {each: operating_point(fit, report, each) for each in PRECISIONS}
    return PairFigures(
        points=points,
        certified=certified_point(fit, report),
        at_threshold=report.at(millionths(threshold)),
        out_of_the_box=report.at(millionths(threshold if default is None else default)),
        curve=curve(report),
    )


def rows_of(scored: Scored, options: CacheBenchOptions) -> list[Row]:
    """The rows of one candidate; one with the reason where it was refused or could do nothing."""
    found, name = scored.measured, f"cache/{scored.name}"
    if found.refused:
        return [Row.missing(name, found.refused)]
    reasons = set(found.failed.values())
    taken = taken_by(found.candidate, options)
    if taken and len(found.failed) == len(taken) and len(reasons) == 1:
        return [Row.missing(name, reasons.pop())]
    return [
        *_pair_rows(scored, name, options),
        *_latency_rows(scored, name),
        *stream_rows(found.candidate, scored.streams, found.failed.get("stream"), options),
    ]


def _pair_rows(scored: Scored, name: str, options: CacheBenchOptions) -> list[Row]:
    metrics = (*_PRECISION_METRICS, CERTIFIED, "wrong_per_hit")
    reason = scored.measured.failed.get("pairs")
    if reason is not None:
        return [Row.missing(f"{name}/{metric}", reason) for metric in metrics]
    figures = scored.pairs
    if figures is None:
        return []
    others = scored.same_pairs
    rows = [
        _precision_row(
            f"{name}/{metric}",
            figures.points[precision],
            None if others is None else others.points[precision],
        )
        for metric, precision in _PRECISION_METRICS.items()
    ]
    rows.append(
        _precision_row(
            f"{name}/{CERTIFIED}",
            figures.certified,
            None if others is None else others.certified,
        )
    )
    at = figures.at_threshold
    extra = {
        **_setting(scored, options.threshold),
        "n": at.n,
        "hits": at.hits,
        "wrong": at.wrong,
        "hit_rate": at.hit_rate,
        "wrong_per_request": at.wrong_per_request,
        "after_update": scored.measured.updated,
        "out_of_the_box": {
            "threshold": scored.measured.candidate.default,
            **_brief(figures.out_of_the_box),
        },
    }
    if scored.same_pairs is not None:
        extra["same_pairs_as_peers"] = _brief(scored.same_pairs.at_threshold)
    return [*rows, wrong_row(f"{name}/wrong_per_hit", at, extra)]


CERTIFIED = "hit_rate_certified_10"
_PRECISION_METRICS = {"hit_rate_at_precision_90": 0.9, "hit_rate_at_precision_95": 0.95}


def _precision_row(name: str, point: OperatingPoint, other: OperatingPoint | None) -> Row:
    extra: dict[str, Any] = {}
    if other is not None:
        extra["same_pairs_as_peers"] = (
            other.reason if other.report is None else _brief(other.report)
        )
    if point.threshold is None or point.fit is None or point.report is None:
        return Row.missing(name, point.reason, **extra)
    report = point.report
    low, high = interval(report.wrong, report.hits)
    return Row.of(
        name,
        report.hit_rate,
        range=interval(report.hits, report.n),
        threshold=point.threshold / MILLION,
        n=report.n,
        hits=report.hits,
        wrong=report.wrong,
        precision=report.precision,
        precision_range=[1 - high, 1 - low],
        fit=_brief(point.fit),
        **extra,
    )


def _latency_rows(scored: Scored, name: str) -> list[Row]:
    metrics = ("lookup_p50_us", "insert_p50_us")
    reason = scored.measured.failed.get("latency")
    if reason is not None:
        return [Row.missing(f"{name}/{metric}", reason) for metric in metrics]
    if not scored.measured.latency:
        return []
    largest = scored.measured.latency[-1]
    slower = max(("similar", "unseen"), key=lambda kind: float(largest[kind]["p50_us"]))
    by_size = {
        str(each["entries"]): {
            kind: each[kind]
            for kind in ("same_text", "similar", "unseen", "hits", "misses", "insert")
        }
        for each in scored.measured.latency
    }
    extra = {"entries": largest["entries"], "embedding": "excluded", "by_size": by_size}
    return [
        Row.of(
            f"{name}/lookup_p50_us",
            largest[slower]["p50_us"],
            p99_us=largest[slower]["p99_us"],
            of=f"{slower} questions, the slower of similar and unseen",
            **extra,
        ),
        Row.of(
            f"{name}/insert_p50_us",
            largest["insert"]["p50_us"],
            p99_us=largest["insert"]["p99_us"],
            **extra,
        ),
    ]


def _setting(scored: Scored, threshold: float) -> dict[str, Any]:
    fixed = scored.measured.candidate.default is None
    return {"threshold": None if fixed else threshold}


def _brief(counts: Counted) -> dict[str, Any]:
    return {
        "n": counts.n,
        "hits": counts.hits,
        "wrong": counts.wrong,
        "hit_rate": counts.hit_rate,
        "wrong_per_hit": counts.wrong_per_hit,
        "wrong_per_hit_range": list(interval(counts.wrong, counts.hits)),
    }


def _flat(half: Judged) -> Judged:
    """Served or not, at whatever threshold."""
    scores: NDArray[np.int32] = np.where(half.scores == NOT_SERVED, NOT_SERVED, MILLION)
    return Judged(scores.astype(np.int32), half.same)
