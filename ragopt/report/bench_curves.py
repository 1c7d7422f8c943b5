"""The curves that a bench leaves in ``details["curves"]``, read with care.

::

    {"title": "recall against QPS",
     "x": {"label": "recall@10", "unit": "ratio", "scale": "linear", "better": "bigger"},
     "y": {"label": "queries", "unit": "queries/s", "scale": "log", "better": "bigger"},
     "lines": [{"name": "hnswlib", "points": [
         {"x": .95, "y": 5400, "label": "ef=64", "chosen": true, "low": 5200, "high": 5600}]}]}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragopt.errors import InputError
from ragopt.report.figures import clean, shortened

if TYPE_CHECKING:
    from ragopt.benchmarks.rows import BenchResult

__all__ = ["Axis", "Curve", "CurvePoint", "Line", "curves_of"]

_LONGEST = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What is drawn along an axis.

    Args:
        label: what it is.
        unit: of the figures; shares (``"ratio"``) are written as percentages.
        log: whether the scale is logarithmic.
        better: ``"smaller"`` or ``"bigger"``; empty where neither is.
    """

    label: str
    unit: str = ""
    log: bool = False
    better: str = ""

    @property
    def percent(self) -> bool:
        """Whether figures are shares."""
        return self.unit in ("ratio", "share")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A point of a line.

    Args:
        x: along.
        y: up.
        label: the setting it was measured at.
        chosen: the one whose figures are reported.
        low: lower end of the interval of ``y``; NaN where it has none.
        high: upper end.
    """

    x: float
    y: float
    label: str = ""
    chosen: bool = False
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The points of one candidate, in the order in which they are joined."""

    name: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One picture: lines between two axes."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]


def curves_of(result: BenchResult) -> list[Curve]:
    """The pictures of a result, none where it has none.

    Raises:
        InputError: ``details["curves"]`` has another shape than described above. A figure that is
            null or not finite is no fault: it was not measured, and its point is not drawn.
    """
    found = result.details.get("curves") or []
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise InputError(f"curves: got a {type(found).__name__}, expected a list")
    return [_curve(each, f"curves[{place}]") for place, each in enumerate(found)]


def _curve(fields: Any, where: str) -> Curve:
    given = _object(fields, where)
    return Curve(
        title=_text(given.get("title", "")),
        x=_axis(given.get("x"), f"{where}.x"),
        y=_axis(given.get("y"), f"{where}.y"),
        lines=tuple(
            _line(each, f"{where}.lines[{place}]")
            for place, each in enumerate(_list(given.get("lines"), f"{where}.lines"))
        ),
    )


def _axis(fields: Any, where: str) -> Axis:
    given = _object(fields, where)
    scale, better = given.get("scale", "linear"), given.get("better", "")
    if scale not in ("linear", "log") or better not in ("smaller", "bigger", "", None):
        raise InputError(
            f"{where}: got scale={scale!r}, better={better!r}; expected linear or log, smaller or "
            "bigger"
        )
    return Axis(
        label=_text(given.get("label", "")),
        unit=_text(given.get("unit", "")),
        log=scale == "log",
        better=better or "",
    )


def _line(fields: Any, where: str) -> Line:
    given = _object(fields, where)
    points = _list(given.get("points"), f"{where}.points")
    return Line(
        name=_text(given.get("name", "")),
        points=tuple(_point(each, f"{where}.points[{place}]") for place, each in enumerate(points)),
    )


def _point(fields: Any, where: str) -> CurvePoint:
    given = _object(fields, where)
    return CurvePoint(
        x=_number(given.get("x"), f"{where}.x"),
        y=_number(given.get("y"), f"{where}.y"),
        label=_text(given.get("label") or ""),
        chosen=bool(given.get("chosen", False)),
        low=_number(given.get("low"), f"{where}.low"),
        high=_number(given.get("high"), f"{where}.high"),
    )


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: got a {type(value).__name__}, expected an object")
    return value


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{where}: got a {type(value).__name__}, expected a list")
    return value


def _number(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: got {str(value)[:40]!r}, expected a number") from error


def _text(value: Any) -> str:
    return shortened(clean(value), _LONGEST)
