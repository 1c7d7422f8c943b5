"""A certified threshold: the bound of the paper, the sequence of tests, and that it holds."""

import json
import math

import numpy as np
import pytest
from scipy.stats import beta

from ragopt.cache.policies import Calibrated, Candidate, certified_steps, fewest_hits
from ragopt.errors import InputError


@pytest.mark.parametrize(
    ("max_error", "hits"), [(0.05, 59), (0.02, 149), (0.01, 299), (0.005, 598)]
)
def test_fewest_hits_are_those_of_the_books(max_error, hits):
    assert fewest_hits(max_error) == hits


def drawn(count, seed, steepness=12.0):
    """Scores in [0, 1] whose chance of being right rises with them, as a logistic curve."""
    rng = np.random.default_rng(seed)
    scores = rng.random(count)
    return scores, rng.random(count) < right(scores, steepness)


def right(score, steepness=12.0):
    return 1 / (1 + np.exp(-steepness * (score - 0.55)))


def true_error(threshold, steepness=12.0):
    grid = np.linspace(threshold, 1, 20001)
    return float((1 - right(grid, steepness)).mean())


def reference(scores, same, max_error, confidence, grid):
    """One threshold after the other, with the quantile of the beta distribution."""
    chosen, least = None, math.ceil(math.log(1 - confidence) / math.log(1 - max_error) - 1e-9)
    least = min(max(least, sum(scores >= grid[-1]) // 8), 5 * least)
    for threshold in grid:
        hits = [bool(ok) for score, ok in zip(scores, same, strict=True) if score >= threshold]
        if len(hits) < least:
            continue
        wrong = hits.count(False)
        bound = beta.ppf(confidence, wrong + 1, len(hits) - wrong) if wrong < len(hits) else 1.0
        if bound > max_error:
            break
        chosen = threshold
    return chosen


GRID = [threshold / 100 for threshold in range(100, 20, -2)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("count", "max_error"), [(300, 0.1), (3000, 0.05), (3000, 0.2), (40, 0.05)]
)
def test_the_threshold_is_that_of_the_plain_procedure(seed, count, max_error):
    scores, same = drawn(count, seed)
    steps = certified_steps(scores, same, max_error=max_error, grid=GRID)
    found = [step.threshold for step in steps if step.certified]
    expected = reference(scores, same, max_error, 0.95, GRID)
    assert (found[-1] if found else None) == expected
    assert [step.threshold for step in steps] == GRID


def test_nothing_below_the_first_failure_is_certified():
    scores = np.repeat([0.9, 0.8, 0.7], 400)
    same = np.ones(1200, dtype=bool)
    same[400:480] = False  # at .8 a fifth is wrong, at .7 none is: together 80 of 1,200
    steps = certified_steps(scores, same, max_error=0.09, grid=[0.9, 0.8, 0.7])
    assert [step.certified for step in steps] == [True, False, False]
    assert steps[2].bound < 0.09, "it would keep the limit by itself"


@pytest.mark.parametrize("max_error", [0.05, 0.1])
@pytest.mark.parametrize("count", [400, 4000])
def test_the_bound_holds_as_often_as_it_says(count, max_error):
    """The true error of the chosen threshold, over 600 draws; where nothing is served none is."""
    exceeded = served = 0
    for seed in range(600):
        policy = Calibrated.fit(*drawn(count, seed), max_error=max_error)
        if not policy.is_off:
            served += 1
            exceeded += true_error(policy.threshold) > max_error
    assert exceeded <= 30
    assert served >= (200 if count == 400 else 580), "a policy that is always off proves nothing"


def test_it_serves_from_its_threshold_on_and_shows_its_certificate():
    policy = Calibrated.fit(*drawn(4000, 1), max_error=0.1, embedder_id="e")
    assert policy.certificate.holds
    assert policy.certificate.bound <= 0.1
    assert policy.least == policy.threshold
    at = Candidate("a", "b", policy.threshold, 1)
    below = Candidate("a", "b", policy.threshold - 1e-6, 1)
    assert (policy.decide(at), policy.decide(below)) == ("serve", "miss")
    assert f"serves from a similarity of {policy.threshold:g}" in str(policy)
    assert "at most 10.0% wrong hits at 95% confidence" in str(policy)


def test_what_cannot_be_certified_is_off_and_says_so():
    rng = np.random.default_rng(0)
    policy = Calibrated.fit(rng.random(500), rng.random(500) < 0.5, max_error=0.02)
    assert policy.is_off
    assert policy.least == math.inf
    assert policy.decide(Candidate("a", "b", 1.0, 1)) == "miss"
    assert "semantic cache off" in str(policy)
    assert "it takes 149 hits" in str(policy)


def test_what_a_guard_refuses_is_no_hit():
    scores, same = np.full(400, 0.9), np.ones(400, dtype=bool)
    same[:100] = False
    assert Calibrated.fit(scores, same).is_off
    scores[:100] = -np.inf
    policy = Calibrated.fit(scores, same)
    assert policy.certificate.n == 300
    assert policy.n == 400


@pytest.mark.parametrize("off", [True, False])
def test_it_is_read_back_as_it_was(tmp_path, off):
    scores, same = drawn(4000, 2)
    policy = Calibrated.fit(scores, ~same if off else same, embedder_id="e", data_hash="h")
    assert policy.is_off == off
    policy.save(tmp_path / "policy.json")
    assert Calibrated.load(tmp_path / "policy.json") == policy
    assert "Infinity" not in (tmp_path / "policy.json").read_text()


BAD = [
    ("", "no calibrated policy can be read"),
    ("[]", "not a calibrated policy"),
    ("{}", "not a calibrated policy"),
    ('{"kind": "other", "version": 1}', "kind 'other'"),
    ('{"kind": "ragopt calibrated cache policy", "version": 99}', "upgrade ragopt"),
]


@pytest.mark.parametrize(("text", "told"), BAD)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, text, told):
    (tmp_path / "policy.json").write_text(text)
    with pytest.raises(InputError, match=rf"policy.json: .*{told}"):
        Calibrated.load(tmp_path / "policy.json")


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.json: no calibrated policy can be read"):
        Calibrated.load(tmp_path / "nowhere.json")


def test_a_damaged_field_is_refused():
    content = Calibrated.fit(*drawn(4000, 2)).to_dict()
    for name in content:
        with pytest.raises(InputError):
            Calibrated.from_dict({key: value for key, value in content.items() if key != name})
    json.dumps(content, allow_nan=False)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_error": 0.5}, "expected a share above 0 and below .5"),
        ({"confidence": 1.0}, "a probability between 0 and 1"),
        ({"scores": [0.5]}, "expected two vectors of one length"),
        ({"scores": [0.5, float("nan")]}, "without NaN"),
        ({"grid": [0.5, 0.6]}, "does not fall"),
    ],
)
def test_bad_input_is_refused(change, told):
    given = {"scores": [0.5, 0.6], "same": [True, False], "max_error": 0.05}
    with pytest.raises(InputError, match=told):
        certified_steps(**{**given, **change})


def test_a_notebook_shows_the_steps():
    pytest.importorskip("matplotlib")
    policy = Calibrated.fit(*drawn(4000, 1), max_error=0.1)
    html = policy._repr_html_()
    assert html.count("<tr>") > 10
    assert f"serves from a similarity of {policy.threshold:g}" in html
    (axes,) = policy.plot().axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["observed", "at most (95% confidence)", "asked for"]
    assert f"from {policy.threshold:g}" in axes.texts[0].get_text()
