"""The set of deleted rows, against a set of Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.indexes import build
from ragopt.indexes.tombstones import Tombstones

POSITIONS = st.lists(st.integers(0, 200), max_size=30)


def array(positions: list[int]) -> np.ndarray:
    return np.array(positions, dtype=np.int64)


@given(first=POSITIONS, batches=st.lists(POSITIONS, max_size=6), rows=st.integers(201, 300))
def test_against_a_set(first: list[int], batches: list[list[int]], rows: int) -> None:
    dead, model = Tombstones(first), set(first)
    for batch in batches:
        new = set(batch) - model
        assert dead.add(array(batch)) == len(new)
        model |= new
        assert len(dead) == len(model)
        assert dead.positions().tolist() == sorted(model)
        asked = [-1, *range(0, 310, 7), *batch]
        assert dead.among(array(asked)).tolist() == [one in model for one in asked]
        assert dead.alive(rows).tolist() == [one for one in range(rows) if one not in model]
        assert bool(dead) == bool(model)


@pytest.mark.parametrize(
    "given", [[3, 1], (3, 1), {3, 1}, iter([3, 1]), array([3, 1]), range(1, 4, 2)]
)
def test_what_it_is_made_of(given: object) -> None:
    assert Tombstones(given).positions().tolist() == [1, 3]  # type: ignore[arg-type]


def test_the_array_of_a_caller_is_not_kept() -> None:
    given = array([1, 2])
    dead = Tombstones(given)
    dead.add(array([5]))
    assert given.tolist() == [1, 2]
    assert not np.shares_memory(dead.positions(), given)


def test_nothing_costs_nothing() -> None:
    dead = Tombstones()
    assert dead.nbytes == 0
    assert len(dead) == 0
    assert not dead
    assert dead.add(array([])) == 0
    assert dead.positions().dtype == np.int64
    assert dead.among(array([])).tolist() == []
    assert dead.among(array([-1, 0, 10**12])).tolist() == [False] * 3


def test_the_rows_that_are_alive_are_the_same_array_until_something_changes() -> None:
    dead = Tombstones([1])
    before = dead.alive(4)
    assert dead.alive(4) is before
    assert dead.alive(5).tolist() == [0, 2, 3, 4]
    assert dead.add(array([1])) == 0
    assert dead.add(array([2])) == 1
    assert dead.alive(4).tolist() == [0, 3]
    assert before.tolist() == [0, 2, 3], "what a search holds stays"


def test_memory_is_a_byte_a_row_and_counted() -> None:
    dead = Tombstones([99_999])
    assert 100_000 <= dead.nbytes <= 150_000
    dead.alive(100_000)
    assert 99_999 * 9 <= dead.nbytes <= 950_000


def test_many_small_deletes_do_not_copy_each_time() -> None:
    dead, sizes = Tombstones(), set()
    for one in range(3000):
        dead.add(array([one]))
        sizes.add(len(dead._dead))
    assert len(sizes) < 40
    assert len(dead) == 3000


def recall(found: np.ndarray, nearest: np.ndarray) -> float:
    pairs = zip(found.tolist(), nearest.tolist(), strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


def test_a_few_tombstones_do_not_change_which_lists_are_scanned() -> None:
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((60, 32))
    rows = centres[rng.integers(60, size=6000)] + 0.4 * rng.standard_normal((6000, 32))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    index = build("tiered(fresh=64)", rows)
    queries = rows[:50]
    before = index.search(queries, 10)
    recall_before = recall(before.ids, index.exact(queries, 10).ids)
    gone = before.ids[:, 1]
    index.delete(np.unique(gone).tolist())
    after = index.search(queries, 10)
    assert after.stats.codes_scanned == before.stats.codes_scanned
    assert not np.isin(after.ids, gone).any()
    assert recall(after.ids, index.exact(queries, 10).ids) > recall_before - 0.02
