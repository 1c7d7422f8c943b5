"""Entries in SQLite: one file that several processes read and write, or memory.

Every row carries a checksum over all that is served or decides whether it is served; a row that
does not agree with it is as good as absent. Texts are stored as UTF-8 blobs and vectors as raw
little-endian float32, so that no byte on disk is ever interpreted before it is checked.

When it is full, the expired go first, then those of least priority: greedy dual, by size and
frequency (Cherkasova, 1998). A priority is what a byte of the entry saves times how often it was
served, on top of the priority of what was last evicted, so that what was popular once ages. A new
entry whose question was asked too rarely to be worth what it would displace is not stored
(Einziger, Friedman and Manes, 2017, "TinyLFU").
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ragopt.cache.policies.base import Observation
from ragopt.cache.stores.base import (
    DamagedEntry,
    Entry,
    Limits,
    Put,
    Quota,
    checked_observation,
)
from ragopt.database import Database, DatabaseFormat
from ragopt.errors import IndexCorrupt, InputError, RagoptError

__all__ = ["SqliteStore"]

_LABELS = """CREATE TABLE labels (
       kind TEXT NOT NULL, label BLOB NOT NULL, entry INTEGER NOT NULL,
       PRIMARY KEY (kind, label, entry)
   ) WITHOUT ROWID"""
# counted by triggers: counting rows would read the whole index at every put
_TRIGGERS = (
    """CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
           UPDATE totals SET entries = entries + 1, bytes = bytes + NEW.size;
       END""",
    """CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
           UPDATE totals
           SET entries = entries - 1, removals = removals + 1, bytes = bytes - OLD.size;
           DELETE FROM labels WHERE entry = OLD.id;
           DELETE FROM confirmations WHERE entry = OLD.id;
           DELETE FROM observations WHERE entry = OLD.id AND NOT audit;
       END""",
)
_SINCE_2 = (
    """CREATE TABLE confirmations (
           entry INTEGER NOT NULL, principal BLOB NOT NULL, PRIMARY KEY (entry, principal)
       ) WITHOUT ROWID""",
    """CREATE TABLE observations (
           id INTEGER PRIMARY KEY AUTOINCREMENT,
           entry INTEGER NOT NULL, similarity REAL NOT NULL,
           correct INTEGER NOT NULL, audit INTEGER NOT NULL
       )""",
    "CREATE INDEX observations_by_entry ON observations (entry)",
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE inserts (author BLOB NOT NULL, time REAL NOT NULL)",
    "CREATE INDEX inserts_by_author ON inserts (author, time)",
    "CREATE INDEX entries_by_priority ON entries (priority, id)",
    *_TRIGGERS,
)
_SIZE = "200 + length(question) + length(answer) + length(payload) + coalesce(length(vector), 0)"
_FORMAT = DatabaseFormat(
    name="cache",
    application_id=0x52474341,  # "RGCA"
    version=2,
    schema=(
        """CREATE TABLE entries (
               id INTEGER PRIMARY KEY AUTOINCREMENT,
               scope BLOB NOT NULL,
               exact BLOB NOT NULL,
               created REAL NOT NULL,
               expires REAL,
               checksum BLOB NOT NULL,
               author BLOB NOT NULL DEFAULT x'',
               usd REAL,
               size INTEGER NOT NULL DEFAULT 0,
               hits INTEGER NOT NULL DEFAULT 1,
               priority REAL NOT NULL DEFAULT 0,
               vector BLOB,
               question BLOB NOT NULL,
               answer BLOB NOT NULL,
               payload BLOB NOT NULL
           )""",
        "CREATE UNIQUE INDEX entries_by_text ON entries (scope, exact)",
        "CREATE INDEX entries_by_scope ON entries (scope)",
        "CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires IS NOT NULL",
        _LABELS,
        "CREATE INDEX labels_by_entry ON labels (entry)",
        """CREATE TABLE totals (
               entries INTEGER NOT NULL, removals INTEGER NOT NULL,
               bytes INTEGER NOT NULL DEFAULT 0, inflation REAL NOT NULL DEFAULT 0
           )""",
        "INSERT INTO totals VALUES (0, 0, 0, 0)",
        *_SINCE_2,
    ),
    migrations={
        1: (
            "DROP TRIGGER entry_added",
            "DROP TRIGGER entry_removed",
            "DROP INDEX entries_by_use",
            "ALTER TABLE entries ADD COLUMN author BLOB NOT NULL DEFAULT x''",
            "ALTER TABLE entries ADD COLUMN usd REAL",
            "ALTER TABLE entries ADD COLUMN size INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE entries ADD COLUMN hits INTEGER NOT NULL DEFAULT 1",
            "ALTER TABLE entries ADD COLUMN priority REAL NOT NULL DEFAULT 0",
            f"UPDATE entries SET size = {_SIZE}",  # noqa: S608 - a constant
            # those that were served last keep the best places, and all are below what comes
            "UPDATE entries SET priority = -1.0 / (1 + used)",
            "ALTER TABLE totals ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE totals ADD COLUMN inflation REAL NOT NULL DEFAULT 0",
            "UPDATE totals SET bytes = (SELECT coalesce(sum(size), 0) FROM entries)",
            *_SINCE_2,
        ),
    },
)
_COLUMNS = (
    "id, scope, exact, created, expires, vector, question, answer, payload, author, usd, checksum"
)
_BATCH = 4096  # vectors read at once


class SqliteStore:
    """An `EntryStore` in a SQLite file, or in memory.

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

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def memory_bytes(self) -> int:
        """What the rows hold in memory: nothing of a file, all of ``":memory:"``."""
        if str(self.path) != ":memory:":
            return 0
        ((pages,),) = self._read("PRAGMA page_count")
        ((size,),) = self._read("PRAGMA page_size")
        return int(pages) * int(size)

    def summary(self, now: float) -> dict[str, Any]:
        """Counts, bytes and ages (seconds; None where there is no entry) of all entries."""
        with self._errors():
            return self._summary(now)

    def _summary(self, now: float) -> dict[str, Any]:
        ((scopes, oldest, newest),) = self._read(
            "SELECT count(DISTINCT scope), min(created), max(created) FROM entries"
        )
        ((expired,),) = self._read("SELECT count(*) FROM entries WHERE expires <= ?", (now,))
        ((size,),) = self._read("SELECT bytes FROM totals")
        ((audits, wrong),) = self._read(
            "SELECT count(*), coalesce(sum(NOT correct), 0) FROM observations WHERE audit"
        )
        entries, removals = self.totals()
        return {
            "entries": entries,
            "expired": expired,
            "scopes": scopes,
            "bytes": size,
            "removals": removals,
            "oldest_s": None if oldest is None else now - oldest,
            "newest_s": None if newest is None else now - newest,
            "audits": audits,
            "audits_wrong": wrong,
        }

    def state(self) -> tuple[int, int]:
        """A pair that differs whenever anybody, here or elsewhere, has changed the file."""
        ((version,),) = self._read("PRAGMA data_version")
        return int(version), self._writes

    def totals(self) -> tuple[int, int]:
        """Entries stored, and entries ever removed."""
        rows = self._read("SELECT entries, removals FROM totals")
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
            rows = self._read(
                "SELECT id, vector FROM entries WHERE scope = ? AND id > ? ORDER BY id LIMIT ?",
                (scope, after, _BATCH),
            )
            yield from rows
            if len(rows) < _BATCH:
                return
            after = rows[-1][0]

    def ids(self, scope: bytes) -> list[int]:
        """Ids of a scope's entries."""
        return [row[0] for row in self._read("SELECT id FROM entries WHERE scope = ?", (scope,))]

    def put(self, put: Put) -> tuple[int, str]:
        """Store an entry in the place of one of the same text, in one transaction.

        Returns:
            As `EntryStore.put`.
        """
        entry = put.entry
        with self._writing() as connection:
            run = connection.execute
            _remove(connection, put.doomed)
            _count_hits(connection, put.used)
            if put.quota is not None and not _within(connection, put.author, entry, put.quota):
                return 0, "quota"
            replaced = run(
                "DELETE FROM entries WHERE scope = ? AND exact = ?", (entry.scope, entry.exact)
            )
            inflation = run("SELECT inflation FROM totals").fetchone()[0]
            priority = inflation + max(1, put.frequency) * entry.density
            # the new answer to a question that is there is always taken
            worth = math.inf if replaced.rowcount else priority
            if not _make_room(connection, entry, worth, put.limits):
                return 0, "worth less"
            entry_id = _insert(connection, entry, entry.checksum(self._secret), priority)
            connection.executemany(
                "INSERT OR IGNORE INTO labels VALUES (?, ?, ?)",
                [(kind, label.encode(), entry_id) for kind, label in put.labels],
            )
        return entry_id, ""

    def settle(self, *, used: Sequence[int], doomed: Sequence[int]) -> None:
        """Write down what look-ups found, without a put."""
        with self._writing() as connection:
            _remove(connection, doomed)
            _count_hits(connection, used)

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

    def confirm(self, entry_id: int, principal: bytes) -> int:
        """Note that somebody was given the same answer; how many have been."""
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO confirmations SELECT id, ? FROM entries WHERE id = ?",
                (principal, entry_id),
            )
        return self.confirmations(entry_id)

    def confirmations(self, entry_id: int) -> int:
        """How many were given the same answer, each counted once."""
        ((found,),) = self._read("SELECT count(*) FROM confirmations WHERE entry = ?", (entry_id,))
        return int(found)

    def observe(self, observations: Iterable[Observation]) -> None:
        """Keep what was compared."""
        rows = [(each.entry_id, each.similarity, each.correct, each.audit) for each in observations]
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO observations (entry, similarity, correct, audit) VALUES (?, ?, ?, ?)",
                rows,
            )

    def observations(self, after: int = 0) -> list[tuple[int, Observation]]:
        """Everything compared beyond a number, in order, with rising numbers."""
        rows = self._read(
            "SELECT id, entry, similarity, correct, audit FROM observations WHERE id > ? "
            "ORDER BY id",
            (after,),
        )
        with self._errors():
            return [(row[0], _observation(row[1:])) for row in rows]

    def observed(self, entry_id: int) -> tuple[Observation, ...]:
        """What was compared for one entry, oldest first."""
        rows = self._read(
            "SELECT entry, similarity, correct, audit FROM observations WHERE entry = ? "
            "ORDER BY id",
            (entry_id,),
        )
        with self._errors():
            return tuple(_observation(row) for row in rows)

    def setting(self, name: str) -> bytes | None:
        """What was kept under a name."""
        rows = self._read("SELECT value FROM settings WHERE name = ?", (name,))
        if rows and not isinstance(rows[0][0], bytes):
            raise self._damaged(f"the setting {name!r} is no blob")
        return rows[0][0] if rows else None

    def set(self, name: str, value: bytes) -> None:
        """Keep something under a name."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def _one(self, where: str, values: Sequence[Any]) -> Entry | None:
        rows = self._read(
            f"SELECT {_COLUMNS} FROM entries WHERE {where}",  # noqa: S608 - constants only
            values,
        )
        return self._checked(rows[0]) if rows else None

    def _checked(self, row: tuple[Any, ...]) -> Entry:
        entry_id, scope, exact, created, expires, vector, *texts, author, usd, checksum = row
        blobs = (scope, exact, *texts, author, checksum)
        sound = (
            all(isinstance(blob, bytes) for blob in blobs)
            and isinstance(created, float)
            and isinstance(expires, float | None)
            and isinstance(vector, bytes | None)
            and isinstance(usd, float | None)
        )
        if not sound:
            raise DamagedEntry(entry_id)
        question, answer, payload = texts
        entry = Entry(
            scope, exact, created, expires, vector, question, answer, payload, author, usd, entry_id
        )
        if entry.checksum(self._secret) != checksum:
            raise DamagedEntry(entry_id)
        return entry

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._database.read(sql, values)
        except sqlite3.Error as error:  # as `_errors`, which takes as long as a small query
            raise self._named(error) from error

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
        except RagoptError:
            raise
        except (sqlite3.Error, TypeError, ValueError) as error:  # such as a text for a number
            raise self._named(error) from error

    def _named(self, error: Exception) -> RagoptError:
        if isinstance(error, sqlite3.ProgrammingError):
            return InputError(f"{self.path}: the cache is closed; open it again")
        return self._damaged(str(error))

    def _damaged(self, what: str) -> IndexCorrupt:
        return IndexCorrupt(
            f"{self.path}: the cache is damaged ({what}); delete the file to start empty"
        )


def _observation(row: Sequence[Any]) -> Observation:
    entry, similarity, correct, audit = row
    return checked_observation(entry, similarity, correct, audit)


def _insert(connection: sqlite3.Connection, entry: Entry, checksum: bytes, priority: float) -> int:
    cursor = connection.execute(
        "INSERT INTO entries (scope, exact, created, expires, vector, question, answer, payload, "
        "author, usd, size, priority, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.scope,
            entry.exact,
            entry.created,
            entry.expires,
            entry.vector,
            entry.question,
            entry.answer,
            entry.payload,
            entry.author,
            entry.usd,
            entry.size,
            priority,
            checksum,
        ),
    )
    return int(cursor.lastrowid or 0)


def _remove(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    connection.executemany("DELETE FROM entries WHERE id = ?", [(each,) for each in ids])


def _count_hits(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Raise what was served: its priority is counted from now, with all its hits."""
    connection.executemany(
        "UPDATE entries SET hits = hits + ?1, priority = (SELECT inflation FROM totals) + "
        "(hits + ?1) * coalesce(usd / size, 1e-6) WHERE id = ?2",  # as `Entry.density`
        [(times, each) for each, times in Counter(ids).items()],
    )


def _within(connection: sqlite3.Connection, author: bytes, entry: Entry, quota: Quota) -> bool:
    """Whether the author may store another; then it is noted."""
    run = connection.execute
    # what is dated far ahead was stored by a clock that has been set right since
    run(
        "DELETE FROM inserts WHERE time <= ? OR time > ?",
        (entry.created - quota.seconds, entry.created + quota.seconds),
    )
    (stored,) = run("SELECT count(*) FROM inserts WHERE author = ?", (author,)).fetchone()
    if stored >= quota.inserts:
        return False
    run("INSERT INTO inserts VALUES (?, ?)", (author, entry.created))
    return True


def _make_room(
    connection: sqlite3.Connection, entry: Entry, priority: float, limits: Limits
) -> bool:
    """Evict what is expired or worth less than a new entry; whether there is room for it then."""
    run = connection.execute
    if not _excess(connection, entry, limits):
        return True
    run("DELETE FROM entries WHERE expires <= ?", (entry.created,))
    victims: list[int] = []
    freed_bytes, last = 0, 0.0
    for victim, size, worth in run("SELECT id, size, priority FROM entries ORDER BY priority, id"):
        if not _excess(connection, entry, limits, len(victims), freed_bytes):
            break
        if worth > priority:
            # what is turned away ages the others too, or they would stay for ever
            run("UPDATE totals SET inflation = max(inflation, ?)", (priority,))
            return False
        victims.append(victim)
        freed_bytes, last = freed_bytes + size, worth
    _remove(connection, victims)
    run("UPDATE totals SET inflation = max(inflation, ?)", (last,))
    return not _excess(connection, entry, limits)


def _excess(
    connection: sqlite3.Connection,
    entry: Entry,
    limits: Limits,
    freed: int = 0,
    freed_bytes: int = 0,
) -> bool:
    """Whether a new entry would pass a limit, once so much is freed."""
    entries, size = connection.execute("SELECT entries, bytes FROM totals").fetchone()
    many = limits.max_entries is not None and entries - freed + 1 > limits.max_entries
    large = limits.max_bytes is not None and size - freed_bytes + entry.size > limits.max_bytes
    return many or large
