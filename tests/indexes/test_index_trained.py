"""Families that are trained on rows: before there are enough, when there are, and again later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.errors import InputError
from ragopt.indexes import build
from ragopt.indexes import open as open_index
from ragopt.indexes.base import PositionIndex
from ragopt.indexes.ivf import list_count
from ragopt.indexes.ivfpq import balanced_rotation

Array = NDArray[Any]

DIM = 16
# Exact in half precision.
ROWS = np.random.default_rng(0).integers(-99, 99, (3000, DIM)).astype(np.float32) / 32
SPECS = [
    "hnsw(train_rows=100)+sq8",
    "ivf(train_rows=100)",
    "ivfpq(bits=4,train_rows=100)",
    "ivfpq(bits=4,train_rows=100)+opq",
]


def waits(index: PositionIndex) -> bool:
    return "waiting rows" in index.footprint().by_part


def saved_bytes(index: PositionIndex, folder: Path) -> list[bytes]:
    index.save(folder)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("spec", SPECS)
def test_rows_wait_until_there_are_enough(spec: str, metric: Any) -> None:
    index, flat = build(spec, ROWS[:60], metric=metric), build("flat", ROWS[:99], metric=metric)
    index.add(ROWS[60:99])
    assert waits(index)
    # Of these rows only those for cosine are rounded, by half precision on disk.
    found, truth = index.search(ROWS[:20], 7), flat.search(ROWS[:20], 7)
    if metric != "cosine" or "pq" not in spec:
        assert np.array_equal(found.ids, truth.ids)
    np.testing.assert_allclose(found.scores, truth.scores, rtol=2e-3, atol=1e-5)
    index.add(ROWS[99:100])
    assert not waits(index)
    assert index.search(ROWS[99], 1, where=[99, 98]).ids.tolist() == [[99]]


@pytest.mark.parametrize("spec", SPECS)
def test_waiting_rows_are_not_the_callers_own(spec: str) -> None:
    rows = ROWS[:50].copy()
    index = build(spec, rows, metric="l2")
    before = index.search(ROWS[:5], 3)
    rows[:] = 0
    assert np.array_equal(index.search(ROWS[:5], 3).scores, before.scores)


@pytest.mark.parametrize("spec", SPECS)
def test_training_after_opening_is_the_same(spec: str, tmp_path: Path) -> None:
    through, opened = (build(spec, ROWS[:60], metric="l2", seed=7) for _ in range(2))
    opened.save(tmp_path / "early")
    opened = open_index(tmp_path / "early")
    for index in (through, opened):
        for start in range(60, 150, 10):  # threads race where many are linked at once
            index.add(ROWS[start : start + 10])
    if "hnsw" not in spec:
        assert saved_bytes(through, tmp_path / "a") == saved_bytes(opened, tmp_path / "b")
    ids = [index.search(ROWS[:150], 3).ids.tolist() for index in (through, opened)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("spec", SPECS[1:])
def test_lists_are_drawn_anew_when_rows_have_outgrown_them(spec: str, tmp_path: Path) -> None:
    def centres(index: PositionIndex) -> int:
        return index.footprint().by_part["centres"]

    index = build(spec, ROWS[:100], metric="l2")
    few = centres(index)
    index.add(ROWS[100:280])
    assert centres(index) == few, "a little growth is no reason"
    opened = build(spec, ROWS[:280], metric="l2", path=tmp_path / "index")
    for grown in (index, opened):
        grown.add(ROWS[280:])
        assert centres(grown) > 4 * few
        found = grown.search(ROWS[::50], 1, nprobe=256)
        assert np.mean(found.ids[:, 0] == np.arange(0, 3000, 50)) > 0.98


@pytest.mark.parametrize("rows", [100, 500, 3000])
def test_lists_that_were_asked_for_are_drawn_as_soon_as_possible(rows: int) -> None:
    index = build("ivf(lists=20,train_rows=100)", ROWS[:100])
    for start in range(100, rows, 100):
        index.add(ROWS[start : start + 100])
    whole = build("ivf(lists=20,train_rows=100)", ROWS[:rows])
    assert list_count(rows, 20) == min(20, rows // 39)
    if rows >= 20 * 39 or rows == 100:
        assert index.footprint() == whole.footprint()


def test_moving_codes_to_other_lists_changes_none() -> None:
    index = build("ivf(train_rows=100)", ROWS[:300], metric="l2")
    before = index.search(ROWS[:50], 300)
    index.add(ROWS[300:])
    after = index.search(ROWS[:50], 300, where=range(300))
    np.testing.assert_allclose(after.scores, before.scores, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("spec", SPECS[1:])
def test_lists_that_hold_too_few_are_no_reason_to_find_fewer(spec: str) -> None:
    found = build(spec, ROWS, metric="l2").search(ROWS[:20], 400, nprobe=1)
    assert (found.ids >= 0).all()


@pytest.mark.parametrize("spec", SPECS[1:])
def test_fewer_lists_are_less_work(spec: str) -> None:
    index = build(spec, ROWS, metric="l2")
    work = [
        index.search(ROWS[:50], 5, where=None, nprobe=lists).stats.codes_scanned
        for lists in (1, 4, 16, 64)
    ]
    assert work == sorted(set(work))


def test_parts_beyond_the_dimensions_change_nothing() -> None:
    index = build("ivfpq(m=17)", ROWS[:0])
    with pytest.raises(InputError, match="m=17 parts exceed the 16 dimensions; pass m <= 16"):
        index.add(ROWS)
    assert (len(index), index.footprint().disk_bytes) == (0, 0)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_a_balanced_rotation(parts: int, scores_of: Callable[[Array, Array, str], Array]) -> None:
    """Ge et al. (2013), section 4.2: orthogonal, and equal products of variances."""
    rng = np.random.default_rng(1)
    mixed = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
    rows = (rng.standard_normal((4000, DIM)) * 1.5 ** np.arange(DIM)) @ mixed
    rows = rows.astype(np.float32)
    rotation = balanced_rotation(rows, parts)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(DIM), atol=1e-5)
    turned = rows @ rotation
    truth = scores_of(rows[:5], rows[:50], "l2")
    np.testing.assert_allclose(
        scores_of(turned[:5], turned[:50], "l2"), truth, atol=1e-4 * np.abs(truth).max()
    )
    logs = np.log(turned.var(axis=0)).reshape(parts, -1).sum(axis=1)
    assert logs.max() - logs.min() < 2, "in the order of their strength it is 22 and more"
