from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.benchmarks.cache.figures import (
    MILLION,
    NOT_SERVED,
    Counted,
    count,
    enough_hits,
    interval,
    lowest_threshold,
    millionths,
    pack,
    pack_rising,
    unpack,
    unpack_rising,
)
from ragopt.errors import InputError

SCORES = st.lists(
    st.tuples(
        st.sampled_from([NOT_SERVED, 0, 1, 500_000, 900_000, 950_000, MILLION]), st.booleans()
    ),
    min_size=1,
    max_size=120,
)


def _arrays(scored: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([score for score, _ in scored], dtype=np.int32),
        np.array([same for _, same in scored], dtype=bool),
    )


@given(SCORES, st.sampled_from([0.5, 0.85, 0.9]))
def test_the_lowest_threshold_is_that_of_trying_every_one(
    scored: list[tuple[int, bool]], precision: float
) -> None:
    scores, same = _arrays(scored)
    fine = []
    for threshold in sorted(set(scores[scores != NOT_SERVED].tolist())):
        counts = count(scores, same, threshold)
        right = counts.hits - counts.wrong
        if counts.hits >= enough_hits(precision) and right >= precision * counts.hits - 1e-9:
            fine.append(threshold)
    assert lowest_threshold(scores, same, precision) == (min(fine) if fine else None)


def test_a_single_right_hit_does_not_show_a_precision() -> None:
    scores = np.array([999_000, 900_000], dtype=np.int32)
    assert lowest_threshold(scores, np.array([True, False]), 0.95) is None


@pytest.mark.parametrize(("precision", "hits"), [(0.95, 59), (0.9, 29), (0.99, 299)])
def test_fewest_hits_that_show_a_precision(precision: float, hits: int) -> None:
    assert enough_hits(precision) == hits
    assert precision**hits <= 0.05 < precision ** (hits - 1)


def test_what_is_not_served_counts_at_no_threshold() -> None:
    scores = np.array([NOT_SERVED, 0, 400_000], dtype=np.int32)
    assert count(scores, np.array([True, False, True]), 0) == Counted(3, 2, 1)
    assert count(scores, np.array([True, False, True]), NOT_SERVED) == Counted(3, 2, 1)


def test_without_a_hit_there_is_no_precision() -> None:
    nothing = Counted(10, 0, 0)
    assert nothing.precision is None
    assert nothing.wrong_per_hit is None
    assert nothing.to_dict()["wrong_per_hit_range"] == [0.0, 1.0]


def test_intervals_hold_the_share_and_match_known_ones() -> None:
    low, high = interval(5, 100)
    assert low == pytest.approx(0.01643, abs=1e-4)  # Clopper and Pearson's tables
    assert high == pytest.approx(0.11284, abs=1e-4)


@pytest.mark.parametrize(("cosine", "whole"), [(1.0000001, MILLION), (-0.2, 0), (0.95, 950_000)])
def test_millionths_stay_in_range(cosine: float, whole: int) -> None:
    assert millionths(cosine) == whole


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=50))
def test_a_packed_log_comes_back(values: list[int]) -> None:
    assert unpack(pack(np.array(values, dtype=np.int32))).tolist() == values


@pytest.mark.parametrize("text", ["", "!!", "aGVsbG8=", pack(np.arange(3))[:-4]])
def test_a_torn_log_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="log of decisions"):
        unpack(text)


@pytest.mark.parametrize("places", [[], [0], [7], [0, 1, 2, 3], [5, 9, 40323]])
def test_rising_numbers_come_back(places: list[int]) -> None:
    packed = pack_rising(np.array(places, dtype=np.int64))
    assert unpack_rising(packed).tolist() == places


def test_steps_take_less_room_than_places() -> None:
    places = np.arange(0, 40000, 2)
    assert len(pack_rising(places)) < len(pack(places)) / 5
