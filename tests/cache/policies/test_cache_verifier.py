"""Features of pairs, the model over them, and its form on disk."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cache.policies import FEATURES, Verifier, fit_verifier, pair_features
from ragopt.errors import InputError

PAIR = ("How do I rotate an API key?", "How can I rotate API keys?")


def told(asked, cached, similarity=0.9):
    return dict(zip(FEATURES, pair_features(asked, cached, similarity), strict=True))


def test_features_of_a_rewording():
    found = told(*PAIR)
    assert len(pair_features(*PAIR, 0.9)) == len(FEATURES) == len(set(FEATURES))
    assert found["similarity"] == 0.9
    assert found["nearness"] == pytest.approx(-np.log(0.1))
    assert found["alone_more"] == found["alone_fewer"] == 0
    assert found["content_shared"] == 1
    assert found["opening_same"] == 1
    assert not any(found[f"{guard}_differ"] for guard in ("numbers", "polarity", "entities"))


def test_features_of_another_question():
    found = told("How tall are you at 16 years?", "How tall are you at 18 years?")
    assert found["numbers_differ"] == 1
    found = told("convert lists to tuples", "convert sets of lists to dictionaries")
    assert (found["alone_more"], found["alone_fewer"]) == (2, 1)
    assert 0 < found["content_shared"] < 1


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60), st.floats(-1, 1))
def test_features_are_finite_and_do_not_depend_on_the_order(one, other, similarity):
    found = pair_features(one, other, similarity)
    assert np.isfinite(found).all()
    assert found == pair_features(other, one, similarity)


@pytest.fixture(scope="module")
def labelled():
    """Features drawn at random; the label depends on two of them and some chance."""
    rng = np.random.default_rng(0)
    features = rng.random((3000, len(FEATURES)))
    odds = 6 * features[:, 0] - 4 * features[:, 9] * (features[:, 0] > 0.4) - 1
    return features, rng.random(3000) < 1 / (1 + np.exp(-odds))


@pytest.fixture(scope="module")
def fitted(labelled):
    return fit_verifier(*labelled, seed=3)


def test_scores_are_those_of_the_package_that_fitted_it(labelled, fitted):
    ensemble = pytest.importorskip("sklearn.ensemble")
    features, same = labelled
    theirs = ensemble.GradientBoostingClassifier(
        n_estimators=200, max_depth=4, learning_rate=0.06, min_samples_leaf=20, subsample=0.6,
        max_features=0.4, random_state=3,
    ).fit(features, same)  # fmt: skip
    expected = theirs.predict_proba(features)[:, 1]
    np.testing.assert_allclose(fitted.probabilities(features), expected, atol=1e-9)


def test_it_tells_the_labels_apart(labelled, fitted):
    features, same = labelled
    scores = fitted.probabilities(features)
    assert scores[same].mean() - scores[~same].mean() > 0.2
    assert ((scores > 0) & (scores < 1)).all()
    assert fitted.n == 3000


def test_one_pair_scores_as_many_do(fitted):
    rows = [pair_features(*PAIR, 0.9), pair_features("a b", "c d", 0.6)]
    assert fitted.probability(*PAIR, 0.9) == pytest.approx(fitted.probabilities(rows)[0])


def test_it_is_read_back_as_it_was(labelled, fitted, tmp_path):
    fitted.save(tmp_path / "verifier.json")
    content = json.loads((tmp_path / "verifier.json").read_text())
    again = Verifier.from_dict(content)
    np.testing.assert_allclose(
        again.probabilities(labelled[0]), fitted.probabilities(labelled[0]), atol=1e-4
    )
    assert again.to_dict() == content
    assert repr(again) == "Verifier(200 trees, fitted on 3,000 pairs)"


def test_the_same_seed_fits_the_same_trees(labelled, fitted):
    assert fit_verifier(*labelled, seed=3).to_dict() == fitted.to_dict()
    assert fit_verifier(*labelled, seed=4).to_dict() != fitted.to_dict()


def small():
    return {
        "kind": "ragopt pair verifier", "version": 1, "features": list(FEATURES), "start": 0.5,
        "n": 9, "words": None,
        "trees": [[["similarity", 0.5, 1, 2], -1.0, ["alone_more", 1.5, 3, 4], 2.0, 0.0]],
    }  # fmt: skip


def test_a_tree_written_by_hand_goes_where_it_says():
    verifier = Verifier.from_dict(small())
    rows = np.zeros((3, len(FEATURES)))
    rows[:, 0] = 0.5, 0.6, 0.6
    rows[:, FEATURES.index("alone_more")] = 0, 1, 2
    odds = np.log(verifier.probabilities(rows) / (1 - verifier.probabilities(rows)))
    np.testing.assert_allclose(odds, [-0.5, 2.5, 0.5])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "other"}, "kind 'other'"),
        ({"version": 3}, "upgrade ragopt"),
        ({"features": ["similarity"]}, "fitted on other features"),
        ({"start": float("nan")}, "not finite"),
        ({"trees": [[["similarity", 0.5, 0, 1], 1.0]]}, "leads to no later node"),
        ({"trees": [[["similarity", 0.5, 1, 9], 1.0]]}, "leads to no later node"),
        ({"trees": [[["unheard-of", 0.5, 1, 2], 1.0, 1.0]]}, "not a verifier"),
        ({"trees": [["x"]]}, "not a verifier"),
        ({"trees": None}, "not a verifier"),
    ],
)
def test_another_form_is_refused(change, told):
    with pytest.raises(InputError, match=told):
        Verifier.from_dict({**small(), **change})


def test_what_cannot_be_fitted_is_refused(labelled):
    features, same = labelled
    with pytest.raises(InputError, match="all pairs have one label"):
        fit_verifier(features, np.ones(len(features), dtype=bool))
    with pytest.raises(InputError, match="features have shape"):
        fit_verifier(features[:, 1:], same)


def test_other_features_are_refused(fitted):
    with pytest.raises(InputError, match="features have shape"):
        fitted.probabilities([[1.0, 2.0]])


@pytest.fixture(scope="module")
def taught():
    """Pairs in which "wooden" makes no difference, and "purple" does."""
    rng = np.random.default_rng(5)
    things = ("router", "printer", "camera", "laptop", "tablet")
    pairs, same = [], []
    for number in range(600):
        thing, alike = f"{things[rng.integers(5)]} model{number}", bool(rng.random() < 0.5)
        more = "wooden" if alike else "purple"
        pairs.append((f"How do I install the {thing}?", f"How do I install the {more} {thing}?"))
        same.append(alike)
    features = [pair_features(*pair, 0.9) for pair in pairs]
    return fit_verifier(features, same, pairs=pairs, seed=0), features, pairs


def test_a_verifier_that_saw_the_texts_learns_what_words_matter(taught):
    verifier, *_ = taught
    harmless = verifier.probability("fix the door", "fix the wooden door", 0.9)
    telling = verifier.probability("fix the door", "fix the purple door", 0.9)
    assert harmless > 0.8
    assert telling < 0.2


def test_words_are_kept_with_the_trees(taught, tmp_path):
    verifier, features, pairs = taught
    verifier.save(tmp_path / "verifier.json")
    again = Verifier.from_dict(json.loads((tmp_path / "verifier.json").read_text()))
    expected = verifier.probabilities(features, pairs)
    np.testing.assert_allclose(again.probabilities(features, pairs), expected, atol=1e-4)
    one = verifier.probability(*pairs[0], 0.9)
    assert one == pytest.approx(expected[0], abs=1e-6)


def test_texts_that_do_not_fit_the_features_are_refused(taught, labelled):
    verifier, features, pairs = taught
    with pytest.raises(InputError, match="0 pairs for 600 rows of features"):
        verifier.probabilities(features)
    with pytest.raises(InputError, match="1 pairs for 600 labels"):
        fit_verifier(features, [True] * 300 + [False] * 300, pairs=pairs[:1])


def test_a_form_without_words_is_still_read():
    form = {**small(), "version": 1}
    del form["words"]
    assert Verifier.from_dict(form).words is None


def walked(verifier, features):
    """Each tree gone down node by node."""
    rows = np.asarray(features, dtype=np.float32)
    leaves = np.empty((len(rows), len(verifier.feature)))
    for place, row in enumerate(rows):
        for tree, looked in enumerate(verifier.feature):
            node = 0
            while looked[node] >= 0:
                goes_left = row[looked[node]] <= verifier.threshold[tree, node]
                node = (verifier.left if goes_left else verifier.right)[tree, node]
            leaves[place, tree] = verifier.value[tree, node]
    return 1 / (1 + np.exp(-(verifier.start + leaves.sum(axis=1))))


@pytest.mark.parametrize("count", [0, 1, 2, 5, 300])
def test_probabilities_are_those_of_trees_gone_down_one_by_one(labelled, fitted, count):
    features = labelled[0][:count].reshape(count, len(FEATURES))
    assert fitted.probabilities(features).tolist() == walked(fitted, features).tolist()


def test_pairs_score_the_same_in_any_company(labelled, fitted):
    features = np.tile(labelled[0], (3, 1))[: 4096 + 3]  # beyond what is walked at once
    alone = [fitted.probabilities(features[row : row + 1])[0] for row in (0, 4095, 4096, 4098)]
    assert fitted.probabilities(features)[[0, 4095, 4096, 4098]].tolist() == alone


def test_trees_of_one_leaf_and_no_trees_are_walked():
    leaves = Verifier.from_dict({**small(), "trees": [[0.25], [-1.0]]})
    assert leaves.probabilities(np.zeros((1, len(FEATURES)))) == 1 / (1 + np.exp(0.25))
    none = Verifier.from_dict({**small(), "trees": []})
    assert none.probabilities(np.zeros((2, len(FEATURES)))).tolist() == [1 / (1 + np.exp(-0.5))] * 2
