from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ragopt.benchmarks.datasets.types import VectorSet
from ragopt.benchmarks.index.split import check_apart, split_queries
from ragopt.errors import InputError
from ragopt.quality import data_hash


def some_rows(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def split_of(rows, queries=None, **options):
    return split_queries(VectorSet(name="rows", vectors=rows, queries=queries), **options)


def cosines(one, other):
    return one @ other.T


def test_the_three_parts_have_no_row_in_common():
    split = split_of(some_rows(1000), tuning=60, report=120)
    assert split.source == "held-out rows"
    assert (len(split.base), len(split.tuning), len(split.report)) == (820, 60, 120)
    assert cosines(split.report, split.tuning).max() < 1 - 1e-6
    assert cosines(split.report, split.base).max() < 1 - 1e-6
    assert cosines(split.tuning, split.base).max() < 1 - 1e-6


def test_rows_have_length_one_and_keep_their_direction():
    rows = some_rows(200) * 7
    split = split_of(rows, tuning=20, report=20)
    assert np.allclose(np.linalg.norm(split.base, axis=1), 1, atol=1e-6)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert (cosines(split.base, unit).max(axis=1) > 1 - 1e-6).all()


def test_copies_of_a_query_never_stand_in_both_parts():
    few = some_rows(60)
    rows = np.repeat(few, 10, axis=0) * np.tile(np.arange(1, 11), 60)[:, None].astype(np.float32)
    split = split_of(rows, tuning=20, report=40)
    assert cosines(split.report, split.tuning).max() < 1 - 1e-6
    assert (cosines(split.report, split.report) > 1 - 1e-6).sum() == len(split.report)
    assert split.left_out > 0
    assert split.twins_in_base == 60


def test_fewer_distinct_vectors_than_asked_shrink_both_parts_alike():
    rows = np.repeat(some_rows(90), 10, axis=0)
    split = split_of(rows, tuning=50, report=100)
    assert (len(split.tuning), len(split.report)) == (30, 60)


def test_own_queries_are_used_where_there_are_enough():
    queries = some_rows(250, seed=1)
    split = split_of(some_rows(300), queries, tuning=500, report=1000)
    assert split.source == "own queries"
    assert len(split.base) == 300
    assert (len(split.tuning), len(split.report)) == (83, 166)


def test_a_handful_of_own_queries_is_not():
    split = split_of(some_rows(300), some_rows(43, seed=1), tuning=30, report=60)
    assert split.source == "held-out rows"


def test_the_seed_draws_the_split():
    rows = some_rows(400)
    one, again, other = (split_of(rows, tuning=30, report=60, seed=seed) for seed in (3, 3, 4))
    assert one.describe() == again.describe()
    assert one.report_hash != other.report_hash


def test_a_base_in_a_file_is_the_same_base(tmp_path):
    rows = some_rows(400).astype(np.float16)
    inside = split_of(rows, tuning=30, report=60, base_rows=100)
    mapped = split_of(rows, tuning=30, report=60, base_rows=100, into=tmp_path / "base.npy")
    assert len(mapped.base) == 100
    assert inside.describe() == mapped.describe()
    assert np.array_equal(inside.base, np.load(tmp_path / "base.npy"))
    assert not mapped.base.flags.writeable
    assert not inside.base.flags.writeable


@pytest.mark.parametrize(
    ("rows", "queries", "complaint"),
    [
        (some_rows(60), None, "expected at least 20"),
        (np.ones((500, 8), dtype=np.float32), None, "expected at least 20"),
        (some_rows(500), some_rows(300, dim=8), "same model"),
        (some_rows(500)[0], None, "expected"),
        (np.full((500, 8), np.nan, dtype=np.float32), None, "NaN"),
    ],
)
def test_what_cannot_be_split_is_refused(rows, queries, complaint):
    with pytest.raises(InputError, match=complaint):
        split_of(rows, queries, tuning=60, report=120)


def test_reporting_on_what_was_tuned_on_is_refused():
    split = split_of(some_rows(400), tuning=60, report=60)
    same = dataclasses.replace(split, report=split.tuning, report_hash=split.tuning_hash)
    with pytest.raises(InputError, match="the same"):
        check_apart(same)
    mixed = split.report.copy()
    mixed[7] = split.tuning[3]
    with pytest.raises(InputError, match="1 report queries were tuned on"):
        check_apart(dataclasses.replace(split, report=mixed, report_hash=data_hash(mixed)))
    with pytest.raises(InputError, match="hash names"):
        check_apart(dataclasses.replace(split, report=mixed))
