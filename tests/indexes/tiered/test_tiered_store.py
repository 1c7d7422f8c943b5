"""The folder of a tiered index: full disks, faults between two steps, leftovers."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiered_planted import (
    DIM,
    SPEC,
    State,
    apply,
    check_search,
    files_of,
    holds,
    index_at,
    listed,
    planted,
    run,
    two_segments,
)

from ragopt import storage
from ragopt.errors import BudgetExceeded, IndexCorrupt, InputError, StorageError
from ragopt.indexes import build
from ragopt.indexes.tiered import log, segment, store
from ragopt.indexes.tiered.index import TieredIndex

LONG = os.environ.get("RAGOPT_LONG_TESTS") == "1"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    folder = tmp_path_factory.mktemp("store") / "index"
    return folder, two_segments(folder)


@pytest.fixture
def copied(original: tuple[Path, State], tmp_path: Path) -> tuple[Path, State]:
    shutil.copytree(original[0], tmp_path / "index")
    return tmp_path / "index", dict(original[1])


# Opening and going on ----------------------------------------------------------------------


def test_an_index_goes_on_after_close_without_its_own_records_twice(
    copied: tuple[Path, State],
) -> None:
    folder, state = copied
    index = index_at(folder)
    for version in range(2, 12):
        operation = ["upsert", 600, 1, version]
        run(index, state, operation, folder)
        state = apply(state, operation)
        index.close()
        assert not index.refresh()
    assert index._fresh.count < 24
    assert holds(index, state)
    assert holds(index_at(folder), state)


def test_the_first_record_of_an_opened_log(tmp_path: Path) -> None:
    """The log was empty when it was opened: nothing to read, and yet not to begin anew."""
    build(SPEC % "commit", planted(range(60), 1), metric="l2", path=tmp_path)
    for one in range(60, 64):
        with index_at(tmp_path) as index:
            index.add(planted(one, 1), [one])
        assert holds(index_at(tmp_path), dict.fromkeys(range(one + 1), 1))


def test_an_empty_index_and_one_emptied(tmp_path: Path) -> None:
    build(SPEC % "commit", np.empty((0, DIM)), metric="l2", path=tmp_path)
    state: State = {}
    for operation in (
        ["compact", 0, 0, 0],
        ["add", 0, 5, 1],
        ["delete", 0, 5, 2],
        ["flush", 0, 0, 0],
        ["add", 10, 60, 3],
        ["delete", 0, 60, 4],
        ["compact", 0, 0, 0],
        ["save", 0, 0, 0],
        ["add", 80, 2, 5],
    ):
        with index_at(tmp_path) as index:
            run(index, state, operation, tmp_path)
            state = apply(state, operation)
            assert holds(index, state)
            check_search(index, state)
        assert holds(index_at(tmp_path), state)
    assert index_at(tmp_path).add(planted(0, 9)).tolist() == [82]


def test_default_ids_are_never_given_twice(tmp_path: Path) -> None:
    build(SPEC % "commit", planted(range(40), 1), metric="l2", path=tmp_path)
    given = 40
    for kind in ("delete", "flush", "compact", "save"):
        with index_at(tmp_path) as index:
            assert index.add(planted([0, 0], 3)).tolist() == [given, given + 1]
            index.delete([given, given + 1])
            given += 2
            if kind != "delete":
                run(index, {}, [kind, 0, 0, 0], tmp_path)


@pytest.mark.parametrize("last", ["exact", "more"])
def test_a_log_as_long_as_there_is_room(last: str, tmp_path: Path) -> None:
    build("tiered(fresh=6)", planted(range(40), 1), metric="l2", path=tmp_path)
    with index_at(tmp_path) as index:
        for start in (40, 42, 44):
            index.add(planted([start, start + 1], 1), [start, start + 1])
        assert index._fresh.room == 0
    index = index_at(tmp_path)
    assert index._fresh.room == 0
    if last == "more":
        index.upsert(planted([40], 2), [40])
        assert index._fresh.count == 0
    state = {**dict.fromkeys(range(46), 1), 40: 2 if last == "more" else 1}
    assert holds(index_at(tmp_path), state)


# Durability "none" -------------------------------------------------------------------------


def test_changes_that_are_not_logged_are_there_after_close(tmp_path: Path) -> None:
    build(SPEC % "none", planted(range(40), 1), metric="l2", path=tmp_path)
    state = dict.fromkeys(range(40), 1)
    with index_at(tmp_path) as index:
        index.add(planted(range(40, 43), 1))
        index.delete([3])
        assert holds(index_at(tmp_path), state), "nothing was written yet"
    del state[3]
    state |= dict.fromkeys(range(40, 43), 1)
    assert holds(index_at(tmp_path), state)
    manifest = (tmp_path / "MANIFEST.json").read_bytes()
    with index:
        assert not index.refresh()
    assert (tmp_path / "MANIFEST.json").read_bytes() == manifest, "nothing to write"
    index.add(planted([50], 1), [50])
    index.flush()
    assert holds(index_at(tmp_path), {**state, 50: 1})


# Faults between two steps ------------------------------------------------------------------


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise error

    return fail


ADD = ["add", 700, 3, 4]
LARGE = ["add", 700, 60, 4]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()], ids=repr)
def test_a_log_that_cannot_be_synced_takes_the_record_back(
    error: BaseException, copied: tuple[Path, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, state = copied
    index = index_at(folder)
    with monkeypatch.context() as broken:
        broken.setattr(log, "_sync", failing(error))
        with pytest.raises((StorageError, KeyboardInterrupt)):
            run(index, state, ADD, folder)
    assert holds(index, state)
    assert holds(index_at(folder), state)
    run(index, state, ADD, folder)
    assert holds(index_at(folder), apply(state, ADD))


def test_a_record_that_cannot_be_taken_back_is_not_there_after_the_next_change(
    copied: tuple[Path, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, state = copied
    index, reader = index_at(folder), index_at(folder)
    with monkeypatch.context() as broken:
        broken.setattr(log, "_sync", failing(OSError(errno.EIO, "broken")))
        broken.setattr(os, "ftruncate", failing(OSError(errno.EIO, "broken")))
        with pytest.raises(StorageError):
            run(index, state, ADD, folder)
    reader.refresh()  # which may see it meanwhile
    assert holds(index, state)
    after = apply(state, ["upsert", 800, 2, 6])
    run(index, state, ["upsert", 800, 2, 6], folder)
    assert holds(index, after)
    assert holds(index_at(folder), after)
    assert reader.refresh()
    assert holds(reader, after)


def test_a_change_interrupted_after_it_was_logged(
    copied: tuple[Path, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory and log differ; what comes next must not make a mixture of both."""
    folder, state = copied
    index = index_at(folder)
    with monkeypatch.context() as broken:
        broken.setattr(TieredIndex, "_apply", failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run(index, state, ["add", 700, 7, 4], folder)  # together they would not fit
    assert holds(index, state)
    for one in range(6):
        run(index, state, ["add", 700 + one, 1, 5], folder)
        state = apply(state, ["add", 700 + one, 1, 5])
    assert holds(index, state)
    assert holds(index_at(folder), state)


@pytest.mark.parametrize("operation", [LARGE, ["compact", 0, 0, 0], ["flush", 0, 0, 0]], ids=str)
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(
    "where", ["segment", "stored", "manifest", "renamed", "settled", "swapped"]
)
def test_a_rewrite_interrupted_at_any_step(
    where: str,
    error: BaseException,
    operation: list[Any],
    copied: tuple[Path, State],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In memory and in the folder: all of it or nothing, and then it goes on."""
    folder, state = copied
    index, after = index_at(folder), apply(state, operation)
    check_search(index, state)
    real = store.commit_folder

    def commit_then_fail(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        raise error

    with monkeypatch.context() as broken:
        if where == "segment":
            broken.setattr(segment.SegmentFiles, "put", failing(error))
        elif where == "stored":
            broken.setattr(segment, "store_part", fail_at(3, segment.store_part, error))
        elif where == "manifest":
            broken.setattr(storage, "atomic_write", failing_for("MANIFEST.json", error))
        elif where == "renamed":
            broken.setattr(store, "commit_folder", commit_then_fail)
        elif where == "swapped":
            broken.setattr(TieredIndex, "_set_coder", failing(error))
        else:
            broken.setattr(store.Store, "settle", failing(error))
        with pytest.raises((StorageError, OSError, KeyboardInterrupt)):
            run(index, state, operation, folder)
    there = index_at(folder)
    committed = where in {"renamed", "settled", "swapped"}
    assert holds(there, after if committed else state)
    check_search(index, state if where != "settled" else after)
    if not committed:
        assert holds(index, state)
        assert listed(folder) == files_of(folder)
    more = ["upsert", 900, 4, 8]
    run(index, after if committed else state, more, folder)
    last = apply(after if committed else state, more)
    index.flush()
    for one in (index, index_at(folder)):
        assert holds(one, last)
        check_search(one, last)
    assert listed(folder) == files_of(folder)


def failing_for(name: str, error: BaseException) -> Callable[..., None]:
    real = storage.atomic_write

    def write(path: Path, data: bytes) -> None:
        if path.name == name:
            raise error
        real(path, data)

    return write


def fail_at(call: int, real: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    calls = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return real(*arguments, **named)

    return counted


def test_what_a_killed_rewrite_left_goes_with_the_next_writer(copied: tuple[Path, State]) -> None:
    folder, _ = copied
    left = ["000009-codes-0123abcd.bin", ".000007-rows-00000000.bin.01234567"]
    left += [".log-000020.wal.01234567", "log-000030.wal"]
    strangers = ["notes.txt", "000009-codes.bin", "000009-other-0123abcd.bin", "log-1.wal"]
    for name in (*left, *strangers):
        (folder / name).write_bytes(b"x")
    with index_at(folder) as index:
        index.delete([50])
        assert not {left[0], left[1]} & set(listed(folder)), "at once: they may be large"
        index.flush()
    assert listed(folder) == sorted([*files_of(folder), *strangers])


# Budgets -----------------------------------------------------------------------------------


def test_a_budget_too_small_leaves_no_files(tmp_path: Path) -> None:
    build(
        "tiered(fresh=24,lists=4,ram_budget=6KB)",
        planted(range(100), 1),
        metric="l2",
        path=tmp_path,
    )
    state = dict.fromkeys(range(100), 1)
    before = listed(tmp_path)
    index = index_at(tmp_path)
    with pytest.raises(BudgetExceeded, match="raise the budget"):
        index.add(planted(range(100, 1600), 1))
    assert holds(index, state)
    index.close()
    assert listed(tmp_path) == before
    index.add(planted(range(100, 103), 1))
    assert holds(index_at(tmp_path), dict.fromkeys(range(103), 1))


# Full disks --------------------------------------------------------------------------------

FULL = """
import os, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import faiss
faiss.omp_set_num_threads(1)
from tiered_planted import *
from ragopt.errors import StorageError

folder, limit = Path(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
state = two_segments(folder)
index, other = index_at(folder), index_at(folder)
check_search(index, state)


def limited(work):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        work()
        return "done"
    except StorageError as error:
        assert "ulimit -f" in str(error) and error.errno, error
        return "refused"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


rows = planted(range(1000, 1300), 1)
refused = {
    "build": lambda: build(SPEC % "commit", rows, metric="l2", path=folder.with_name("new")),
    "replace": lambda: build(SPEC % "commit", rows, metric="l2", path=folder),
    "add": lambda: index.add(rows, range(1000, 1300)),
    "upsert": lambda: index.upsert(rows, range(50, 350)),
    "flush": index.flush,
    "compact": index.compact,
    "save": lambda: index.save(folder),
    "copy": lambda: index.save(folder.with_name("copy")),
}
for name, work in refused.items():
    before = files_of(folder)
    assert limited(work) == "refused", name
    assert holds(index, state), name
    check_search(index, state)
    assert holds(index_at(folder), state), name
    assert listed(folder) == before, (name, listed(folder), before)
    assert not list(folder.with_name("copy").glob("*.bin"))
    index.close()
small = ["upsert", 900, 5, 6]
run(index, state, small, folder)
state = apply(state, small)
index.add(rows, range(1000, 1300))
state |= dict.fromkeys(range(1000, 1300), 1)
index.compact()
index.close()
assert other.refresh()
for one in (index, other, index_at(folder)):
    assert holds(one, state)
    check_search(one, state)
assert listed(folder) == files_of(folder)
print("whole")
"""


@pytest.mark.parametrize("limit", [10, 1000, 4096] if LONG else [1000])
def test_a_full_disk_changes_nothing_and_later_it_goes_on(
    limit: int, tmp_path: Path, run_script: Callable[..., str]
) -> None:
    """The limit on file sizes stands for it."""
    here = Path(__file__).parent
    assert run_script(FULL, here, tmp_path / "index", limit) == "whole"


FULL_LOG = """
import os, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import faiss
faiss.omp_set_num_threads(1)
from tiered_planted import *
from ragopt.errors import StorageError

folder = Path(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
state = two_segments(folder)
index = index_at(folder)
small = ["add", 900, 1, 6]
run(index, state, small, folder)
state = apply(state, small)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # no file may grow
for operation in (["add", 910, 5, 7], ["delete", 0, 40, 8], ["upsert", 920, 5, 9]):
    for _ in range(2):
        try:
            run(index, state, operation, folder)
            print("done")
        except StorageError:
            pass
        assert holds(index, state)
        assert holds(index_at(folder), state)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for operation in (["add", 910, 5, 7], ["delete", 0, 40, 8], ["upsert", 920, 5, 9]):
    run(index, state, operation, folder)
    state = apply(state, operation)
    assert holds(index, state)
    assert holds(index_at(folder), state)
print("whole")
"""


def test_a_disk_that_fills_while_records_are_logged(
    tmp_path: Path, run_script: Callable[..., str]
) -> None:
    here = Path(__file__).parent
    assert run_script(FULL_LOG, here, tmp_path / "index") == "whole"


# The folder changes under an open index ----------------------------------------------------


def other_index(folder: Path) -> None:
    build(SPEC % "commit", planted(range(300, 350), 7), metric="l2", path=folder)


def replaced_in_place(folder: Path) -> None:
    other_index(folder)


def removed_and_made_anew(folder: Path) -> None:
    shutil.rmtree(folder)
    other_index(folder)


def another_family(folder: Path) -> None:
    shutil.rmtree(folder)
    build("flat", planted(range(9), 1), path=folder)


def another_dimension(folder: Path) -> None:
    shutil.rmtree(folder)
    build("tiered", np.ones((3, 5), np.float32), path=folder)


def a_copy_saved_over_it(folder: Path) -> None:
    index_at(folder).save(folder.with_name("copy"))
    shutil.rmtree(folder)
    index_at(folder.with_name("copy")).save(folder)


def moved_away(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


REPLACED = [
    replaced_in_place,
    removed_and_made_anew,
    another_family,
    another_dimension,
    a_copy_saved_over_it,
    moved_away,
]


@pytest.mark.parametrize("replace", REPLACED, ids=lambda way: way.__name__)
@pytest.mark.parametrize("writer", [False, True], ids=["reader", "writer"])
def test_a_folder_replaced_under_an_open_index(
    writer: bool,
    replace: Callable[[Path], None],
    copied: tuple[Path, State],
    tmp_path: Path,
) -> None:
    """Writes are refused and say why; searches go on; the other index is left alone."""
    folder, state = copied
    index = index_at(folder)
    if writer:
        run(index, state, ADD, folder)
        state = apply(state, ADD)
        if replace in (replaced_in_place,):
            index.close()
    check_search(index, state)
    replace(folder)
    there = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None
    changes: list[Callable[[], Any]] = [
        lambda: index.add(planted([2000], 1), [2000]),
        lambda: index.add(planted(range(2000, 2100), 1), range(2000, 2100)),
        lambda: index.delete([50]),
        index.flush,
        index.compact,
        lambda: index.save(folder),
        index.refresh,
    ]
    for change in changes:
        with pytest.raises((StorageError, InputError), match=str(folder)) as caught:
            change()
        assert (
            "another index" in str(caught.value)
            or "removed" in str(caught.value)
            or ("nothing was saved here" in str(caught.value))
        )
        check_search(index, state)
        assert holds(index, state)
    if there is None:
        assert not folder.exists()
    else:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"LOCK": b"", **there}
    index.save(tmp_path / "elsewhere")
    assert holds(index_at(tmp_path / "elsewhere"), state)


def test_a_backup_put_back_under_an_open_index(copied: tuple[Path, State], tmp_path: Path) -> None:
    """The same index, earlier: it goes on from there, whatever stood in memory."""
    folder, state = copied
    shutil.copytree(folder, tmp_path / "backup")
    reader, index = index_at(folder), index_at(folder)
    for one in (reader, index):
        check_search(one, state)
    run(index, state, ["add", 600, 30, 2], folder)
    index.close()
    reader.refresh()
    check_search(reader, apply(state, ["add", 600, 30, 2]))
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    with index_at(folder) as other:
        run(other, state, ["add", 600, 31, 3], folder)
    state = apply(state, ["add", 600, 31, 3])
    for one in (reader, index):
        assert one.refresh()
        assert holds(one, state)
        check_search(one, state)
    run(index, state, ["delete", 0, 9, 4], folder)
    assert holds(index_at(folder), apply(state, ["delete", 0, 9, 4]))


def test_a_log_removed_under_a_writer(copied: tuple[Path, State]) -> None:
    folder, state = copied
    index = index_at(folder)
    run(index, state, ADD, folder)
    state = apply(state, ADD)
    (path,) = folder.glob("log-*.wal")
    path.unlink()
    with pytest.raises(StorageError, match="the log was removed"):
        run(index, state, ["delete", 0, 3, 4], folder)
    with pytest.raises(IndexCorrupt, match=path.name):
        index_at(folder)
    run(index, state, ["delete", 0, 3, 5], folder)  # memory has it all
    assert holds(index_at(folder), apply(state, ["delete", 0, 3, 5]))


def test_a_lock_file_removed_under_a_writer(copied: tuple[Path, State]) -> None:
    folder, state = copied
    first, second = index_at(folder), index_at(folder)
    run(first, state, ADD, folder)
    (folder / "LOCK").unlink()
    run(second, state, ["upsert", 800, 2, 5], folder)
    state = apply(apply(state, ADD), ["upsert", 800, 2, 5])
    assert holds(second, state)
    second.close()
    run(first, state, ["delete", 0, 4, 6], folder)
    state = apply(state, ["delete", 0, 4, 6])
    for one in (first, index_at(folder)):
        assert holds(one, state)
