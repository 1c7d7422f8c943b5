"""Several real processes on one cache, in a file or in Redis: what they count adds up exactly."""

import subprocess
import sys

import pytest

from ragopt.cache import ExactCache, Quota, Safety, SemanticCache
from ragopt.cache.hitlog import read_hits
from ragopt.cache.policies import Observation
from ragopt.cache.stores import RedisStore, SqliteStore

PROCESSES = 3
WORKER = """
import sys
from ragopt.cache import ExactCache, Quota, Safety
from ragopt.cache.policies import Observation
from ragopt.cache.stores import RedisStore, SqliteStore

where, prefix, log, me = sys.argv[1:]
redis = where.startswith("redis")
store = RedisStore(where, prefix=prefix) if redis else SqliteStore(where)
safety = Safety(confirmations=1000, quota=Quota(inserts=25, seconds=1e6), hit_log=log)
cache = ExactCache(store=store, safety=safety)
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    # one author in all processes, more often than its quota; and one of the process's own
    cache.put(f"shared {me} {number}?", "a", principal="shared")
    cache.put(f"own {me} {number}?", "a", principal=f"own {me}")
    # everybody confirms the same entry: somebody of this process, and somebody known to all
    cache.put("poison?", "a", principal=f"witness {me} {number}")
    cache.put("poison?", "a", principal=f"witness {number % 5}")
    assert cache.get(f"own {me} {number}?", principal=f"own {me}").answer == "a"
    store.observe([Observation(int(me) + 1, 0.9, number % 4 > 0, number % 2 == 0)])
print("done", flush=True)
sys.stdin.readline()
assert cache.get("poison?", principal="author") is None, "purged elsewhere"
assert cache.get(f"own {me} 0?", principal=f"own {me}") is None
print("gone", flush=True)
cache.close()
"""


@pytest.fixture(params=["file", "redis"])
def place(request, tmp_path):
    """Where the cache is, as its processes are told, and what opens it."""
    prefix = f"test:{tmp_path.name}"
    if request.param == "file":
        where = str(tmp_path / "cache.db")
        return (where, prefix), lambda: SqliteStore(where)
    url = request.getfixturevalue("redis_url")
    return (url, prefix), lambda: RedisStore(url, prefix=prefix)


def say(workers, expected):
    """Let all go on at once, and hear what each says."""
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        said = worker.stdout.readline().strip()
        assert said == expected, worker.communicate()[1]


def test_quotas_confirmations_hits_and_observations_add_up(place, tmp_path):
    arguments, opened = place
    log = tmp_path / "hits.log"
    store = opened()
    safety = Safety(confirmations=1000, quota=Quota(inserts=25, seconds=1e6))
    with ExactCache(store=store, safety=safety) as cache:
        entry = cache.put("poison?", "a", principal="author")
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, *arguments, str(log), str(me)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for me in range(PROCESSES)
        ]
        try:
            assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * PROCESSES
            say(workers, "done")
            assert store.confirmations(entry) == 20 * PROCESSES + 5, "each is counted once"
            # the author's entry, the quota of the shared author, all of each process's own
            assert len(cache) == 1 + 25 + 20 * PROCESSES
            assert store.summary(0)["entries"] == len(cache)
            observed = [each for _, each in store.observations()]
            assert len(observed) == 20 * PROCESSES
            assert sum(not each.correct for each in observed) == 5 * PROCESSES
            assert sum(each.audit for each in observed) == 10 * PROCESSES
            for me in range(PROCESSES):
                mine = [Observation(me + 1, 0.9, n % 4 > 0, n % 2 == 0) for n in range(20)]
                assert [each for each in observed if each.entry_id == me + 1] == mine
            hits = list(read_hits(log))
            assert None not in hits
            assert len(hits) == 20 * PROCESSES
            assert len({hit.entry for hit in hits}) == 20 * PROCESSES
            assert cache.purge() == 1 + 25 + 20 * PROCESSES
            say(workers, "gone")
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()
        assert store.totals() == (0, 1 + 25 + 20 * PROCESSES)
        assert store.confirmations(entry) == 0


def test_what_one_purges_no_other_serves_by_any_tier(place, make_embedder):
    _, opened = place
    with (
        SemanticCache(make_embedder(), store=opened()) as one,
        SemanticCache(make_embedder(), store=opened()) as other,
    ):
        for number in range(30):
            one.put(f"rotate key{number}", "a", sources=[f"doc{number % 3}"], tags=["t"])
        for number in range(30):
            assert other.get(f"rotate the key{number}").tier == "semantic"
        assert one.purge(source="doc1") == 10
        for number in range(30):
            gone = number % 3 == 1
            assert (other.get(f"rotate key{number}") is None) == gone
            assert (other.get(f"the key{number} to rotate") is None) == gone
        assert one.purge(tag="t") == 20
        assert other.get("rotate the key0") is None
        one.put("rotate key0", "new")
        assert other.get("rotate the key0").answer == "new"
