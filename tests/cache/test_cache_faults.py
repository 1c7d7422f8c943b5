"""Faults in the middle of work: damage anywhere, killed migrations, locks, clocks, full disks."""

import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from test_cache_format import file_of_version_1

from ragopt.cache import (
    Audit,
    ExactCache,
    PerEntry,
    Quota,
    Safety,
    SemanticCache,
    cached,
)
from ragopt.cache.hitlog import read_hits
from ragopt.cache.stores import SqliteStore
from ragopt.chunk import Chunk, Hit
from ragopt.database import Database
from ragopt.errors import IndexCorrupt, InputError, RagoptError, StorageError, StoreBusy
from ragopt.llm import Completion
from ragopt.pipeline import Pipeline
from ragopt.retrieve import Retrieved, Stage

ANSWERS = {f"rotate key {chr(97 + n) * 3}": f"answer {n}" for n in range(14)}


def quietly(call, *arguments, **options):
    """What it gives, or None where it fails with an error of ours; any other fails the test."""
    try:
        return call(*arguments, **options)
    except RagoptError:
        return None


# Damage anywhere in a file with all that a cache can hold ----------------------------------------


def everything_in_use(path, make_embedder):
    """Quarantine, quota, a policy that learns, audits, labels and limits."""
    return SemanticCache(
        make_embedder(dim=8), path=path, guards=(), max_entries=40,
        policy=PerEntry(max_error=0.1, seed=0), judge=lambda _, old, new: old == new,
        audit=Audit(share=0.5, max_error=0.1),
        safety=Safety(confirmations=1, quota=Quota(inserts=50)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def full(tmp_path_factory, make_embedder):
    """The bytes of such a file."""
    path = tmp_path_factory.mktemp("full") / "cache.db"
    with everything_in_use(path, make_embedder) as cache:
        for author in ("ann", "bob"):
            for question, answer in ANSWERS.items():
                cache.put(question, answer, principal=author, sources=["doc"])
        for question, answer in ANSWERS.items():
            cache.get(f"key rotate {question}", principal="eve")
            cache.put(f"key rotate {question}", answer, principal="eve")
        assert cache.live_error().audits == 0
        assert cache.stats.compared > 10
    return path.read_bytes()


def outcome(path, make_embedder):
    """Use all there is of a damaged file; whether every answer of it still came."""
    served = 0
    cache = quietly(everything_in_use, path, make_embedder)
    if cache is None:
        return "refused"
    with cache:
        for question, answer in ANSWERS.items():
            for asked in (question, f"key rotate {question}"):
                hit = quietly(cache.get, asked, principal="zed")
                served += hit is not None
                assert hit is None or hit.answer == answer or hit.tier == "semantic"
                assert hit is None or ANSWERS[hit.question] == hit.answer
        quietly(cache.put, "new", "b", principal="ann")
        quietly(cache.put, "rotate key aaa", "answer 0", principal="kim")
        quietly(cache.live_error)
        quietly(repr, cache)
        quietly(cache.purge, source="doc")
        quietly(cache.revoke, 3)
        quietly(cache.purge)
    store = quietly(SqliteStore, path)
    if store is not None:
        quietly(store.summary, 0.0)
        store.close()
    return "whole" if served >= len(ANSWERS) else "some"


def test_flipped_bits_anywhere_serve_nothing_wrong(full, tmp_path, make_embedder):
    chance, seen = random.Random(5), set()
    for number in range(120):
        damaged = bytearray(full)
        for _ in range(chance.choice((1, 1, 4))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path = tmp_path / f"{number}.db"
        path.write_bytes(damaged)
        seen.add(outcome(path, make_embedder))
    assert {"whole", "some"} <= seen


def test_files_cut_anywhere_serve_nothing_wrong(full, tmp_path, make_embedder):
    chance, seen = random.Random(6), set()
    for number in range(40):
        path = tmp_path / f"{number}.db"
        path.write_bytes(full[: chance.randrange(len(full))])
        seen.add(outcome(path, make_embedder))
    assert "refused" in seen


@pytest.mark.parametrize(
    ("statement", "used"),
    [
        ("UPDATE settings SET value = 'x'", None),
        ("UPDATE settings SET value = x'7b'", None),
        ("UPDATE settings SET value = x'5b5d'", None),
        ("UPDATE observations SET similarity = x'00'", "live_error"),
        ("UPDATE observations SET similarity = -9e999", "live_error"),
        ("UPDATE observations SET correct = 'yes'", "live_error"),
        ("UPDATE totals SET entries = 'x'", "__len__"),
        ("DELETE FROM totals", "__len__"),
        ("UPDATE totals SET inflation = 'x'", "put"),
        ("DELETE FROM totals", "put"),
    ],
)
def test_damage_beside_the_entries_is_named(full, tmp_path, make_embedder, statement, used):
    path = tmp_path / "cache.db"
    path.write_bytes(full)
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    if used is None:
        with pytest.raises(IndexCorrupt, match=r"cache\.db"):
            everything_in_use(path, make_embedder)
        return
    with everything_in_use(path, make_embedder) as cache:
        arguments = ("q", "a") if used == "put" else ()
        options = {"principal": "ann"} if used == "put" else {}
        with pytest.raises(IndexCorrupt, match=r"cache\.db"):
            getattr(cache, used)(*arguments, **options)


# Killed in the middle ----------------------------------------------------------------------------

MIGRATING = """
import os, signal, sys
from ragopt.cache.stores import sqlite

after = int(sys.argv[2])

class Counted(tuple):
    # the process ends before the statement of this number
    def __iter__(self):
        for number, statement in enumerate(tuple.__iter__(self)):
            if number == after:
                os.kill(os.getpid(), signal.SIGKILL)
            yield statement

steps = sqlite._FORMAT.migrations
steps[1] = Counted(steps[1])
sqlite.SqliteStore(sys.argv[1])
print("migrated", len(steps[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")
def test_a_migration_that_is_killed_is_made_by_the_next_to_open(tmp_path, embedder):
    whole = tmp_path / "whole.db"
    file_of_version_1(whole, embedder, 6)
    for after in (0, 1, 5, 9, 12, 18, 99):
        path = tmp_path / f"{after}.db"
        shutil.copy(whole, path)
        done = subprocess.run(
            [sys.executable, "-c", MIGRATING, str(path), str(after)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == (0 if after == 99 else -signal.SIGKILL), done.stderr
        assert done.stdout.startswith("migrated" if after == 99 else "")
        with SemanticCache(embedder, path=path) as cache:
            cache._store._database.verify()
            for number in range(6):
                assert cache.get(f"rotate key number{number}").answer == f"answer {number}"
            assert cache.get("number4 key, rotate").tier == "semantic"
            assert cache._store.summary(0)["bytes"] > 6 * 200
            assert cache.purge(source="doc") == 6


# Held by another process -------------------------------------------------------------------------

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
if sys.argv[2] == "all":
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
connection.execute("UPDATE totals SET removals = removals")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
connection.close()
"""


def held(path, what):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), what],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    return holder


class Finding:
    """A retriever that always finds the same."""

    def retrieve(self, question, vector=None):
        hit = Hit(Chunk("one", "A key is rotated.", "doc"), 1.0)
        return Retrieved(
            hits=(hit,), plain=(hit,), vector=np.zeros(4, np.float32),
            stages=(Stage(name="search", ms=0.0),),
        )  # fmt: skip


def test_questions_are_answered_while_another_process_holds_the_file(tmp_path):
    path, calls = tmp_path / "cache.db", []

    def answer(question):
        calls.append(question)
        return f"answer {len(calls)}"

    with ExactCache(path=path) as cache:
        ask = cached(cache)(answer)
        pipeline = Pipeline(Finding(), lambda messages: Completion(answer("third?")), cache=cache)
        assert ask("first?") == ask("first?") == "answer 1"
        cache._store._database._connection.execute("PRAGMA busy_timeout = 20")
        holder = held(path, "writes")
        try:
            assert ask("first?") == "answer 1", "whoever only reads does not wait"
            assert ask("second?") == "answer 2"
            told = pipeline.ask("third?")
            assert told.text == "answer 3"
            assert [stage.name for stage in told.stages if stage.failed] == ["remember"]
        finally:
            holder.communicate("\n")
        assert dict(ask.behind.failures) == {"put": 1}
        assert ask("second?") == "answer 4"
        assert ask("second?") == "answer 4"


def test_a_file_that_another_holds_altogether_is_refused_and_opens_later(tmp_path, monkeypatch):
    monkeypatch.setitem(Database.__init__.__kwdefaults__, "timeout_s", 0.05)
    path = tmp_path / "cache.db"
    with ExactCache(path=path) as cache:
        cache.put("first?", "kept")
    holder = held(path, "all")
    try:
        with pytest.raises(StoreBusy, match=r"cache\.db: another process holds the cache"):
            ExactCache(path=path)
    finally:
        holder.communicate("\n")
    with ExactCache(path=path) as again:
        assert again.get("first?").answer == "kept"


# Clocks ------------------------------------------------------------------------------------------

YEAR_S = 365 * 24 * 3600.0


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_clock_that_was_years_ahead_locks_nobody_out(kind, request, tmp_path, clock):
    from ragopt.cache.stores import RedisStore

    store = (
        RedisStore(request.getfixturevalue("redis_url"), prefix=f"test:{tmp_path.name}")
        if kind == "redis"
        else SqliteStore(tmp_path / "cache.db")
    )
    now, safety = clock.now, Safety(quota=Quota(inserts=2, seconds=60))
    with ExactCache(store=store, clock=clock, safety=safety) as cache:
        cache.put("before?", "a", principal="ann")
        clock.now = now + 3 * YEAR_S
        assert cache.get("before?") is None
        assert cache.put("one?", "a", principal="ann")
        assert cache.put("two?", "a", principal="ann")
        assert cache.put("three?", "a", principal="ann") is None, "the quota holds"
        clock.now = now + 120
        assert cache.get("one?") is None, "dated in the future: nobody knows its age"
        assert cache.put("four?", "a", principal="ann")
        assert cache.get("four?").age_s == 0
        clock.now = now - 30 * YEAR_S
        assert cache.get("four?") is None
        assert cache.put("five?", "a", principal="ann")
        assert cache.get("five?").answer == "a"


# An embedder that changes ------------------------------------------------------------------------


class Changing:
    """Another model under the same name, once it is told to change."""

    id = "model"

    def __init__(self, embedder):
        self._embedder, self.dim, self.shift, self.width = embedder, embedder.dim, 0, embedder.dim

    def embed(self, texts):
        rows = self._embedder.embed([text + " model" * self.shift for text in texts])
        return rows[:, : self.width]


def test_other_vectors_under_the_same_id_are_refused_by_name(tmp_path, embedder):
    path, model = tmp_path / "cache.db", Changing(embedder)
    with SemanticCache(model, path=path) as cache:
        for number in range(9):
            cache.put(f"rotate key{number} of project{number}", "a")
        assert cache.warm()
        asked = embedder.asked
        assert cache.warm(check=False)
        assert embedder.asked == asked
    model.shift = 1
    with SemanticCache(model, path=path) as cache:
        with pytest.raises(
            InputError, match=r"question of entry 1 .* stored one is 0\.\d+"
        ) as told:
            cache.warm()
        assert "names its revision, or purge" in str(told.value)
        assert cache.warm(check=False)
        cache.purge()
        cache.put("rotate a key", "b")
        assert cache.warm()


def test_an_embedder_that_changed_in_the_middle_is_noticed_too(embedder):
    """The oldest entries are of the old one, the newest of the new one."""
    model = Changing(embedder)
    cache = SemanticCache(model)
    for number in range(20):
        model.shift = int(number >= 15)
        cache.put(f"rotate key{number}", "a")
    for model.shift in (0, 1):
        with pytest.raises(InputError, match="changed and kept its id"):
            cache.warm()


def test_a_dimension_that_changes_under_a_live_cache_costs_calls_and_no_answers(embedder):
    model = Changing(embedder)
    cache = SemanticCache(model)
    cache.put("rotate the key", "a")
    model.width = 100
    with pytest.raises(InputError, match=r"shape \(100,\), expected \(512,\)"):
        cache.get("rotate a key")
    with pytest.raises(InputError, match=r"shape \(100,\), expected \(512,\)"):
        cache.warm()
    ask = cached(cache)(lambda question: "fresh")
    assert ask("rotate a key") == "fresh"
    assert dict(ask.behind.failures) == {"get": 1, "put": 1}
    assert cache.get("rotate the key").answer == "a", "the same text needs no vector"


# The log of hits ---------------------------------------------------------------------------------

FULL_LOG = """
import os, resource, signal, sys
from ragopt.cache import ExactCache, Safety, cached
from ragopt.errors import StorageError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cache = ExactCache(safety=Safety(hit_log=sys.argv[1]))
cache.put("q?", "a")
cache.get("q?")
length = os.path.getsize(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (length + 20, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        cache.get("q?")
    except StorageError as error:
        print(error.__class__.__name__)
calls = []
ask = cached(cache)(lambda question: calls.append(question) or "fresh")
assert ask("q?") == "fresh" and len(calls) == 1, "the question is answered"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
cache.get("q?")
cache.get("q?")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")
def test_a_line_torn_by_a_full_disk_is_an_error_and_spoils_no_other(tmp_path):
    log = tmp_path / "hits.log"
    done = subprocess.run(
        [sys.executable, "-c", FULL_LOG, str(log)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["StorageError"] * 2
    lines = list(read_hits(log))
    assert [line is None for line in lines] == [False, True, False, False]


def test_a_log_in_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text(json.dumps({}))
    with pytest.raises(StorageError):
        ExactCache(safety=Safety(hit_log=tmp_path / "file" / "hits.log"))
