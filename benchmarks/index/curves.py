"""What an index run draws: the sweeps of every candidate, and memory against cold reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragopt.benchmarks.index.figures import rows_of, setting_of

__all__ = ["curves"]

_Curve = dict[str, Any]


def curves(details: Mapping[str, Any]) -> list[_Curve]:
    """Curves of a run in the form that every bench leaves in its details.

    Args:
        details: of the run; nothing else is drawn from, so that a curve can be checked.
    """
    return [_sweeps(details), _memory_and_disk(details)]


def _sweeps(details: Mapping[str, Any]) -> _Curve:
    """Every knob value of every candidate, on the report queries, a line a candidate."""
    k = details["options"]["k"]
    lines: dict[str, list[dict[str, Any]]] = {}
    for point in details["points"]:
        lines.setdefault(point["family"], []).append(_swept(point))
    return {
        "title": f"Speed against recall@{k}: one thread, warm",
        "x": _axis(f"recall@{k}", "ratio", "bigger"),
        "y": _axis("queries a second", "1/s", "bigger", scale="log"),
        "lines": [
            {"name": name, "points": sorted(points, key=lambda each: each["x"])}
            for name, points in lines.items()
        ],
    }


def _swept(point: Mapping[str, Any]) -> dict[str, Any]:
    rates = [each["qps"] for each in point["passes"]]
    return {
        "x": point["recall_report"],
        "y": point["qps"],
        "label": setting_of(point),
        "chosen": point["operating"],
        "low": min(rates),
        "high": max(rates),
    }


def _memory_and_disk(details: Mapping[str, Any]) -> _Curve:
    """What a candidate keeps in memory and how long a cold query takes, at the operating point."""
    rows = {row.name: row for row in rows_of(details)}
    lines = []
    for facts in details["candidates"]:
        name = f"index/{facts['family']}"
        memory = rows.get(f"{name}/rss_anon_bytes_per_vector")
        cold = rows.get(f"{name}/p99_cold_ms")
        if memory is None or cold is None or cold.value is None:
            continue
        low, high = cold.range or (None, None)
        setting = memory.extra["setting"]
        point = {"x": memory.value, "y": cold.value, "label": setting, "low": low, "high": high}
        lines.append({"name": facts["family"], "points": [{**point, "chosen": True}]})
    return {
        "title": "Memory of the process against the slowest cold queries",
        "x": _axis("RssAnon a vector", "bytes", "smaller", scale="log"),
        "y": _axis("p99 of unseen queries, page cache dropped", "ms", "smaller", scale="log"),
        "lines": lines,
    }


def _axis(label: str, unit: str, better: str, *, scale: str = "linear") -> dict[str, str]:
    return {"label": label, "unit": unit, "scale": scale, "better": better}
