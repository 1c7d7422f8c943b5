"""Floors keep what they promise, on data whose truth is known; indices against slow references."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.errors import InputError
from ragopt.quality import conformal_quantile
from ragopt.rerank import ConformalFloor, Evidence
from ragopt.rerank.conformal import conformal_rank


def of_least(*least: float) -> list[Evidence]:
    """Questions with one piece of evidence each."""
    return [Evidence((value,), 1) for value in least]


def drawn(rng: np.random.Generator, n: int) -> list[Evidence]:
    """Questions with one to three pieces of evidence, some of them hard."""
    return [
        Evidence(tuple(rng.beta(3, 1.5, size).tolist()), size)
        for size in rng.integers(1, 4, n).tolist()
    ]


# The index --------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.01, 0.9))
def test_the_threshold_is_the_conformal_quantile(least: list[float], alpha: float) -> None:
    floor = ConformalFloor.fit(of_least(*least), alpha=alpha)
    expected = conformal_quantile(least, alpha)
    assert floor.threshold == (0.0 if expected == -math.inf else expected)
    assert floor.rank == min(len(least), math.floor(alpha * (len(least) + 1) + 1e-9))


def test_the_index_by_counting_ranks() -> None:
    # Of n + 1 exchangeable values the new one has every rank with the same probability: below the
    # r-th smallest of the others it is in r of n + 1 cases.
    for n in range(1, 30):
        for alpha in (0.05, 0.1, 0.25, 0.5):
            allowed = [r for r in range(n + 1) if r <= alpha * (n + 1) + 1e-12]
            assert conformal_rank(n, alpha) == min(n, max(allowed))


def test_with_a_confidence_the_index_is_the_largest_whose_coverage_is_sure_enough() -> None:
    # Coverage of the r-th smallest of n uniform values is 1 minus that value.
    rng = np.random.default_rng(0)
    for n, alpha in ((60, 0.1), (200, 0.05)):
        smallest = np.sort(rng.random((20_000, n)), axis=1)
        held = (1 - smallest >= 1 - alpha).mean(axis=0)  # of ranks 1, 2, ...
        rank = conformal_rank(n, alpha, 0.95)
        assert rank >= 1
        assert held[rank - 1] >= 0.945
        assert held[rank] < 0.955
        assert rank < conformal_rank(n, alpha)
    assert conformal_rank(58, 0.05, 0.95) == 0
    assert conformal_rank(59, 0.05, 0.95) == 1  # .95 ** 59 < .05


@pytest.mark.parametrize(("n", "alpha", "rank"), [(18, 0.05, 0), (19, 0.05, 1), (9, 0.1, 1)])
def test_rounding_loses_no_rank(n: int, alpha: float, rank: int) -> None:
    assert conformal_rank(n, alpha) == rank


def test_too_few_questions_keep_all_and_say_so() -> None:
    floor = ConformalFloor.fit(of_least(*[0.9] * 18), alpha=0.05)
    assert floor.keeps_all
    assert "18 labelled questions are too few" in str(floor)
    assert floor.certificate.holds is False  # 18 of 18 do not show .95 at 95 % confidence


def test_equal_values_are_kept_together() -> None:
    floor = ConformalFloor.fit(of_least(*[0.3] * 20, *[0.8] * 20), alpha=0.25)
    assert floor.threshold == 0.3
    assert floor.certificate.observed == 1
    assert [floor.kept(one) for one in of_least(0.3, 0.29999)] == [1, 0]


# Missing evidence -------------------------------------------------------------------------


def test_missing_evidence_counts_as_zero_and_the_ceiling_is_told() -> None:
    whole, torn = of_least(*np.linspace(0.2, 0.9, 36)), [Evidence((0.9,), 2)] * 4
    floor = ConformalFloor.fit([*whole, *torn], alpha=0.2)
    assert floor.ceiling == pytest.approx(0.9)
    assert (floor.rank, floor.n) == (8, 40)
    assert floor.threshold == pytest.approx(np.linspace(0.2, 0.9, 36)[3])  # four zeros come first
    assert floor.certificate.observed == pytest.approx(33 / 40)
    assert floor.kept(torn[0]) == 0


def test_where_too_much_is_missing_nothing_is_promised() -> None:
    found = [*of_least(*[0.9] * 30), *[Evidence((), 1)] * 10]
    floor = ConformalFloor.fit(found, alpha=0.1)
    assert floor.keeps_all
    assert floor.rank == 4
    assert not floor.certificate.holds
    assert floor.certificate.observed == 0.75
    assert "evidence is missing" in str(floor)
    assert "75.0%" in str(floor)
    counted = ConformalFloor.fit(found, alpha=0.1, of="found")
    assert (counted.n, counted.threshold, counted.ceiling) == (30, 0.9, 0.75)
    assert counted.certificate.holds


def test_evidence_of_probability_zero_keeps_all() -> None:
    floor = ConformalFloor.fit(of_least(*[0.0] * 5, *[0.9] * 15), alpha=0.1)
    assert floor.keeps_all
    assert floor.rank == 2


# Mean recall ------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(1, 25), st.floats(0.05, 0.6))
def test_risk_control_by_trying_every_threshold(seed: int, n: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    evidence = [
        Evidence(tuple(np.round(rng.random(size), 1).tolist()), size + int(rng.integers(0, 2)))
        for size in rng.integers(1, 4, n).tolist()
    ]
    floor = ConformalFloor.fit(evidence, alpha=alpha, promise="mean recall")
    fit = []
    for threshold in np.arange(0, 1001) / 1000:
        losses = sum(1 - sum(p >= threshold for p in one.found) / one.owed for one in evidence)
        if (losses + 1) / (n + 1) <= alpha + 1e-9:
            fit.append(threshold)
    assert floor.threshold == pytest.approx(max(fit, default=0.0))
    if not floor.keeps_all:
        assert floor.certificate.holds


def test_recall_with_a_confidence_is_stricter() -> None:
    evidence = drawn(np.random.default_rng(3), 300)
    mean = ConformalFloor.fit(evidence, alpha=0.1, promise="mean recall")
    sure = ConformalFloor.fit(evidence, alpha=0.1, promise="mean recall", confidence=0.95)
    assert 0 < sure.threshold < mean.threshold
    assert sure.certificate.holds
    assert sure.certificate.floor.confidence == 0.95


# Coverage over 200 resplits, with a truth of 20,000 further questions ------------------------


@pytest.mark.parametrize("promise", ["all evidence", "mean recall"])
def test_coverage_on_average_over_calibrations(promise: str) -> None:
    rng = np.random.default_rng(4)
    world = drawn(rng, 20_000)
    kept = []
    for _ in range(200):
        chosen = [world[place] for place in rng.choice(len(world), 80, replace=False)]
        floor = ConformalFloor.fit(chosen, alpha=0.1, promise=promise)  # type: ignore[arg-type]
        fresh = [world[place] for place in rng.choice(len(world), 1_000)]
        kept.append(np.mean([floor.kept(one) for one in fresh]))
    deviation = np.std(kept) / math.sqrt(len(kept))
    assert np.mean(kept) >= 0.9 - 3 * deviation
    assert np.mean(kept) <= 0.93  # nor does it keep far more than was asked


@pytest.mark.parametrize("promise", ["all evidence", "mean recall"])
def test_with_a_confidence_nearly_every_calibration_keeps_the_promise(promise: str) -> None:
    rng = np.random.default_rng(5)
    world = drawn(rng, 20_000)
    held = 0
    for _ in range(200):
        chosen = [world[place] for place in rng.choice(len(world), 100, replace=False)]
        floor = ConformalFloor.fit(
            chosen,
            alpha=0.1,
            promise=promise,
            confidence=0.95,  # type: ignore[arg-type]
        )
        held += np.mean([floor.kept(one) for one in world[::5]]) >= 0.9 - 0.004
    assert held >= 0.93 * 200  # .95, less three deviations of 200 draws would be .90


# Forms and errors -------------------------------------------------------------------------


def test_forms() -> None:
    floor = ConformalFloor.fit(drawn(np.random.default_rng(6), 50), alpha=0.1, confidence=0.9)
    again = ConformalFloor.from_dict(json.loads(json.dumps(floor.to_dict())))
    assert again == floor
    for change, told in (
        ({"version": 9}, "upgrade"),
        ({"threshold": 2.0}, "0 to 1"),
        ({"alpha": 0}, "alpha=0"),
        ({"of": "all"}, "of='all'"),
        ({"certificate": {}}, "not a c"),
    ):
        with pytest.raises(InputError, match=told):
            ConformalFloor.from_dict({**floor.to_dict(), **change})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"alpha": 0}, "alpha=0"),
        ({"alpha": 1}, "alpha=1"),
        ({"alpha": 0.1, "promise": "recall"}, "promise='recall'"),
        ({"alpha": 0.1, "of": "all"}, "of='all'"),
        ({"alpha": 0.1, "confidence": 1}, "confidence=1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        ConformalFloor.fit(of_least(0.5), **settings)  # type: ignore[arg-type]


def test_evidence_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="no more found than owed"):
        Evidence((0.5, 0.5), 1)
    with pytest.raises(InputError, match="at least one owed"):
        Evidence((), 0)
    for odd in (math.nan, -0.1, 1.1):
        with pytest.raises(InputError, match="from 0 to 1"):
            Evidence((odd,), 1)
    with pytest.raises(InputError, match="none with evidence"):
        ConformalFloor.fit([], alpha=0.1)
    with pytest.raises(InputError, match="known and found"):
        ConformalFloor.fit([Evidence((), 1)], alpha=0.1, of="found")
