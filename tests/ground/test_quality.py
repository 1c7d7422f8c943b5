"""Bounds against their definitions and by simulation; floors, certificates and data hashes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm

import ragopt.quality
from ragopt.errors import InputError
from ragopt.quality import (
    Certificate,
    Floor,
    binomial_lower,
    binomial_upper,
    certify_mean,
    conformal_quantile,
    data_hash,
    mean_lower,
    paired_bootstrap,
    paired_difference,
)

Vector = NDArray[np.float64]

TAIL = 0.05
REPETITIONS = 400


def at_most(rate: float, repetitions: int) -> float:
    """Largest share of misses that chance explains: four standard errors above ``rate``."""
    return rate + 4 * math.sqrt(rate * (1 - rate) / repetitions)


# ----------------------------------------------------------------------------- binomial bounds


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (0, 20), (20, 20), (1, 20), (19, 20), (700, 1000)]
)
def test_binomial_bounds_are_those_of_clopper_and_pearson(
    successes: int, trials: int, confidence: float
) -> None:
    expected_low = binomtest(successes, trials, alternative="greater").proportion_ci(
        confidence_level=confidence, method="exact"
    )
    expected_high = binomtest(successes, trials, alternative="less").proportion_ci(
        confidence_level=confidence, method="exact"
    )
    assert binomial_lower(successes, trials, confidence) == pytest.approx(expected_low.low, 1e-9)
    assert binomial_upper(successes, trials, confidence) == pytest.approx(expected_high.high, 1e-9)


@pytest.mark.parametrize("trials", [1, 2, 13, 40])
def test_binomial_bounds_cover_every_probability(trials: int) -> None:
    counts = np.arange(trials + 1)
    lower = np.array([binomial_lower(int(count), trials) for count in counts])
    upper = np.array([binomial_upper(int(count), trials) for count in counts])
    for chance in np.linspace(0, 1, 101):
        mass = binom.pmf(counts, trials, chance)
        assert mass[lower > chance + 1e-12].sum() <= TAIL + 1e-9
        assert mass[upper < chance - 1e-12].sum() <= TAIL + 1e-9


@given(st.integers(1, 200), st.data())
def test_a_binomial_bound_leaves_exactly_the_tail(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(1, trials))
    lower = binomial_lower(successes, trials)
    assert binom.sf(successes - 1, trials, lower) == pytest.approx(TAIL, rel=1e-6)
    assert binomial_upper(trials - successes, trials) == pytest.approx(1 - lower)


def test_without_a_trial_nothing_is_known() -> None:
    assert binomial_lower(0, 0) == 0.0
    assert binomial_upper(0, 0) == 1.0


@pytest.mark.parametrize("bound", [binomial_lower, binomial_upper])
@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (0, -1)])
def test_counts_that_do_not_fit_are_named(
    bound: Callable[[int, int], float], successes: int, trials: int
) -> None:
    with pytest.raises(InputError, match=f"{successes} successes of {trials} trials"):
        bound(successes, trials)


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 95.0, math.nan])
def test_every_bound_rejects_a_confidence_outside_0_to_1(bad: float) -> None:
    for call in (
        lambda: binomial_lower(1, 2, bad),
        lambda: binomial_upper(1, 2, bad),
        lambda: mean_lower([0.5], confidence=bad),
        lambda: mean_lower([1.0], confidence=bad),
        lambda: paired_bootstrap([0.5], [0.5], confidence=bad),
        lambda: paired_difference([0.5], [0.5], confidence=bad),
        lambda: Floor(metric="recall", at_least=0.9, confidence=bad),
    ):
        with pytest.raises(InputError, match=f"confidence={bad}"):
            call()


# ------------------------------------------------------------------------- conformal quantile


@given(
    st.lists(st.floats(-1e6, 1e6), max_size=60),
    st.integers(2, 200).flatmap(lambda b: st.tuples(st.integers(1, b - 1), st.just(b))),
)
@example([1.0] * 9, (1, 10))  # 0.1 * (9 + 1) is exactly the first rank
@example(list(map(float, range(28))), (1, 29))
def test_the_conformal_threshold_has_the_rank_of_the_theorem(
    scores: list[float], ratio: tuple[int, int]
) -> None:
    rank = math.floor(Fraction(*ratio) * (len(scores) + 1))
    expected = sorted(scores)[rank - 1] if rank else -math.inf
    assert conformal_quantile(scores, ratio[0] / ratio[1]) == expected


@given(st.lists(st.integers(-5, 5), max_size=30), st.floats(0.01, 0.99))
def test_the_conformal_threshold_ignores_order_and_keeps_its_share(
    scores: list[int], alpha: float
) -> None:
    threshold = conformal_quantile(scores, alpha)
    assert threshold == conformal_quantile(scores[::-1], alpha)
    assert sum(score < threshold for score in scores) <= alpha * (len(scores) + 1)


@pytest.mark.parametrize(("count", "alpha"), [(19, 0.1), (40, 0.05), (99, 0.2)])
def test_a_fresh_score_reaches_the_threshold_as_often_as_promised(count: int, alpha: float) -> None:
    rng = np.random.default_rng(count)
    repetitions = 4_000
    draws = rng.standard_normal((repetitions, count + 1))
    reached = np.mean([row[-1] >= conformal_quantile(row[:-1], alpha) for row in draws])
    exact = 1 - math.floor(alpha * (count + 1) + 1e-9) / (count + 1)
    assert exact >= 1 - alpha - 1e-12
    assert abs(reached - exact) <= 4 * math.sqrt(exact * (1 - exact) / repetitions)


def test_too_few_scores_keep_everything() -> None:
    assert conformal_quantile([], 0.5) == -math.inf
    assert conformal_quantile([0.7] * 8, 0.1) == -math.inf
    assert conformal_quantile([0.7] * 9, 0.1) == 0.7


@pytest.mark.parametrize("count", [0, 1, 2, 8])
def test_an_alpha_next_to_one_stays_within_the_scores(count: int) -> None:
    expected = float(count) if count else -math.inf
    assert conformal_quantile(range(1, count + 1), 1 - 1e-10) == expected


@pytest.mark.parametrize("scores", [[0.1, math.nan], [[0.1], [0.2]], 0.5])
def test_conformal_scores_that_are_no_vector_of_numbers_are_rejected(scores: Any) -> None:
    with pytest.raises(InputError, match="scores"):
        conformal_quantile(scores, 0.1)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, math.nan])
def test_alpha_has_to_be_a_probability(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        conformal_quantile([0.5] * 20, alpha)


# ------------------------------------------------------------------------------- mean of [0, 1]


@given(st.integers(1, 300), st.data())
def test_for_zeros_and_ones_the_mean_bound_is_the_exact_binomial_one(
    count: int, data: st.DataObject
) -> None:
    ones = data.draw(st.integers(0, count))
    values = np.arange(count) < ones
    assert mean_lower(values, confidence=0.9) == binomial_lower(ones, count, 0.9)


@pytest.mark.parametrize("count", [1, 7, 40])
def test_the_mean_bound_is_the_one_of_its_paper(count: int) -> None:
    """Learned-Miller and Thomas (2019), definition 1, mirrored: order statistics of uniforms."""
    values = np.sort(np.random.default_rng(count).choice([0.0, 0.2, 0.9, 1.0, 0.4], count))
    values[-1] = 0.7  # never only zeros and ones
    draws = 20_000
    uniforms = np.sort(np.random.default_rng(1).random((draws, count)), axis=1)
    steps = np.diff(np.sort(values), prepend=0.0)
    means = (1 - uniforms) @ steps
    error = 4 * math.sqrt(TAIL * (1 - TAIL) * (1 / draws + 1 / ragopt.quality.RESAMPLES))
    low, high = np.quantile(means, [TAIL - error, TAIL + error])
    assert low <= mean_lower(values) <= high


def failing_one_in_thirty(rng: np.random.Generator) -> Vector:
    """Whole failures, too rare to be in every sample, among values near one."""
    usual = np.where(rng.random(50) < 0.5, 0.9, 1.0)
    return np.where(rng.random(50) < 0.03, 0.0, usual)


def mostly_perfect(rng: np.random.Generator) -> Vector:
    return np.where(rng.random(100) < 0.05, rng.integers(0, 8, 100) / 10, 1.0)


def recall_at_10(rng: np.random.Generator) -> Vector:
    return rng.binomial(10, 0.95, 200) / 10


def zero_or_one(rng: np.random.Generator) -> Vector:
    return (rng.random(100) < 0.96).astype(float)


@pytest.mark.parametrize(
    ("sample", "mean"),
    [
        (failing_one_in_thirty, 0.97 * 0.95),
        (mostly_perfect, 0.95 + 0.05 * 0.35),
        (recall_at_10, 0.95),
        (zero_or_one, 0.96),
    ],
)
def test_the_mean_bound_covers(
    sample: Callable[[np.random.Generator], Vector], mean: float
) -> None:
    rng = np.random.default_rng(7)
    misses = sum(mean_lower(sample(rng), seed=seed) > mean for seed in range(REPETITIONS))
    assert misses / REPETITIONS <= at_most(TAIL, REPETITIONS)


def test_the_mean_bound_tightens_with_the_sample() -> None:
    rng = np.random.default_rng(3)
    gaps = []
    for count in (20, 200, 2_000, 20_000):
        values = rng.choice([0.8, 0.9, 1.0], count)
        gaps.append(values.mean() - mean_lower(values))
    assert gaps == sorted(gaps, reverse=True)
    assert 0 < gaps[-1] < 0.002


@pytest.mark.parametrize("worse", [0.0, 0.5, 0.9])
def test_a_value_that_falls_never_raises_the_bound(worse: float) -> None:
    perfect = mean_lower([1.0] * 50)
    monte_carlo_error = 0.003
    assert mean_lower([1.0] * 49 + [worse]) <= perfect + monte_carlo_error


def test_the_mean_bound_is_deterministic_in_its_seed_and_blind_to_order() -> None:
    values = np.random.default_rng(0).random(100)
    assert mean_lower(values, seed=4) == mean_lower(values[::-1], seed=4)
    assert mean_lower(values, seed=4) != mean_lower(values, seed=5)


def test_draws_in_blocks_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random(12), rng.random(12)
    whole = mean_lower(before), paired_bootstrap(before, after)
    monkeypatch.setattr(ragopt.quality, "_BLOCK_CELLS", 12 * 333)  # the last block is short
    assert mean_lower(before) == pytest.approx(whole[0], rel=1e-12)
    blocked = paired_bootstrap(before, after)
    assert (blocked.lower, blocked.upper) == pytest.approx((whole[1].lower, whole[1].upper))


@pytest.mark.parametrize("values", [[], [[0.5]], 0.5, [0.5, math.nan], [math.inf], [-0.1], [1.01]])
def test_a_mean_of_something_else_than_values_in_0_to_1_is_rejected(values: Any) -> None:
    with pytest.raises(InputError, match="values"):
        mean_lower(values)


# --------------------------------------------------------------------------- paired differences


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=50))
def test_without_a_discordant_cluster_the_ends_are_the_exact_bound(values: list[float]) -> None:
    found = paired_bootstrap(values, values, confidence=0.9)
    unseen = 1 - 0.1 ** (1 / len(values))
    assert (found.lower, found.upper) == pytest.approx((-unseen, unseen))
    assert (found.mean, found.better, found.worse, found.n) == (0.0, 0, 0, len(values))


def test_rounding_is_not_taken_for_a_change() -> None:
    same = paired_bootstrap([0.3, 0.5, 1.0], [0.1 + 0.2, 0.5, 1.0])
    balanced = paired_bootstrap([0.0, 0.0, 0.3], [0.1, 0.2, 0.0], clusters=["a", "a", "a"])
    assert same == paired_bootstrap([0.3, 0.5, 1.0], [0.3, 0.5, 1.0])
    assert (balanced.better, balanced.upper) == (0, 0.95)


CLUSTERED = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=15
)


@given(CLUSTERED, st.integers(2, 5))
def test_repeating_every_item_within_its_cluster_changes_nothing(
    items: list[tuple[int, int, int]], times: int
) -> None:
    labels, before, after = zip(*items, strict=True)
    once = paired_bootstrap(before, after, clusters=labels)
    often = paired_bootstrap(before * times, after * times, clusters=labels * times)
    assert once == often


@given(CLUSTERED)
def test_cluster_figures_are_those_counted_by_hand(items: list[tuple[int, int, int]]) -> None:
    labels, before, after = zip(*items, strict=True)
    means = []
    for label in set(labels):
        gains = [b - a for name, a, b in items if name == label]
        means.append(Fraction(sum(gains), len(gains)))
    found = paired_bootstrap(before, after, clusters=labels)
    assert found.n == len(means)
    assert found.better == sum(mean > 0 for mean in means)
    assert found.worse == sum(mean < 0 for mean in means)
    assert found.mean == pytest.approx(float(sum(means) / len(means)), abs=1e-12)
    assert found.lower <= found.mean <= found.upper


@given(CLUSTERED, st.randoms(use_true_random=False))
def test_the_order_of_the_items_does_not_matter(
    items: list[tuple[int, int, int]], random: Any
) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)
    results = []
    for rows in (items, shuffled):
        labels, before, after = zip(*rows, strict=True)
        results.append(paired_bootstrap(before, after, clusters=labels))
    assert results[0].lower == pytest.approx(results[1].lower, abs=1e-12)
    assert results[0].upper == pytest.approx(results[1].upper, abs=1e-12)


def test_the_ends_are_quantiles_of_all_resamples() -> None:
    differences = np.array([-1.0, 0.0, 0.25, 0.5, 1.0])
    means = [np.mean(draw) for draw in product(differences, repeat=differences.size)]
    found = paired_bootstrap(np.zeros(5), differences)
    error = 4 * math.sqrt(TAIL * (1 - TAIL) / ragopt.quality.RESAMPLES)
    for end, level in ((found.lower, TAIL), (found.upper, 1 - TAIL)):
        low, high = np.quantile(means, [level - error, level + error])
        assert low - 1e-12 <= end <= high + 1e-12


@pytest.mark.parametrize(("worse", "better", "count"), [(0.05, 0.05, 200), (0.1, 0.2, 100)])
def test_each_end_covers_the_mean_difference(worse: float, better: float, count: int) -> None:
    rng = np.random.default_rng(11)
    misses = np.zeros(2)
    for seed in range(REPETITIONS):
        draw = rng.random(count)
        after = np.where(draw < worse, -1.0, np.where(draw < worse + better, 1.0, 0.0))
        found = paired_bootstrap(np.zeros(count), after, seed=seed)
        misses += (found.lower > better - worse + 1e-9, found.upper < better - worse - 1e-9)
    assert (misses / REPETITIONS <= at_most(TAIL, REPETITIONS)).all()


def test_items_that_stand_or_fall_together_need_their_clusters() -> None:
    rng = np.random.default_rng(5)
    repetitions, clusters, size = 200, 60, 6
    labels = np.repeat(np.arange(clusters), size).tolist()
    misses = {"clustered": 0, "apart": 0}
    for seed in range(repetitions):
        gains = np.repeat(rng.choice([-1.0, 0.0, 1.0], clusters), size)
        flat = np.zeros(gains.size)
        misses["clustered"] += paired_bootstrap(flat, gains, clusters=labels, seed=seed).lower > 0
        misses["apart"] += paired_bootstrap(flat, gains, seed=seed).lower > 0
    limit = at_most(TAIL, repetitions)
    assert misses["clustered"] / repetitions <= limit < misses["apart"] / repetitions


def test_the_bootstrap_is_deterministic_in_its_seed() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random(50), rng.random(50)
    assert paired_bootstrap(before, after, seed=1) == paired_bootstrap(before, after, seed=1)
    assert (
        paired_bootstrap(before, after, seed=1).lower
        != paired_bootstrap(before, after, seed=2).lower
    )


@pytest.mark.parametrize(
    ("before", "after", "clusters", "complaint"),
    [
        ([], [], None, "before: expected a non-empty vector"),
        ([1.0], [1.0, 0.0], None, "before has 1 values, after 2"),
        ([1.0, 0.0], [1.0, 0.0], ["a"], "clusters 1"),
        ([1.0], [math.nan], None, "after: 1 values are NaN or infinite"),
        ([math.inf, 1.0], [1.0, 1.0], None, "before: 1 values"),
        ([[1.0]], [[1.0]], None, r"shape \(1, 1\)"),
    ],
)
def test_pairs_that_do_not_fit_are_rejected(
    before: Any, after: Any, clusters: Any, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        paired_bootstrap(before, after, clusters=clusters)


# ------------------------------------------------------------------- paired differences, to decide

LOSS = -0.02  # what a lever may lose at most


def pairs(count: int, gained: int, lost: int) -> tuple[Vector, Vector]:
    """Values of 0 and 1 before and after, of which so many change."""
    before = np.arange(count) < lost
    after = (np.arange(count) >= lost) & (np.arange(count) < lost + gained)
    return before.astype(float), after.astype(float)


def tango_statistic(count: int, gained: int, lost: int, mean: float) -> float:
    """Tango (1998, Statistics in Medicine 17, 891): the score of a mean difference.

    The likeliest share p of gains: gained / p + lost / (p - mean) = 2 same / (1 - 2 p + mean).
    """
    b = gained * (1 + mean) + lost * (1 - mean) + 2 * mean * count
    p = (b + math.sqrt(b * b - 8 * count * gained * mean * (1 + mean))) / (4 * count)
    return (gained - lost - count * mean) / math.sqrt(count * (2 * p - mean - mean**2))


@pytest.mark.parametrize(
    ("count", "gained", "lost"), [(151, 3, 4), (364, 35, 34), (40, 1, 3), (1000, 9, 2)]
)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_for_whole_changes_the_ends_are_those_of_tango(
    count: int, gained: int, lost: int, confidence: float
) -> None:
    found = paired_difference(*pairs(count, gained, lost), confidence=confidence)
    for end, more, less in ((found.lower, gained, lost), (-found.upper, lost, gained)):
        reached = norm.ppf(confidence)
        if more <= less:  # otherwise skewed towards gains: stricter than his
            assert tango_statistic(count, more, less, end) == pytest.approx(reached, abs=1e-6)
        else:
            assert tango_statistic(count, more, less, end) >= reached - 1e-6


@pytest.mark.parametrize(("count", "lost"), [(1, 0), (151, 0), (151, 3), (364, 2), (5, 5)])
def test_where_nobody_gained_whole_losses_have_their_exact_bound(count: int, lost: int) -> None:
    found = paired_difference(*pairs(count, 0, lost), confidence=0.9)
    assert found.lower == pytest.approx(-binomial_upper(lost, count, 0.9))
    mirrored = paired_difference(*pairs(count, lost, 0), confidence=0.9)
    assert mirrored.upper == pytest.approx(binomial_upper(lost, count, 0.9))


def test_partial_losses_without_a_gain_have_the_bound_of_the_mean() -> None:
    after = np.array([1.0] * 90 + [2 / 3] * 6 + [0.5, 0.5, 0, 0])
    found = paired_difference(np.ones(100), after, seed=3)
    assert found.lower == pytest.approx(mean_lower(after, seed=3) - 1)


def passes(count: int, gained_share: float) -> float:
    """Chance that a lever that loses ``LOSS`` on average passes for better; summed, not drawn."""
    most = int(count * gained_share + 5 * math.sqrt(count * gained_share) + 3)
    total, allowed = 0.0, -1
    for gained in range(most + 1):
        while paired_difference(*pairs(count, gained, allowed + 1)).lower > LOSS:
            allowed += 1
        lost_share = (gained_share - LOSS) / (1 - gained_share)
        chance = binom.pmf(gained, count, gained_share)
        total += chance * binom.cdf(allowed, count - gained, lost_share)
    return float(total)


@pytest.mark.parametrize(
    ("count", "gained_share"),
    [(151, 0.0), (151, 0.05), (182, 0.02), (224, 0.002), (247, 0.02), (364, 0.02)],
)
def test_a_true_loss_at_the_border_rarely_passes(count: int, gained_share: float) -> None:
    assert passes(count, gained_share) <= 0.053


THIRD = 1 / 3


@pytest.mark.parametrize(
    ("values", "shares"),
    [
        ([-1.0, -2 * THIRD, -THIRD], [0.01, 0.01, 0.01]),  # sparse, of questions put in three ways
        ([1.0, -THIRD], [0.01, 0.09]),  # skewed towards gains: a plain score test passes 6.5 %
        ([1.0, -0.1], [0.02, 0.4]),
        ([0.01, -1.0], [0.5, 0.025]),
        ([THIRD, -THIRD, 1.0, -1.0], [0.06, 0.09, 0.01, 0.02]),
    ],
)
def test_losses_of_all_sizes_rarely_pass(values: list[float], shares: list[float]) -> None:
    """Two thousand samples of 222 at a true loss of 2 points."""
    assert np.dot(values, shares) == pytest.approx(LOSS)
    rng = np.random.default_rng(9)
    draws, count = 2_000, 222
    known: dict[bytes, bool] = {}
    passed = 0
    for counts in rng.multinomial(count, [*shares, 1 - sum(shares)], size=draws):
        key = counts.tobytes()
        if key not in known:
            difference = np.repeat([*values, 0.0], counts)
            before = np.where(difference < 0, 1.0, 0.0)
            known[key] = paired_difference(before, before + difference).lower > LOSS
        passed += known[key]
    assert passed / draws <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / draws)


def test_it_is_the_percentile_bootstrap_that_lets_losses_pass() -> None:
    """The reason for all this: 4 whole losses of 200 are as many as -2 points bring on average."""
    assert paired_bootstrap(*pairs(200, 0, 1)).lower > LOSS
    assert paired_difference(*pairs(200, 0, 1)).lower < LOSS
    assert binom.cdf(1, 200, -LOSS) > 0.085


@given(CLUSTERED)
def test_both_ends_enclose_the_mean_and_mirror_each_other(
    items: list[tuple[int, int, int]],
) -> None:
    labels, before, after = zip(*items, strict=True)
    first, second = np.array(before) / 3, np.array(after) / 3
    found = paired_difference(first, second, clusters=labels, seed=1)
    mirrored = paired_difference(second, first, clusters=labels, seed=1)
    assert -1 <= found.lower <= found.mean <= found.upper <= 1
    assert (-mirrored.upper, -mirrored.lower) == pytest.approx((found.lower, found.upper))
    assert (mirrored.better, mirrored.worse, mirrored.n) == (found.worse, found.better, found.n)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 60))
def test_one_more_loss_lowers_both_ends(gained: int, lost: int, same: int) -> None:
    count = gained + lost + same + 1
    fewer, more = (paired_difference(*pairs(count, gained, lost + each)) for each in (0, 1))
    assert more.lower < fewer.lower
    assert more.upper < fewer.upper


def test_more_confidence_widens_and_ends_meet_in_the_middle() -> None:
    values = pairs(60, 5, 4)
    lowers = [paired_difference(*values, confidence=c).lower for c in (0.3, 0.5, 0.8, 0.95, 0.99)]
    assert lowers == sorted(lowers, reverse=True)
    middle = paired_difference(*values, confidence=0.5)
    assert middle.lower == pytest.approx(middle.mean, abs=1e-9)
    assert paired_difference(*values, confidence=0.3).lower > middle.mean


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ([2.0], [1.0], r"before: values lie in \[2, 2\], expected \[0, 1\]"),
        ([1.0, 0.0], [1.0, -0.1], r"after: values lie in \[-0.1, 1\]"),
        ([], [], "before: expected a non-empty vector"),
        ([1.0], [math.nan], "after: 1 values are NaN"),
        ([1.0], [1.0, 0.0], "before has 1 values, after 2"),
    ],
)
def test_other_values_than_shares_are_rejected(before: Any, after: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        paired_difference(before, after)


# ----------------------------------------------------------------------- floors and certificates


@pytest.mark.parametrize(
    ("floor", "admitted", "refused"),
    [
        (Floor(metric="recall@10", at_least=0.9), [0.9, 0.95, 1.0], [0.8999, 0.0, math.nan]),
        (Floor(metric="wrong per hit", at_most=0.02), [0.02, 0.0], [0.0201, 1.0, math.nan]),
        (Floor(metric="wrong per hit", at_most=0.0), [0.0], [1e-9]),
        (Floor(metric="gain", at_least=0.0), [0.0, 1.0], [-1e-9]),
    ],
)
def test_a_floor_admits_its_own_side_and_the_limit_itself(
    floor: Floor, admitted: list[float], refused: list[float]
) -> None:
    assert all(floor.admits(bound) for bound in admitted)
    assert not any(floor.admits(bound) for bound in refused)


def test_a_floor_reads_as_a_sentence() -> None:
    assert str(Floor(metric="recall@10", at_least=0.9)) == "recall@10 >= 0.9 at 95% confidence"
    floor = Floor(metric="wrong per hit", at_most=0.02, confidence=0.9)
    assert str(floor) == "wrong per hit <= 0.02 at 90% confidence"


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        ({}, "exactly one of at_least and at_most"),
        ({"at_least": 0.9, "at_most": 0.95}, "at_least=0.9, at_most=0.95"),
        ({"at_least": math.nan}, "NaN"),
        ({"at_most": math.nan}, "NaN"),
    ],
)
def test_a_floor_needs_exactly_one_limit(limits: dict[str, float], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Floor(metric="recall", **limits)


@given(
    st.one_of(
        st.builds(Floor, metric=st.text(), at_least=st.floats(0, 1)),
        st.builds(Floor, metric=st.text(), at_most=st.floats(0, 1), confidence=st.just(0.5)),
    ),
    st.floats(0, 1),
    st.integers(0, 10**9),
    st.text(),
)
def test_a_certificate_survives_json(floor: Floor, bound: float, count: int, text: str) -> None:
    certificate = Certificate(
        floor=floor,
        observed=bound,
        bound=bound,
        n=count,
        method=text,
        data_hash=text,
        seed=count,
        created="2026-11-01T00:00:00+00:00",
    )
    read = Certificate.from_dict(json.loads(json.dumps(certificate.to_dict())))
    assert read == certificate
    assert read.holds == floor.admits(bound)


def test_a_certificate_says_whether_it_holds() -> None:
    floor = Floor(metric="recall@10", at_least=0.9)
    kept = Certificate(floor=floor, observed=0.95, bound=0.91, n=80, method="exact")
    lost = Certificate(floor=floor, observed=0.95, bound=0.89, n=80, method="exact")
    assert (kept.holds, lost.holds) == (True, False)
    assert str(kept) == (
        "recall@10 >= 0.9 at 95% confidence: holds (observed 0.9500, bound 0.9100, n=80, exact)"
    )
    assert "does not hold" in str(lost)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop("bound"),
        lambda fields: fields.pop("floor"),
        lambda fields: fields.update(surprise=1),
        lambda fields: fields.update(floor="recall >= 0.9"),
        lambda fields: fields["floor"].update(at_most=0.1),
        lambda fields: fields["floor"].pop("metric"),
    ],
)
def test_what_is_no_certificate_is_rejected(change: Callable[[dict[str, Any]], Any]) -> None:
    floor = Floor(metric="recall@10", at_least=0.9)
    fields = Certificate(floor=floor, observed=1.0, bound=0.9, n=1, method="exact").to_dict()
    change(fields)
    with pytest.raises(InputError):
        Certificate.from_dict(fields)


def test_certifying_a_mean_records_its_evidence() -> None:
    values = [1.0] * 90 + [0.5] * 10
    floor = Floor(metric="recall@2", at_least=0.9, confidence=0.9)
    certificate = certify_mean(values, floor, source="feed", seed=3)
    assert certificate.observed == pytest.approx(0.95)
    assert certificate.bound == mean_lower(values, confidence=0.9, seed=3)
    assert (certificate.n, certificate.data_hash, certificate.seed) == (100, "feed", 3)
    assert certificate.created.endswith("+00:00")
    assert certificate.holds
    assert not certify_mean(values, Floor(metric="recall@2", at_least=0.95)).holds


def test_a_lower_bound_certifies_no_upper_limit() -> None:
    with pytest.raises(InputError, match="at_least"):
        certify_mean([0.5] * 10, Floor(metric="error rate", at_most=0.5))


# --------------------------------------------------------------------------------- data hashes


def test_the_hash_tells_apart_type_shape_bytes_and_where_parts_end() -> None:
    row = np.arange(6, dtype=np.int32)
    inputs: list[tuple[Any, ...]] = [
        (),
        ("",),
        ("", ""),
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        (row,),
        (row[::-1],),
        (row.astype(np.int64),),
        (row.astype(np.uint32),),
        (row.astype(">i4"),),
        (row.reshape(2, 3),),
        (row.reshape(3, 2),),
        (row.reshape(3, 2), ""),
        (row[:3], row[3:]),
        (row.tobytes(),),
        (np.array(0.0),),
        (np.array([0.0]),),
        (np.array([-0.0]),),
    ]
    hashes = [data_hash(*parts) for parts in inputs]
    assert len(set(hashes)) == len(inputs)
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in hashes)


def test_the_hash_is_of_the_content_not_of_the_memory() -> None:
    table = np.arange(12.0).reshape(3, 4)
    assert data_hash(table.T) == data_hash(np.ascontiguousarray(table.T))
    assert data_hash(table[:, ::2]) == data_hash(table[:, ::2].copy())
    assert data_hash("é") == data_hash("é".encode())


def test_the_hash_is_frozen() -> None:
    """Saved certificates and embedding ids hold it."""
    assert data_hash("words", b"bytes", np.arange(3, dtype="<f4")) == "0f2bb2d5ec16bfba"


def test_an_array_of_objects_has_no_hash() -> None:
    with pytest.raises(InputError, match="object"):
        data_hash(np.array(["a", None], dtype=object))
