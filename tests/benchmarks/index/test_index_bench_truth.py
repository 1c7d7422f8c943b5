from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.benchmarks.datasets.types import VectorSet
from ragopt.benchmarks.index.split import split_queries
from ragopt.benchmarks.index.truth import Truth, recalls_of
from ragopt.errors import InputError

K = 10


@pytest.fixture(scope="module")
def truth() -> Truth:
    rows = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32)
    split = split_queries(VectorSet(name="rows", vectors=rows), tuning=20, report=40)
    return Truth.of(split, K)[1]


def mean_recall(truth: Truth, ids) -> float:
    return float(recalls_of(truth.hits(np.asarray(ids)), K).mean())


def naive_right(truth: Truth, ids) -> list[int]:
    """Results of each query that reach the k-th score, one by one."""
    right = []
    for query, row in zip(truth.queries, ids, strict=True):
        scores = truth.base @ query
        last = np.sort(scores)[-K]
        slack = max(1e-3 * abs(last), 1e-6)
        good = {i for i in row.tolist() if 0 <= i < len(scores) and scores[i] >= last - slack}
        right.append(min(len(good), K))
    return right


def test_the_truth_is_an_exact_scan(truth):
    scores = truth.queries @ truth.base.T
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    assert np.array_equal(truth.exact.ids, expected)
    assert mean_recall(truth, expected) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_hits_agree_with_counting_one_by_one(truth, seed, share):
    rng = np.random.default_rng(seed)
    noise = rng.integers(-20, len(truth.base) + 20, truth.exact.ids.shape)
    ids = np.where(rng.random(noise.shape) < share, truth.exact.ids, noise)
    expected = np.bincount(naive_right(truth, ids), minlength=K + 1)
    assert truth.hits(ids) == expected.tolist()


def test_answers_of_other_queries_do_not_count(truth):
    assert mean_recall(truth, np.roll(truth.exact.ids, 1, axis=0)) < 0.3


def test_one_good_id_ten_times_counts_once(truth):
    ids = np.repeat(truth.exact.ids[:, :1], K, axis=1)
    assert mean_recall(truth, ids) == pytest.approx(1 / K)


@pytest.mark.parametrize("shift", [-(1 << 40), -400, 400, 1 << 40])
def test_ids_out_of_range_do_not_count(truth, shift):
    assert mean_recall(truth, truth.exact.ids + shift) == 0


def test_an_id_beyond_64_bits_signed_does_not_count(truth):
    ids = np.full(truth.exact.ids.shape, (1 << 64) - 1, dtype=np.uint64)
    assert mean_recall(truth, ids) == 0


def test_a_tie_counts_whichever_row_is_returned():
    rows = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    rows = np.concatenate([rows, rows])  # every row has a twin
    split = split_queries(VectorSet(name="rows", vectors=rows), tuning=20, report=20)
    truth = Truth.of(split, 3)[1]
    scores = truth.queries @ truth.base.T
    other = np.argsort(-scores[:, ::-1], axis=1, kind="stable")[:, :3]
    ids = len(truth.base) - 1 - other
    assert not np.array_equal(ids, truth.exact.ids)
    assert truth.hits(ids)[3] == len(truth.queries)


@pytest.mark.parametrize(
    "ids",
    [np.zeros((40, 9), np.int64), np.zeros((39, 10), np.int64), np.zeros((40, 10), np.float64)],
    ids=["columns", "rows", "floats"],
)
def test_another_shape_or_kind_is_refused(truth, ids):
    with pytest.raises(InputError, match="expected"):
        truth.hits(ids)


def test_a_base_smaller_than_k_can_be_answered_fully():
    rows = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    split = split_queries(VectorSet(name="rows", vectors=rows), tuning=20, report=20, base_rows=4)
    truth = Truth.of(split, K)[1]
    ids = np.full((20, K), -1)
    ids[:, :4] = np.arange(4)
    hits = truth.hits(ids)
    assert hits[4] == 20
    assert recalls_of(hits, 4).mean() == 1


def test_queries_may_be_judged_again_and_again(truth):
    rows = np.array([3, 3, 1])
    assert truth.of_rows(rows).hits(truth.exact.ids[rows])[K] == 3
    assert truth.of_rows(rows).hits(truth.exact.ids[[3, 1, 1]])[K] == 2
