"""Processes and threads that share a folder or a database: locks, and nothing lost or halved."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from storage_shared import FORMAT, beside, finish, get, insert, numbers, put, start

from ragopt.database import Database
from ragopt.errors import StorageError, StoreBusy
from ragopt.storage import writer_lock

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
