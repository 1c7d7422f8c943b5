"""Rows that tell their id and version, the state of an index as a dict, and operations on both."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.indexes import build
from ragopt.indexes import open as open_index
from ragopt.indexes.base import PositionIndex
from ragopt.indexes.tiered.index import TieredIndex
from ragopt.storage import folder_about, read_folder

DIM = 12
FRESH = 24
SPEC = f"tiered(fresh={FRESH},durability=%s)"
State = dict[int, int]
"""The version of each id."""

_WIDTH = 500  # ids and versions are below its square
BUDGETS = ("150KB", "300KB", "1MB")


def planted(ids: Any, versions: Any) -> NDArray[np.float32]:
    """A row for each id and version, integers that half precision holds exactly; all differ."""
    ids, versions = np.broadcast_arrays(np.asarray(ids), np.asarray(versions))
    columns = [ids % _WIDTH, ids // _WIDTH, versions % _WIDTH, versions // _WIDTH]
    noise = [(ids * step + versions * 31) % 97 - 48 for step in range(7, 7 + DIM - len(columns))]
    return np.stack([*columns, *noise], axis=-1).astype(np.float32).reshape(-1, DIM)


def rows_of(state: State) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    ids = np.array(sorted(state), dtype=np.int64)
    return ids, planted(ids, [state[one] for one in ids.tolist()])


def ids_in(index: PositionIndex) -> list[int]:
    """All ids, by a scan."""
    if not len(index):
        return []
    return sorted(index.exact(np.zeros((1, DIM), np.float32), len(index)).ids[0].tolist())


def holds(index: PositionIndex, state: State) -> bool:
    """Whether these are the rows of an index, all of them and no other."""
    ids, rows = rows_of(state)
    if len(index) != len(state) or ids_in(index) != ids.tolist():
        return False
    if not len(ids):
        return True
    found = index.exact(rows, 1)
    return found.ids[:, 0].tolist() == ids.tolist() and bool((found.scores > -0.5).all())


def check_search(index: PositionIndex, state: State, sample: int = 40) -> None:
    """A search through lists and codes finds what is there under its id, and nothing else."""
    ids, rows = rows_of(state)
    chosen = slice(None, None, max(1, len(ids) // sample))
    if len(ids):
        found = index.search(rows[chosen], 3, probes=4096, candidates=4096)
        assert found.ids[:, 0].tolist() == ids[chosen].tolist()
        assert (found.scores[:, 0] > -0.5).all()
        assert set(found.ids.ravel().tolist()) <= {*state, -1}


def apply(state: State, operation: list[Any]) -> State:
    """What an operation makes of a state."""
    kind, first, count, version = operation
    after = dict(state)
    if kind == "build":
        after = dict.fromkeys(range(first, first + count), version)
    elif kind == "add":
        after |= dict.fromkeys(range(first, first + count), version)
    elif kind in {"upsert", "delete"}:
        chosen = some(state, count, seed=version)
        if kind == "delete":
            for one in chosen:
                del after[one]
        else:
            after |= dict.fromkeys([*chosen, *range(first, first + count)], version)
    return after


def run(index: TieredIndex, state: State, operation: list[Any], folder: Path) -> None:
    """The same with an index."""
    kind, first, count, version = operation
    if kind == "build":
        ids = range(first, first + count)
        build(SPEC % "commit", planted(ids, version), ids, metric="l2", path=folder)
    elif kind == "add":
        ids = range(first, first + count)
        index.add(planted(ids, version), ids)
    elif kind == "upsert":
        ids = [*some(state, count, seed=version), *range(first, first + count)]
        index.upsert(planted(ids, version), ids)
    elif kind == "delete":
        index.delete(some(state, count, seed=version))
    elif kind == "rebalance":
        index.search(planted(range(count), 0), 2)
        index.rebalance(BUDGETS[version % len(BUDGETS)])
    elif kind == "save":
        index.save(folder)
    else:
        getattr(index, kind)()


KINDS = ("add", "upsert", "delete", "flush", "compact", "rebalance", "save", "close")


def draw(draws: random.Random, state: State, version: int) -> list[Any]:
    """An operation at random; about every third rewrites segments."""
    kind = draws.choices(KINDS, (8, 4, 4, 2, 2, 1, 1, 1))[0]
    if len(state) > 1500:
        kind = "delete"
    large = draws.random() < 0.25
    count = draws.randint(FRESH + 1, 150) if large else draws.randint(1, 8)
    if kind == "delete":
        count = len(state) // 2 if len(state) > 1500 else min(count, len(state))
    first = max(state, default=-1) + 1
    return [kind, first, count, version]


def some(state: State, count: int, *, seed: int) -> list[int]:
    return random.Random(seed).sample(sorted(state), min(count, len(state)))


def two_segments(folder: Path, durability: str = "commit") -> State:
    """An index of two segments, fresh rows, tombstones in all of them, and a log."""
    build(SPEC % durability, planted(range(100), 1), range(100), metric="l2", path=folder)
    state = dict.fromkeys(range(100), 1)
    with index_at(folder) as index:
        for operation in FIRST:
            run(index, state, operation, folder)
            state = apply(state, operation)
    return state


FIRST = [["add", 100, 30, 1], ["add", 200, 6, 2], ["upsert", 300, 5, 3], ["delete", 0, 9, 4]]


def index_at(folder: Path, *, verify: bool = True) -> TieredIndex:
    index = open_index(folder, verify=verify)
    assert isinstance(index, TieredIndex)
    return index


def listed(folder: Path) -> list[str]:
    """Files, without a build to go on with."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def files_of(folder: Path) -> list[str]:
    """What should stand in the folder of an index at rest."""
    about = folder_about(folder)
    assert about is not None
    _, parts = read_folder(folder, kind="vector-index", version=1)
    return sorted([path.name for path in parts.values()] + ["LOCK", "MANIFEST.json", about["log"]])
