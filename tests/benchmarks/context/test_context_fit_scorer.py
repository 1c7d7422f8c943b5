"""Fitting the scorer of segments: labels, trees as scikit-learn grew them, the comparison."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ragopt.benchmarks.context.cases import Case
from ragopt.benchmarks.context.fit_scorer import (
    FITTED_ON,
    HELD_OUT,
    Question,
    compare,
    fit,
    labelled,
)
from ragopt.benchmarks.context.judge import Evidence
from ragopt.chunk import Chunk, Hit
from ragopt.compress import Extractive, ExtractiveOptions, Weights
from ragopt.compress.base import render_chunk
from ragopt.compress.features import FEATURES
from ragopt.compress.learned import SegmentScorer
from ragopt.errors import InputError

BRIDGE = "The bridge over the Salzach was opened in 1903."
ROAD = "A road leads to the bridge from the north side of town."


def case(evidence: Evidence, answers: tuple[str, ...] = ("1903",)) -> Case:
    texts = (f"{BRIDGE} {ROAD}", "The river Inn is green and cold. It flows far.")
    hits = tuple(Hit(Chunk(id=str(at), text=text), 0.0) for at, text in enumerate(texts))
    source = "\n\n".join(render_chunk("", text) for text in texts)
    return Case(
        id="a",
        key="a",
        question="When was the bridge over the Salzach opened?",
        hits=hits,
        source=source,
        tokens=len(source) // 4,
        evidence=(evidence,),
        answers=answers,
    )


def made(count: int, seed: int = 0) -> list[Question]:
    """Questions whose evidence is what has a high own BM25 and a high chunk."""
    rng = np.random.default_rng(seed)
    questions = []
    for _ in range(count):
        features = rng.uniform(size=(30, len(FEATURES)))
        own = features[:, FEATURES.index("own")]
        chunk = features[:, FEATURES.index("chunk")]
        questions.append(Question(features, ((own > 0.6) & (chunk > 0.5)).astype(float), 1.0))
    return questions


def test_marked_sentences_are_labels() -> None:
    found = labelled(case(Evidence((BRIDGE,), "sentence")))
    assert found is not None
    assert found.labels.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert found.features.shape == (4, len(FEATURES))


def test_of_a_marked_passage_the_answer_counts_in_full() -> None:
    found = labelled(case(Evidence((BRIDGE, ROAD), "passage")), 8.0)
    assert found is not None
    assert found.labels.tolist() == [1.0, 0.35, 0.0, 0.0]
    assert found.weight == 8.0


def test_nothing_marked_teaches_nothing() -> None:
    assert labelled(case(Evidence(("Not a word of this stands there.",), "sentence"))) is None


def test_fit_learns_what_the_labels_say_and_keeps_what_was_grown() -> None:
    pytest.importorskip("sklearn")
    scorer = fit(made(60), {"created": "today"})
    again = SegmentScorer.from_dict(json.loads(json.dumps(scorer.to_dict())))
    rows = np.concatenate([one.features for one in made(20, seed=1)])
    labels = np.concatenate([one.labels for one in made(20, seed=1)])
    odds = again.tree_log_odds(rows)
    assert odds[labels == 1].min() > np.quantile(odds[labels == 0], 0.98)
    np.testing.assert_array_equal(odds, scorer.tree_log_odds(rows))


def test_fit_is_deterministic() -> None:
    pytest.importorskip("sklearn")
    assert fit(made(20)).to_dict() == fit(made(20)).to_dict()


def test_fit_without_questions_is_refused() -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(InputError, match="no questions"):
        fit([])


def test_compare_counts_what_either_keeps() -> None:
    both = Extractive(count=len), Extractive(ExtractiveOptions(weights=Weights()), count=len)
    found = compare([case(Evidence((BRIDGE,), "sentence"))], *both)
    assert found["questions"] == 1
    assert found["evidence_at_2x"][:2] == [100.0, 100.0]


def test_what_the_demo_reports_on_is_not_fitted_on() -> None:
    assert "embedded" in HELD_OUT
    assert not set(HELD_OUT) & set(FITTED_ON)
