"""Long builds: rows from memory maps and iterators, going on after a kill, bounded memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.errors import BudgetExceeded, InputError
from ragopt.indexes import build
from ragopt.indexes import open as open_index
from ragopt.indexes.tiered import TieredIndex, building, sources

Array = NDArray[Any]
SPEC = "tiered(fresh=16)"
COUNT, DIM = 3_000, 24


@pytest.fixture(scope="module")
def rows() -> Array:
    rng = np.random.default_rng(3)
    middles = rng.standard_normal((40, DIM))
    near = middles[rng.integers(0, 40, COUNT)]
    return (near + 0.4 * rng.standard_normal((COUNT, DIM))).astype(np.float32)


@pytest.fixture
def mapped(rows: Array, tmp_path: Path) -> Array:
    np.save(tmp_path / "rows.npy", rows)
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_BLOCK_BYTES", 4 * DIM * 200)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "LOCK"}


def test_maps_iterators_and_arrays_build_the_same(
    rows: Array, mapped: Array, tmp_path: Path
) -> None:
    given = {
        "array": rows,
        "map": mapped,
        "iterator": (rows[start : start + 700] for start in range(0, COUNT, 700)),
    }
    for name, vectors in given.items():
        index = build(SPEC, vectors, path=tmp_path / name)
        assert len(index) == COUNT
        assert not (tmp_path / name / "building").exists()
    assert (
        content(tmp_path / "array") == content(tmp_path / "map") == content(tmp_path / "iterator")
    )


@pytest.mark.parametrize("dtype", ["f2", "f8", "i4"])
def test_other_precisions_are_converted_block_by_block(
    rows: Array, dtype: str, tmp_path: Path
) -> None:
    given = (8 * rows).round().astype(dtype)
    index = build(SPEC, given, path=tmp_path / "other", metric="ip")
    same = build(SPEC, given.astype(np.float32), path=tmp_path / "same", metric="ip")
    assert (index.exact(given[:5], 3).scores == same.exact(given[:5], 3).scores).all()


def test_progress_is_told_step_by_step(rows: Array, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    build(SPEC, rows, path=tmp_path / "x", progress=lambda *step: told.append(step))
    steps = list(dict.fromkeys(step for step, _, _ in told))
    assert steps == ["train", "assign", "write"]
    for step in ("assign", "write"):
        done = [at for name, at, total in told if name == step and total == COUNT]
        assert done == sorted(done)
        assert done[-1] == COUNT
        assert len(done) == 15


KILLED = """
import os, signal, sys
import numpy as np
from ragopt.indexes import build
from ragopt.indexes.tiered import building, sources
folder, step, share = sys.argv[1], sys.argv[2], float(sys.argv[3])
sources._BLOCK_BYTES = 4 * 24 * 200
building._CHECKPOINT_S = 0.0
rows = np.load(folder + "/rows.npy", mmap_mode="r")
def stop(name, done, total):
    if name == step and done >= share * total:
        os.kill(os.getpid(), signal.SIGKILL)
build("tiered(fresh=16)", rows, path=folder + "/killed", progress=stop)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize(
    ("step", "share"), [("train", 0), ("train", 1), ("assign", 0.5), ("write", 0.2), ("write", 0.8)]
)
def test_a_killed_build_goes_on_where_it_was(
    mapped: Array, step: str, share: float, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), step, str(share)]
    killed = subprocess.run(command, env=os.environ, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    with pytest.raises(InputError, match="nothing was saved here"):
        open_index(tmp_path / "killed")
    told: list[tuple[str, int, int]] = []
    build(SPEC, mapped, path=tmp_path / "killed", progress=lambda *event: told.append(event))
    build(SPEC, mapped, path=tmp_path / "whole")
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    steps = {name for name, _, _ in told}
    assert ("train" in steps) == (step == "train" and share == 0)
    assert ("assign" in steps) == (step in {"train", "assign"})
    first = next(done for name, done, _ in told if name == "write")
    assert (first > 200) == (step == "write")


def test_other_rows_begin_anew(
    rows: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_CHECKPOINT_S", 0.0)

    def stop(step: str, done: int, total: int) -> None:
        if step == "write" and done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(SPEC, rows, path=tmp_path / "x", progress=stop)
    assert (tmp_path / "x" / "building" / "plan.json").exists()
    others = rows + 1
    told: list[str] = []
    build(SPEC, others, path=tmp_path / "x", progress=lambda step, *_: told.append(step))
    assert "train" in told
    build(SPEC, others, path=tmp_path / "fresh")
    assert content(tmp_path / "x") == content(tmp_path / "fresh")


def test_a_bad_row_in_a_later_block_leaves_nothing(rows: Array, tmp_path: Path) -> None:
    rows = rows.copy()
    rows[2_345, 3] = np.nan
    with pytest.raises(InputError, match="the first is row 2345"):
        build(SPEC, rows, path=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_index_that_stands_there_survives_a_refused_build(rows: Array, tmp_path: Path) -> None:
    before = build(SPEC, rows, path=tmp_path / "x")
    with pytest.raises(InputError):
        build(SPEC, np.full((500, DIM), np.inf), path=tmp_path / "x")
    found = open_index(tmp_path / "x").search(rows[:5], 3)
    assert (found.ids == before.search(rows[:5], 3).ids).all()


@pytest.mark.parametrize("blocks", [[], [np.zeros((3, 4)), np.zeros((3, 5))]])
def test_iterators_that_cannot_be_used(blocks: list[Array], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vectors"):
        build(SPEC, iter(blocks), path=tmp_path / "x")
    with pytest.raises(InputError, match="vectors"):
        build(SPEC, iter(blocks))


def test_an_iterator_is_read_without_a_path_too(rows: Array) -> None:
    index = build("flat", (rows[start : start + 999] for start in range(0, COUNT, 999)))
    assert len(index) == COUNT


def test_a_budget_that_cannot_hold_is_refused_before_the_work(rows: Array, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(BudgetExceeded, match=r"ram_budget=5000.*ids, tables and centroids"):
        build(
            "tiered(fresh=16,ram_budget=5000)",
            rows,
            path=tmp_path / "x",
            progress=lambda step, *_: told.append(step),
        )
    assert not told
    assert not (tmp_path / "x").exists()


def fixed_bytes(index: TieredIndex) -> int:
    """What it takes whatever the tiers."""
    ram = index.about()["ram"]
    return sum(size for part, size in ram.items() if part not in {"codes", "hot rows"})


def test_the_budget_holds_and_tiers_follow_the_traffic(rows: Array, tmp_path: Path) -> None:
    whole = build("tiered(fresh=16)", rows, path=tmp_path / "whole")
    assert isinstance(whole, TieredIndex)
    budget = fixed_bytes(whole) + whole.footprint().by_part["codes"] // 2
    index = build(f"tiered(fresh=16,ram_budget={budget})", rows, path=tmp_path / "x")
    assert isinstance(index, TieredIndex)
    assert index.footprint().ram_bytes <= budget
    asked = rows[:30]
    before = index.search(np.tile(asked, (20, 1)), 5, probes=4).stats.pages_read
    assert sum(index.rebalance().values()) == index.about()["lists"]
    assert index.footprint().ram_bytes <= budget
    assert index.search(np.tile(asked, (20, 1)), 5, probes=4).stats.pages_read < before
    assert index.rebalance(ram_budget="10MB")["cold"] == 0
    with pytest.raises(BudgetExceeded):
        index.rebalance(ram_budget=100)
    assert index.tiers()["cold"] == 0
    with pytest.raises(InputError, match="ram_budget='much'"):
        index.rebalance(ram_budget="much")


def test_cold_lists_are_found_in_as_well(rows: Array, tmp_path: Path) -> None:
    warm = build("tiered(fresh=16)", rows, path=tmp_path / "warm")
    assert isinstance(warm, TieredIndex)
    budget = fixed_bytes(warm) + 6000
    cold = build(f"tiered(fresh=16,ram_budget={budget})", rows, path=tmp_path / "cold")
    assert isinstance(cold, TieredIndex)
    assert cold.tiers()["cold"] > 0
    one, other = warm.search(rows[:50], 5), cold.search(rows[:50], 5)
    assert (one.ids == other.ids).all()
    assert other.stats.pages_read > one.stats.pages_read
    assert other.stats.read_rounds <= 3


def _blocks(rows: Array) -> Iterator[Array]:
    yield from np.array_split(rows, 7)


def test_pages_are_predicted(rows: Array, tmp_path: Path) -> None:
    index = build(SPEC, _blocks(rows), path=tmp_path / "x")
    rng = np.random.default_rng(0)
    near = rows[:300] + 0.2 * rng.standard_normal((300, DIM)).astype(np.float32)
    for setting in ({"probes": 4, "candidates": 20}, {"probes": 16, "candidates": 60}):
        measured = index.search(near, 10, where=None, **setting).stats.pages_read / 300
        predicted = index.predict_pages(**setting)
        assert predicted == pytest.approx(measured, rel=0.25)
    with pytest.raises(InputError, match="empty"):
        TieredIndex(index.options, DIM, "ip").predict_pages()
