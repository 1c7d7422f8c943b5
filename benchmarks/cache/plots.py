"""Curves for the report: hit rate against the share of hits that are wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ragopt.benchmarks.cache.figures import Counted, interval
from ragopt.benchmarks.cache.scoring import Scored

__all__ = ["curves"]

_WRONG = {"label": "wrong / hits", "unit": "ratio", "scale": "linear", "better": "smaller"}
_HITS = {"label": "hit rate", "unit": "ratio", "scale": "linear", "better": "bigger"}
_COSINE = {"label": "served from", "unit": "cosine", "scale": "linear", "better": ""}
_FEWEST = 10  # hits; a point of fewer says nothing


def curves(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """One curve a protocol, one line a policy; empty ones are left out."""
    drawn = (
        ("Labelled pairs: hit rate against wrong hits", [_of_pairs(each) for each in scored]),
        ("Stream: hit rate against wrong hits", [_of_stream(each) for each in scored]),
    )
    found = [
        {"title": title, "x": _WRONG, "y": _HITS, "lines": [line for line in lines if line]}
        for title, lines in drawn
        if any(lines)
    ]
    logged = [line for line in map(_of_log, scored) if line]
    if logged:
        title = "Query log: hit rate by threshold"
        found.append({"title": title, "x": _COSINE, "y": _HITS, "lines": logged})
    return found


def _of_pairs(scored: Scored) -> dict[str, Any] | None:
    figures = scored.pairs
    if figures is None:
        return None
    fixed = scored.measured.candidate.default is None
    settings: list[tuple[str, Counted, bool]] = []
    for point in figures.curve[:1] if fixed else figures.curve:
        counts = Counted(point["n"], point["hits"], point["wrong"])
        settings.append(("any text" if fixed else f"{point['threshold']:g}", counts, False))
    chosen = figures.points[0.9]
    if not fixed and chosen.threshold is not None and chosen.report is not None:
        settings.append((f"{chosen.threshold / 1e6:.4f}: precision .90", chosen.report, True))
    return _line(scored.name, settings)


def _of_stream(scored: Scored) -> dict[str, Any] | None:
    settings = [
        (_said(scored, setting), figures.counts, False)
        for setting, figures in scored.streams.items()
        if figures.truth
    ]
    return _line(scored.name, settings)


def _of_log(scored: Scored) -> dict[str, Any] | None:
    """Of a log nobody knows what is wrong."""
    points = []
    for threshold, figures in scored.streams.items():
        if figures.truth or threshold is None:
            continue
        counts = figures.counts
        low, high = interval(counts.hits, counts.n)
        points.append(
            {
                "x": threshold,
                "y": counts.hit_rate,
                "label": f"{counts.hits:,} hits",
                "chosen": False,
                "low": low,
                "high": high,
            }
        )
    return {"name": scored.name, "points": points} if points else None


def _said(scored: Scored, setting: float | None) -> str:
    if setting is None:
        return "any text"
    errs = scored.measured.candidate.takes == "max_error"
    return f"at most {setting:.0%} wrong" if errs else f"{setting:g}"


def _line(name: str, settings: Iterable[tuple[str, Counted, bool]]) -> dict[str, Any] | None:
    points = []
    for label, counts, chosen in settings:
        if counts.hits < _FEWEST or counts.wrong_per_hit is None:
            continue
        low, high = interval(counts.hits, counts.n)
        points.append(
            {
                "x": counts.wrong_per_hit,
                "y": counts.hit_rate,
                "label": label,
                "chosen": chosen,
                "low": low,
                "high": high,
            }
        )
    points.sort(key=lambda point: (float(str(point["x"])), float(str(point["y"]))))
    return {"name": name, "points": points} if points else None
