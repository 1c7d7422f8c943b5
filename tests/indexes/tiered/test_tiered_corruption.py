"""Every file of a folder flipped, cut, emptied and removed: refused by its name, or repaired."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiered_planted import FIRST, State, apply, check_search, holds, index_at, run, two_segments

from ragopt.errors import IndexCorrupt, InputError
from ragopt.indexes.tiered.index import TieredIndex

PARTS = (
    "000001-codes", "000001-ids", "000001-lists", "000001-rows",
    "000002-codes", "000002-ids", "000002-lists", "000002-rows",
    "centroids", "signs", "dead", "fresh-ids", "fresh-rows", "heat",
)  # fmt: skip
FILES = (*(f"{part}-*.bin" for part in PARTS), "MANIFEST.json", "log-*.wal")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """Two segments, fresh rows and tombstones in the manifest, and more of both in the log."""
    folder = tmp_path_factory.mktemp("corruption") / "index"
    state = two_segments(folder)
    for operation in COMMITTED:
        with index_at(folder) as index:
            run(index, state, operation, folder)
            index.search([[0.0] * index.dim], 1)
            index.rebalance("1MB")  # the writer commits with it
        state = apply(state, operation)
    for operation in LOGGED:
        with index_at(folder) as index:
            run(index, state, operation, folder)
        state = apply(state, operation)
    return folder, state


COMMITTED = [["delete", 0, 1, 8]]
LOGGED = [["add", 400, 3, 5], ["delete", 0, 5, 6], ["upsert", 410, 2, 7]]


def states() -> list[State]:
    """Before the log, and behind each of its records."""
    state = dict.fromkeys(range(100), 1)
    for operation in (*FIRST, *COMMITTED):
        state = apply(state, operation)
    known = [state]
    for operation in LOGGED:
        known.append(apply(known[-1], operation))
    return known


@pytest.fixture
def copy(original: tuple[Path, State], tmp_path: Path) -> Path:
    shutil.copytree(original[0], tmp_path / "index")
    return tmp_path / "index"


def the(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def test_the_folder_consists_of_the_files_tested_here(original: tuple[Path, State]) -> None:
    folder, state = original
    names = {path.name for path in folder.iterdir()}
    assert names == {"LOCK", *(the(folder, pattern).name for pattern in FILES)}
    assert all(path.stat().st_size for path in folder.iterdir() if path.name != "LOCK")
    index = index_at(folder)
    assert holds(index, state)
    assert len(index._segments) == 2
    assert index._fresh.count
    assert index._dead
    check_search(index, state)


def refusal(folder: Path) -> str | None:
    try:
        index_at(folder)
    except IndexCorrupt as error:
        return str(error)
    return None


def damaged(content: bytes) -> Iterator[tuple[str, bytes]]:
    size = len(content)
    places = sorted({0, 1, size // 3, size // 2, size - 1, *range(7, size, size // 9 + 1)})
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        yield f"bit of byte {place}", bytes(flipped)
    for length in sorted({0, 1, size // 4, size // 2, size - 1, size & -4096}):
        if length != size:
            yield f"cut to {length}", content[:length]
    yield "one byte more", content + b"\0"
    if any(content):
        yield "zeros", bytes(size)


@pytest.mark.parametrize("pattern", FILES[:-1])
def test_damage_is_refused_by_name(pattern: str, copy: Path, original: tuple[Path, State]) -> None:
    path = the(copy, pattern)
    content = path.read_bytes()
    for what, bad in damaged(content):
        path.write_bytes(bad)
        message = refusal(copy)
        if message is None:  # such as white space in the manifest
            assert path.name == "MANIFEST.json", what
            assert holds(index_at(copy), original[1])
        else:
            assert path.name in message, what
    path.unlink()
    for verify in (True, False):
        with pytest.raises((IndexCorrupt, InputError), match=path.name):
            index_at(copy, verify=verify)


@pytest.mark.parametrize("pattern", FILES[:-2])
def test_sizes_are_checked_without_verifying_too(pattern: str, copy: Path) -> None:
    """A map of a file that is too short would kill the process when it is read."""
    path = the(copy, pattern)
    content = path.read_bytes()
    for what, bad in damaged(content):
        if len(bad) != len(content):
            path.write_bytes(bad)
            with pytest.raises(IndexCorrupt, match=path.name):
                index_at(copy, verify=False)
            assert what


@pytest.mark.parametrize("pattern", ["*-lists-*.bin", "dead-*.bin"])
def test_what_everything_hangs_on_is_checked_always(pattern: str, copy: Path) -> None:
    """Otherwise a flipped bit would lead searches out of the maps."""
    for path in copy.glob(pattern):
        content = bytearray(path.read_bytes())
        refused = 0
        for place in range(3, len(content), 4 if "lists" in path.name else 8):
            content[place] ^= 0x40  # of the most significant byte
            path.write_bytes(content)
            with pytest.raises(IndexCorrupt, match=path.name):
                index_at(copy, verify=False)
            content[place] ^= 0x40
            refused += 1
        assert refused
        path.write_bytes(content)


def test_flipped_bits_of_a_log_are_refused(copy: Path) -> None:
    path = the(copy, "log-*.wal")
    content = path.read_bytes()
    for verify in (True, False):
        for place in range(0, len(content), 5):
            flipped = bytearray(content)
            flipped[place] ^= 1 << place % 8
            path.write_bytes(flipped)
            with pytest.raises(IndexCorrupt, match=path.name):
                index_at(copy, verify=verify)


def test_a_log_that_was_cut_short_opens_with_what_is_whole(
    copy: Path, original: tuple[Path, State]
) -> None:
    path = the(copy, "log-*.wal")
    content = path.read_bytes()
    known, seen = states(), []
    assert known[-1] == original[1]
    for length in (*range(0, len(content), 5), len(content)):
        path.write_bytes(content[:length])
        if length < 16:
            with pytest.raises(IndexCorrupt, match=path.name):
                index_at(copy)
            continue
        index = index_at(copy)
        seen += [number for number, one in enumerate(known) if holds(index, one)]
    assert sorted(set(seen)) == [0, 1, 2, 3]
    assert seen == sorted(seen)


def test_a_cut_log_is_written_on(copy: Path) -> None:
    path = the(copy, "log-*.wal")
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    state = states()[-2]
    for operation in (["add", 500, 2, 9], ["delete", 0, 3, 10]):
        with index_at(copy) as index:
            assert holds(index, state)
            run(index, state, operation, copy)
        state = apply(state, operation)
        index = index_at(copy)
        assert holds(index, state)
        index.verify()


def test_a_log_without_its_beginning(copy: Path) -> None:
    path = the(copy, "log-*.wal")
    path.unlink()
    for verify in (True, False):
        with pytest.raises(IndexCorrupt, match=f"{path.name}: missing"):
            index_at(copy, verify=verify)


def test_verify_names_what_was_damaged_after_opening(copy: Path) -> None:
    index = index_at(copy)
    index.verify()
    for pattern in ("000001-rows-*.bin", "log-*.wal", "MANIFEST.json"):
        path = the(copy, pattern)
        content = path.read_bytes()
        path.write_bytes(content[:25] + bytes([content[25] ^ 1]) + content[26:])
        with pytest.raises(IndexCorrupt, match=path.name):
            index.verify()
        path.write_bytes(content)
        index.verify()


def test_verify_of_a_copy_and_of_an_index_without_a_folder(copy: Path, tmp_path: Path) -> None:
    index_at(copy).save(tmp_path / "copy")
    index_at(tmp_path / "copy").verify()  # which has no log yet
    with pytest.raises(InputError, match="has no folder"):
        TieredIndex(index_at(copy).options, 3, "l2").verify()


DAMAGED_WITHOUT_VERIFYING = """
import json, os, random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import faiss
faiss.omp_set_num_threads(1)
from tiered_planted import *
from ragopt.errors import RagoptError

folder, part = Path(sys.argv[2]), sys.argv[3]
check_search(index_at(folder), {})
(path,) = folder.glob(part)
content = path.read_bytes()
outcomes = {}
flipped = [
    content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
    for place in range(11, len(content), len(content) // 12)
]
drawn = [random.Random(seed).randbytes(len(content)) for seed in range(6)]
for damaged in [*flipped, *drawn, bytes([0x7E]) * len(content), bytes([0xBE]) * len(content)]:
    path.write_bytes(damaged)
    child = os.fork()
    if not child:
        code = 3
        try:
            index = index_at(folder, verify=False)
            for ram in (None, "1MB"):
                for where in (None, range(0, 4000, 2)):
                    index.search(planted(range(40), 1), 5, where=where, probes=4096, candidates=64)
                index.rebalance(ram)
            code = 0
        except RagoptError:
            code = 1
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    outcomes[status] = outcomes.get(status, 0) + 1
print(json.dumps(outcomes))
"""


@pytest.mark.parametrize("part", ["000001-codes", "000001-ids", "000001-rows", "centroids"])
def test_damage_that_nobody_looked_for_kills_no_process(
    part: str, copy: Path, run_script: Callable[..., str]
) -> None:
    here = Path(__file__).parent
    outcomes = json.loads(run_script(DAMAGED_WITHOUT_VERIFYING, here, copy, f"{part}-*.bin"))
    assert set(outcomes) <= {"0", "256"}, "exit status of the child: 0, or 1 for an error of ours"


SPILLED_NOWHERE = """
import sys
from pathlib import Path
import numpy as np
from ragopt.errors import IndexCorrupt
from ragopt.indexes import build, open as open_index
from ragopt.indexes.tiered.kernels import SPILLED

folder = Path(sys.argv[1])
rows = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
whole = build("tiered(lists=40,spill=2)", rows, path=folder)
(segment,) = whole._segments
content, ends = bytearray(segment.mapped), segment.offsets[:-1] + segment.sizes
for turn, row in enumerate((-(2**31), -1, len(rows), 2**31 - 1)):
    for end, spilled in zip(ends.tolist(), segment.table[:, SPILLED].tolist()):
        content[end - 4 * spilled : end] = np.full(spilled, row, dtype="<i4").tobytes()
    next(folder.glob("*-codes-*.bin")).write_bytes(content)
    index = open_index(folder, verify=False)
    for where in (None, range(0, len(rows), 2)):
        found = index.search(rows, 10, where=where, probes=40, candidates=40)
        assert ((found.ids >= 0) & (found.ids < len(rows))).all()
    found = index.search(rows, 1, probes=40, candidates=40).ids[:, 0]
    assert (found == np.arange(len(rows))).mean() > 0.9
    index.delete([turn])
    try:
        index.compact()
    except IndexCorrupt as error:
        assert "verify" in str(error)
    else:
        raise AssertionError("compacted what is damaged")
    index.close()
print("searched")
"""


def test_rows_that_a_damaged_list_makes_up_are_passed_over(
    tmp_path: Path, run_script: Callable[..., str]
) -> None:
    assert run_script(SPILLED_NOWHERE, tmp_path / "index") == "searched"
