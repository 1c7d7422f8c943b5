"""Files of earlier versions open, and hold what they held."""

import sqlite3

import pytest

from ragopt.cache import ExactCache, Scope, SemanticCache
from ragopt.cache.stores import Entry

VERSION_1 = (
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
)


def file_of_version_1(path, embedder, count):
    """As ragopt wrote it before there were authors, prices and observations."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    for statement in VERSION_1:
        connection.execute(statement)
    connection.execute("PRAGMA application_id=0x52474341")
    connection.execute("PRAGMA user_version=1")
    with SemanticCache(embedder) as cache:
        for number in range(count):
            cache.put(f"rotate key number{number}", f"answer {number}", sources=["doc"])
        rows = cache._store._database.read(
            "SELECT scope, exact, created, expires, vector, question, answer, payload, checksum "
            "FROM entries ORDER BY id"
        )
    for number, row in enumerate(rows):
        connection.execute(
            "INSERT INTO entries (scope, exact, created, expires, vector, question, answer, "
            "payload, checksum, used) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, 100 - number),
        )
        connection.execute("INSERT INTO labels VALUES ('source', ?, ?)", (b"doc", number + 1))
    connection.close()


@pytest.fixture
def path(tmp_path, embedder):
    path = tmp_path / "cache.db"
    file_of_version_1(path, embedder, 6)
    return path


def test_entries_are_served_as_before(path, embedder):
    with SemanticCache(embedder, path=path) as cache:
        assert len(cache) == 6
        assert cache.get("rotate key number3").answer == "answer 3"
        assert cache.get("number4 key, rotate").tier == "semantic"
        assert cache.stats.corrupt == 0
        assert cache._store.summary(0)["bytes"] > 6 * 200
        assert cache.purge(source="doc") == 6
        assert cache._store.summary(0)["bytes"] == 0


def test_it_takes_new_entries_and_evicts_the_least_recently_served_first(path, embedder):
    with SemanticCache(embedder, path=path, max_entries=6) as cache:
        cache.put("something new", "a", usd=0.5)
        assert cache.get("rotate key number5") is None, "the first in the old queue"
        assert cache.get("rotate key number0") is not None
        assert cache.get("something new") is not None
        assert len(cache) == 6


def test_two_that_open_it_at_once_change_it_once(path, embedder):
    with SemanticCache(embedder, path=path) as one, SemanticCache(embedder, path=path) as other:
        one.put("q", "a")
        assert other.get("q").answer == "a"


def test_the_checksum_of_an_entry_is_what_it_was():
    """Written down when the format was made: a change would lose every cache there is."""
    entry = Entry(b"s" * 32, b"e" * 32, 1.5, 2.5, b"vvvv", b"q", b"a", b"{}")
    assert entry.checksum(b"").hex() == "19b4b6910e42b0df0a273f333163afe9"
    assert entry.checksum(b"secret").hex() == "d0fefa04f4fcf355467db4ded9ec4e41"


def test_the_key_of_a_scope_is_what_it_was():
    scope = Scope(tenant="t", model="m", sampling={"temperature": 0})
    assert scope.key().hex()[:32] == "be849f1cbd7b7f04567c4da7bc8006d0"


def test_an_exact_cache_opens_it_too(path):
    with ExactCache(path=path) as cache:
        assert len(cache) == 6
