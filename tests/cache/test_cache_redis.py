"""A cache in a real Redis: shared by processes, and gone in the middle."""

import contextlib
import subprocess
import sys

import pytest

from ragopt.cache import CachedLLM, ExactCache, Scope, SemanticCache
from ragopt.cache.stores import RedisStore
from ragopt.errors import IndexCorrupt, InputError, StorageError
from ragopt.llm import Completion, Message


@pytest.fixture
def prefix(tmp_path):
    return f"test:{tmp_path.name}"


@pytest.fixture
def open_cache(redis_url, prefix, embedder):
    with contextlib.ExitStack() as closing:

        def make(**options):
            store = RedisStore(redis_url, prefix=prefix)
            return closing.enter_context(SemanticCache(embedder, store=store, **options))

        yield make


def test_what_one_stores_another_serves_and_what_it_removes_is_gone(open_cache):
    one, other = open_cache(), open_cache()
    assert other.get("How do I rotate a key?") is None
    entry = one.put("How do I rotate a key?", "Use rotate().", payload={"n": 1}, sources=["doc"])
    for question, tier in (
        ("how do I rotate a key", "exact"),
        ("how can I rotate the key", "semantic"),
    ):
        hit = other.get(question)
        assert (hit.answer, hit.tier, hit.entry_id) == ("Use rotate().", tier, entry)
        assert dict(hit.payload) == {"n": 1}
    assert one.purge(source="doc") == 1
    assert other.get("how do I rotate a key") is None
    assert other.get("how can I rotate the key") is None


def test_scopes_are_kept_apart(open_cache):
    cache = open_cache(guards=(), threshold=0.5)
    cache.put("rotate key", "a", scope=Scope(tenant="one"))
    assert cache.get("key rotate", scope=Scope(tenant="two")) is None
    assert cache.get("key rotate", scope=Scope(tenant="one")).answer == "a"


def test_entries_survive_the_cache_object(open_cache):
    with open_cache() as cache:
        cache.put("rotate the key", "a")
    assert open_cache().get("the key, rotate").answer == "a"


def test_another_secret_reads_nothing(redis_url, prefix):
    for secret, found in ((b"one", True), (b"two", False)):
        store = RedisStore(redis_url, prefix=prefix, secret=secret)
        with ExactCache(store=store, secret=secret) as cache:
            if found:
                cache.put("q?", "a")
            assert (cache.get("q?") is not None) == found


def test_a_path_and_a_store_are_refused(redis_url, prefix, tmp_path):
    store = RedisStore(redis_url, prefix=prefix)
    with contextlib.closing(store), pytest.raises(ValueError, match="give one of them"):
        ExactCache(path=tmp_path / "cache.db", store=store)


WRITER = """
import sys
from ragopt.cache import ExactCache
from ragopt.cache.stores import RedisStore
with ExactCache(store=RedisStore(sys.argv[1], prefix=sys.argv[2]), max_entries=150) as cache:
    for number in range(100):
        cache.put(f"question {sys.argv[3]} {number}?", f"answer {number}")
        assert cache.get(f"question {sys.argv[3]} {number}?") is not None or number >= 0
"""


def test_processes_write_at_once(redis_url, prefix):
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, redis_url, prefix, str(number)])
        for number in range(3)
    ]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    with contextlib.closing(RedisStore(redis_url, prefix=prefix)) as store:
        assert store.totals()[0] == 150
        assert store.summary(0)["entries"] == 150


def test_redis_gone_in_the_middle_costs_calls_and_no_answers(embedder):
    """And once it is back, the cache goes on."""
    from ragopt.benchmarks.cache.redis_server import start_redis
    from ragopt.benchmarks.cache.unavailable import Unavailable

    calls = []

    def llm(messages):
        calls.append(messages[-1].content)
        return Completion(f"answer {len(calls)}")

    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(start_redis())
        except Unavailable as error:
            pytest.skip(str(error))
        cache = SemanticCache(embedder, store=RedisStore(server.url, timeout_s=0.5))
        model = CachedLLM(llm, cache)
        ask = [Message("user", "How do I rotate a key?")]
        assert model(ask).text == model(ask).text == "answer 1"
        stack.close()  # the server is stopped
        assert model(ask).text == "answer 2"
        assert model(ask).text == "answer 3"
        assert dict(model.failures) == {"get": 2, "put": 2}
        assert cache.stats.errors == 2
        with pytest.raises(StorageError, match="Redis does not answer"):
            cache.get("How do I rotate a key?")
        cache.close()


def test_a_refusal_of_redis_is_heard(redis_url, prefix):
    import redis

    client = redis.Redis.from_url(redis_url)
    with contextlib.closing(RedisStore(redis_url, prefix=prefix)) as store:
        client.set(f"{prefix}:m", "no hash")
        with pytest.raises(StorageError, match="Redis refused"):
            store.totals()


@pytest.mark.parametrize(
    "line", ["x", "[1]", '[1, "near", 1, 0]', "[1, 1e300, 1, 0]", "[1, 0.9, 2, 0]"]
)
def test_observations_that_are_none_are_named(redis_url, prefix, line):
    import redis

    client = redis.Redis.from_url(redis_url)
    with contextlib.closing(RedisStore(redis_url, prefix=prefix)) as store:
        client.rpush(f"{prefix}:o", line)
        with pytest.raises(IndexCorrupt, match="the cache is damaged"):
            store.observations()


def test_observations_of_earlier_caches_keep_their_numbers(redis_url, prefix):
    """Before numbers rose with the time they were counted from one."""
    import redis

    client = redis.Redis.from_url(redis_url)
    with contextlib.closing(RedisStore(redis_url, prefix=prefix)) as store:
        client.rpush(f"{prefix}:o", "[1,0.9,1,0]", "[1,0.9,0,1]")
        store.observe([store.observations()[0][1]])
        assert [number for number, _ in store.observations()] == [1, 2, 3]
        assert [number for number, _ in store.observations(2)] == [3]


@pytest.mark.parametrize(
    "url", [5, None, "nowhere", "redis://:hush@localhost:port", "redis://:hu/sh@localhost:1"]
)
def test_an_address_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(InputError) as refused:
        RedisStore(url)
    assert "hu" not in str(refused.value)
