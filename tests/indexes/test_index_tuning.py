"""Tuning: the recall it measures, the knob it picks, the certificate it leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.errors import FloorNotMet, InputError
from ragopt.indexes import SearchResult, SearchStats, build, tune
from ragopt.indexes import open as open_index
from ragopt.indexes.tuning import recall_per_query

Array = NDArray[Any]


def result(ids: list[list[int]], scores: list[list[float]]) -> SearchResult:
    return SearchResult(np.array(ids), np.array(scores, dtype=np.float32), SearchStats())


@pytest.fixture(scope="module")
def data() -> tuple[Array, Array]:
    """Rows and queries of no structure at all: the hardest for one bit a dimension."""
    rng = np.random.default_rng(11)
    points = rng.standard_normal((2600, 32)).astype(np.float32)
    return points[:2000], points[2000:]


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_recall_equals_a_count_by_hand(
    data: tuple[Array, Array],
    metric: Any,
    scale: float,
    scores_of: Callable[[Array, Array, str], Array],
) -> None:
    rows, queries = data[0] * np.float32(scale), data[1][:100] * np.float32(scale)
    index = build("rabitq+rescore(f32)", rows, metric=metric)
    found, truth = index.search(queries, 10, candidates=20), index.exact(queries, 10)
    nearest = np.argsort(-scores_of(queries, rows, metric), axis=1)[:, :10]
    by_hand = [
        len(set(a) & set(b)) / 10 for a, b in zip(found.ids.tolist(), nearest.tolist(), strict=True)
    ]
    measured = recall_per_query(found, truth)
    # Near ties may count on top, which in structureless data are few.
    assert (measured >= np.array(by_hand) - 1e-9).all()
    assert measured.mean() == pytest.approx(np.mean(by_hand), abs=0.02)
    assert measured.mean() < 0.95, "or the test would not tell anything"


def test_ties_count_whoever_is_named() -> None:
    truth = result([[1, 2, 3]], [[0.9, 0.5, 0.5]])
    assert recall_per_query(result([[1, 2, 7]], [[0.9, 0.5, 0.5]]), truth).tolist() == [1.0]
    assert recall_per_query(result([[1, 8, 7]], [[0.9, 0.4999, 0.4997]]), truth).tolist() == [1.0]
    worse = recall_per_query(result([[1, 8, 7]], [[0.9, 0.5, 0.49]]), truth)
    assert worse.tolist() == pytest.approx([2 / 3])


def test_what_was_not_found_does_not_count() -> None:
    inf = float("inf")
    truth = result([[1, 2, -1], [-1, -1, -1]], [[0.9, 0.5, -inf], [-inf, -inf, -inf]])
    found = result([[1, -1, -1], [-1, -1, -1]], [[0.9, -inf, -inf], [-inf, -inf, -inf]])
    assert recall_per_query(found, truth).tolist() == [0.5, 0.0]
    assert recall_per_query(truth, truth).tolist() == [1.0, 0.0]


def test_rounding_is_no_miss() -> None:
    """An exact duplicate lies at distance 0, give or take the last digit of a sum."""
    truth = result([[1], [1]], [[0.0], [-100.0]])
    assert recall_per_query(result([[1], [1]], [[-1e-5], [-100.0]]), truth).tolist() == [1.0, 1.0]
    assert recall_per_query(result([[2], [1]], [[-1e-2], [-100.0]]), truth).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("spec", "knob"),
    [
        ("rabitq", "candidates"),
        ("hnsw(m=4,ef_construction=20)", "ef_search"),
        ("hnswlib(m=4,ef_construction=20)", "ef_search"),
    ],
)
def test_the_tuned_knob_holds_on_fresh_queries(
    data: tuple[Array, Array], spec: str, knob: str
) -> None:
    rows, queries = data
    index = build(spec, rows)
    certificate = tune(index, queries[:300], recall=0.9, k=10)
    assert certificate.holds
    assert certificate is index.certificate
    assert certificate.bound >= 0.9
    assert certificate.n == 150
    assert f"{knob}={index.defaults[knob]}" in certificate.method
    assert index.defaults[knob] in index.knobs[knob]
    fresh = queries[300:]
    truth = index.exact(fresh, 10)
    assert recall_per_query(index.search(fresh, 10), truth).mean() >= 0.9
    cheapest = index.knobs[knob][0]
    assert index.defaults[knob] > cheapest, "or nothing was chosen"
    assert (
        recall_per_query(index.search(fresh, 10, where=None, **{knob: cheapest}), truth).mean()
        < 0.9
    )


def test_a_knob_in_the_call_goes_before_the_tuned_one(data: tuple[Array, Array]) -> None:
    index = build("rabitq", data[0])
    index.defaults = {"candidates": 300}
    assert (
        index.search(data[1], 1).stats.pages_read
        > index.search(data[1], 1, candidates=10).stats.pages_read
    )


def test_an_exact_index_needs_no_knob(data: tuple[Array, Array]) -> None:
    index = build("flat", data[0])
    certificate = tune(index, data[1][:200], recall=0.95)
    assert (index.defaults, certificate.observed) == ({}, 1.0)
    assert certificate.bound == pytest.approx(0.05 ** (1 / 100))
    assert "no knob" in certificate.method


def test_the_same_seed_gives_the_same_certificate(data: tuple[Array, Array]) -> None:
    index = build("rabitq", data[0])
    first, again = (tune(index, data[1], recall=0.8, seed=3) for _ in range(2))
    assert (first.bound, first.data_hash, first.method) == (
        again.bound,
        again.data_hash,
        again.method,
    )
    assert tune(index, data[1], recall=0.8, seed=4).data_hash != first.data_hash


def test_a_floor_out_of_reach_changes_nothing(data: tuple[Array, Array]) -> None:
    index = build("rabitq", data[0])
    before = tune(index, data[1][:100], recall=0.5), dict(index.defaults)
    # 30 perfect queries prove no more than a recall of 0.05 ** (1 / 30) = 0.905.
    with pytest.raises(FloorNotMet, match=r"recall@10 >= 0.95.*30 held-out.*'candidates': 480"):
        tune(index, data[1][:60], recall=0.95)
    assert (index.certificate, index.defaults) == before


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.ones((19, 32)), "19 queries.*at least 20"),
        (np.ones(32), "1 queries"),
        (np.ones((50, 31)), "31 dimensions"),
        (np.full((50, 32), np.nan), "NaN"),
        ([[1.0], [2.0, 3.0]], "one length"),
    ],
)
def test_unusable_queries(data: tuple[Array, Array], queries: Any, message: str) -> None:
    index = build("rabitq", data[0][:100])
    with pytest.raises(InputError, match=message):
        tune(index, queries)
    assert index.certificate is None


@pytest.mark.parametrize("wrong", [{"k": 0}, {"confidence": 1.0}])
def test_unusable_options(data: tuple[Array, Array], wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        tune(build("flat", data[0]), data[1], **wrong)


def test_an_empty_index_cannot_be_tuned(data: tuple[Array, Array]) -> None:
    index = build("rabitq", data[0])
    index.delete(range(2000))
    with pytest.raises(InputError, match="empty"):
        tune(index, data[1])


def test_a_certificate_survives_saving(data: tuple[Array, Array], tmp_path: Path) -> None:
    index = build("rabitq", data[0])
    certificate = tune(index, data[1][:200], recall=0.85)
    index.save(tmp_path)
    opened = open_index(tmp_path)
    assert opened.certificate == certificate
    assert opened.defaults == index.defaults
    assert opened.search(data[1], 5).stats.pages_read == index.search(data[1], 5).stats.pages_read
