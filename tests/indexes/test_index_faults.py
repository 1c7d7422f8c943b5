"""Damaged files, full disks, busy folders and killed writers."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragopt.errors import IndexCorrupt, InputError, RagoptError, StorageError, StoreBusy
from ragopt.indexes import build
from ragopt.indexes import open as open_index

ROWS = np.random.default_rng(0).standard_normal((60, 16)).astype(np.float32)
IDS = list(range(1000, 1060))

NEEDS_DISKANN = pytest.mark.skipif(
    find_spec("diskannpy") is None, reason="diskannpy (extra diskann) is not installed"
)

PARTS = {
    "flat": ["ids", "rows"],
    "flat(dtype=f16)": ["ids", "rows"],
    "hnsw": ["graph", "ids"],
    "hnswlib": ["graph", "ids"],
    "rabitq": ["codes", "ids", "rows"],
    "rabitq(bits=4)+rescore(f32)": ["codes", "ids", "rows"],
    "hnsw+sq8": ["ids", "rows", "training"],
    "ivf+sq8": ["ids", "rows", "training"],
    "ivf(train_rows=40)+sq8": ["codes", "ids", "training"],
    "ivfpq": ["ids", "rows", "training"],
    "ivfpq(bits=4,train_rows=40)+opq": ["codes", "ids", "rotation", "rows", "training"],
    "diskann": ["count", "ids", "rows"],
}
WHOLE = [pytest.param(spec, marks=[NEEDS_DISKANN] if spec == "diskann" else []) for spec in PARTS]
FILES = [
    pytest.param(spec, part, marks=[NEEDS_DISKANN] if spec == "diskann" else [])
    for spec, parts in PARTS.items()
    for part in parts
]


def flipped(content: bytes, place: int, bit: int = 0) -> bytes:
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "halved": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one byte long": lambda content: content + b"\0",
    "first bit flipped": lambda content: flipped(content, 0),
    "middle bit flipped": lambda content: flipped(content, len(content) // 2, 7),
    "last bit flipped": lambda content: flipped(content, len(content) - 1, 3),
    "replaced by zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("spec", WHOLE)
def test_a_saved_index_consists_of_the_files_tested_here(spec: str, tmp_path: Path) -> None:
    build(spec, ROWS, IDS, path=tmp_path)
    found = sorted(path.name.split("-")[0] for path in tmp_path.iterdir())
    assert found == ["LOCK", "MANIFEST.json", *PARTS[spec]]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("spec", "part"), FILES)
def test_a_damaged_part_is_named(spec: str, part: str, damage: str, tmp_path: Path) -> None:
    build(spec, ROWS, IDS, path=tmp_path)
    (path,) = tmp_path.glob(f"{part}-*.bin")
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(IndexCorrupt, match=f"{path.name}.*build again"):
        open_index(tmp_path)
    if "flipped" not in damage and "zeros" not in damage:  # sizes are always checked
        with pytest.raises(IndexCorrupt, match=path.name):
            open_index(tmp_path, verify=False)


@pytest.mark.parametrize(("spec", "part"), FILES)
def test_a_deleted_part_is_named(spec: str, part: str, tmp_path: Path) -> None:
    build(spec, ROWS, IDS, path=tmp_path)
    (path,) = tmp_path.glob(f"{part}-*.bin")
    path.unlink()
    for verify in (True, False):
        with pytest.raises(IndexCorrupt, match=f"{path.name}: missing"):
            open_index(tmp_path, verify=verify)


@pytest.mark.parametrize(
    "spec", ["hnsw", "hnswlib", "rabitq", "ivf(train_rows=40)", "ivfpq(bits=4,train_rows=40)"]
)
def test_parts_that_an_engine_cannot_read(spec: str, tmp_path: Path) -> None:
    """Whole files of the right size and checksum, written by something else."""
    build(spec, ROWS, path=tmp_path)
    manifest = tmp_path / "MANIFEST.json"
    body = json.loads(json.loads(manifest.read_bytes())["body"])
    for name in set(body["files"]) & {"graph", "codes"}:
        content = b"not what faiss or hnswlib write" * 10
        (tmp_path / "other.bin").write_bytes(content)
        body["files"][name] = {
            "file": "other.bin",
            "bytes": len(content),
            "crc32": zlib.crc32(content),
        }
    manifest.write_bytes(seal(body))
    with pytest.raises(IndexCorrupt, match="cannot read it"):
        open_index(tmp_path)


def seal(body: Any) -> bytes:
    text = body if isinstance(body, str) else json.dumps(body)
    return json.dumps({"crc32": zlib.crc32(text.encode()), "body": text}).encode()


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0" * 4096,
        b"{}",
        b"[]",
        b"null",
        b"3",
        b'"body"',
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"crc32": 0, "body": ""}',
        b'{"crc32": 0, "body": 7}',
        b'{"crc32": 5, "body": "{}"}',
        seal({}),
        seal({"magic": "other", "kind": "vector-index"}),
        np.random.default_rng(0).bytes(3000),
    ],
    ids=repr,
)
def test_a_manifest_of_garbage(garbage: bytes, tmp_path: Path) -> None:
    build("flat", ROWS, path=tmp_path)
    (tmp_path / "MANIFEST.json").write_bytes(garbage)
    with pytest.raises(IndexCorrupt, match=r"MANIFEST\.json"):
        open_index(tmp_path)
    build("flat", ROWS, path=tmp_path)  # a new index takes its place
    assert len(open_index(tmp_path)) == len(ROWS)


def test_no_flipped_bit_of_a_manifest_goes_unseen(tmp_path: Path) -> None:
    """Whitespace aside: there, the index opens as it was."""
    build("flat", ROWS[:5], IDS[:5], path=tmp_path)
    manifest = tmp_path / "MANIFEST.json"
    content = manifest.read_bytes()
    messages = []
    for place in range(len(content)):
        manifest.write_bytes(flipped(content, place, place % 8))
        try:
            index = open_index(tmp_path)
        except IndexCorrupt as error:
            messages.append(str(error))
        else:
            assert index.search(ROWS[:5], 1).ids[:, 0].tolist() == IDS[:5]
    assert len(messages) > 0.98 * len(content)
    assert all("MANIFEST.json" in message for message in messages)


@pytest.mark.parametrize("length", [0, 1, 10, 0.5, -1])
def test_a_truncated_manifest(length: float, tmp_path: Path) -> None:
    build("rabitq", ROWS, path=tmp_path)
    manifest = tmp_path / "MANIFEST.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content[: int(length * len(content)) if length == 0.5 else int(length)])
    with pytest.raises(IndexCorrupt, match=r"MANIFEST\.json"):
        open_index(tmp_path)


def test_no_manifest(tmp_path: Path) -> None:
    build("flat", ROWS, path=tmp_path / "index")
    (tmp_path / "index" / "MANIFEST.json").unlink()
    for nothing in (tmp_path / "index", tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match=r"nothing was saved here.*MANIFEST\.json"):
            open_index(nothing)


def rewrite(folder: Path, **changes: Any) -> None:
    body = json.loads(json.loads((folder / "MANIFEST.json").read_bytes())["body"])
    (folder / "MANIFEST.json").write_bytes(seal({**body, **changes}))


def test_foreign_and_newer_manifests(tmp_path: Path) -> None:
    build("flat", ROWS, path=tmp_path)
    rewrite(tmp_path, version=2)
    with pytest.raises(IndexCorrupt, match=r"version 2 is newer.*\(1\); upgrade ragopt"):
        open_index(tmp_path)
    rewrite(tmp_path, version=1, kind="lsa-embedder")
    with pytest.raises(InputError, match="holds a 'lsa-embedder', expected a 'vector-index'"):
        open_index(tmp_path)
    rewrite(tmp_path, kind="vector-index", about={"family": "flat"})
    with pytest.raises(IndexCorrupt, match=r"lacks.*dim.*metric"):
        open_index(tmp_path)
    about = {"family": "nsg", "options": {}, "dim": 3, "metric": "ip", "rows": 0}
    rewrite(tmp_path, about=about)
    with pytest.raises(InputError, match="index family 'nsg'"):
        open_index(tmp_path)


def test_the_lock_file_does_not_matter(tmp_path: Path) -> None:
    build("flat", ROWS, path=tmp_path)
    (tmp_path / "LOCK").unlink()
    open_index(tmp_path).save(tmp_path)
    assert len(open_index(tmp_path)) == len(ROWS)


# Places that cannot be written -------------------------------------------------------------


def unwritable(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "file").write_bytes(b"a regular file")
    return {
        "below a file": tmp_path / "file" / "index",
        "a file": tmp_path / "file",
        "/proc": Path("/proc/ragopt-index"),
    }


@pytest.mark.parametrize("place", ["below a file", "a file", "/proc"])
@pytest.mark.parametrize("spec", ["flat", "rabitq"])
def test_places_that_cannot_be_written(spec: str, place: str, tmp_path: Path) -> None:
    target = unwritable(tmp_path)[place]
    index = build(spec, ROWS)
    with pytest.raises(StorageError, match=str(target)) as caught:
        index.save(target)
    assert isinstance(caught.value, OSError)
    with pytest.raises(StorageError):
        build(spec, ROWS, path=target)
    assert (tmp_path / "file").read_bytes() == b"a regular file"
    assert index.search(ROWS[3], 1).ids.tolist() == [[3]]


@pytest.mark.parametrize("spec", WHOLE)
def test_a_full_disk(spec: str, tmp_path: Path, run_script: Callable[..., str]) -> None:
    """The limit on file sizes stands for it, in a process of its own."""
    printed = run_script(
        """
import os, re, resource, sys
import numpy as np
from ragopt.errors import StorageError
from ragopt.indexes import build, open as open_index

spec, folder = sys.argv[1:]
rows = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
quick = spec.replace("hnswlib", "hnswlib(ef_construction=8)")
quick = re.sub(r"^hnsw\b", "hnsw(ef_construction=8)", quick)
old = build(quick, rows[:50], path=folder)
files = sorted(os.listdir(folder))
index = build(quick, rows, np.arange(3000) + 7)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, hard))
for attempt in (index.save, lambda path: build(quick, rows, path=path)):
    try:
        attempt(folder)
        print("saved")
    except StorageError as error:
        assert "ulimit -f" in str(error) or "TMPDIR" in str(error), error
    assert sorted(os.listdir(folder)) == files, os.listdir(folder)
    assert np.array_equal(open_index(folder).search(rows[:9], 3).ids, old.search(rows[:9], 3).ids)
assert index.search(rows[20], 1).ids.tolist() == [[27]]
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
index.save(folder)
assert np.array_equal(open_index(folder).search(rows[:9], 3).ids, index.search(rows[:9], 3).ids)
print("whole")
""",
        spec,
        tmp_path / "index",
    )
    assert "saved" not in printed.splitlines()
    assert "whole" in printed.splitlines()  # the older diskannpy writes to standard output, too


@pytest.mark.parametrize(
    "spec",
    [
        "rabitq",
        "ivfpq(bits=4,train_rows=40)",
        pytest.param("diskann(fresh_rows=40)", marks=NEEDS_DISKANN),
        pytest.param("diskann(fresh_rows=2900)", marks=NEEDS_DISKANN),
    ],
)
def test_a_disk_that_fills_while_rows_are_added(spec: str, run_script: Callable[..., str]) -> None:
    printed = run_script(
        """
import resource, sys
import numpy as np
from ragopt.errors import StorageError
from ragopt.indexes import build

rows = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
empty, index = build(sys.argv[1], rows[:0]), build(sys.argv[1], rows[:50])
before, size = index.search(rows[:9], 5), index.footprint()
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
for refused in (empty, index):
    try:
        refused.add(rows)
        print("added")
    except StorageError:
        pass
assert (len(empty), len(index), index.footprint()) == (0, 50, size)
after = index.search(rows[:9], 5)
assert np.array_equal(after.ids, before.ids) and np.array_equal(after.scores, before.scores)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for again in (empty, index):
    start = len(again)
    again.add(rows)
    assert again.search(rows[2999], 1).ids.tolist() == [[start + 2999]]
print("whole")
""",
        spec,
    )
    assert "added" not in printed.splitlines()
    assert "whole" in printed.splitlines()


# Other processes ---------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from ragopt.storage import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_that_another_process_writes_to(
    tmp_path: Path, running_script: Callable[..., Any]
) -> None:
    old = build("flat", ROWS, path=tmp_path)
    new = build("flat", ROWS[::-1])
    with running_script(HOLD, tmp_path) as holder:
        with pytest.raises(StoreBusy, match="another process is writing here"):
            new.save(tmp_path)
        assert open_index(tmp_path).search(ROWS[2], 1).ids.tolist() == [[2]]
        holder.kill()
        holder.wait()
        new.save(tmp_path)  # the lock goes with its process
    assert open_index(tmp_path).search(ROWS[2], 1).ids.tolist() == [[57]]
    assert old.search(ROWS[2], 1).ids.tolist() == [[2]]


# A child is killed at its n-th sync, which are at every step of saving, or wherever it is.
KILLED_WRITERS = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from ragopt.indexes import build, open as open_index

folder = Path(sys.argv[1])
rows = np.random.default_rng(0).standard_normal((20_000, 16)).astype(np.float32)
old = build("flat", rows, np.arange(20_000) + 5)
new = build("flat", rows[::-1], np.arange(20_000) + 70_000)
allowed = {old.search(rows[9], 1).ids.item(): "old", new.search(rows[9], 1).ids.item(): "new"}
opened = {"old": 0, "new": 0}
leftovers = 0


def save_and_die(sync: int) -> None:
    real, done = os.fsync, 0
    def fsync(handle):
        nonlocal done
        done += 1
        if done == sync:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)
    os.fsync = fsync
    new.save(folder)
    os._exit(0)


def save_for_ever() -> None:
    while True:
        new.save(folder)
        old.save(folder)


def check(status: int, must_be_killed: bool) -> None:
    global leftovers
    assert os.WIFSIGNALED(status) == must_be_killed, status
    index = open_index(folder)
    opened[allowed[index.search(rows[9], 1).ids.item()]] += 1
    found = index.search(rows[:50], 1)
    assert np.array_equal(found.ids, index.exact(rows[:50], 1).ids)
    leftovers += len(os.listdir(folder)) > 4
    old.save(folder)
    names = sorted(name.split("-")[0] for name in os.listdir(folder))
    assert names == ["LOCK", "MANIFEST.json", "ids", "rows"], names


old.save(folder)
for sync in range(1, 8):
    child = os.fork()
    if not child:
        save_and_die(sync)
    check(os.waitpid(child, 0)[1], must_be_killed=sync <= 6)
draw = random.Random(0)
for _ in range(10):
    child = os.fork()
    if not child:
        save_for_ever()
    time.sleep(draw.uniform(0.002, 0.03))
    os.kill(child, signal.SIGKILL)
    check(os.waitpid(child, 0)[1], must_be_killed=True)
assert opened["old"] >= 5 and opened["new"] >= 1, opened
assert leftovers >= 5, "the kills hit nothing"
print("whole")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_writers_killed_in_the_middle(tmp_path: Path, run_script: Callable[..., str]) -> None:
    assert run_script(KILLED_WRITERS, tmp_path / "index") == "whole"


def test_a_first_save_that_was_killed_leaves_nothing_that_opens(tmp_path: Path) -> None:
    (tmp_path / "rows-0123abcd.bin").write_bytes(b"part")
    (tmp_path / ".ids-0123abcd.bin.k2_x9abc").write_bytes(b"part of a part")
    (tmp_path / ".MANIFEST.json.k2_x9abc").write_bytes(b"{")
    with pytest.raises(InputError, match="nothing was saved here"):
        open_index(tmp_path)
    build("flat", ROWS, path=tmp_path)
    names = sorted(path.name.split("-")[0] for path in tmp_path.iterdir())
    assert names == ["LOCK", "MANIFEST.json", "ids", "rows"]


REPLACE = """
import sys
import numpy as np
from ragopt.indexes import build
rows = np.load(sys.argv[1])
sets = build("flat", rows), build("flat", rows[::-1], np.arange(len(rows)) + 1000)
sets[0].save(sys.argv[2])
print("saved", flush=True)
while True:
    for index in sets[::-1]:
        index.save(sys.argv[2])
"""


def test_readers_see_the_old_set_or_the_new_one(
    tmp_path: Path, running_script: Callable[..., Any]
) -> None:
    rows = np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    expected = {(0, 1, 2), (2999, 2998, 2997)}
    seen = set()
    with running_script(REPLACE, tmp_path / "rows.npy", tmp_path / "index"):
        for turn in range(300):
            index = open_index(tmp_path / "index", verify=turn % 2 == 0)
            seen.add(tuple(index.search(rows[:3], 1).ids[:, 0].tolist()))
    assert seen == expected


def test_every_fault_is_an_error_of_ours() -> None:
    assert all(issubclass(error, RagoptError) for error in (IndexCorrupt, InputError, StorageError))
    assert issubclass(StoreBusy, RagoptError)
