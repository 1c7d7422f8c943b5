"""SQLite files in WAL mode: checked on opening, brought up to date, faults named.

A transaction is wholly there or not there at all, and a damaged file is an `IndexCorrupt` that
names it.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragopt.errors import IndexCorrupt, InputError, StorageError, StoreBusy
from ragopt.storage import storage_errors

__all__ = ["Database", "DatabaseFormat"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseFormat:
    """What a SQLite file of ours holds.

    Args:
        name: what the user knows it as (``"ledger"``).
        application_id: 32-bit magic in the file's header.
        version: of the schema, in the header's ``user_version``.
        schema: statements that make an empty database of this version.
        durable: survive power loss at every commit; otherwise only the death of the process.
        migrations: by the version that they start from, statements that make the next one of it.
    """

    name: str
    application_id: int
    version: int
    schema: Sequence[str]
    durable: bool = False
    migrations: Mapping[int, Sequence[str]] = field(default_factory=dict)


class Database:
    """One SQLite file in WAL mode, shared by the threads of this process and by others.

    Args:
        path: the file, made when missing; ``":memory:"`` for none.
        format: what it must hold.
        timeout_s: how long to wait for another process's write before `StoreBusy`.

    Raises:
        IndexCorrupt: the file is damaged, or no database at all.
        InputError: a database of another kind or of a newer ragopt.
        StorageError: the folder cannot be written.
        StoreBusy: another process held the lock all through ``timeout_s``.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        format: DatabaseFormat,
        timeout_s: float = 5.0,
    ) -> None:
        self.path = Path(path)
        self._format = format
        self._lock = threading.RLock()
        if str(path) != ":memory:":
            with storage_errors(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors():
            self._connection = sqlite3.connect(
                str(path), timeout=timeout_s, isolation_level=None, check_same_thread=False
            )
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __repr__(self) -> str:
        return f"Database({str(self.path)!r}, {self._format.name})"

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        try:
            with self._lock:
                return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:  # as `_errors`, which takes as long as a small query
            raise self._translate(error) from error

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock: all of its statements or none."""
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite itself rolls back on some faults, such as a full disk.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def verify(self) -> None:
        """Read every page and check the structure.

        Raises:
            IndexCorrupt: it does not hold together.
        """
        (found,) = self.read("PRAGMA quick_check(1)")[0]
        if found != "ok":
            raise IndexCorrupt(f"{self.path}: {found}; restore it from a backup or delete it")

    def close(self) -> None:
        """Close the file; further calls raise `sqlite3.ProgrammingError`."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        with self._lock, self._errors():
            run = self._connection.execute
            new = self._header() == (0, 0) and self._is_empty()
            if not new:
                self._check_header()  # first: WAL mode would change another program's file
            run("PRAGMA journal_mode=WAL")
            run(f"PRAGMA synchronous={'FULL' if self._format.durable else 'NORMAL'}")
            if new:
                self._create()
                self._check_header()
            elif self._header()[1] < self._format.version:
                self._migrate()

    def _check_header(self) -> None:
        application, version = self._header()
        if application != self._format.application_id:
            raise InputError(
                f"{self.path}: a SQLite database, but not a ragopt {self._format.name}; "
                "choose another path"
            )
        if version > self._format.version:
            raise InputError(
                f"{self.path}: {self._format.name} format {version} is newer than this ragopt "
                f"reads ({self._format.version}); upgrade ragopt"
            )

    def _header(self) -> tuple[int, int]:
        run = self._connection.execute
        return run("PRAGMA application_id").fetchone()[0], run("PRAGMA user_version").fetchone()[0]

    def _is_empty(self) -> bool:
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return bool(tables == 0)

    def _create(self) -> None:
        """Make the schema, unless another process did so in the meantime."""
        with self.write() as connection:
            if self._header() != (0, 0):
                return
            if not self._is_empty():
                return  # somebody else's database: refused by the caller, unchanged
            for statement in self._format.schema:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={self._format.application_id}")
            connection.execute(f"PRAGMA user_version={self._format.version}")

    def _migrate(self) -> None:
        """Bring an older file up to date, unless another process did so in the meantime."""
        with self.write() as connection:
            for version in range(self._header()[1], self._format.version):
                if version not in self._format.migrations:
                    raise InputError(
                        f"{self.path}: {self._format.name} format {version} is too old for this "
                        "ragopt; open it once with an earlier one, or begin a new file"
                    )
                for statement in self._format.migrations[version]:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={self._format.version}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._translate(error) from error
        except UnicodeDecodeError as error:  # a damaged name, which SQLite repeats in its message
            raise self._translate(sqlite3.DatabaseError("malformed database schema")) from error

    def _translate(self, error: sqlite3.Error) -> Exception:
        text = str(error)
        if "is locked" in text:
            return StoreBusy(
                f"{self.path}: another process holds the {self._format.name}; try again, or give "
                "a longer timeout_s"
            )
        if (
            "disk image is malformed" in text
            or "malformed database" in text
            or "not a database" in text
        ):
            return IndexCorrupt(
                f"{self.path}: the {self._format.name} is damaged ({text}); restore it from a "
                "backup, or delete the file to start empty"
            )
        if "disk is full" in text:
            return StorageError(
                errno.ENOSPC, f"{self.path}: the disk is full; nothing of this write was kept"
            )
        if "readonly" in text or "unable to open" in text:
            return StorageError(
                errno.EACCES,
                f"{self.path}: cannot be written ({text}); choose a folder this user may write",
            )
        if "disk I/O" in text:
            return StorageError(errno.EIO, f"{self.path}: {text}; nothing of this write was kept")
        return error
