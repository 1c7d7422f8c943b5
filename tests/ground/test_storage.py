"""Durable files and databases, under every fault that can be had for real."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragopt.errors import IndexCorrupt, InputError, StorageError, StoreBusy
from ragopt.storage import (
    Database,
    DatabaseFormat,
    StoredPart,
    allocate,
    atomic_write,
    commit_folder,
    file_checksum,
    folder_about,
    load_folder,
    read_folder,
    store_part,
    sweep_folder,
    temporary_part,
    write_folder,
    writer_lock,
)

FORMAT = DatabaseFormat(
    name="ledger",
    application_id=0x52474F31,
    version=3,
    schema=["CREATE TABLE entries (writer TEXT, number INTEGER UNIQUE, body BLOB)"],
)

# The same in scripts that run beside us.
PRELUDE = f"""
import os, resource, sqlite3, sys, time
from pathlib import Path
from ragopt.errors import *
from ragopt.storage import *
FORMAT = {FORMAT!r}
path = Path(sys.argv[1])
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(running: subprocess.Popen[str]) -> str:
    out, error = running.communicate(timeout=60)
    assert running.returncode == 0, error[-3000:]
    return out.strip()


@contextlib.contextmanager
def beside(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A script at work, past its first line of output; killed at the end."""
    running = start(code, *arguments)
    try:
        assert running.stdout is not None
        assert running.stdout.readline(), running.stderr and running.stderr.read()
        yield running
    finally:
        running.kill()
        running.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


# Folders -----------------------------------------------------------------------------------


def put(folder: Path, about: dict[str, Any] | None = None, **parts: Any) -> None:
    write_folder(folder, kind="test", version=2, about=about or {}, parts=parts)


def get(folder: Path, **options: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    about, paths = read_folder(folder, **{"kind": "test", "version": 2, **options})
    return about, {name: path.read_bytes() for name, path in paths.items()}


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


# Locks -------------------------------------------------------------------------------------


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    with writer_lock(folder):
        with pytest.raises(StoreBusy, match="another process is writing here"), writer_lock(folder):
            pytest.fail("two writers")
        printed = start(
            "try:\n with writer_lock(path): print('entered')\nexcept StoreBusy: print('busy')",
            folder,
        )
        assert finish(printed) == "busy"
        with writer_lock(tmp_path / "other"):
            pass
    with pytest.raises(ZeroDivisionError), writer_lock(folder):
        raise ZeroDivisionError
    with writer_lock(folder):
        pass


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    code = "with writer_lock(path): print('held', flush=True); time.sleep(60)"
    with beside(code, tmp_path) as holder:
        with pytest.raises(StoreBusy):
            put(tmp_path, part=b"x")
        holder.kill()
        holder.wait()
        put(tmp_path, part=b"x")
    assert get(tmp_path)[1] == {"part": b"x"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_lock_does_not_stay_with_forked_children(tmp_path: Path) -> None:
    printed = finish(start(FORKED, tmp_path))
    assert printed.splitlines() == ["free", "still held"]


FORKED = """
import contextlib

with writer_lock(path):
    wait, go = os.pipe()
    child = os.fork()
    if not child:
        os.close(go)
        os.read(wait, 1)
        os._exit(0)
try:
    with writer_lock(path):
        print("free", flush=True)
except StoreBusy:
    print("busy", flush=True)
os.close(go)
os.waitpid(child, 0)
held = contextlib.ExitStack()
held.enter_context(writer_lock(path))
child = os.fork()
if not child:
    held.close()  # in a child, this gives nothing back
    os._exit(0)
os.waitpid(child, 0)
try:
    with writer_lock(path):
        print("given back by the child")
except StoreBusy:
    print("still held")
held.close()
"""


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_lock_where_no_folder_can_be(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(StorageError, match="a file stands where a folder is needed"),
        writer_lock(tmp_path / place),
    ):
        pytest.fail("locked a file")


# Databases ---------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Callable[..., Database]]:
    """Open databases that are closed at the end."""
    with contextlib.ExitStack() as closing:

        def connect(name: str | Path = "ledger.db", **options: Any) -> Database:
            opened = Database(tmp_path / name, **{"format": FORMAT, **options})
            closing.callback(opened.close)
            return opened

        yield connect


def insert(database: Database, number: int, writer: str = "me") -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO entries (writer, number) VALUES (?, ?)", (writer, number))


def insert_all(
    database: Database, values: list[int], error: type[BaseException] | None = None
) -> None:
    with database.write() as connection:
        connection.executemany(
            "INSERT INTO entries VALUES ('x', ?, zeroblob(900))", [(value,) for value in values]
        )
        if error is not None:
            raise error


def numbers(database: Database) -> list[int]:
    return [number for (number,) in database.read("SELECT number FROM entries ORDER BY number")]


def test_a_database_is_made_and_opened_again(database: Callable[..., Database]) -> None:
    first = database("new/folder/ledger.db")
    insert(first, 1)
    second = database("new/folder/ledger.db")
    insert(second, 2)
    assert numbers(first) == numbers(second) == [1, 2]
    assert second.read("SELECT body FROM entries WHERE number = ?", (7,)) == []
    second.verify()
    assert second.read("PRAGMA journal_mode") == [("wal",)]
    assert "ledger.db" in repr(first)
    first.close()
    with pytest.raises(sqlite3.ProgrammingError):
        first.read("SELECT 1")


def test_a_database_in_memory() -> None:
    one = Database(":memory:", format=FORMAT)
    insert(one, 5)
    assert numbers(one) == [5]
    one.close()


@pytest.mark.parametrize(("durable", "level"), [(False, 1), (True, 2)])
def test_durability(database: Callable[..., Database], durable: bool, level: int) -> None:
    options = {
        name: getattr(FORMAT, name) for name in ("name", "application_id", "version", "schema")
    }
    opened = database(format=DatabaseFormat(**options, durable=durable))
    assert opened.read("PRAGMA synchronous") == [(level,)]


def test_a_transaction_is_kept_whole_or_not_at_all(database: Callable[..., Database]) -> None:
    opened = database()
    insert(opened, 1)
    with pytest.raises(sqlite3.IntegrityError):
        insert_all(opened, [2, 3, 1])
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            insert_all(opened, [4, 5], error)
    assert numbers(opened) == [1]
    insert(opened, 2)
    assert numbers(database()) == [1, 2]


def test_a_failing_commit_leaves_no_transaction_open(database: Callable[..., Database]) -> None:
    opened = database()
    with opened.write() as connection:
        connection.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        connection.execute(
            "CREATE TABLE children (id REFERENCES parents DEFERRABLE INITIALLY DEFERRED)"
        )
    opened.read("PRAGMA foreign_keys=ON")
    with pytest.raises(sqlite3.IntegrityError), opened.write() as connection:
        connection.execute("INSERT INTO children VALUES (9)")
    assert opened.read("SELECT * FROM children") == []
    insert(opened, 1)
    assert numbers(opened) == [1]


@pytest.mark.parametrize(
    "sql", ["SELECT disk_full FROM entries", "SELECT * FROM locked", "malformed", "SELECT busy"]
)
def test_mistakes_in_sql_are_not_mistaken_for_faults(
    database: Callable[..., Database], sql: str
) -> None:
    with pytest.raises(sqlite3.OperationalError):
        database().read(sql)


def test_a_constraint_on_a_column_named_full(database: Callable[..., Database]) -> None:
    opened = database()
    with opened.write() as connection:
        connection.execute('CREATE TABLE prices ("full" INTEGER UNIQUE, locked INTEGER UNIQUE)')
        connection.execute("INSERT INTO prices VALUES (1, 1)")
    for values in ((1, 2), (2, 1)):
        with pytest.raises(sqlite3.IntegrityError), opened.write() as connection:
            connection.execute("INSERT INTO prices VALUES (?, ?)", values)


def foreign(path: Path, *statements: str) -> bytes:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path.read_bytes()


FOREIGN = {
    "of another program": (["CREATE TABLE songs (title)"], "not a ragopt ledger"),
    "with a version": (["PRAGMA user_version=3"], "not a ragopt ledger"),
    "of another kind": (
        ["CREATE TABLE entries (x)", "PRAGMA application_id=77", "PRAGMA user_version=3"],
        "not a ragopt ledger",
    ),
    "of a newer ragopt": (
        [
            *FORMAT.schema,
            f"PRAGMA application_id={FORMAT.application_id}",
            "PRAGMA user_version=4",
        ],
        r"format 4 is newer than this ragopt reads \(3\); upgrade",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_databases_are_refused_unchanged(
    kind: str, tmp_path: Path, database: Callable[..., Database]
) -> None:
    statements, message = FOREIGN[kind]
    before = foreign(tmp_path / "ledger.db", *statements)
    with pytest.raises(InputError, match=message):
        database()
    assert (tmp_path / "ledger.db").read_bytes() == before
    assert names(tmp_path) == ["ledger.db"]


@pytest.mark.parametrize(
    "garbage",
    [b"not a database at all" * 100, np.random.default_rng(0).bytes(8192), b"SQLite format 3\0"],
    ids=["text", "random", "only the magic"],
)
def test_files_of_garbage(
    garbage: bytes, tmp_path: Path, database: Callable[..., Database]
) -> None:
    (tmp_path / "ledger.db").write_bytes(garbage)
    with pytest.raises(IndexCorrupt, match=r"ledger\.db: the ledger is damaged.*backup"):
        database()
    assert (tmp_path / "ledger.db").read_bytes() == garbage


def filled(path: Path) -> bytes:
    one = Database(path, format=FORMAT)
    with one.write() as connection:
        connection.executemany(
            "INSERT INTO entries VALUES ('x', ?, ?)", [(number, bytes(900)) for number in range(90)]
        )
    one.read("PRAGMA wal_checkpoint(TRUNCATE)")
    one.close()
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_truncated_databases(
    share: float, tmp_path: Path, database: Callable[..., Database]
) -> None:
    content = filled(tmp_path / "ledger.db")
    (tmp_path / "ledger.db").write_bytes(content[: int(share * len(content))])
    with pytest.raises(IndexCorrupt, match=r"ledger\.db"):
        database().verify()


def test_overwritten_pages(tmp_path: Path, database: Callable[..., Database]) -> None:
    content = filled(tmp_path / "ledger.db")
    noise = np.random.default_rng(1).bytes(4096)
    (tmp_path / "ledger.db").write_bytes(content[:8192] + noise + content[8192 + 4096 :])
    opened = database()
    with pytest.raises(IndexCorrupt, match=r"ledger\.db"):
        opened.verify()
    with pytest.raises(IndexCorrupt, match=r"ledger\.db"):
        numbers(opened)


def test_an_empty_file_becomes_a_database(
    tmp_path: Path, database: Callable[..., Database]
) -> None:
    (tmp_path / "ledger.db").write_bytes(b"")
    insert(database(), 1)
    assert numbers(database()) == [1]


@pytest.mark.parametrize("place", ["below a file", "a folder", "/proc"])
def test_databases_that_cannot_be_made(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    path = {
        "below a file": tmp_path / "file" / "ledger.db",
        "a folder": tmp_path,
        "/proc": Path("/proc/ragopt/ledger.db"),
    }[place]
    with pytest.raises(StorageError, match=str(path)):
        Database(path, format=FORMAT)
    assert names(tmp_path) == ["file"]


LOCK_IT = """
other = sqlite3.connect(path, isolation_level=None)
other.execute("PRAGMA locking_mode={mode}")
other.execute("BEGIN EXCLUSIVE")
other.execute("UPDATE entries SET number = number")
print("locked", flush=True)
time.sleep(60)
"""


def test_a_database_locked_by_another_process(
    tmp_path: Path, database: Callable[..., Database]
) -> None:
    insert(database(), 1)
    with beside(LOCK_IT.format(mode="NORMAL"), tmp_path / "ledger.db") as holder:
        opened = database(timeout_s=0.05)
        assert numbers(opened) == [1], "readers go on"
        with pytest.raises(StoreBusy, match=r"another process holds the ledger.*timeout_s"):
            insert(opened, 2)
        holder.kill()
        holder.wait()
        insert(opened, 2)
        assert numbers(opened) == [1, 2]


def test_a_database_held_by_another_process_alone(tmp_path: Path) -> None:
    Database(tmp_path / "ledger.db", format=FORMAT).close()
    code = LOCK_IT.format(mode="EXCLUSIVE")
    with beside(code, tmp_path / "ledger.db"), pytest.raises(StoreBusy, match="another process"):
        Database(tmp_path / "ledger.db", format=FORMAT, timeout_s=0.05)


WRITE_MANY = """
database = Database(path, format=FORMAT, timeout_s=30)
for number in range(int(sys.argv[3]), int(sys.argv[3]) + 60):
    with database.write() as connection:
        (highest,) = connection.execute("SELECT max(number) FROM entries").fetchone()
        connection.execute(
            "INSERT INTO entries VALUES (?, ?, NULL)", (sys.argv[2], (highest or 0) + 1)
        )
database.close()
"""


def test_writers_in_several_processes_lose_nothing(
    tmp_path: Path, database: Callable[..., Database]
) -> None:
    """All make the file at once, then each adds one to the highest number 60 times."""
    writers = [start(WRITE_MANY, tmp_path / "ledger.db", name, 0) for name in "abcd"]
    for writer in writers:
        finish(writer)
    opened = database()
    assert numbers(opened) == list(range(1, 241))
    assert opened.read("SELECT writer, count(*) FROM entries GROUP BY writer") == [
        (name, 60) for name in "abcd"
    ]


WRITE_AND_TELL = """
database = Database(path, format=FORMAT)
number = int(sys.argv[2])
while True:
    with database.write() as connection:
        connection.execute("INSERT INTO entries VALUES ('x', ?, ?)", (number, bytes(300)))
        connection.execute("INSERT INTO entries VALUES ('y', ?, ?)", (-number, bytes(300)))
    os.write(1, b"%d\\n" % number)
    number += 1
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(
    tmp_path: Path, database: Callable[..., Database]
) -> None:
    told = 0
    for until in (1, 40, 150, 400):
        writer = start(WRITE_AND_TELL, tmp_path / "ledger.db", told + 1)
        assert writer.stdout is not None
        for line in writer.stdout:
            told = int(line)
            if told >= until:
                break
        writer.kill()
        rest = writer.stdout.read().split()
        writer.communicate()
        told = int(rest[-1]) if rest else told
        opened = database()
        there = numbers(opened)
        # The last one may have been kept before it was told.
        kept = [number for number in there if number > 0]
        assert kept in (list(range(1, told + 1)), list(range(1, told + 2)))
        assert sorted(-number for number in there if number < 0) == kept
        opened.verify()
        told = len(kept)


def test_a_database_on_a_full_disk(tmp_path: Path) -> None:
    code = """
database = Database(path, format=FORMAT)
with database.write() as connection:
    connection.execute("INSERT INTO entries VALUES ('x', 1, NULL)")
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
for attempt in range(2):
    try:
        with database.write() as connection:
            for number in range(2, 500):
                connection.execute("INSERT INTO entries VALUES ('x', ?, ?)", (number, bytes(900)))
        print("written")
    except StorageError as error:
        print("nothing of this write was kept" in str(error))
    print(database.read("SELECT number FROM entries"))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
with database.write() as connection:
    connection.execute("INSERT INTO entries VALUES ('x', 2, NULL)")
database.verify()
print(database.read("SELECT number FROM entries"))
database.close()
"""
    printed = finish(start(code, tmp_path / "ledger.db")).split("\n")
    assert printed == ["True", "[(1,)]", "True", "[(1,)]", "[(1,), (2,)]"]


def test_a_database_as_full_as_it_may_get(database: Callable[..., Database]) -> None:
    opened = database()
    insert(opened, 1)
    opened.read("PRAGMA max_page_count=8")
    with pytest.raises(StorageError, match="disk is full; nothing of this write was kept"):
        insert_all(opened, list(range(2, 90)))
    assert numbers(opened) == [1]
    insert(opened, 2)


def test_a_database_that_may_only_be_read(database: Callable[..., Database]) -> None:
    opened = database()
    insert(opened, 1)
    opened.read("PRAGMA query_only=ON")
    with pytest.raises(StorageError, match=r"cannot be written.*readonly"):
        insert(opened, 2)
    assert numbers(opened) == [1]


def test_threads_share_one_database(database: Callable[..., Database]) -> None:
    opened = database()
    gate = threading.Barrier(5)

    def work(worker: int) -> list[int]:
        gate.wait()
        counts = []
        for step in range(40):
            insert(opened, 1000 * worker + step)
            counts.append(len(numbers(opened)))
        return counts

    with ThreadPoolExecutor(5) as pool:
        counts = list(pool.map(work, range(5)))
    assert len(numbers(opened)) == 200
    assert all(series == sorted(series) for series in counts)


def test_a_thread_never_reads_half_a_transaction(database: Callable[..., Database]) -> None:
    opened, other = database(), database()
    stop = threading.Event()
    seen: list[int] = []

    def watch(source: Database) -> None:
        while not stop.is_set():
            seen.append(len(numbers(source)))

    with ThreadPoolExecutor(2) as pool:
        watchers = [pool.submit(watch, source) for source in (opened, other)]
        for turn in range(30):
            with opened.write() as connection:
                for number in range(7):
                    connection.execute(
                        "INSERT INTO entries (number) VALUES (?)", (10 * turn + number,)
                    )
        stop.set()
        for watcher in watchers:
            watcher.result()
    assert seen
    assert {count % 7 for count in seen} == {0}


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_written_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "report.json", b"{}")
    finally:
        os.umask(before)
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o640
