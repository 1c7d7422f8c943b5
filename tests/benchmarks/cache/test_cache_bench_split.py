from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.benchmarks.cache.split import Halves, check_apart, components, halves, parts
from ragopt.benchmarks.datasets.types import LabelledPair, PairSet
from ragopt.cache import normalise
from ragopt.errors import InputError

TEXTS = st.sampled_from([f"q{n}" for n in range(30)] + ["Q1 ?", "q2?"])
PAIRS = st.lists(st.builds(LabelledPair, TEXTS, TEXTS, st.booleans()), min_size=1, max_size=60)


@given(PAIRS, st.integers(0, 5))
def test_no_question_is_in_two_parts(pairs: list[LabelledPair], seed: int) -> None:
    found = parts(pairs, (0.3, 0.3, 0.4), seed=seed)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(pairs)))
    words = [
        {normalise(text) for place in part for text in (pairs[place].text_a, pairs[place].text_b)}
        for part in found
    ]
    assert sum(map(len, words)) == len(set().union(*words))


def test_halves_are_halves(pairs: PairSet) -> None:
    split = halves(pairs.pairs, seed=3)
    assert len(split.fit) == pytest.approx(len(pairs.pairs) / 2, abs=4)
    check_apart(pairs.pairs, split)


def test_a_seed_draws_the_same_halves_and_another_draws_others(pairs: PairSet) -> None:
    one, again, other = (halves(pairs.pairs, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.fit, again.fit)
    assert not np.array_equal(one.fit, other.fit)


def test_a_fit_half_that_leaks_into_the_report_is_refused(pairs: PairSet) -> None:
    split = halves(pairs.pairs, seed=0)
    leaking = Halves(np.sort(np.append(split.fit, split.report[0])), split.report)
    with pytest.raises(InputError, match="in the half that fits and in the half that reports"):
        check_apart(pairs.pairs, leaking)


def test_other_typography_hides_no_leak() -> None:
    pairs = [LabelledPair("How do I fly?", "b", True), LabelledPair("how do I  fly", "d", True)]
    with pytest.raises(InputError, match="how do I  fly"):
        check_apart(pairs, Halves(np.array([0]), np.array([1])))


def test_one_component_cannot_be_halved() -> None:
    pairs = [LabelledPair("a", "b", True), LabelledPair("b", "c", False)]
    with pytest.raises(InputError, match="some of both"):
        check_apart(pairs, halves(pairs, seed=0))


def test_components_follow_chains() -> None:
    of = components([("a", "b"), ("c", "d"), ("b", "e"), ("f", "f")])
    assert of["a"] == of["b"] == of["e"]
    assert len({of["a"], of["c"], of["f"]}) == 3
