"""Files and folders of parts, written whole or not at all, under faults had for real."""

from __future__ import annotations

import errno
import os
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from storage_shared import finish, get, names, put, start

from ragopt.errors import IndexCorrupt, InputError, StorageError
from ragopt.storage import (
    StoredPart,
    allocate,
    atomic_write,
    commit_folder,
    file_checksum,
    folder_about,
    load_folder,
    store_part,
    sweep_folder,
    temporary_part,
    writer_lock,
)

# Single files ------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"one", bytes(range(256)) * 5000])
def test_a_file_is_made_and_replaced(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    atomic_write(path, content)
    assert path.read_bytes() == content
    atomic_write(path, memoryview(b"other"))
    assert path.read_bytes() == b"other"
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("place", ["below a file", "a folder", "/proc"])
def test_a_file_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    path = {
        "below a file": tmp_path / "file" / "x",
        "a folder": tmp_path / "folder",
        "/proc": Path("/proc/ragopt/x"),
    }[place]
    with pytest.raises(StorageError, match=str(path)) as caught:
        atomic_write(path, b"new")
    expected = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EACCES}
    assert caught.value.errno in expected
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_file_on_a_full_disk(tmp_path: Path) -> None:
    code = """
atomic_write(path, b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write(path, bytes(5000))
except StorageError as error:
    print(error.errno, "ulimit -f" in str(error))
print(path.read_bytes(), os.listdir(path.parent))
"""
    printed = finish(start(code, tmp_path / "file"))
    assert printed == f"{errno.EFBIG} True\nb'old' ['file']"


def test_an_interrupted_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    atomic_write(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "file", b"new")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_written_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "report.json", b"{}")
    finally:
        os.umask(before)
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o640


# Folders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"bytes",
        bytearray(b"array"),
        memoryview(b"view"),
        np.arange(6, dtype="<f2").reshape(2, 3),
        np.empty((0, 5)),
        np.arange(3_000_000, dtype=np.uint8),  # more than a checksum block with the next
        np.zeros(5_000_001, dtype=np.uint8),
    ],
    ids=lambda part: f"{type(part).__name__}-{memoryview(part).nbytes}",
)
def test_a_folder_gives_back_what_it_took(part: Any, tmp_path: Path) -> None:
    about = {"name": "漢字", "list": [1, 2.5, None], "nested": {"a": True}}
    put(tmp_path / "set", about, part=part, second=b"x")
    assert get(tmp_path / "set") == (about, {"part": memoryview(part).tobytes(), "second": b"x"})
    assert get(tmp_path / "set", verify=False) == get(tmp_path / "set")
    assert get(tmp_path / "set", version=3) == get(tmp_path / "set")


def test_a_set_takes_the_place_of_another(tmp_path: Path) -> None:
    put(tmp_path, first=b"1", both=b"old", same=b"same")
    stamp = next(tmp_path.glob("same-*")).name
    put(tmp_path, both=b"new", same=b"same", last=b"3")
    assert get(tmp_path)[1] == {"both": b"new", "same": b"same", "last": b"3"}
    assert [name.split("-")[0] for name in names(tmp_path)] == [
        "LOCK",
        "MANIFEST.json",
        "both",
        "last",
        "same",
    ]
    assert (tmp_path / stamp).exists()


STRANGERS = [
    "model.bin",
    "part.bin",
    "other-0123abcd.bin",
    "part-0123abcd.bin.bak",
    "part-0123ABCD.bin",
    ".part-0123abcd.bin",
    ".other-0123abcd.bin.abcdefgh",
    ".bashrc",
    "pytorch_model-00001-of-00002.bin",
]
LEFTOVERS = ["part-0123abcd.bin", ".part-0123abcd.bin.abcdef_8", ".MANIFEST.json.abcdef_8"]


def test_what_a_killed_writer_left_goes_and_files_of_others_stay(tmp_path: Path) -> None:
    for name in (*STRANGERS, *LEFTOVERS):
        (tmp_path / name).write_bytes(b"stranger")
    put(tmp_path, part=b"mine")
    for name in LEFTOVERS:
        (tmp_path / name).write_bytes(b"again")
    put(tmp_path, part=b"mine too")
    (mine,) = (path.name for path in tmp_path.glob("part-*.bin") if path.name not in STRANGERS)
    assert names(tmp_path) == sorted([*STRANGERS, mine, "LOCK", "MANIFEST.json"])


def test_a_refused_description_changes_nothing(tmp_path: Path) -> None:
    put(tmp_path, {"a": 1}, part=b"old")
    before = names(tmp_path)
    with pytest.raises(TypeError):
        put(tmp_path, {"a": object()}, part=b"new", more=b"new")
    assert names(tmp_path) == before
    assert get(tmp_path) == ({"a": 1}, {"part": b"old"})


def test_parts_are_kept_where_a_manifest_is_damaged_and_the_next_set_fails(tmp_path: Path) -> None:
    put(tmp_path, part=b"old")
    manifest = (tmp_path / "MANIFEST.json").read_bytes()
    (tmp_path / "MANIFEST.json").write_bytes(b"damaged")
    with pytest.raises(TypeError):
        put(tmp_path, {"a": object()}, part=b"new")
    (tmp_path / "MANIFEST.json").write_bytes(manifest)  # restored from a backup
    assert get(tmp_path)[1] == {"part": b"old"}


def test_a_folder_of_another_kind_or_version(tmp_path: Path) -> None:
    put(tmp_path, part=b"x")
    with pytest.raises(InputError, match="holds a 'test', expected a 'cache'"):
        get(tmp_path, kind="cache")
    with pytest.raises(IndexCorrupt, match=r"MANIFEST\.json: format version 2 is newer.*upgrade"):
        get(tmp_path, version=1)
    with pytest.raises(InputError, match="nothing was saved here"):
        get(tmp_path / "nowhere")


@pytest.mark.parametrize("change", [b"", b"ol", b"olds", b"odl", None])
def test_changed_parts_are_named(change: bytes | None, tmp_path: Path) -> None:
    put(tmp_path, part=b"old", other=b"")
    (path,) = tmp_path.glob("part-*.bin")
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change)
    with pytest.raises(IndexCorrupt, match=path.name):
        get(tmp_path)


def test_loading_starts_over_when_the_set_was_replaced(tmp_path: Path) -> None:
    put(tmp_path, part=b"old")
    calls = []

    def load(about: dict[str, Any], paths: dict[str, Path]) -> bytes:
        calls.append(paths["part"].name)
        if len(calls) == 1:
            put(tmp_path, part=b"new")
        return paths["part"].read_bytes()

    assert load_folder(tmp_path, load, kind="test", version=2) == b"new"
    assert len(set(calls)) == 2


def test_loading_gives_up_on_what_stays_broken(tmp_path: Path) -> None:
    put(tmp_path, part=b"old")

    def fail(about: dict[str, Any], paths: dict[str, Path]) -> None:
        raise FileNotFoundError(paths["part"])

    with pytest.raises(FileNotFoundError):
        load_folder(tmp_path, fail, kind="test", version=2)


# Parts that are written before their set ---------------------------------------------------

OURS = re.compile(r"\d+-rows")


def stored(folder: Path, name: str, content: bytes) -> StoredPart:
    path = temporary_part(folder, name)
    path.write_bytes(content)
    return store_part(path, folder, name)


def commit(folder: Path, about: dict[str, Any] | None = None, **parts: Any) -> None:
    named = {name.replace("_", "-"): part for name, part in parts.items()}
    commit_folder(folder, kind="test", version=2, about=about or {}, parts=named, ours=OURS)


def test_stored_parts_are_kept_where_they_are(tmp_path: Path) -> None:
    with writer_lock(tmp_path):
        part = stored(tmp_path, "rows", b"content")
        assert part == StoredPart(part.file, 7, zlib.crc32(b"content"))
        assert part == StoredPart.of(tmp_path / part.file)
        assert file_checksum(tmp_path / part.file) == part.crc32
        before = (tmp_path / part.file).stat()
        commit(tmp_path, rows=part, small=b"1")
        commit(tmp_path, rows=part, small=b"2", more=b"")
        after = (tmp_path / part.file).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert get(tmp_path)[1] == {"rows": b"content", "small": b"2", "more": b""}
    with writer_lock(tmp_path):
        commit(tmp_path, small=b"2")
    assert not list(tmp_path.glob("rows-*"))


def test_a_part_comes_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "file").write_bytes(b"x")
    part = store_part(tmp_path / "work" / "file", tmp_path, "rows")
    assert not list((tmp_path / "work").iterdir())
    commit(tmp_path, rows=part)
    assert get(tmp_path)[1] == {"rows": b"x"}


def test_a_set_that_is_refused_takes_its_stored_parts_along(tmp_path: Path) -> None:
    with writer_lock(tmp_path):
        kept = stored(tmp_path, "1-rows", b"old")
        commit(tmp_path, {"a": 1}, **{"1-rows": kept})
        before = names(tmp_path)
        new = stored(tmp_path, "2-rows", b"new")
        with pytest.raises(TypeError):
            commit(tmp_path, {"a": object()}, **{"1-rows": kept, "2-rows": new})
        assert names(tmp_path) == before
    assert get(tmp_path) == ({"a": 1}, {"1-rows": b"old"})


def test_parts_of_an_earlier_writer_are_swept(tmp_path: Path) -> None:
    strangers = ["7-rows.bin", "7-other-0123abcd.bin", "x7-rows-0123abcd.bin"]
    with writer_lock(tmp_path):
        kept = stored(tmp_path, "1-rows", b"old")
        commit(tmp_path, **{"1-rows": kept})
        for sweep in (
            lambda: sweep_folder(tmp_path, OURS),
            lambda: commit(tmp_path, **{"1-rows": kept}),
        ):
            stored(tmp_path, "7-rows", b"left by a killed writer")
            temporary_part(tmp_path, "8-rows").write_bytes(b"half")
            for name in strangers:
                (tmp_path / name).write_bytes(b"stranger")
            sweep()
            assert names(tmp_path) == sorted([*strangers, kept.file, "LOCK", "MANIFEST.json"])
        stored(tmp_path, "7-rows", b"perhaps named by the manifest")
        before = names(tmp_path)
        (tmp_path / "MANIFEST.json").write_bytes(b"damaged")
        sweep_folder(tmp_path, OURS)
        assert names(tmp_path) == before
    with pytest.raises(StorageError, match="nowhere"):
        sweep_folder(tmp_path / "nowhere", OURS)


def test_a_part_that_is_not_there_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        store_part(tmp_path / "missing", tmp_path, "rows")
    assert names(tmp_path) == []


def test_the_description_alone(tmp_path: Path) -> None:
    assert folder_about(tmp_path) is None
    put(tmp_path, {"a": [1]}, part=b"x")
    assert folder_about(tmp_path) == {"a": [1]}
    (tmp_path / "MANIFEST.json").write_bytes(b"damaged")
    assert folder_about(tmp_path) is None


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000])
def test_a_file_gets_its_size_and_its_blocks(size: int, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        allocate(file.fileno(), size)
    assert (tmp_path / "file").read_bytes() == bytes(size)
    if hasattr(os, "posix_fallocate"):
        assert (tmp_path / "file").stat().st_blocks * 512 >= size
