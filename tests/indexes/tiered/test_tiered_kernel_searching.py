"""The kernel that searches, against the same steps in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiered_kernels_numpy import F32, Array, normal
from tiered_kernels_planted import ENDLESS, LISTS, PROBES, Planted, planted, reference, turn

from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.kernels import machine


def check(index: Planted, queries: Array, k: int, **given: Any) -> Array:
    places, scores, costs = index.search(queries, k, **given)
    for query, place, score, cost in zip(queries, places, scores, costs, strict=True):
        results, expected = reference(index, query, k, **given)
        missing = k - len(results)
        assert place.tolist() == [p for _, p in results] + [-1] * missing
        nearness = [-distance for distance, _ in results]
        np.testing.assert_allclose(score[: len(results)], nearness, rtol=1e-3, atol=1e-3)
        assert (score[len(results) :] == -np.inf).all()
        assert cost.tolist() == expected
    return costs


@pytest.mark.parametrize("by_square", [True, False])
@pytest.mark.parametrize(
    ("dim", "dtype", "bits"),
    [(40, "f16", 1), (64, "f32", 2), (192, "f16", 4), (200, "f32", 1), (1100, "f32", 1)],
)
def test_search(dim: int, dtype: str, bits: int, by_square: bool) -> None:
    """Also of rows that are longer than a page, and dimensions that are no multiple of 64."""
    index = planted(dim, bits=bits, dtype=dtype, by_square=by_square)
    query_bits = 4 if bits <= 2 else 8
    check(index, normal(6, dim, seed=5), 5, query_bits=query_bits)


@pytest.mark.parametrize("k", [1, 8, 150])
@pytest.mark.parametrize("probes", [1, LISTS])
@pytest.mark.parametrize(("candidates", "at_once"), [(1, 1), (8, 8), (20, 3), (500, 250)])
def test_search_at_its_limits(k: int, probes: int, candidates: int, at_once: int) -> None:
    index = planted(64)
    queries = normal(3, 64, seed=5)
    check(index, queries, k, probes=probes, candidates=candidates, at_once=at_once)


@pytest.mark.parametrize("slack", [0.0, 10.0])
def test_the_second_round_reads_what_may_still_be_nearer(slack: float) -> None:
    index = planted(64)
    queries = normal(4, 64, seed=5)
    costs = check(index, queries, 3, slack=slack, at_once=5)
    if slack:
        assert (costs[:, kernels.ROUNDS] == 2).all()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("enough", [1, 25, ENDLESS])
def test_what_must_not_be_found_is_not(share: float, enough: int) -> None:
    index = planted(64)
    may = (np.random.default_rng(2).random(len(index.rows)) < share).astype(np.uint8)
    queries = normal(4, 64, seed=5)
    check(index, queries, 5, may=may, probes=LISTS, enough=enough)
    places, _, _ = index.search(queries, 5, may=may, probes=LISTS, enough=enough)
    assert may[places[places >= 0]].all()


@pytest.mark.parametrize("dtype", ["f16", "f32"])
@pytest.mark.parametrize(
    ("hot", "cold"), [((0, 1, 2, 3, 4, 5, 6), ()), ((1, 3), (0, 2, 6)), ((), (0, 1, 2, 3, 4, 5, 6))]
)
def test_tiers_change_costs_and_nothing_else(
    hot: tuple[int, ...], cold: tuple[int, ...], dtype: str
) -> None:
    index = planted(96, dtype=dtype, hot=hot, cold=cold)
    queries = normal(5, 96, seed=5)
    heat = np.zeros((2, LISTS), dtype=F32)
    costs = check(index, queries, 5, heat=heat)
    if len(hot) == LISTS:
        assert not costs[:, [kernels.PAGES, kernels.ROUNDS]].any()
    warm = planted(96, dtype=dtype).search(queries, 5)
    tiered = index.search(queries, 5, heat=np.zeros((2, LISTS), dtype=F32))
    assert [side.tobytes() for side in warm[:2]] == [side.tobytes() for side in tiered[:2]]


def test_heat_counts_lists_scanned_and_rows_read() -> None:
    index, heat = planted(64, counts=(90,)), np.zeros((2, LISTS), dtype=F32)
    query = normal(1, 64, seed=5)
    _, _, costs = index.search(query, 5, heat=heat, at_once=20)
    rotated = turn(query, index.flips)[0]
    near = np.argsort(index.order - 2 * index.centroids.astype(F32) @ rotated, kind="stable")
    assert np.flatnonzero(heat[0]).tolist() == sorted(near[:PROBES].tolist())
    assert heat[0].max() == 1
    scanned = sum(len(index.entries[0][at]) for at in near[:PROBES])
    assert scanned == costs[0, kernels.CODES]
    assert 5 <= heat[1].sum() <= 20


@pytest.mark.parametrize("counts", [(), (1,), (3, 1, 2)])
@pytest.mark.parametrize("fresh", [0, 1, 9])
def test_small_and_empty_indexes(counts: tuple[int, ...], fresh: int) -> None:
    index = planted(64, counts=counts, fresh=fresh)
    if counts:
        check(index, normal(3, 64, seed=5), 4)
        return
    places, scores, costs = index.search(normal(3, 64, seed=5), 4)
    assert (places[:, min(fresh, 4) :] == -1).all()
    assert np.isfinite(scores[:, : min(fresh, 4)]).all()
    assert not costs.any()


def test_equal_rows_are_found_in_order_of_their_places() -> None:
    index = planted(64, counts=(), fresh=6)
    same = np.ascontiguousarray(np.repeat(index.rows[:1], 6, axis=0))
    index.fresh[kernels.ROWS] = same.ctypes.data
    places, _, _ = index.search(normal(1, 64, seed=5), 4)
    assert places[0].tolist() == [0, 1, 2, 3]


def test_a_search_gives_the_same_bits_alone_and_in_company() -> None:
    index, queries = planted(192, cold=(1, 2)), normal(20, 192, seed=5)
    together = [side.tobytes() for side in index.search(queries, 5)]
    again = [side.tobytes() for side in index.search(queries, 5)]
    alone = [index.search(queries[at : at + 1], 5) for at in range(20)]
    one_by_one = [np.concatenate(side).tobytes() for side in zip(*alone, strict=True)]
    assert together == again == one_by_one


def test_a_query_of_nothing_and_a_far_one() -> None:
    index = planted(64)
    check(index, np.zeros((1, 64), dtype=F32), 5)
    check(index, normal(1, 64, seed=5) * F32(1e4), 5)
    places, _, _ = index.search(np.full((1, 64), 3e38, dtype=F32), 5)
    assert ((places >= -1) & (places < len(index.rows))).all()


def test_machine_code_is_kept_until_a_module_changes() -> None:
    """A caller contains what it calls: the age of its own module alone says too little."""
    package = Path(machine.__file__).parent
    stamped = {name for name, _, _ in kernels.search._cache._cache_file._source_stamp}
    assert stamped == {path.name for path in package.glob("*.py")}
