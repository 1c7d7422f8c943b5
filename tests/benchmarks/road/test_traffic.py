"""Traffic: every wording once, the law behind the rest, and what is refused."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from ragopt.benchmarks.road.traffic import (
    Request,
    Traffic,
    check_apart,
    log_traffic,
    once_traffic,
    zipf_traffic,
)
from ragopt.errors import InputError

WORDINGS = [("a", ["a1", "a2", "a3"]), ("b", ["b1"]), ("c", ["c1", "c2"])]


def _traffic(*pairs: tuple[str, str]) -> Traffic:
    return Traffic(requests=tuple(Request(*pair) for pair in pairs), law="by hand", seed=0)


def _further(traffic: Traffic, wordings: list[tuple[str, list[str]]]) -> Counter[str]:
    """How often each question was asked beyond its wordings' one time each."""
    asked = Counter(request.item for request in traffic.requests)
    return asked - Counter({item: len(texts) for item, texts in wordings})


def _p_of_law(counts: list[int], exponent: float) -> float:
    shares = np.arange(1, len(counts) + 1) ** -exponent
    return float(chisquare(sorted(counts)[::-1], sum(counts) * shares / shares.sum()).pvalue)


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    count=st.integers(1, 60),
    exponent=st.floats(0, 5),
    seed=st.integers(0, 2**31),
)
def test_every_wording_comes_at_least_once_and_the_count_is_kept(
    sizes: list[int], count: int, exponent: float, seed: int
) -> None:
    wordings = [
        (f"q{place}", [f"q{place}w{number}" for number in range(size)])
        for place, size in enumerate(sizes)
    ]
    traffic = zipf_traffic(wordings, count, exponent=exponent, seed=seed)
    assert len(traffic.requests) == max(count, sum(sizes))
    pairs = {(item, text) for item, texts in wordings for text in texts}
    assert {(request.item, request.text) for request in traffic.requests} == pairs
    assert (traffic.law, traffic.seed) == (f"Zipf exponent {exponent:g}", seed)


def test_one_seed_gives_one_traffic_and_another_gives_another() -> None:
    assert zipf_traffic(WORDINGS, 50, seed=3) == zipf_traffic(WORDINGS, 50, seed=3)
    orders = {zipf_traffic(WORDINGS, 50, seed=seed).requests for seed in range(10)}
    assert len(orders) == 10


def test_the_requests_are_shuffled() -> None:
    wordings = [(f"q{place}", [f"w{place}"]) for place in range(100)]
    asked = [request.item for request in zipf_traffic(wordings, 100).requests]
    assert sorted(asked) == sorted(item for item, _ in wordings)
    assert asked != [item for item, _ in wordings]


def test_which_question_is_the_most_frequent_is_drawn_too() -> None:
    wordings = [(f"q{place}", [f"w{place}"]) for place in range(10)]
    first = {
        Counter(r.item for r in zipf_traffic(wordings, 500, exponent=2, seed=seed).requests)
        .most_common(1)[0][0]
        for seed in range(20)
    }  # fmt: skip
    assert len(first) >= 5


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_further_requests_follow_the_law(exponent: float) -> None:
    wordings = [(f"q{place}", [f"w{place}"]) for place in range(10)]
    traffic = zipf_traffic(wordings, 40_010, exponent=exponent, seed=11)
    counts = list(_further(traffic, wordings).values())
    assert sum(counts) == 40_000
    assert _p_of_law(counts, exponent) > 1e-4
    assert _p_of_law(counts, exponent + 0.2) < 1e-9


def test_exponent_zero_asks_all_alike() -> None:
    wordings = [(f"q{place}", [f"w{place}"]) for place in range(10)]
    further = _further(zipf_traffic(wordings, 10_010, exponent=0, seed=4), wordings)
    assert chisquare([further[item] for item, _ in wordings]).pvalue > 1e-4


def test_a_further_request_comes_in_any_wording_evenly() -> None:
    wordings = [("a", ["a1", "a2", "a3", "a4"])]
    asked = Counter(request.text for request in zipf_traffic(wordings, 4_004, seed=5).requests)
    assert chisquare([asked[text] - 1 for text in wordings[0][1]]).pvalue > 1e-4


def test_ratios_by_hand() -> None:
    traffic = _traffic(
        ("a1", "a"),  # new
        ("a1", "a"),  # repeated
        ("a2", "a"),  # rephrased
        ("b1", "b"),  # new
        ("a2", "a"),  # repeated
        ("b2", "b"),  # rephrased
        ("b3", "b"),  # rephrased
        ("c1", "c"),  # new
    )
    assert traffic.repeated_ratio == pytest.approx(2 / 8)
    assert traffic.rephrased_ratio == pytest.approx(3 / 8)
    assert "8 requests" in str(traffic)
    assert "25% repeat" in str(traffic)
    assert "38% put" in str(traffic)


def test_no_requests_have_no_ratios() -> None:
    assert _traffic().rephrased_ratio == 0.0


@pytest.mark.parametrize(
    ("wordings", "count", "exponent"),
    [
        ([], 5, 1.0),
        ([("a", [])], 5, 1.0),
        ([("a", ["a1"]), ("b", [])], 5, 1.0),
        (WORDINGS, 0, 1.0),
        (WORDINGS, -3, 1.0),
        (WORDINGS, 5, -0.1),
        (WORDINGS, 5, math.nan),
        (WORDINGS, 5, math.inf),
    ],
)
def test_bad_input_is_refused(
    wordings: list[tuple[str, list[str]]], count: int, exponent: float
) -> None:
    with pytest.raises(InputError, match=r"at least one question|expected count"):
        zipf_traffic(wordings, count, exponent=exponent)


def test_traffic_of_different_questions_is_apart() -> None:
    check_apart(_traffic(("a1", "a"), ("a2", "a")), _traffic(("b1", "b"), ("A1", "c")))


@pytest.mark.parametrize(
    "leak",
    [
        ("a1", "a"),  # the same request
        ("another wording", "a"),  # the same question in new words
        ("How long?", "b"),  # the same words under another id
        ("how  long", "b"),  # ... and to an exact cache the same
    ],
)
def test_a_report_on_what_was_tuned_on_is_refused(leak: tuple[str, str]) -> None:
    tuning = _traffic(("a1", "a"), ("How long?", "c"))
    with pytest.raises(InputError, match="tuned on"):
        check_apart(tuning, _traffic(("d1", "d"), leak))


# ------------------------------------------------------------------------------- nobody repeats


def test_once_asks_every_wording_once_in_a_drawn_order() -> None:
    traffic = once_traffic(WORDINGS, seed=1)
    asked = sorted((request.item, request.text) for request in traffic.requests)
    assert asked == [(item, text) for item, texts in WORDINGS for text in texts]
    assert traffic.repeated_ratio == 0
    assert len({once_traffic(WORDINGS, seed=seed).requests for seed in range(10)}) > 5
    assert "every wording once" in str(traffic)


# ------------------------------------------------------------------------------- as in a real log


def _many(count: int) -> list[tuple[str, list[str]]]:
    return [(f"q{place}", [f"q{place}a", f"q{place}b"]) for place in range(count)]


def _shape(traffic: Traffic) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(request.text, len(numbers)) for request in traffic.requests]


def test_a_log_is_replayed_request_by_request_where_there_are_questions_enough() -> None:
    places = [0, 1, 0, 2, 2, 0, 3]
    traffic = log_traffic(_many(9), places, name="mine", seed=2)
    assert _shape(traffic) == places
    assert traffic.rephrased_ratio == 0  # a log does not say what rephrases what
    assert len({request.item for request in traffic.requests}) == 4
    assert "as in mine (7 queries, 42.9% of them repeats)" in str(traffic)


@given(st.integers(0, 1000), st.integers(5, 60))
def test_of_a_longer_log_a_sample_keeps_the_share_of_repeats(seed: int, questions: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = rng.zipf(1.6, size=400) % 200
    places = np.unique(drawn, return_inverse=True)[1]
    traffic = log_traffic(_many(questions), places, seed=seed)
    shape = np.array(_shape(traffic))
    counts = np.bincount(places)
    taken = min(questions, len(counts))
    assert len(np.unique(shape)) == taken
    assert set(np.bincount(shape)) <= set(counts)
    # One query of every stretch of equal length, from the most frequent to the rarest.
    order = np.sort(counts)[::-1]
    edges = np.linspace(0, len(order), taken + 1)
    most = sum(order[int(low)] for low in edges[:-1])
    least = sum(order[min(int(np.ceil(high)), len(order)) - 1] for high in edges[1:])
    assert least <= len(shape) <= most


def test_the_beginning_of_a_log_would_hold_fewer_repeats() -> None:
    rng = np.random.default_rng(0)
    places = np.unique(rng.integers(0, 3_000, 9_000), return_inverse=True)[1]
    whole = 1 - len(np.unique(places)) / len(places)
    found = log_traffic(_many(100), places, seed=0)
    assert found.repeated_ratio == pytest.approx(whole, abs=0.03)
    assert 1 - len(np.unique(places[:100])) / 100 < whole / 2


def test_one_seed_gives_one_replay_and_another_gives_another() -> None:
    places = [0, 1, 0, 2, 3, 4]
    assert log_traffic(_many(4), places, seed=3) == log_traffic(_many(4), places, seed=3)
    assert len({log_traffic(_many(4), places, seed=seed).requests for seed in range(10)}) > 5


@pytest.mark.parametrize("places", [[], [[0, 1]], [0, -1]])
def test_a_log_without_requests_is_refused(places: list[int]) -> None:
    with pytest.raises(InputError, match="numbered from 0"):
        log_traffic(WORDINGS, places)


@pytest.mark.parametrize("wordings", [[], [("a", [])]])
def test_traffic_without_questions_is_refused(wordings: list[tuple[str, list[str]]]) -> None:
    for draw in (once_traffic, lambda given: log_traffic(given, [0])):
        with pytest.raises(InputError, match="at least one question"):
            draw(wordings)
