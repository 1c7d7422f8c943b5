"""Processes and threads that share an index: whole states only, and one writer."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiered_planted import (
    DIM,
    SPEC,
    apply,
    check_search,
    draw,
    files_of,
    holds,
    index_at,
    listed,
    planted,
    run,
    two_segments,
)

from ragopt.errors import StoreBusy
from ragopt.indexes import build
from ragopt.indexes.tiered.index import TieredIndex
from ragopt.indexes.tiered.sharing import SharedLock

HERE = Path(__file__).parent


# A writer keeps every id of a block of ten at the same version, and blocks come and go whole. So a
# reader that finds two versions in a block, or a part of one, has seen half a change.
READERS = """
import json, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import faiss
faiss.omp_set_num_threads(1)
import numpy as np
from tiered_planted import *

folder, writes, readers = Path(sys.argv[2]), int(sys.argv[3]), 3


def blocks_of(index):
    '''Version of each block, by a search for what is found in it.'''
    found = index.exact(np.zeros((1, DIM), np.float32), max(1, len(index)))
    ids = found.ids[0][found.ids[0] >= 0]
    rows = index._stored(index._lookup(ids)).astype(int)
    versions = rows[:, 2] + 500 * rows[:, 3]
    assert np.array_equal(planted(ids, versions), rows), "a row under the id of another"
    blocks = {}
    for one, version in zip(ids.tolist(), versions.tolist()):
        blocks.setdefault(one // 10, []).append(version)
    assert all(len(block) == 10 and len(set(block)) == 1 for block in blocks.values()), blocks
    return {number: block[0] for number, block in blocks.items()}


def read(told):
    index, seen, newest = index_at(folder), 0, 0
    while True:
        stop = os.path.exists(folder / "stop")
        assert os.getppid() == writer, "the writer failed"
        with open(folder / "acknowledged") as file:
            acknowledged = int(file.read())
        index.refresh()
        blocks = blocks_of(index)
        newest = max(blocks.values())
        assert newest >= acknowledged, (newest, acknowledged)
        chosen = random.sample(sorted(blocks), min(3, len(blocks)))
        ids = [10 * number + 4 for number in chosen]
        rows = planted(ids, [blocks[number] for number in chosen])
        result = index.search(rows, 2, probes=4096, candidates=400)
        assert result.ids[:, 0].tolist() == ids, (result.ids, ids)
        seen += 1
        if stop:
            break
    os.write(told, json.dumps([seen, newest]).encode() + b"\\n")


def tell(version):
    # In place and shorter than a page: read whole or not at all.
    with open(folder / ".acknowledged", "w") as file:
        file.write(str(version))
    os.replace(folder / ".acknowledged", folder / "acknowledged")


build(SPEC % "batch", planted(range(100), 1), range(100), metric="l2", path=folder)
warm = index_at(folder)
check_search(warm, dict.fromkeys(range(100), 1))
assert len(blocks_of(warm)) == 10
tell(1)
reading, writing = os.pipe()
writer, children = os.getpid(), []
for turn in range(readers):
    children.append(os.fork())
    if not children[-1]:
        code = 3
        try:
            random.seed(turn)
            read(writing)
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
draws, index = random.Random(5), index_at(folder)
state = {number: 1 for number in range(10)}
for version in range(2, writes):
    kind = draws.choice(["upsert", "upsert", "many", "delete", "flush", "compact", "close"])
    if kind in {"upsert", "many"} or len(state) < 4:
        numbers = draws.sample(range(30), 1 if kind == "upsert" else 6)
        ids = [10 * number + at for number in numbers for at in range(10)]
        index.upsert(planted(ids, version), ids)
        state |= dict.fromkeys(numbers, version)
        tell(version)
    elif kind == "delete":
        oldest = min(state, key=state.get)
        index.delete(range(10 * oldest, 10 * oldest + 10))
        del state[oldest]
    else:
        getattr(index, kind)()
(folder / "stop").touch()
statuses = [os.waitpid(child, 0)[1] for child in children]
assert not any(statuses), statuses
os.close(writing)
with open(reading) as lines:
    told = [json.loads(line) for line in lines]
assert [newest for _, newest in told] == [max(state.values())] * readers
print(min(seen for seen, _ in told))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_readers_beside_a_writer_see_whole_states(
    tmp_path: Path, run_script: Callable[..., str]
) -> None:
    seen = int(run_script(READERS, HERE, tmp_path / "index", 120))
    assert seen >= 10


OTHER_WRITER = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiered_planted import *

folder = Path(sys.argv[2])
index = index_at(folder)
print("ready", flush=True)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        if name == "run":
            state, operation = arguments
            run(index, {int(one): version for one, version in state.items()}, operation, folder)
        else:
            getattr(index, name)()
        print("done", flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""


def ask(running: subprocess.Popen[str], *words: Any) -> str:
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(json.dumps(words) + "\n")
    running.stdin.flush()
    return running.stdout.readline().strip()


def test_one_writer_at_a_time_and_each_goes_on_from_the_other(
    tmp_path: Path, running_script: Callable[..., Any]
) -> None:
    folder = tmp_path / "index"
    state = two_segments(folder)
    draws, index = random.Random(3), index_at(folder)
    with running_script(OTHER_WRITER, HERE, folder) as other:
        for turn in range(24):
            operation = draw(draws, state, turn + 10)
            if operation[0] == "close":
                operation[0] = "flush"
            mine = draws.random() < 0.5
            if mine:
                run(index, state, operation, folder)
            else:
                assert ask(other, "run", state, operation) == "done"
            state = apply(state, operation)
            held = operation[0] != "rebalance"  # which needs no lock
            if held and mine:
                assert ask(other, "run", state, ["upsert", 0, 0, 1]) == "StoreBusy"
            elif held:
                with pytest.raises(StoreBusy, match="another process is writing here"):
                    index.delete([])
            index.refresh()
            assert holds(index, state)
            index.close()
            assert ask(other, "close") == "done"
        assert ask(other, "verify") == "done"
        assert ask(other, "compact") == "done"
        index.refresh()
        check_search(index, state)
        other.kill()
        other.wait()
        index.upsert(planted([9000], 2), [9000])  # the lock went with its process
        state[9000] = 2
    assert holds(index_at(folder), state)


def test_a_reader_finds_nothing_new_where_nothing_is(tmp_path: Path) -> None:
    state = two_segments(tmp_path)
    reader, writer = index_at(tmp_path), index_at(tmp_path)
    assert not reader.refresh()
    for operation in (["add", 900, 2, 5], ["flush", 0, 0, 0], ["delete", 0, 1, 6]):
        run(writer, state, operation, tmp_path)
        state = apply(state, operation)
        assert reader.refresh()
        assert not reader.refresh()
        assert holds(reader, state)
        check_search(reader, state)


def test_a_reader_opened_while_the_manifest_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not take the old state for the new one, and later write it over that."""
    state = two_segments(tmp_path)
    operation = ["add", 900, 40, 5]
    real, done = TieredIndex._take, []

    def slow(index: TieredIndex, *arguments: Any) -> None:
        real(index, *arguments)
        if not done:
            done.append(True)
            with index_at(tmp_path) as other:
                run(other, state, operation, tmp_path)

    monkeypatch.setattr(TieredIndex, "_take", slow)
    index = index_at(tmp_path)
    index.upsert(planted([5], 9), [5])
    state = {**apply(state, operation), 5: 9}
    assert holds(index, state)
    assert holds(index_at(tmp_path), state)


def test_a_log_that_goes_while_a_reader_looks_for_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = two_segments(tmp_path)
    reader, writer = index_at(tmp_path), index_at(tmp_path)
    real, done = type(reader._store).changed, []

    def look(store: Any) -> bool:
        answer = bool(real(store))
        if store is reader._store and not done:
            done.append(True)
            run(writer, state, ["add", 900, 40, 5], tmp_path)
        return answer

    monkeypatch.setattr(type(reader._store), "changed", look)
    assert reader.refresh()
    assert holds(reader, apply(state, ["add", 900, 40, 5]))


FORKED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import faiss
faiss.omp_set_num_threads(1)
from tiered_planted import *
from ragopt.errors import StoreBusy

folder = Path(sys.argv[2])
state = two_segments(folder)
index = index_at(folder)
index.delete([10])
wait, go = os.pipe()
tried, told = os.pipe()
child = os.fork()
if not child:
    code = 3
    try:
        os.close(go)
        assert len(index) == len(state) - 1
        try:
            index.delete([11])
        except StoreBusy:
            code = 4
        os.write(told, b"x")
        os.read(wait, 1)
        index.delete([13])
        index.close()
        code += 1
    finally:
        os._exit(code)
os.read(tried, 1)
index.delete([12])
index.close()
other = index_at(folder)  # the child has the lock file open, too
other.delete([14])
other.close()
os.close(go)
assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 5
for one in (10, 12, 13, 14):
    del state[one]
index.refresh()
assert holds(index, state)
assert holds(index_at(folder), state)
index.delete([15])
print("whole")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_is_no_writer(tmp_path: Path, run_script: Callable[..., str]) -> None:
    assert run_script(FORKED, HERE, tmp_path / "index") == "whole"


# Threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [True, False], ids=["folder", "no folder"])
def test_searches_in_threads_beside_changes(bound: bool, tmp_path: Path) -> None:
    """Every result is a row that stands under its id, whatever is rewritten meanwhile."""
    path = tmp_path / "index" if bound else None
    index = build(
        SPEC % "batch",
        planted(range(200), 1),
        metric="l2",
        path=path,
    )
    assert isinstance(index, TieredIndex)
    stop, faults, searches = threading.Event(), [], [0] * 3
    fixed = np.arange(0, 100)  # never touched; the others come and go

    def search(number: int) -> None:
        draws = np.random.default_rng(number)
        try:
            while not stop.is_set():
                ids = draws.choice(fixed, 5, replace=False)
                where = draws.choice(fixed, 40, replace=False) if number == 1 else None
                if where is not None:
                    where = np.union1d(where, ids)
                rows = planted(ids, 1)
                found = (
                    index.exact(rows, 3)
                    if number == 2
                    else index.search(rows, 3, where=where, probes=4096, candidates=400)
                )
                assert found.ids[:, 0].tolist() == ids.tolist(), (found.ids, ids)
                if where is not None:
                    assert set(found.ids.ravel().tolist()) <= set(where.tolist())
                check_rows(found.ids.ravel(), found.scores.ravel(), np.repeat(rows, 3, axis=0))
                searches[number] += 1
        except BaseException as error:  # noqa: BLE001 - told by the test
            faults.append(error)

    def check_rows(ids: Any, scores: Any, rows: Any) -> None:
        """The score of each id is that of one of its versions."""
        for one, score, row in zip(ids.tolist(), scores.tolist(), rows, strict=True):
            possible = -((planted(one, range(1, 35)) - row) ** 2).sum(axis=1)
            assert np.abs(possible - score).min() < 1

    threads = [threading.Thread(target=search, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    draws, state = random.Random(1), dict.fromkeys(range(200), 1)
    for version in range(2, 35):
        kind = draws.choice(["upsert", "many", "delete", "flush", "compact", "rebalance"])
        if kind in {"upsert", "many"}:
            ids = draws.sample(range(100, 600), 3 if kind == "upsert" else 40)
            index.upsert(planted(ids, version), ids)
            state |= dict.fromkeys(ids, version)
        elif kind == "delete":
            ids = draws.sample(sorted(set(state) - set(range(100))), min(5, len(state) - 100))
            index.delete(ids)
            for one in ids:
                del state[one]
        elif kind == "rebalance":
            index.rebalance(draws.choice(["100KB", "200KB", "1MB"]))
        else:
            getattr(index, kind)()
        if faults:
            break
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults, faults[0]
    assert all(searches), searches
    assert holds(index, state)
    check_search(index, state)
    if bound:
        index.close()
        assert holds(index_at(tmp_path / "index"), state)
        assert listed(tmp_path / "index") == files_of(tmp_path / "index")


def test_changes_in_threads_are_all_made(tmp_path: Path) -> None:
    build(SPEC % "batch", np.empty((0, DIM)), metric="l2", path=tmp_path)
    index = index_at(tmp_path)

    def work(number: int) -> None:
        for turn in range(20):
            ids = range(100 * number + 4 * turn, 100 * number + 4 * turn + 4)
            index.add(planted(ids, 1), ids)
            if turn % 4 == 1:
                index.delete(ids)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = {
        100 * number + 4 * turn + at: 1
        for number in range(4)
        for turn in range(20)
        if turn % 4 != 1
        for at in range(4)
    }
    assert holds(index, state)
    assert holds(index_at(tmp_path), state)


# The lock of threads -----------------------------------------------------------------------


def test_readers_share_and_a_writer_is_alone() -> None:
    lock, inside, most, errors = SharedLock(), [0], [0], []
    alone = threading.Event()

    def read() -> None:
        for _ in range(300):
            lock.acquire()
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            if alone.is_set():
                errors.append("a reader beside the writer")
            inside[0] -= 1
            lock.release()

    def write() -> None:
        for _ in range(100):
            with lock.exclusive():
                if alone.is_set():
                    errors.append("two writers")
                alone.set()
                alone.clear()

    threads = [threading.Thread(target=work) for work in (read, read, write, read, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert most[0] >= 1


def test_a_waiting_writer_comes_before_new_readers() -> None:
    lock, order = SharedLock(), []
    lock.acquire()
    lock.acquire()  # many at a time

    def write() -> None:
        with lock.exclusive():
            order.append("writer")

    def read() -> None:
        lock.acquire()
        order.append("reader")
        lock.release()

    writer = threading.Thread(target=write)
    writer.start()
    while not lock._gate.locked():
        pass
    reader = threading.Thread(target=read)
    reader.start()
    assert not order
    lock.release()
    lock.release()
    writer.join()
    reader.join()
    assert order == ["writer", "reader"]


def test_an_error_in_a_writer_lets_the_lock_go() -> None:
    lock = SharedLock()
    with pytest.raises(ZeroDivisionError), lock.exclusive():
        raise ZeroDivisionError
    lock.acquire()
    lock.release()
    with lock.exclusive():
        pass
