"""The entries of a cache in SQLite: one file that several processes read and write.

Every row carries a checksum over all that is served or decides whether it is served; a row that
does not agree with it is as good as absent. Texts are stored as UTF-8 blobs and vectors as raw
little-endian float32, so that no byte on disk is ever interpreted before it is checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragopt.errors import IndexCorrupt, InputError
from ragopt.storage import Database, DatabaseFormat

__all__ = ["DamagedEntry", "Entry", "EntryStore"]

_FORMAT = DatabaseFormat(
    name="cache",
    application_id=0x52474341,  # "RGCA"
    version=1,
    schema=(
        """CREATE TABLE entries (
               id INTEGER PRIMARY KEY AUTOINCREMENT,
               scope BLOB NOT NULL,
               exact BLOB NOT NULL,
               created REAL NOT NULL,
               expires REAL,
               used INTEGER NOT NULL DEFAULT 0,
               checksum BLOB NOT NULL,
               vector BLOB,
               question BLOB NOT NULL,
               answer BLOB NOT NULL,
               payload BLOB NOT NULL
           )""",
        "CREATE UNIQUE INDEX entries_by_text ON entries (scope, exact)",
        "CREATE INDEX entries_by_scope ON entries (scope)",
        "CREATE INDEX entries_by_use ON entries (used)",
        "CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires IS NOT NULL",
        """CREATE TABLE labels (
               kind TEXT NOT NULL, label BLOB NOT NULL, entry INTEGER NOT NULL,
               PRIMARY KEY (kind, label, entry)
           ) WITHOUT ROWID""",
        "CREATE INDEX labels_by_entry ON labels (entry)",
        # counted by triggers: counting rows would read the whole index at every put
        "CREATE TABLE totals (entries INTEGER NOT NULL, removals INTEGER NOT NULL)",
        "INSERT INTO totals VALUES (0, 0)",
        """CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
               UPDATE totals SET entries = entries + 1;
           END""",
        """CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
               UPDATE totals SET entries = entries - 1, removals = removals + 1;
               DELETE FROM labels WHERE entry = OLD.id;
           END""",
    ),
)
_COLUMNS = "id, scope, exact, created, expires, vector, question, answer, payload, checksum"
_BATCH = 4096  # vectors read at once
_CHECKSUM_BYTES = 16


class DamagedEntry(Exception):
    """A row does not agree with its checksum; caught inside the cache, never shown."""

    def __init__(self, entry_id: int) -> None:
        super().__init__(f"entry {entry_id} does not agree with its checksum")
        self.entry_id = entry_id


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored answer.

    Args:
        scope: `Scope.key`.
        exact: digest of the normalised question.
        created: Unix time.
        expires: Unix time from which it is no longer served; None for never.
        vector: little-endian float32, or None where the question has no vector.
        question: UTF-8.
        answer: UTF-8.
        payload: a JSON object, UTF-8.
        id: given by the store, rising, never used twice.
    """

    scope: bytes
    exact: bytes
    created: float
    expires: float | None
    vector: bytes | None
    question: bytes
    answer: bytes
    payload: bytes
    id: int = 0

    def checksum(self, secret: bytes) -> bytes:
        """BLAKE2b over every field but the id, each with its length; keyed by the secret."""
        digest = hashlib.blake2b(digest_size=_CHECKSUM_BYTES, key=_key(secret))
        times = struct.pack("<dd", self.created, -1.0 if self.expires is None else self.expires)
        parts = (self.scope, self.exact, times, self.question, self.answer, self.payload)
        for part in (*parts, b"" if self.vector is None else self.vector):
            digest.update(struct.pack("<Q", len(part)))
            digest.update(part)
        return digest.digest()


def _key(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest() if secret else b""


class EntryStore:
    """Rows in, rows out; nothing here knows of similarity.

    Args:
        path: the file, or ``":memory:"``.
        secret: keys the checksums.

    Raises:
        RagoptError: as `Database` does.
    """

    def __init__(self, path: Path | str, *, secret: bytes = b"") -> None:
        self.path = Path(path)
        self._secret = secret
        self._database = Database(path, format=_FORMAT)
        self._writes = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def memory_bytes(self) -> int:
        """What the rows hold in memory: nothing of a file, all of ``":memory:"``."""
        if str(self.path) != ":memory:":
            return 0
        with self._errors():
            ((pages,),) = self._database.read("PRAGMA page_count")
            ((size,),) = self._database.read("PRAGMA page_size")
        return int(pages) * int(size)

    def state(self) -> tuple[int, int]:
        """A pair that differs whenever anybody, here or elsewhere, has changed the file."""
        with self._errors():
            (version,) = self._database.read("PRAGMA data_version")[0]
        return int(version), self._writes

    def totals(self) -> tuple[int, int]:
        """Entries stored, and entries ever removed."""
        with self._errors():
            rows = self._database.read("SELECT entries, removals FROM totals")
        if not rows or not all(isinstance(total, int) for total in rows[0]):
            raise self._damaged("its totals are missing")
        return rows[0][0], rows[0][1]

    def find(self, scope: bytes, exact: bytes) -> Entry | None:
        """The entry of this text in this scope.

        Raises:
            DamagedEntry: it is there, and altered.
        """
        entry = self._one("scope = ? AND exact = ?", (scope, exact))
        # a damaged index leads to a sound row of somebody else
        return entry if entry and (entry.scope, entry.exact) == (scope, exact) else None

    def fetch(self, entry_id: int) -> Entry | None:
        """The entry of this id, or None when somebody removed it.

        Raises:
            DamagedEntry: it is there, and altered.
        """
        return self._one("id = ?", (entry_id,))

    def vectors(self, scope: bytes, after: int) -> Iterator[tuple[int, Any]]:
        """Ids and vector blobs of a scope's entries with ids beyond ``after``, rising."""
        while True:
            with self._errors():
                rows = self._database.read(
                    "SELECT id, vector FROM entries WHERE scope = ? AND id > ? ORDER BY id LIMIT ?",
                    (scope, after, _BATCH),
                )
            yield from rows
            if len(rows) < _BATCH:
                return
            after = rows[-1][0]

    def ids(self, scope: bytes) -> list[int]:
        """Ids of a scope's entries."""
        with self._errors():
            rows = self._database.read("SELECT id FROM entries WHERE scope = ?", (scope,))
        return [row[0] for row in rows]

    def put(
        self,
        entry: Entry,
        *,
        labels: Iterable[tuple[str, str]],
        used: Iterable[int],
        doomed: Iterable[int],
        max_entries: int | None,
    ) -> int:
        """Store an entry in the place of one of the same text, in one transaction.

        Args:
            entry: its id is ignored.
            labels: kind and label, for `purge`.
            used: entries served since the last put; they move to the end of the queue.
            doomed: entries found expired or damaged; they go.
            max_entries: beyond it, the expired go first, then the least recently served.

        Returns:
            The id of the new entry.
        """
        with self._writing() as connection:
            run = connection.execute
            _remove(connection, doomed)
            run("DELETE FROM entries WHERE scope = ? AND exact = ?", (entry.scope, entry.exact))
            entry_id = _insert(connection, entry, entry.checksum(self._secret))
            connection.executemany(
                "INSERT OR IGNORE INTO labels VALUES (?, ?, ?)",
                [(kind, label.encode(), entry_id) for kind, label in labels],
            )
            _requeue(connection, (*used, entry_id))
            if max_entries is not None:
                _evict(connection, max_entries, entry_id, entry.created)
        return entry_id

    def settle(self, *, used: Sequence[int], doomed: Sequence[int]) -> None:
        """Write down what look-ups found, without a put."""
        with self._writing() as connection:
            _remove(connection, doomed)
            _requeue(connection, used)

    def purge(
        self,
        *,
        scope: bytes | None = None,
        created_until: float | None = None,
        labels: Iterable[tuple[str, str]] = (),
        entry_id: int | None = None,
    ) -> int:
        """Remove the entries that meet all conditions given; all entries when none is.

        Returns:
            How many went.
        """
        conditions: list[str] = []
        values: list[Any] = []
        for condition, value in (
            ("scope = ?", scope),
            ("created <= ?", created_until),
            ("id = ?", entry_id),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        for kind, label in labels:
            conditions.append("id IN (SELECT entry FROM labels WHERE kind = ? AND label = ?)")
            values += [kind, label.encode()]
        where = " AND ".join(conditions) or "1"
        with self._writing() as connection:
            # the conditions are the constants above, never a caller's text
            return connection.execute(f"DELETE FROM entries WHERE {where}", values).rowcount  # noqa: S608

    def _one(self, where: str, values: Sequence[Any]) -> Entry | None:
        with self._errors():
            rows = self._database.read(
                f"SELECT {_COLUMNS} FROM entries WHERE {where}",  # noqa: S608 - constants only
                values,
            )
        return self._checked(rows[0]) if rows else None

    def _checked(self, row: tuple[Any, ...]) -> Entry:
        entry_id, scope, exact, created, expires, vector, question, answer, payload, checksum = row
        blobs = (scope, exact, question, answer, payload, checksum)
        sound = (
            all(isinstance(blob, bytes) for blob in blobs)
            and isinstance(created, float)
            and isinstance(expires, float | None)
            and isinstance(vector, bytes | None)
        )
        if not sound:
            raise DamagedEntry(entry_id)
        entry = Entry(
            scope, exact, created, expires, vector, question, answer, payload, id=entry_id
        )
        if entry.checksum(self._secret) != checksum:
            raise DamagedEntry(entry_id)
        return entry

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._errors(), self._lock:
            try:
                with self._database.write() as connection:
                    yield connection
            finally:
                self._writes += 1

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """What `Database` cannot name is damage: a missing table, a broken constraint."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise InputError(f"{self.path}: the cache is closed; open it again") from error
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, what: str) -> IndexCorrupt:
        return IndexCorrupt(
            f"{self.path}: the cache is damaged ({what}); delete the file to start empty"
        )


def _insert(connection: sqlite3.Connection, entry: Entry, checksum: bytes) -> int:
    cursor = connection.execute(
        "INSERT INTO entries (scope, exact, created, expires, vector, question, answer, payload, "
        "checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.scope,
            entry.exact,
            entry.created,
            entry.expires,
            entry.vector,
            entry.question,
            entry.answer,
            entry.payload,
            checksum,
        ),
    )
    return int(cursor.lastrowid or 0)


def _remove(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    connection.executemany("DELETE FROM entries WHERE id = ?", [(each,) for each in ids])


def _requeue(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Move entries to the end of the queue, which is counted and not timed: a clock may jump."""
    last = connection.execute("SELECT coalesce(max(used), 0) FROM entries").fetchone()[0]
    connection.executemany(
        "UPDATE entries SET used = ? WHERE id = ?", [(last + 1, each) for each in ids]
    )


def _evict(connection: sqlite3.Connection, limit: int, newest: int, now: float) -> None:
    run = connection.execute
    if _excess(connection, limit) > 0:
        run("DELETE FROM entries WHERE expires <= ?", (now,))
    excess = _excess(connection, limit)
    if excess > 0:
        run(
            "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE id <> ? "
            "ORDER BY used, id LIMIT ?)",
            (newest, excess),
        )


def _excess(connection: sqlite3.Connection, limit: int) -> int:
    return int(connection.execute("SELECT entries FROM totals").fetchone()[0]) - limit
