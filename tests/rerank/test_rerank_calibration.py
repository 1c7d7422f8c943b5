"""Scores become probabilities by a scale that was fitted, never guessed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from ragopt.errors import InputError
from ragopt.rerank import ScoreCalibration


def drawn(
    seed: int, location: float, temperature: float, n: int = 20_000
) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose labels follow the logistic curve of these values."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(location - temperature, 3 * temperature, n)
    return scores, rng.random(n) < 1 / (1 + np.exp(-(scores - location) / temperature))


@pytest.mark.parametrize(("location", "temperature"), [(0.0, 1.0), (12.0, 3.0), (0.4, 0.02)])
def test_the_curve_that_labels_follow_is_found_again(location: float, temperature: float) -> None:
    scores, labels = drawn(0, location, temperature)
    fitted = ScoreCalibration.fit(scores, labels, scorer_id="a")
    assert fitted.location == pytest.approx(location, abs=0.1 * temperature)
    assert fitted.temperature == pytest.approx(temperature, rel=0.06)
    assert (fitted.n, fitted.relevant) == (20_000, int(labels.sum()))


def test_it_agrees_with_a_general_minimiser_of_platts_likelihood() -> None:
    scores, labels = drawn(1, 2.0, 1.5, n=300)
    high = (labels.sum() + 1) / (labels.sum() + 2)
    targets = np.where(labels, high, 1 / ((~labels).sum() + 2))

    def loss(at: np.ndarray) -> float:
        values = at[0] * scores + at[1]
        return float((np.logaddexp(0, values) - targets * values).sum())

    slope, offset = minimize(loss, [0.5, 0.0]).x
    fitted = ScoreCalibration.fit(scores, labels, scorer_id="a")
    assert fitted.temperature == pytest.approx(1 / slope, rel=1e-4)
    assert fitted.location == pytest.approx(-offset / slope, rel=1e-4)


def test_scores_that_part_the_labels_perfectly_have_a_finite_scale() -> None:
    fitted = ScoreCalibration.fit([1, 2, 3, 10, 11], [0, 0, 0, 1, 1], scorer_id="a")
    low, high = fitted.probabilities([3, 10], scorer_id="a")
    assert 0 < low < 0.5 < high < 1


def test_a_single_result_has_its_own_probability() -> None:
    fitted = ScoreCalibration(scorer_id="a", location=5, temperature=2)
    alone = fitted.probabilities([1.0], scorer_id="a")
    among = fitted.probabilities([9.0, 1.0, -3.0], scorer_id="a")
    assert alone[0] == among[1] == pytest.approx(1 / (1 + math.exp(2)))


def test_probabilities_do_not_go_through_the_sigmoid_twice() -> None:
    rng = np.random.default_rng(2)
    told = rng.beta(1, 3, 30_000)
    labels = rng.random(30_000) < told
    fitted = ScoreCalibration.fit(told, labels, scorer_id="a", given="probability")
    asked = np.array([0.01, 0.2, 0.5, 0.9])
    assert fitted.probabilities(asked, scorer_id="a") == pytest.approx(asked, abs=0.02)
    assert np.isfinite(fitted.probabilities([0.0, 1.0], scorer_id="a")).all()


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30),
    st.floats(-1e3, 1e3),
    st.floats(1e-3, 1e3),
)
def test_the_order_stays(scores: list[float], location: float, temperature: float) -> None:
    fitted = ScoreCalibration(scorer_id="a", location=location, temperature=temperature)
    found = fitted.probabilities(sorted(scores), scorer_id="a")
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_infinite_scores_are_certain() -> None:
    fitted = ScoreCalibration(scorer_id="a", location=0, temperature=1)
    assert fitted.probabilities([-math.inf, math.inf], scorer_id="a").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("scores", "labels", "told"),
    [
        ([1, 2, 3], [0, 1], "two vectors of one length"),
        ([1, math.nan], [0, 1], "NaN or infinite"),
        ([1, math.inf], [0, 1], "NaN or infinite"),
        ([1, 2], [1, 1], "needs both kinds"),
        ([1, 2], [0, 0], "needs both kinds"),
        ([7, 7, 7], [0, 1, 0], "all 3 chunks the score 7"),
        ([1, 2, 3, 4], [1, 1, 0, 0], "do not rise with relevance"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    scores: list[float], labels: list[int], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        ScoreCalibration.fit(scores, labels, scorer_id="a")


def test_logits_given_for_probabilities_are_refused() -> None:
    with pytest.raises(InputError, match=r"lie in \[-2, 3\]"):
        ScoreCalibration.fit([-2, 3, 1], [0, 1, 0], scorer_id="a", given="probability")
    with pytest.raises(InputError, match="'score' or 'probability'"):
        ScoreCalibration.fit([0, 1], [0, 1], scorer_id="a", given="logit")  # type: ignore[arg-type]


def test_scores_of_another_scorer_are_refused_by_name() -> None:
    fitted = ScoreCalibration(scorer_id="bm25(k1=1.2)", location=0, temperature=1)
    with pytest.raises(InputError, match=r"'cosine\(x\)'.*'bm25\(k1=1.2\)'"):
        fitted.probabilities([1.0], scorer_id="cosine(x)")
    with pytest.raises(InputError, match=r"1 scores of .* are NaN"):
        fitted.probabilities([math.nan], scorer_id="bm25(k1=1.2)")


@pytest.mark.parametrize("values", [(math.nan, 1), (0, 0), (0, -1), (0, math.inf)])
def test_a_scale_that_is_none_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="temperature above 0"):
        ScoreCalibration(scorer_id="a", location=values[0], temperature=values[1])


def test_saving_and_loading(tmp_path: Path) -> None:
    scores, labels = drawn(3, 1.0, 2.0, n=200)
    fitted = ScoreCalibration.fit(scores, labels, scorer_id="a <b>")
    fitted.save(tmp_path / "scale.json")
    assert ScoreCalibration.load(tmp_path / "scale.json") == fitted
    assert "a &lt;b&gt;" in fitted._repr_html_()
    for content, told in (
        ({**fitted.to_dict(), "version": 99}, "upgrade ragopt"),
        ({**fitted.to_dict(), "kind": "other"}, "kind 'other'"),
        ({**fitted.to_dict(), "temperature": 0}, "above 0"),
        ({"kind": "ragopt score calibration", "version": 1}, "not a score calibration"),
        ([], "not a score calibration"),
    ):
        (tmp_path / "bad.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=told):
            ScoreCalibration.load(tmp_path / "bad.json")
    with pytest.raises(InputError, match="no score calibration can be read"):
        ScoreCalibration.load(tmp_path / "missing.json")
