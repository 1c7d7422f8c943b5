"""What a savings run draws: what each setting sends and keeps, and what each lever is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragopt.benchmarks.road.savings_report import SavingsReport, TuningPoint

__all__ = ["curves"]

_Curve = dict[str, Any]


def curves(report: SavingsReport) -> list[_Curve]:
    """Curves of a report in the form that every bench leaves in its details."""
    return [_tuning(report), _levers(report)]


def _tuning(report: SavingsReport) -> _Curve:
    """Every setting on the tuning questions, a line a lever, by tokens."""
    lines: dict[str, list[TuningPoint]] = {}
    for point in report.tuning:
        lines.setdefault(point.lever, []).append(point)
    return {
        "title": "Evidence kept against tokens sent, on the tuning questions",
        "x": _axis("input tokens a question", "tokens", "smaller"),
        "y": _axis("evidence recall", "ratio", "bigger"),
        "lines": [
            {
                "name": name,
                "points": [
                    _point(each) for each in sorted(points, key=lambda each: each.input_tokens)
                ],
            }
            for name, points in lines.items()
        ],
    }


def _point(point: TuningPoint) -> Mapping[str, Any]:
    low, high = point.interval or (None, None)
    return {
        "x": point.input_tokens,
        "y": point.evidence_recall,
        "label": point.setting,
        "chosen": point.chosen,
        "low": low,
        "high": high,
    }


def _levers(report: SavingsReport) -> _Curve:
    """Every lever on the other questions: its bill against its quality."""
    shown = [lever for lever in report.results if lever.quality is not None and not lever.error]
    return {
        "title": "Quality against the bill, lever by lever",
        "x": _axis("bill, of the baseline's", "ratio", "smaller"),
        "y": _axis("worse difference of quality", "ratio", "bigger"),
        "lines": [
            {
                "name": lever.name,
                "points": [
                    {
                        "x": report.ratio(lever, "usd_per_1000"),
                        "y": lever.quality.mean,
                        "label": lever.setting,
                        "chosen": lever.on,
                        "low": lever.quality.lower,
                        "high": lever.quality.upper,
                    }
                ],
            }
            for lever in shown
            if lever.quality is not None
        ],
    }


def _axis(label: str, unit: str, better: str) -> dict[str, str]:
    return {"label": label, "unit": unit, "scale": "linear", "better": better}
