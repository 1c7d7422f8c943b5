"""The fitted scorer against a slow walk through its trees, its file, and its features."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from ragopt.chunk import Chunk, Hit
from ragopt.compress import Extractive, ExtractiveOptions, Weights
from ragopt.compress.features import FEATURES, segment_features
from ragopt.compress.layout import Layout
from ragopt.compress.learned import SegmentScorer, Tree, default_scorer
from ragopt.compress.score import lexical_scores, lexical_signals
from ragopt.errors import InputError

TREE = Tree(("own", "chunk", "pairs"), (0.5, 0.25, math.inf), (1.0, 2.0, 3.0, 3.0))
TEXTS = (
    ("Rome", "Rome was founded in 753. It lies on the Tiber. Many visit it every year."),
    ("Paris", "Paris lies on the Seine. It was founded by the Parisii."),
    ("", "A river crosses each of them."),
)


def layout() -> Layout:
    return Layout(
        [
            Hit(Chunk(id=str(number), title=title, text=text), 0.0)
            for number, (title, text) in enumerate(TEXTS)
        ]
    )


def scorer(**knobs: Any) -> SegmentScorer:
    given = {"trees": [TREE], "score_weight": 0.0, "length_price": 0.0, "temperature": 1.0}
    return SegmentScorer(**{**given, **knobs})


def column(name: str, query: str, found: Layout) -> list[float]:
    signals = lexical_signals(query, found, Weights())
    assert signals is not None
    return list(segment_features(query, found, signals, Weights())[:, FEATURES.index(name)])


def slow(tree: Tree, row: np.ndarray) -> float:
    """One tree, one row, split by split."""
    at = dict(zip(FEATURES, row, strict=True))
    side = 1 if at[tree.features[0]] > tree.thresholds[0] else 0
    leaf = 1 if at[tree.features[1 + side]] > tree.thresholds[1 + side] else 0
    return tree.values[2 * side + leaf]


def test_trees_are_walked_split_by_split() -> None:
    shipped = default_scorer()
    rows = np.random.default_rng(0).uniform(-0.5, 1.5, (50, len(FEATURES)))
    expected = [sum(slow(tree, row) for tree in shipped.trees) for row in rows]
    np.testing.assert_allclose(shipped.tree_log_odds(rows), expected, atol=1e-9)


def test_a_value_on_the_threshold_goes_left() -> None:
    row = np.zeros((1, len(FEATURES)))
    row[0, FEATURES.index("own")] = 0.5
    row[0, FEATURES.index("chunk")] = 0.25
    assert scorer().tree_log_odds(row) == [1.0]


def test_score_and_length_count_beside_the_trees() -> None:
    row = np.zeros((1, len(FEATURES)))
    row[0, FEATURES.index("score")] = 0.5
    row[0, FEATURES.index("length")] = 3.0
    assert scorer(score_weight=2.0, length_price=0.5).log_odds(row) == [1.0 + 1.0 - 1.5]


def test_scores_are_shares_of_the_best() -> None:
    scores = default_scorer().scores("When was Rome founded?", layout())
    assert scores is not None
    assert scores.max() == scores[0] == 1.0
    assert (scores > 0).all()


def test_temperature_changes_shares_but_no_order() -> None:
    content = default_scorer().to_dict()
    mild = SegmentScorer.from_dict({**content, "temperature": 50.0})
    one = default_scorer().scores("founded Tiber", layout())
    other = mild.scores("founded Tiber", layout())
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(np.argsort(-one), np.argsort(-other))
    assert other.min() > one.min()


@pytest.mark.parametrize("query", ["", "the of", "zebra"])
def test_no_shared_word_gives_no_scores(query: str) -> None:
    assert default_scorer().scores(query, layout()) is None


def test_dict_and_back() -> None:
    content = default_scorer().to_dict()
    again = SegmentScorer.from_dict(json.loads(json.dumps(content)))
    assert again.to_dict() == content


def test_shipped_file_says_what_it_was_fitted_on_and_holds_no_text() -> None:
    about = default_scorer().about
    assert set(about) >= {"created", "fitted_on", "half", "report"}
    assert "embedded" not in about["fitted_on"]
    words = {name for tree in default_scorer().to_dict()["trees"] for name in tree["features"]}
    assert words <= set(FEATURES)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "no segment scorer"),
        ({"trees": []}, "no segment scorer"),
        ({**scorer().to_dict(), "trees": []}, "at least one tree"),
        ({**scorer().to_dict(), "temperature": 0}, "temperature above 0"),
        ({**scorer().to_dict(), "score_weight": math.nan}, "finite"),
    ],
)
def test_unusable_content_is_refused(content: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        SegmentScorer.from_dict(content)


@pytest.mark.parametrize(
    ("part", "value", "match"),
    [
        ("features", ["own", "own", "colour"], "colour"),
        ("features", ["own", "own"], "3 features"),
        ("values", [1, 2, 3], "4 leaves"),
        ("thresholds", [1, 2], "3 splits"),
        ("values", [1, 2, 3, math.nan], "NaN"),
        ("values", [1, 2, 3, math.inf], "finite"),
    ],
)
def test_unusable_trees_are_refused(part: str, value: list[Any], match: str) -> None:
    content = scorer().to_dict()
    content["trees"][0][part] = value
    with pytest.raises(InputError, match=match):
        SegmentScorer.from_dict(content)


def test_features_do_not_depend_on_the_order_of_chunks() -> None:
    one = layout()
    other = Layout([Hit(chunk, 0.0) for chunk in reversed(one.chunks)])
    places = [other.texts().index(text) for text in one.texts()]
    for name in set(FEATURES) - {"score_rank", "own_rank", "chunk_rank"}:
        turned = np.array(column(name, "When was Rome founded?", other))[places]
        np.testing.assert_allclose(
            column(name, "When was Rome founded?", one), turned, err_msg=name
        )


def test_answer_type_follows_the_question() -> None:
    assert column("answer_type", "When was Rome founded?", layout())[:2] == [-0.5, -0.5]
    found = Layout([Hit(Chunk(id="a", text="Rome burnt in July 1964. Rome stood."), 0.0)])
    assert column("answer_type", "When did Rome burn?", found) == [0.5, -0.5]
    assert column("answer_type", "Rome?", found) == [0.0, 0.0]


def test_margins_are_to_the_best_of_the_others() -> None:
    found = layout()
    signals = lexical_signals("Rome founded", found, Weights())
    assert signals is not None
    margins = column("chunk_margin", "Rome founded", found)
    best, second = sorted(signals.whole)[::-1][:2]
    assert margins[0] == pytest.approx(best - second)
    assert margins[3] == pytest.approx(signals.whole[1] - best)


def test_coverage_adds_neighbours_within_the_chunk_only() -> None:
    found = layout()
    bare = column("coverage_bare", "founded Tiber Seine", found)
    with_previous = column("coverage_with_previous", "founded Tiber Seine", found)
    assert with_previous[0] == bare[0]
    assert with_previous[1] == pytest.approx(bare[0] + bare[1])
    assert with_previous[3] == bare[3]


def test_pairs_count_neighbouring_words() -> None:
    shares = column("pairs", "lies on the Tiber", layout())
    assert shares[1] > shares[3] > shares[0] == 0.0


def test_weights_are_the_way_back_to_the_hand_set_score() -> None:
    hits = [Hit(chunk, 0.0) for chunk in layout().chunks]
    fitted = Extractive(count=len).compress("founded Rome", hits, max_tokens=60)
    own = Extractive(scorer=default_scorer(), count=len).compress(
        "founded Rome", hits, max_tokens=60
    )
    assert own == fitted
    weights = Weights(lead=9.0)
    by_hand = Extractive(ExtractiveOptions(weights=weights), count=len)
    np.testing.assert_array_equal(
        by_hand._scores("founded Rome", layout()), lexical_scores("founded Rome", layout(), weights)
    )


@pytest.mark.parametrize("weights", [Weights(), None])
def test_two_ways_to_score_are_refused(weights: Weights | None) -> None:
    class Embedder:
        def embed(self, texts: Any) -> Any:
            return np.ones((len(texts), 2), dtype=np.float32)

    embedder = None if weights else Embedder()
    with pytest.raises(InputError, match="one way to score"):
        Extractive(ExtractiveOptions(weights=weights), embedder=embedder, scorer=scorer())
