"""Where ranked chunks are cut: fixed counts, the largest gap, seams and ties."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.chunk import Chunk, Hit
from ragopt.errors import InputError
from ragopt.rerank import Cut, FixedK, LargestGap


def hits(*scores: float) -> list[Hit]:
    return [Hit(Chunk(str(place), "text"), score) for place, score in enumerate(scores)]


@pytest.mark.parametrize(("k", "count", "kept"), [(1, 0, 0), (3, 2, 2), (3, 3, 3), (3, 4, 3)])
def test_a_fixed_cut_keeps_k_or_all(k: int, count: int, kept: int) -> None:
    cut = FixedK(k)
    assert cut.keep(hits(*[1.0] * count)) == kept
    assert isinstance(cut, Cut)
    assert str(cut) == f"top {k}"


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None, "3"])
def test_a_fixed_cut_needs_a_count(k: Any) -> None:
    with pytest.raises(InputError, match="expected an integer of at least 1"):
        FixedK(k)


@pytest.mark.parametrize(
    ("options", "scores", "kept"),
    [
        ({}, [0.9, 0.8, 0.2, 0.1], 2),
        ({}, [0.9, 0.3, 0.2, 0.1], 1),
        ({}, [0.9, 0.85, 0.8, 0.1], 3),
        ({"k_min": 2}, [0.9, 0.3, 0.2, 0.05], 3),
        ({"k_min": 3}, [0.9, 0.3, 0.2], 3),
        ({"k_min": 3}, [0.9, 0.3], 2),
        ({"k_max": 2}, [0.9, 0.85, 0.7, 0.1], 2),
        ({"k_max": 3}, [0.9, 0.85, 0.8, 0.1], 3),
        ({"k_max": 1}, [0.9, 0.85, 0.8, 0.1], 1),
        ({"k_min": 2, "k_max": 2}, [0.9, 0.1, 0.0], 2),
        ({"buffer": 1}, [0.9, 0.8, 0.2, 0.1], 3),
        ({"buffer": 9}, [0.9, 0.8, 0.2, 0.1], 4),
        ({"buffer": 9, "k_max": 3}, [0.9, 0.8, 0.2, 0.1], 3),
        ({}, [5, 3, 1], 1),  # equal falls: the first
        ({"k_min": 2}, [5, 3, 1, -1], 2),
        ({}, [1.0, 1.0, 1.0], 1),
        ({}, [1.0], 1),
        ({}, [], 0),
        ({}, [-1.0, -1.5, -9.0], 2),
        ({}, [3.0, 2.0, -math.inf, -math.inf], 2),
        ({}, [math.inf, math.inf, 2.0, 1.0], 2),
    ],
)
def test_the_largest_gap_on_hand_made_scores(
    options: dict[str, int], scores: list[float], kept: int
) -> None:
    assert LargestGap(**options).keep(hits(*scores)) == kept


DESCENDING = st.lists(st.integers(-50, 50), max_size=20).map(lambda s: sorted(s, reverse=True))
LIMITS = st.tuples(st.integers(1, 8), st.integers(0, 8), st.integers(0, 3))


@given(DESCENDING, LIMITS)
def test_the_gap_lies_within_its_limits_and_none_is_larger(
    scores: list[int], limits: tuple[int, int, int]
) -> None:
    k_min, more, buffer = limits
    k_max = k_min + more
    kept = LargestGap(k_min=k_min, k_max=k_max, buffer=buffer).keep(hits(*scores))
    assert min(k_min, len(scores)) <= kept <= min(k_max, len(scores))
    gap = LargestGap(k_min=k_min, k_max=k_max).keep(hits(*scores))
    if len(scores) > k_min:
        falls = {
            k: scores[k - 1] - scores[k] for k in range(k_min, min(k_max, len(scores) - 1) + 1)
        }
        assert gap == min(k for k, fall in falls.items() if fall == max(falls.values()))
        assert kept == min(gap + buffer, k_max, len(scores))


@given(DESCENDING, st.integers(-20, 20), st.sampled_from([0.5, 2.0, 1024.0]))
def test_neither_shift_nor_scale_of_the_scores_moves_the_gap(
    scores: list[int], shift: int, scale: float
) -> None:
    cut = LargestGap(k_max=20)
    assert cut.keep(hits(*[(score + shift) * scale for score in scores])) == cut.keep(hits(*scores))


@given(DESCENDING, st.integers(1, 10))
def test_what_comes_behind_k_max_does_not_matter(scores: list[int], k_max: int) -> None:
    cut = LargestGap(k_max=k_max)
    assert cut.keep(hits(*scores)) == cut.keep(hits(*scores[: k_max + 1]))


@pytest.mark.parametrize(
    "options",
    [
        {"k_min": 0},
        {"k_min": 1.5},
        {"k_min": 5, "k_max": 4},
        {"k_max": 0},
        {"k_max": 2.5},
        {"k_max": True},
        {"buffer": -1},
        {"buffer": 1.5},
    ],
)
def test_limits_that_contradict_each_other_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        LargestGap(**options)


def test_a_cut_says_what_it_does() -> None:
    assert str(LargestGap(k_max=4, buffer=1)) == "largest gap from 1 to 4, buffer 1"
    assert isinstance(LargestGap(), Cut)
