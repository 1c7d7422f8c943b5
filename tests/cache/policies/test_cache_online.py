"""The policy of each entry: its curve against plain mathematics, its error in streams."""

import math

import numpy as np
import pytest

from ragopt.cache.policies import Candidate, Observation, PerEntry
from ragopt.errors import InputError


def seen(*pairs, entry=1):
    return tuple(Observation(entry, similarity, correct) for similarity, correct in pairs)


def candidate(similarity, observed=(), entry=1):
    return Candidate("a", "b", similarity, entry, tuple(observed))


def nearness(similarity):
    return -math.log(1 - similarity) - 2.3


def reference(similarity, observed):
    """The posterior quantile by drawing curves from the prior and weighing them."""
    rng = np.random.default_rng(0)
    level = rng.normal(0, 3, 400_000)
    slope = rng.normal(1, 2, 400_000)
    level, slope = level[slope >= 0], slope[slope >= 0]
    weight = np.zeros(len(level))
    for each in observed:
        odds = level + slope * nearness(each.similarity)
        weight -= np.log1p(np.exp(-odds if each.correct else odds))
    chance = 1 / (1 + np.exp(-(level + slope * nearness(similarity))))
    order = np.argsort(chance)
    mass = np.cumsum(np.exp(weight - weight.max())[order])
    mass /= mass[-1]
    bounds = [
        (1 - spent) * chance[order[np.searchsorted(mass, spent)]]
        for spent in np.logspace(-4, -0.5, 200)
    ]
    return max(bounds)


@pytest.mark.parametrize("similarity", [0.7, 0.9, 0.97])
@pytest.mark.parametrize(
    "observed",
    [
        (),
        seen((0.95, True)),
        seen((0.9, True), (0.8, False), (0.85, True)),
        seen(*[(0.9 + n / 300, True) for n in range(20)]),
        seen(*[(0.7 + n / 100, n % 3 > 0) for n in range(25)]),
    ],
)
def test_the_bound_is_that_of_the_paper(similarity, observed):
    found = PerEntry().lowest(candidate(similarity, observed))
    expected = reference(similarity, observed)
    # as fine as the grid is: finer where it may come to serving
    assert found == pytest.approx(expected, abs=0.01 if expected > 0.8 else 0.05)


def test_more_evidence_raises_the_bound_and_contrary_evidence_lowers_it():
    policy = PerEntry()
    bounds = [policy.lowest(candidate(0.9, seen(*[(0.9, True)] * n))) for n in (0, 1, 5, 20, 60)]
    assert bounds == sorted(bounds)
    assert bounds[-1] > 0.9
    assert policy.lowest(candidate(0.9, seen(*[(0.9, True)] * 20, (0.9, False)))) < bounds[3]


def test_a_new_entry_serves_nothing():
    policy = PerEntry(seed=0)
    policy.learn([Observation(n, 0.95, True) for n in range(500)])
    assert {policy.decide(candidate(0.99)) for _ in range(200)} == {"ask"}


def test_an_entry_serves_only_where_it_was_seen_to_be_right():
    """Having seen .88 to .98, it must not serve at .70, whatever the curve says."""
    policy = PerEntry(seed=0)
    observed = seen(*[(0.88 + n / 200, True) for n in range(20)] * 3)
    assert "serve" in {policy.decide(candidate(0.93, observed)) for _ in range(100)}
    assert {policy.decide(candidate(0.87, observed)) for _ in range(100)} == {"ask"}


def test_twenty_clean_answers_are_enough_to_serve_mostly():
    """A linear grid of the spent confidence would still ask half of the time."""
    policy = PerEntry(max_error=0.05, seed=1)
    policy.learn([Observation(n % 40, 0.9 + (n % 9) / 100, True) for n in range(400)])
    observed = seen(*[(0.92, True)] * 20)
    served = [policy.decide(candidate(0.95, observed)) == "serve" for _ in range(2000)]
    assert np.mean(served) > 0.9


def test_some_are_always_compared():
    policy = PerEntry(max_error=0.2, max_hit_error=0.3, explored=0.05, seed=2)
    observed = seen(*[(0.9, True)] * 60)
    asked = [policy.decide(candidate(0.95, observed)) == "ask" for _ in range(4000)]
    assert 0.03 < np.mean(asked) < 0.07


def test_the_shared_curve_is_learnt_from_all_entries():
    policy, blank = PerEntry(), PerEntry()
    rng = np.random.default_rng(0)
    similarities = rng.uniform(0.6, 0.99, 600)
    right = rng.random(600) < 1 / (1 + np.exp(-8 * (similarities - 0.8)))
    policy.learn(
        Observation(n, float(s), bool(c))
        for n, (s, c) in enumerate(zip(similarities, right, strict=True))
    )
    assert policy.lowest(candidate(0.98)) > blank.lowest(candidate(0.98))
    assert policy.lowest(candidate(0.65)) < policy.lowest(candidate(0.98))


def stream(error_of, requests, entries, seed):
    """Requests to entries, some of them to the wrong one; (entry, similarity, correct)."""
    rng = np.random.default_rng(seed)
    for _ in range(requests):
        entry = int(rng.integers(entries))
        similarity = float(rng.uniform(0.75, 0.995))
        yield entry, similarity, bool(rng.random() >= error_of(entry, similarity))


@pytest.mark.parametrize(
    "error_of",
    [
        lambda entry, s: max(0.0, 0.9 - s),
        lambda entry, s: 0.3 if entry % 4 == 0 else 0.01,
        lambda entry, s: 0.0 if s > 0.85 + 0.1 * (entry % 2) else 0.6,
    ],
    ids=["falls with similarity", "some entries are bad", "thresholds differ by entry"],
)
def test_the_error_of_a_stream_stays_below_what_was_asked(error_of):
    policy = PerEntry(max_error=0.03, seed=3)
    observed, served, wrong, requests = {}, 0, 0, 3000
    for entry, similarity, correct in stream(error_of, requests, 10, seed=4):
        asked = candidate(similarity, observed.get(entry, ()), entry)
        if policy.decide(asked) == "serve":
            served += 1
            wrong += not correct
        else:
            new = Observation(entry, similarity, correct)
            observed[entry] = (*observed.get(entry, ()), new)
            policy.learn([new])
    assert wrong / requests <= 0.03
    assert served > 0.03 * requests, "a policy that never serves makes no error either"


def test_what_it_says():
    policy = PerEntry()
    policy.learn(seen((0.9, True), (0.8, False)))
    assert "learns per entry: at most 2.0% of the requests wrong" in str(policy)
    assert "2 answers compared" in str(policy)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_error": 0}, "shares above 0"),
        ({"max_error": 0.2, "max_hit_error": 0.1}, "the second no less than the first"),
        ({"max_hit_error": 0.5}, "below .5"),
        ({"explored": 1}, "a share below 1"),
        ({"least": 1}, "a cosine between 0 and 1"),
    ],
)
def test_bad_options_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        PerEntry(**options)
