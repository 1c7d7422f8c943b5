from __future__ import annotations

import numpy as np
import pytest

from ragopt.benchmarks.index.answering import thinned
from ragopt.benchmarks.index.operating import at_equal_recall, judge_point, operating_value
from ragopt.benchmarks.index.options import IndexBenchOptions
from ragopt.errors import InputError
from ragopt.quality import Floor, mean_lower

FLOOR = Floor(metric="recall@10", at_least=0.95, confidence=0.95)


def point(value, tuning, lower, **more):
    return {"value": value, "recall_tuning": tuning, "recall_lower": lower, **more}


@pytest.mark.parametrize(
    ("tuning", "lower", "expected"),
    [
        ((0.90, 0.96, 0.99), (0.89, 0.951, 0.98), 1),
        ((0.96, 0.97, 0.99), (0.951, 0.96, 0.98), 0),
        # Cheap enough by the report queries alone, which must not choose.
        ((0.94, 0.97, 0.99), (0.96, 0.96, 0.98), 1),
        # The dearest fails: nothing below it is asked.
        ((0.96, 0.97, 0.97), (0.96, 0.96, 0.94), None),
        # Stop at the first failure, even where a cheaper one would hold.
        ((0.97, 0.97, 0.99), (0.96, 0.94, 0.98), 2),
        # No value seems to do on the tuning queries: the dearest may still be certified.
        ((0.90, 0.92, 0.94), (0.96, 0.96, 0.951), 2),
        ((0.90, 0.92, 0.94), (0.90, 0.92, 0.94), None),
    ],
)
def test_the_operating_point_is_the_cheapest_certified_in_order(tuning, lower, expected):
    points = [point(*each) for each in zip(range(3), tuning, lower, strict=True)]
    assert operating_value(points, FLOOR) == expected


def test_recall_and_bounds_come_from_counts():
    judged = judge_point([0, 0, 0, 5], [1, 0, 2, 97], wanted=3, floor=FLOOR, seed=4)
    recalls = np.repeat([0, 2 / 3, 1], [1, 2, 97])
    assert judged["recall_tuning"] == 1
    assert judged["recall_report"] == pytest.approx(recalls.mean())
    assert judged["recall_lower"] == mean_lower(recalls, confidence=0.95, seed=4)
    assert judged["recall_lower"] < judged["recall_report"] < judged["recall_upper"]


def speeds(*pairs):
    return [
        {"value": value, "recall_report": recall, "qps": qps, "p50_ms": 1e3 / qps}
        for value, (recall, qps) in enumerate(pairs)
    ]


def test_figures_at_equal_recall_lie_between_their_neighbours():
    found = at_equal_recall(speeds((0.85, 1000), (0.93, 500), (0.97, 100)), "some")
    assert [each["recall"] for each in found] == [0.9, 0.95]
    assert all(each["interpolated"] for each in found)
    halfway = found[1]
    assert halfway["between"] == [1, 2]
    assert halfway["qps"] == pytest.approx((500 * 100) ** 0.5)
    assert halfway["p50_ms"] == pytest.approx((2 * 10) ** 0.5)


def test_points_that_another_beats_are_not_interpolated_from():
    found = at_equal_recall(speeds((0.85, 1000), (0.94, 50), (0.96, 400), (0.999, 100)), "some")
    assert found[0]["between"] == [0, 2]


def test_nothing_is_extrapolated():
    assert at_equal_recall(speeds((0.5, 10)), "some") == []
    assert at_equal_recall(speeds((0.5, 10), (0.7, 5)), "some") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 0},
        {"passes": 0},
        {"seed": -1},
        {"seed": None},
        {"recall": 0.0},
        {"recall": 1.01},
        {"confidence": 1.0},
        {"tuning": 19},
        {"report": 5},
        {"threads": 0},
        {"timeout_s": 0.0},
        {"memory_limit": 1000},
        {"k": True},
    ],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match="="):
        IndexBenchOptions(**wrong)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (100.0, (1, 2, 3, 4, 5, 6, 7)),
        (4.0, (2, 4, 6, 7)),
        (2.0, (4, 7)),
        (1.5, (7,)),
        (0.0, (7,)),
        (-5.0, (7,)),
    ],
)
def test_values_are_thinned_but_for_the_dearest(seconds, expected):
    assert thinned((1, 2, 3, 4, 5, 6, 7), seconds, 1.0) == expected
    assert thinned((), seconds, 1.0) == ()


def test_quick_is_small():
    quick, full = IndexBenchOptions(quick=True).budget, IndexBenchOptions().budget
    assert (quick.base_rows, quick.tuning, quick.report) == (10_000, 150, 300)
    assert (full.base_rows, full.tuning, full.report) == (None, 500, 1_000)
    assert IndexBenchOptions(quick=True, report=77).budget.report == 77
