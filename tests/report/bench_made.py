"""Bench results made by hand, with plausible figures, and ways to bend them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ragopt.benchmarks.rows import BenchResult, Row

EVIL = "<script>alert(1)</script>\" onload='x' & |`@all` \x00\u202e"

ABOUT: dict[str, Any] = {
    "created": "2026-11-22T01:12:09+00:00",
    "command": "ragopt bench index",
    "dataset": "embedded",
    "data_hash": "7cbb3dbba2f4a41e",
    "seed": 0,
    "quick": False,
    "environment": {"cpu": "AMD EPYC", "python": "3.11.7", "packages": {"numpy": "2.4.6"}},
}
FIGURES: dict[str, dict[str, float]] = {
    "tiered": {
        "recall_at_10": 0.962,
        "recall_lower_bound": 0.954,
        "rss_anon_bytes_per_vector": 61.0,
        "pages_per_query": 4.0,
        "p99_cold_ms": 2.5,
        "qps_warm_1t": 2900.0,
    },
    "hnswlib": {
        "recall_at_10": 0.968,
        "recall_lower_bound": 0.959,
        "rss_anon_bytes_per_vector": 1820.0,
        "pages_per_query": 0.0,
        "qps_warm_1t": 5400.0,
    },
}
CURVE: dict[str, Any] = {
    "title": "Recall against queries a second",
    "x": {"label": "recall@10", "unit": "ratio", "scale": "linear", "better": "bigger"},
    "y": {"label": "queries", "unit": "queries/s", "scale": "log", "better": "bigger"},
    "lines": [
        {
            "name": name,
            "points": [
                {
                    "x": 0.8 + 0.03 * step,
                    "y": speed / 2**step,
                    "label": f"ef={16 << step}",
                    "chosen": step == 4,
                    "low": speed / 2**step * 0.9,
                    "high": speed / 2**step * 1.1,
                }
                for step in range(6)
            ],
        }
        for name, speed in (("tiered", 9e3), ("hnswlib", 2e4))
    ],
}


def rows_of(bench: str, figures: Mapping[str, Mapping[str, float]], **extra: Any) -> list[Row]:
    return [
        Row.of(
            f"{bench}/{name}/{metric}",
            value,
            range=(value - 0.008, value + 0.006) if metric == "recall_at_10" else None,
            **extra,
        )
        for name, found in figures.items()
        for metric, value in found.items()
    ]


def made(bench: str = "made", **about: Any) -> BenchResult:
    """Of a bench that no room rechecks, so that its figures may be anything."""
    rows = [
        *rows_of(bench, FIGURES, setting="ef=64"),
        Row.missing(f"{bench}/hnswlib/p99_cold_ms", "nothing is read while searching"),
        Row.missing(f"{bench}/diskannpy", "diskannpy is not installed"),
    ]
    return BenchResult(
        bench=bench, rows=tuple(rows), about={**ABOUT, **about}, details={"curves": [CURVE]}
    )


def changed(result: BenchResult, values: Mapping[str, float]) -> BenchResult:
    """The result with other values, by the end of their names."""
    rows = []
    for row in result.rows:
        found = next((value for name, value in values.items() if row.name.endswith(name)), None)
        spread = None
        if row.range is not None and row.value is not None and found is not None:
            spread = (row.range[0] + found - row.value, row.range[1] + found - row.value)
        rows.append(row if found is None else replace(row, value=found, range=spread))
    return replace(result, rows=tuple(rows))


def without(result: BenchResult, *ends: str) -> BenchResult:
    """The result without rows, by what their names hold."""
    kept = tuple(row for row in result.rows if not any(end in row.name for end in ends))
    return replace(result, rows=kept)


def plus(result: BenchResult, *rows: Row) -> BenchResult:
    return replace(result, rows=(*result.rows, *rows))
