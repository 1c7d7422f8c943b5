"""Mixes: never a delete of what is not there, and the truth after every step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.benchmarks.workloads import MixOptions, mix, not_live
from ragopt.errors import InputError


@given(
    vectors=st.integers(1, 60),
    initial_and_keep=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    batch=st.integers(1, 20),
    weights=st.tuples(*[st.integers(0, 3)] * 3).filter(any),
    seed=st.integers(0, 2**31),
)
def test_every_operation_can_be_done_and_its_truth_is_what_a_set_would_hold(
    vectors: int,
    initial_and_keep: tuple[int, int],
    batch: int,
    weights: tuple[int, int, int],
    seed: int,
) -> None:
    insert, delete, search = weights
    initial, keep = initial_and_keep
    options = MixOptions(
        initial=min(initial, vectors), operations=30, batch=batch, keep=min(keep, vectors),
        insert=insert, delete=delete, search=search, seed=seed,
    )  # fmt: skip
    made = mix(vectors, 7, options)
    alive = set(made.initial.tolist())
    assert len(alive) == options.initial
    operations = list(made)
    assert len(operations) == 30
    for operation in operations:
        rows = operation.rows.tolist()
        assert 1 <= len(rows) <= batch
        if operation.kind == "search":
            assert len(rows) == batch
            assert all(0 <= row < 7 for row in rows)
        else:
            assert len(set(rows)) == len(rows)
            assert all((row in alive) == (operation.kind == "delete") for row in rows)
            alive = alive ^ set(rows)
            if operation.kind == "delete":
                assert len(alive) >= options.keep
        assert operation.live.tolist() == sorted(alive)


def test_a_mix_is_the_same_each_time_and_another_seed_another() -> None:
    def rows(seed: int) -> list[list[int]]:
        made = mix(100, 10, MixOptions(initial=50, batch=5, seed=seed))
        once, twice = ([o.rows.tolist() for o in made] for _ in range(2))
        assert once == twice
        return once

    assert rows(1) != rows(2)


def test_shares_are_those_asked_for() -> None:
    options = MixOptions(initial=5_000, operations=2_000, batch=2, insert=1, delete=2, search=1)
    kinds = [operation.kind for operation in mix(10_000, 5, options)]
    shares = [kinds.count(kind) / 2_000 for kind in ("insert", "delete", "search")]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.05)


def test_deleted_rows_come_back() -> None:
    options = MixOptions(initial=20, operations=50, batch=10, insert=1, delete=1, search=0)
    gone: set[int] = set()
    back = 0
    for operation in mix(20, 1, options):
        if operation.kind == "delete":
            gone |= set(operation.rows.tolist())
        else:
            back += len(gone & set(operation.rows.tolist()))
    assert back > 0


def test_a_stale_result_is_noticed() -> None:
    options = MixOptions(initial=50, operations=60, batch=5, seed=4)
    stale = 0
    snapshot = mix(100, 5, options).initial  # an index that never hears of any change
    for operation in mix(100, 5, options):
        if operation.kind == "search":
            assert not_live(operation.live.reshape(1, -1), operation.live).size == 0
            stale += not_live(snapshot.reshape(-1, 2), operation.live).size
    assert stale > 0
    live = np.array([1, 3], np.int64)
    assert not_live(np.array([[3, -1], [9, 2]]), live).tolist() == [2, 9]


@pytest.mark.parametrize(
    "fields",
    [
        {"initial": 0},
        {"initial": 1, "operations": 0},
        {"initial": 1, "batch": 0},
        {"initial": 1, "keep": 0},
        {"initial": 1, "insert": -1},
        {"initial": 1, "insert": float("nan")},
        {"initial": 1, "insert": 0, "delete": 0, "search": 0},
    ],
)
def test_options_out_of_range_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        MixOptions(**fields)  # type: ignore[arg-type]


def test_too_few_vectors_or_queries_are_refused() -> None:
    for vectors, queries, options in (
        (9, 1, MixOptions(initial=10)),
        (10, 0, MixOptions(initial=10)),
        (10, 1, MixOptions(initial=10, keep=11)),
    ):
        with pytest.raises(InputError, match="expected at least"):
            mix(vectors, queries, options)
