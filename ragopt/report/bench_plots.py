"""A bench result as a pandas frame and as a matplotlib figure; both are the extra ``plot``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ragopt.benchmarks.rows import metric_of
from ragopt.errors import InputError
from ragopt.optional import import_backend
from ragopt.report.bench_curves import Axis, Curve, curves_of
from ragopt.report.bench_words import split
from ragopt.report.figures import clean

if TYPE_CHECKING:
    from ragopt.benchmarks.rows import BenchResult, Metric, Row

__all__ = ["bench_figure", "bench_frame"]

_EXTRA = "plot"
_MARKERS = "osD^vPX*"


def bench_frame(result: BenchResult) -> Any:
    """A row a figure, also of what could not be measured: its value is NaN, its reason says why.

    Returns:
        A ``pandas.DataFrame`` with the columns candidate, metric, value, unit, low, high, better,
        timed, setting, reason, name. ``frame.pivot(index="candidate", columns="metric",
        values="value")`` is the table of the report.

    Raises:
        BackendMissing: pandas is not installed.
    """
    pandas = import_backend("pandas", _EXTRA, "BenchResult.to_pandas()")
    columns = "candidate metric value unit low high better timed setting reason name".split()
    return pandas.DataFrame([_fields(row) for row in result.rows], columns=columns)


def _fields(row: Row) -> dict[str, Any]:
    candidate, metric = split(row)
    low, high = row.range or (math.nan, math.nan)
    kind = _kind(row.name)
    return {
        "candidate": candidate,
        "metric": metric,
        "value": math.nan if row.value is None else row.value,
        "unit": row.unit,
        "low": low,
        "high": high,
        "better": kind.better if kind else "",
        "timed": kind is not None and kind.timed,
        "setting": str(row.extra.get("setting", "")),
        "reason": row.reason,
        "name": row.name,
    }


def _kind(name: str) -> Metric | None:
    try:
        return metric_of(name)
    except InputError:  # a candidate that could not be measured at all
        return None


def bench_figure(result: BenchResult, *, only: Sequence[str] = ()) -> Any:
    """Every curve of the result, one below the other.

    Args:
        result: of a bench that leaves curves.
        only: lines to draw, by candidate; empty: all.

    Returns:
        A ``matplotlib.figure.Figure``, which notebooks show and ``savefig`` writes.

    Raises:
        BackendMissing: matplotlib is not installed.
        InputError: there is nothing to draw, or curves of another shape.
    """
    pyplot = import_backend("matplotlib.pyplot", _EXTRA, "BenchResult.plot()")
    curves = curves_of(result)
    known = dict.fromkeys(line.name for curve in curves for line in curve.lines)
    unknown = [name for name in only if name not in known]
    if unknown or not known:
        expected = f"some of {', '.join(known)}" if known else "a result with curves"
        raise InputError(f"plot(only={list(only)!r}): expected {expected}")
    figure, axes = pyplot.subplots(
        len(curves), 1, figsize=(11, 5 * len(curves)), squeeze=False, layout="constrained"
    )
    pyplot.close(figure)  # or notebooks would show it twice, and loops keep every one in memory
    style = {name: place for place, name in enumerate(known)}
    for curve, place in zip(curves, axes[:, 0], strict=True):
        _draw(curve, place, style, only)
    return figure


def _draw(curve: Curve, axes: Any, style: dict[str, int], only: Sequence[str]) -> None:
    for line in curve.lines:
        if only and line.name not in only:
            continue
        place = style[line.name]
        colour, marker = _colour(place), _MARKERS[place % len(_MARKERS)]
        points = [point for point in line.points if _drawn(curve, point.x, point.y)]
        xs, ys = [point.x for point in points], [point.y for point in points]
        size = 5 if len(points) <= 40 else 0
        axes.plot(xs, ys, color=colour, marker=marker, markersize=size, label=_safe(line.name))
        _intervals(axes, curve, points, colour)
        chosen = [point for point in points if point.chosen]
        axes.scatter(
            [point.x for point in chosen],
            [point.y for point in chosen],
            s=140,
            facecolors="none",
            edgecolors=colour,
            linewidths=2,
            zorder=3,
        )
    axes.set(xscale=_scale(curve.x), yscale=_scale(curve.y), title=_safe(curve.title))
    axes.set_xlabel(_label(curve.x, "→", "←"))
    axes.set_ylabel(_label(curve.y, "↑", "↓"))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))  # hides no point


def _colour(place: int) -> str:
    """Ten colours, then their darker halves."""
    from matplotlib.colors import to_hex, to_rgb

    plain = to_rgb(f"C{place % 10}")
    colour: str = to_hex([part / (1 + place // 10 % 3) for part in plain])
    return colour


def _intervals(axes: Any, curve: Curve, points: Sequence[Any], colour: str) -> None:
    known = [p for p in points if _drawn(curve, p.x, p.low) and _drawn(curve, p.x, p.high)]
    if known:
        axes.fill_between(
            [point.x for point in known],
            [point.low for point in known],
            [point.high for point in known],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )


def _drawn(curve: Curve, x: float, y: float) -> bool:
    return all(
        math.isfinite(value) and (value > 0 or not axis.log)
        for axis, value in ((curve.x, x), (curve.y, y))
    )


def _scale(axis: Axis) -> str:
    return "log" if axis.log else "linear"


def _label(axis: Axis, more: str, less: str) -> str:
    unit = f" ({axis.unit})" if axis.unit and not axis.percent else ""
    better = {"bigger": f", more is better {more}", "smaller": f", less is better {less}"}
    return _safe(f"{axis.label}{unit}{better.get(axis.better, '')}")


def _safe(words: str) -> str:
    """Text that matplotlib does not read as mathematics, nor as a label to hide."""
    return clean(words).replace("$", r"\$").lstrip("_") or "unnamed"
