"""Databases, under every fault that can be had for real."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from storage_shared import FORMAT, finish, insert, names, numbers, start

from ragopt.database import Database, DatabaseFormat
from ragopt.errors import IndexCorrupt, InputError, StorageError


def insert_all(
    database: Database, values: list[int], error: type[BaseException] | None = None
) -> None:
    with database.write() as connection:
        connection.executemany(
            "INSERT INTO entries VALUES ('x', ?, zeroblob(900))", [(value,) for value in values]
        )
        if error is not None:
            raise error


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
