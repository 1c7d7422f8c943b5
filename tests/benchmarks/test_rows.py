"""Rows and results: what may stand in them, and that an edited result is noticed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.benchmarks.rows import METRICS, BenchResult, Row, metric_of
from ragopt.errors import InputError

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
EXTRAS = st.dictionaries(st.sampled_from("nkx"), st.text(max_size=8) | NUMBERS, max_size=3)


def result(*rows: Row, **details: Any) -> BenchResult:
    return BenchResult(bench="index", rows=rows, about={"seed": 0}, details=details)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_found_by_the_last_part_of_a_name(metric: str) -> None:
    assert metric_of(f"bench/some candidate/{metric}") is METRICS[metric]


def test_a_metric_at_another_ratio_is_like_its_kin() -> None:
    assert metric_of("compress/x/y/evidence_recall_at_3x") == METRICS["evidence_recall_at_2x"]


@pytest.mark.parametrize("name", ["index/hnswlib", "index/hnswlib/speed", "_at_3x", ""])
def test_a_name_without_a_metric_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no metric"):
        metric_of(name)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="finite"):
        Row.of("index/flat/recall_at_10", value)


def test_a_row_without_a_value_says_why() -> None:
    with pytest.raises(InputError, match="must say why"):
        Row(name="index/flat", unit="", value=None)
    assert (
        Row.missing("index/flat", "no wheel for this Python").reason == "no wheel for this Python"
    )
    assert Row.of("index/flat/build_s", 1).reason == ""


@given(st.lists(st.tuples(NUMBERS, st.none() | st.tuples(NUMBERS, NUMBERS), EXTRAS), max_size=4))
def test_a_result_reads_back_as_it_was_written(
    figures: list[tuple[float, tuple[float, float] | None, dict[str, Any]]],
) -> None:
    rows = [
        Row(name=f"index/c{place}/build_s", unit="s", value=value, range=spread, extra=extra)
        for place, (value, spread, extra) in enumerate(figures)
    ]
    before = result(*rows)
    assert BenchResult.from_dict(json.loads(json.dumps(before.to_dict()))) == before


def test_a_result_goes_through_a_file(tmp_path: Path) -> None:
    before = result(Row.of("index/flat/build_s", 1.5, range=(1, 2), n=3), points=[{"x": 1}])
    before.write(tmp_path / "run.json")
    assert BenchResult.read(tmp_path / "run.json") == before
    assert before.value("index/flat/build_s") == 1.5
    assert before.value("index/flat/recall_at_10") is None


@pytest.mark.parametrize("where", ["rows", "about", "details"])
def test_a_figure_changed_after_the_run_is_noticed(tmp_path: Path, where: str) -> None:
    path = tmp_path / "run.json"
    result(Row.of("index/flat/recall_at_10", 0.93), points=[0.93]).write(path)
    content = json.loads(path.read_text())
    if where == "rows":
        content["rows"][0]["value"] = 0.97
    elif where == "about":
        content["about"]["seed"] = 1
    else:
        content["details"]["points"][0] = 0.97
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"run\.json.*digest"):
        BenchResult.read(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "Expecting value"),
        (b"[1]", "expected an object"),
        (b'{"kind": "something else", "rows": []}', "expected the JSON"),
        (b"\xff\xfe", "decode"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=told) as refused:
        BenchResult.read(tmp_path / "run.json")
    assert "run.json" in str(refused.value)


def test_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json"):
        BenchResult.read(tmp_path / "nowhere.json")


def test_two_rows_of_one_name_are_refused() -> None:
    row = Row.of("index/flat/build_s", 1)
    with pytest.raises(InputError, match="two rows"):
        result(row, row)
