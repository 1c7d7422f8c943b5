"""Figures at equal recall: shown where a result has them, and never taken for measured ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bench_made import EVIL, made

from ragopt.benchmarks.rows import BenchResult
from ragopt.report.bench_equal import NOTE, TITLE, equal_recall
from ragopt.report.bench_html import bench_fragment, bench_page
from ragopt.report.bench_table import bench_text
from ragopt.report.figures import DASH


def figure(family: str, recall: float, qps: Any) -> dict[str, Any]:
    return {"family": family, "recall": recall, "qps": qps, "interpolated": True}


def with_figures(*given: Any) -> BenchResult:
    result = made()
    return replace(result, details={**result.details, "at_equal_recall": list(given)})


def test_candidates_stand_under_the_recalls_that_their_points_enclose() -> None:
    result = with_figures(
        figure("slow", 0.95, 100.4), figure("fast", 0.99, 2_000), figure("fast", 0.95, 12_345)
    )
    table = equal_recall(result)
    assert table is not None
    assert table.heads == ["at 0.95", "at 0.99"]
    assert table.cells("fast") == ["12,345", "2,000"]
    assert table.cells("slow") == ["100", DASH]
    text = bench_text(result)
    assert TITLE in text
    assert "interpolated" in text
    assert "12,345" in text
    for page in (bench_page(result), bench_fragment(result)):
        assert NOTE in page
        assert "12,345" in page


@pytest.mark.parametrize(
    "given",
    [None, [], "none", [1], [figure("x", 0.95, None)], [figure("x", 0.95, float("nan"))]],
)
def test_a_result_without_them_says_nothing_of_them(given: Any) -> None:
    result = made()
    result = replace(result, details={**result.details, "at_equal_recall": given})
    assert equal_recall(result) is None
    assert TITLE not in bench_text(result)
    assert TITLE not in bench_page(result)


def test_a_name_is_no_markup() -> None:
    result = with_figures(figure(EVIL, 0.95, 10))
    page = bench_page(result)
    assert "<script" not in page
    assert "\x00" not in page
    assert "alert(1)" in bench_text(result)
