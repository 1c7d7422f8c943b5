"""Weights of words that only one of two questions has."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cache.policies.splitting import parts
from ragopt.cache.policies.wording import WORD_FEATURES, WordWeights, cross_fitted
from ragopt.errors import InputError

THINGS = ("router", "printer", "camera", "laptop", "tablet", "scanner", "monitor", "keyboard")


def labelled(count=400, seed=0):
    """ "wooden" makes no difference, a colour always does."""
    rng = np.random.default_rng(seed)
    pairs, same = [], []
    for number in range(count):
        thing = f"{THINGS[rng.integers(len(THINGS))]} model{number}"
        harmless = bool(rng.random() < 0.5)
        more = "wooden" if harmless else "purple"
        pairs.append((f"How do I install the {thing}", f"How do I install the {more} {thing}"))
        same.append(harmless)
    return pairs, np.array(same)


@pytest.fixture(scope="module")
def weights():
    return WordWeights.fit(*labelled())


def told(weights, asked, cached):
    return dict(zip(WORD_FEATURES, weights.features(asked, cached), strict=True))


def test_a_word_that_makes_no_difference_weighs_for_the_same_meaning(weights):
    assert weights.content["wooden"] > 2
    assert weights.content["purple"] < -2


def test_the_weight_is_the_smoothed_log_odds_of_naive_bayes():
    pairs = [("open the door", "open the red door")] * 3 + [("open the door", "open a door")] * 5
    weights = WordWeights.fit(pairs, [True, False, False] + [True] * 5)
    share = (6 + 1) / (8 + 2)
    odds = (1 + 8 * share) / (2 + 8 * (1 - share))
    assert weights.content == {"red": pytest.approx(np.log(odds * (1 - share) / share), abs=1e-4)}
    assert weights.questions == 16
    assert weights.counts["door"] == 16


def test_features_of_a_pair(weights):
    harmless = told(weights, "fix the router", "fix the wooden router")
    telling = told(weights, "fix the router", "fix the purple router")
    assert harmless["alone_odds"] > 0 > telling["alone_odds"]
    assert telling["alone_worst"] == telling["alone_odds"]
    assert told(weights, "fix the router", "fix the leather router")["alone_odds"] == 0
    assert told(weights, "fix it", "fix it")["rarity_shared"] == 1


def test_rare_words_count_for_more_than_frequent_ones(weights):
    rare = told(weights, "install the router", "install the router antenna")
    frequent = told(weights, "the router", "install the router")
    assert rare["alone_rarest"] > frequent["alone_rarest"]


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_features_are_finite_and_do_not_depend_on_the_order(one, other):
    weights = WordWeights.fit(*labelled(40))
    found = weights.features(one, other)
    assert len(found) == len(WORD_FEATURES)
    assert np.isfinite(found).all()
    assert found == weights.features(other, one)


def test_synonyms_and_inflections_are_shared_whichever_comes_first():
    weights = WordWeights.fit(*labelled(40))
    pair = ("buying a wooden router", "purchase routers")
    found = weights.features(*pair)
    assert found == weights.features(*reversed(pair))
    assert dict(zip(WORD_FEATURES, found, strict=True))["rarity_shared"] > 0.5


def test_features_to_fit_on_come_from_pairs_that_share_no_question():
    pairs, same = labelled(100)
    weights, features = cross_fitted(pairs, same, seed=3)
    assert weights.to_dict() == WordWeights.fit(pairs, same).to_dict()
    folds = parts(pairs, (0.2,) * 5, seed=3)
    assert sorted(np.concatenate(folds)) == list(range(100))
    for fold in folds:
        rest = [place for place in range(100) if place not in set(fold)]
        alone = WordWeights.fit([pairs[place] for place in rest], same[rest])
        for place in fold:
            assert features[place].tolist() == alone.features(*pairs[place])


def test_labels_drawn_at_random_teach_nothing_that_cross_fitting_does_not_undo():
    pairs, _ = labelled(600)
    pairs = [(f"{one} for word{place % 150}", other) for place, (one, other) in enumerate(pairs)]
    same = np.random.default_rng(1).random(600) < 0.5
    weights, honest = cross_fitted(pairs, same, seed=0)
    column = WORD_FEATURES.index("alone_odds")
    seen = np.array([weights.features(*pair)[column] for pair in pairs])
    assert np.corrcoef(seen, same)[0, 1] > 0.2
    assert np.corrcoef(honest[:, column], same)[0, 1] < 0.1


def test_it_is_read_back_as_it_was(weights):
    content = json.loads(json.dumps(weights.to_dict()))
    again = WordWeights.from_dict(content)
    assert again.to_dict() == weights.to_dict()
    pair = ("fix the router", "fix the purple wooden router")
    assert again.features(*pair) == weights.features(*pair)


def test_a_weight_that_is_not_finite_is_refused(weights):
    content = {**weights.to_dict(), "content": {"purple": float("nan")}}
    with pytest.raises(InputError, match="not finite"):
        WordWeights.from_dict(content)


def test_words_of_few_questions_are_not_kept():
    weights = WordWeights.fit([("call Anna", "call Anna now please")] * 2, [True, False])
    assert not weights.content
    assert "anna" in weights.counts
    weights = WordWeights.fit([("call Anna", "call")], [True])
    assert "anna" not in weights.counts
