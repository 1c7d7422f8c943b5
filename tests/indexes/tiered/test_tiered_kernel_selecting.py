"""Kernels that select and put in order, against a few lines of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiered_kernels_numpy import F32, I64, Array, opened

from ragopt.indexes.tiered.kernels import selecting

# Heaps ---------------------------------------------------------------------------------------

FEW_VALUES = st.integers(-5, 5).map(float)
DISTANCES = FEW_VALUES | st.floats(-(2.0**100), 2.0**100, width=32)


@given(st.lists(DISTANCES | st.just(float("inf")), max_size=60), st.integers(1, 12))
def test_heaps_keep_the_nearest_in_order(distances: list[float], capacity: int) -> None:
    kept, places = np.zeros(capacity, dtype=F32), np.zeros(capacity, dtype=I64)
    size = 0
    for place, distance in enumerate(distances):
        size = opened(selecting.offer)(kept, places, size, F32(distance), place)
    opened(selecting.sort_heap)(kept, places, size)
    expected = sorted(zip(distances, range(len(distances)), strict=True))[:capacity]
    assert list(zip(kept[:size].tolist(), places[:size].tolist(), strict=True)) == expected


# Selection -----------------------------------------------------------------------------------


@st.composite
def selections(draw: st.DrawFn) -> tuple[list[float], int]:
    distances = draw(st.lists(DISTANCES, min_size=1, max_size=150))
    return distances, draw(st.integers(1, len(distances)))


def kept_of(distances: list[float], wanted: int, *, bounded: bool) -> tuple[float, Array, Array]:
    size = len(distances)
    moved, places = np.array(distances, dtype=F32), np.arange(size, dtype=I64)
    bounds = np.array(distances, dtype=F32) - 1 if bounded else np.empty(0, dtype=F32)
    limit = opened(selecting.keep_nearest)(
        moved, bounds, places, size, wanted, np.empty(64, I64), np.empty(size + 1, F32)
    )
    if bounded:
        np.testing.assert_array_equal(bounds[:wanted], moved[:wanted] - 1)
    return limit, moved[:wanted], places[:wanted]


@given(selections(), st.booleans())
def test_the_nearest_are_kept_in_their_order(drawn: tuple[list[float], int], bounded: bool) -> None:
    distances, wanted = drawn
    limit, moved, places = kept_of(distances, wanted, bounded=bounded)
    values = np.array(distances, dtype=F32)
    expected = np.sort(np.argsort(values, kind="stable")[:wanted])
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_array_equal(moved, values[expected])
    assert limit == values[expected].max()


@pytest.mark.parametrize(
    "distances",
    [
        [3.4e38, -3.4e38, 0.0, 1.0],  # their difference is no f32
        [0.0, 1e-45, 0.0, 1e-45],  # nor is the inverse of this one
        [0.0, -0.0, 0.0],
        [5.0] * 200,
    ],
)
def test_selection_at_the_ends_of_the_scale(distances: list[float]) -> None:
    for wanted in range(1, len(distances) + 1):
        _, _, places = kept_of(distances, wanted, bounded=False)
        expected = np.argsort(np.array(distances, dtype=F32), kind="stable")[:wanted]
        np.testing.assert_array_equal(places, np.sort(expected))


def test_selection_stays_within_bounds_whatever_stands_there() -> None:
    """Nothing but its own scratch is written, also for what no caller should hand over."""
    for odd in (np.inf, -np.inf, np.nan):
        distances = [1.0, odd, 2.0, odd, 3.0, 0.5]
        _, _, places = kept_of(distances, 3, bounded=True)
        assert set(places.tolist()) <= set(range(6))


@given(
    st.lists(st.tuples(FEW_VALUES, FEW_VALUES), min_size=1, max_size=200),
    st.data(),
)
def test_the_nearest_lists_in_order(drawn: list[tuple[float, float]], data: st.DataObject) -> None:
    probes = data.draw(st.integers(1, len(drawn)))
    products, order = (np.array(side, dtype=F32) for side in zip(*drawn, strict=True))
    lists = len(drawn)
    probed, sums = np.full(lists, -1, dtype=I64), np.empty(lists, F32)
    opened(selecting.nearest_lists)(
        *(products, order, sums, probed, probes),
        *(np.empty(64, I64), np.empty(lists + 1, F32), np.empty(lists, F32)),
    )
    expected = np.argsort(products + order, kind="stable")[:probes]
    np.testing.assert_array_equal(probed[:probes], expected)


def test_lists_of_no_distance_are_lists_all_the_same() -> None:
    products = np.array([np.nan, 1, np.inf, np.nan], dtype=F32)
    probed = np.full(4, 99, dtype=I64)
    opened(selecting.nearest_lists)(
        *(products, np.zeros(4, F32), np.empty(4, F32), probed, 4),
        *(np.empty(64, I64), np.empty(5, F32), np.empty(4, F32)),
    )
    assert probed.tolist() == [1, 0, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 12), FEW_VALUES, FEW_VALUES), max_size=60))
def test_candidates_in_order_of_places(drawn: list[tuple[int, float, float]]) -> None:
    places = np.array([place for place, _, _ in drawn], dtype=I64) << 40
    distances = np.array([distance for _, distance, _ in drawn], dtype=F32)
    bounds = np.array([bound for _, _, bound in drawn], dtype=F32)
    order = np.zeros(len(drawn), dtype=I64)
    size = opened(selecting.order_places)(distances, bounds, places, len(drawn), order)
    remain = order[:size]
    best = {
        place: tuple(min(row[side] for row in drawn if row[0] == place) for side in (1, 2))
        for place in {place for place, _, _ in drawn}
    }
    assert (places[remain] >> 40).tolist() == sorted(best)
    pairs = zip(distances[remain].tolist(), bounds[remain].tolist(), strict=True)
    assert list(pairs) == [best[place] for place in sorted(best)]
