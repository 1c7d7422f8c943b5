"""Faults: damaged rows, damaged files, disks that are full, folders that cannot be written."""

import random
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from ragopt.cache import ExactCache, Scope, SemanticCache
from ragopt.cache.stores import DamagedEntry, Entry, Put, SqliteStore
from ragopt.errors import IndexCorrupt, InputError, RagoptError, StorageError, StoreBusy

ANSWERS = {f"rotate key number{n}": f"answer {n} " * 20 for n in range(60)}


@pytest.fixture
def path(tmp_path, embedder):
    """A file with sixty entries, closed."""
    path = tmp_path / "cache.db"
    with SemanticCache(embedder, path=path) as cache:
        for question, answer in ANSWERS.items():
            cache.put(question, answer, payload={"n": question}, sources=["doc"])
    return path


def alter(path, column, value, where="id = 1"):
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE entries SET {column} = ? WHERE {where}", (value,))
    connection.close()


def one_bit(blob, position=0):
    changed = bytearray(blob)
    changed[position] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("answer", b"poisoned"),
        ("answer", b""),
        ("answer", b"\xff\xfe"),
        ("answer", "answer 0 " * 20),  # a text is no blob
        ("answer", 7),
        ("question", b"another question"),
        ("payload", b"{"),
        ("payload", b'{"n": "other"}'),
        ("expires", 1e12),
        ("expires", b"x"),
        ("created", 0.0),
        ("checksum", b""),
        ("checksum", bytes(16)),
        ("vector", None),
        ("vector", b"\x00" * 4),
        ("vector", np.full(512, np.nan, "<f4").tobytes()),
        ("vector", np.eye(1, 512, 3, dtype="<f4").tobytes()),
        ("vector", np.full(512, 1e30, "<f4").tobytes()),
    ],
)
def test_an_altered_row_is_a_miss_and_counted_once(path, embedder, column, value):
    alter(path, column, value)
    with SemanticCache(embedder, path=path) as cache:
        assert cache.get("rotate key number0") is None
        assert cache.get("rotate key number0") is None
        assert cache.get("key number0, rotate") is None
        assert cache.stats.corrupt == 1
        assert cache.get("rotate key number1").answer == ANSWERS["rotate key number1"]
        assert cache.get("key number2, rotate").tier == "semantic"
        cache.put("rotate key number0", "fresh")
        assert cache.get("rotate key number0").answer == "fresh"
        assert len(cache) == len(ANSWERS)


def test_an_entry_moved_to_another_scope_is_not_served(path, embedder):
    with SemanticCache(embedder, path=path) as cache:
        cache.put("another", "b", scope=Scope(tenant="victim"))
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE entries SET scope = (SELECT scope FROM entries WHERE id = 61) WHERE id = 1"
        )
    connection.close()
    with SemanticCache(embedder, path=path) as cache:
        victim = Scope(tenant="victim")
        assert cache.get("rotate key number0", scope=victim) is None
        assert cache.get("key number0, rotate", scope=victim) is None
        assert cache.get("another", scope=victim).answer == "b"
        assert cache.stats.corrupt == 1


def test_entries_cannot_be_forged_without_the_secret(tmp_path):
    path = tmp_path / "cache.db"
    with ExactCache(path=path, secret=b"s") as cache:
        cache.put("q", "a")
    store = SqliteStore(path)  # whoever can write the file, without the secret
    (row,) = store._database.read("SELECT scope, exact FROM entries")
    forged = Entry(row[0], row[1], 1.0, None, None, b"q", b"poison", b"{}")
    store.put(Put(entry=forged))
    store.close()
    with ExactCache(path=path, secret=b"s") as cache:
        assert cache.get("q") is None
        assert cache.stats.corrupt == 1


def test_the_checksum_covers_every_field_and_its_borders():
    entry = Entry(b"s", b"e", 1.0, 2.0, b"v", b"q", b"a", b"{}")
    others = [
        Entry(b"se", b"", 1.0, 2.0, b"v", b"q", b"a", b"{}"),
        Entry(b"s", b"e", 1.5, 2.0, b"v", b"q", b"a", b"{}"),
        Entry(b"s", b"e", 1.0, None, b"v", b"q", b"a", b"{}"),
        Entry(b"s", b"e", 1.0, 2.0, b"", b"q", b"a", b"{}"),
        Entry(b"s", b"e", 1.0, 2.0, b"v", b"qa", b"", b"{}"),
        Entry(b"s", b"e", 1.0, 2.0, b"v", b"q", b"a", b"{} "),
    ]
    sums = {each.checksum(b"") for each in (entry, *others)}
    assert len(sums) == len(others) + 1
    assert entry.checksum(b"one") != entry.checksum(b"two")


def test_the_store_tells_absent_from_damaged(path):
    store = SqliteStore(path)
    assert store.fetch(1).answer.decode() == ANSWERS["rotate key number0"]
    assert store.fetch(10**6) is None
    store.close()
    alter(path, "answer", b"x")
    store = SqliteStore(path)
    with pytest.raises(DamagedEntry):
        store.fetch(1)
    store.close()


def served_or_refused(path, embedder):
    """Open a damaged file and ask everything: the right answer, a miss, or an error of ours."""
    outcomes = set()
    try:
        with SemanticCache(embedder, path=path) as cache:
            for question, answer in ANSWERS.items():
                for asked in (question, "number" + question.split("number")[1] + " key, rotate"):
                    try:
                        hit = cache.get(asked)
                    except RagoptError:
                        outcomes.add("error")
                        continue
                    assert hit is None or (hit.question, hit.answer) == (question, answer)
                    outcomes.add("miss" if hit is None else "hit")
            try:
                cache.put("new one", "new")
                assert cache.get("new one").answer == "new"
            except RagoptError:
                outcomes.add("error")
    except RagoptError:
        outcomes.add("refused")
    return outcomes


def test_truncated_files_are_refused_or_served_right(path, embedder, tmp_path):
    size = path.stat().st_size
    seen = set()
    for kept in [0, 1, 15, 16, 99, 100, 101, 4095, 4096, 4097, size // 2, size - 4096, size - 1]:
        copy = tmp_path / f"cut-{kept}.db"
        copy.write_bytes(path.read_bytes()[:kept])
        seen |= served_or_refused(copy, embedder)
    assert "refused" in seen


def test_files_with_flipped_bits_never_serve_a_wrong_answer(path, embedder, tmp_path):
    content = path.read_bytes()
    chance = random.Random(7)
    places = [*range(0, 100, 7)]  # the header
    places += [page + chance.randrange(12) for page in range(0, len(content), 4096)]  # page heads
    places += [chance.randrange(len(content)) for _ in range(40)]
    seen = set()
    for number, place in enumerate(places):
        copy = tmp_path / f"flip-{number}.db"
        copy.write_bytes(one_bit(content, place)[: len(content)])
        seen |= served_or_refused(copy, embedder)
        for left in tmp_path.glob(f"flip-{number}.db*"):
            left.unlink()
    assert {"hit", "miss"} <= seen
    assert {"refused", "error"} & seen


def test_a_damaged_header_is_named(path, embedder):
    path.write_bytes(b"not a database at all" * 300)
    with pytest.raises(IndexCorrupt, match=r"cache\.db"):
        SemanticCache(embedder, path=path)


def test_a_missing_table_is_named_at_the_look_up(path, embedder):
    with SemanticCache(embedder, path=path) as cache:
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE entries")
        connection.close()
        with pytest.raises(IndexCorrupt, match=r"cache\.db"):
            cache.get("rotate key number0")
        with pytest.raises(IndexCorrupt, match=r"cache\.db"):
            cache.put("q", "a")
        assert cache.stats.errors == 1
        assert cache.stats.lookups == 1


def test_a_database_of_another_kind_is_left_alone(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"other\.db"):
        ExactCache(path=path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    connection.close()
    assert len(path.read_bytes()) == len(before)


def test_a_newer_format_is_refused(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InputError, match="newer"):
        ExactCache(path=path)


def test_a_path_below_a_file_or_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        ExactCache(path=tmp_path / "file" / "cache.db")
    with pytest.raises(RagoptError):
        ExactCache(path=tmp_path)
    with pytest.raises(RagoptError):
        ExactCache(path="/proc/cache.db")


def test_a_store_held_by_somebody_fails_the_put_and_not_the_look_up(path, embedder, monkeypatch):
    with SemanticCache(embedder, path=path) as cache:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        cache._store._database._connection.execute("PRAGMA busy_timeout = 50")
        assert cache.get("rotate key number3").tier == "exact"
        with pytest.raises(StoreBusy):
            cache.put("new one", "a")
        assert cache.get("key number4, rotate").tier == "semantic"
        holder.execute("ROLLBACK")
        holder.close()
        cache.put("new one", "a")
        assert cache.get("new one").answer == "a"
        assert cache.stats.puts == 1


def test_hits_noted_before_a_failed_put_are_not_forgotten(tmp_path):
    path = tmp_path / "cache.db"
    with ExactCache(path=path, max_entries=2) as cache:
        cache.put("one", "a")
        cache.put("two", "a")
        cache.get("one")
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        cache._store._database._connection.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(StoreBusy):
            cache.put("three", "a")
        holder.execute("ROLLBACK")
        holder.close()
        cache.put("three", "a")
        assert cache.get("one") is not None
        assert cache.get("two") is None


def test_closing_while_somebody_holds_the_store_is_no_error(tmp_path):
    path = tmp_path / "cache.db"
    cache = ExactCache(path=path)
    cache.put("one", "a")
    cache.get("one")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    cache._store._database._connection.execute("PRAGMA busy_timeout = 50")
    cache.close()
    holder.execute("ROLLBACK")
    holder.close()
    with ExactCache(path=path) as again:
        assert again.get("one").answer == "a"


FULL_DISK = """
import resource, signal, sys
from ragopt.cache import ExactCache
from ragopt.errors import RagoptError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cache = ExactCache(path=sys.argv[1])
stored = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    while stored < 10_000:
        cache.put(f"question {stored}", "x" * 500)
        stored += 1
except RagoptError as error:
    print(stored, type(error).__name__)
for number in range(stored):
    assert cache.get(f"question {number}").answer == "x" * 500, number
assert cache.get(f"question {stored}") is None
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")
def test_a_full_disk_fails_the_put_and_keeps_what_was_stored(tmp_path):
    path = tmp_path / "cache.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    stored, error = done.stdout.split()
    assert int(stored) > 10
    assert error == "StorageError"
    with ExactCache(path=path) as cache:
        assert len(cache) == int(stored)
        assert all(cache.get(f"question {n}") for n in range(int(stored)))
        cache.put("after", "room again")


def test_a_copied_file_opens_elsewhere(path, embedder, tmp_path):
    other = tmp_path / "else" / "copy.db"
    other.parent.mkdir()
    shutil.copy(path, other)
    with SemanticCache(embedder, path=str(other)) as cache:
        assert cache.get("rotate key number5").answer == ANSWERS["rotate key number5"]
