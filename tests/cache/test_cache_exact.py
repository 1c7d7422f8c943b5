import math
import threading

import numpy as np
import pytest

from ragopt.cache import ExactCache, Scope
from ragopt.errors import InputError, RagoptError


@pytest.fixture(params=["memory", "file"])
def cache(request, tmp_path, clock):
    path = tmp_path / "cache.db" if request.param == "file" else None
    with ExactCache(path=path, clock=clock) as opened:
        yield opened


def test_three_lines():
    cache = ExactCache()
    cache.put("What is a WAL?", "A write-ahead log.")
    assert cache.get("what is a  WAL").answer == "A write-ahead log."


def test_a_hit_says_where_it_comes_from(cache, clock):
    entry = cache.put("What is it?", "That.", payload={"model": "m", "tokens": [1, 2]})
    clock.now += 12.5
    hit = cache.get("What is it")
    assert (hit.answer, hit.tier, hit.similarity) == ("That.", "exact", 1.0)
    assert (hit.entry_id, hit.question, hit.age_s) == (entry, "What is it?", 12.5)
    assert dict(hit.payload) == {"model": "m", "tokens": [1, 2]}
    with pytest.raises(TypeError):
        hit.payload["model"] = "other"


def test_unicode_and_odd_characters_come_back_as_they_were(cache):
    for answer in (
        "naïve ½ 漢字 \U0001f600",
        "a\x00b",
        "line\r\nline",
        "'; DROP TABLE entries; --",
    ):
        cache.put(answer + "?", answer)
        assert cache.get(answer + "?").answer == answer


def test_another_scope_sees_nothing(cache):
    cache.put("q?", "for acme", scope=Scope(tenant="acme"))
    assert cache.get("q?") is None
    assert cache.get("q?", scope=Scope(tenant="other")) is None
    assert cache.get("q?", scope=Scope(tenant="acme", model="m")) is None
    assert cache.get("q?", scope=Scope(tenant="acme")).answer == "for acme"


def test_putting_again_replaces(cache):
    first = cache.put("q?", "old")
    second = cache.put("Q", "older")
    third = cache.put("q", "new")
    assert cache.get("q?").answer == "new"
    assert len(cache) == 2  # "Q" is another text: one letter is no sentence's first word
    assert first < second < third
    assert not cache.revoke(first)


def test_time_to_live_is_absolute(cache, clock):
    cache.put("q?", "a", ttl_s=60)
    for _ in range(5):
        clock.now += 11
        assert cache.get("q?").answer == "a"
    clock.now += 4.9
    assert cache.get("q?") is not None
    clock.now += 0.1
    assert cache.get("q?") is None
    assert cache.stats.expired == 1


def test_the_entrys_own_time_goes_before_the_caches(clock):
    cache = ExactCache(ttl_s=10, clock=clock)
    cache.put("short", "a")
    cache.put("long", "a", ttl_s=100)
    cache.put("for ever", "a", ttl_s=math.inf)
    clock.now += 50
    assert [cache.get(q) is not None for q in ("short", "long", "for ever")] == [False, True, True]
    clock.now += 1e9
    assert cache.get("for ever") is not None


def test_a_clock_set_back_never_makes_an_answer_younger(cache, clock):
    cache.put("q?", "a", ttl_s=60)
    clock.now -= 3600
    assert cache.get("q?") is None  # its age cannot be told
    cache.put("other", "b")  # sweeps it out
    clock.now += 3600 + 30
    assert cache.get("q?") is None
    assert cache.stats.expired == 1


def test_a_small_step_back_is_forgiven(cache, clock):
    cache.put("q?", "a", ttl_s=60)
    clock.now -= 2
    assert cache.get("q?").age_s == 0.0


def test_expired_entries_make_room_before_living_ones(clock):
    cache = ExactCache(max_entries=2, clock=clock)
    cache.put("living", "a")
    cache.put("dead", "b", ttl_s=1)
    clock.now += 2
    cache.put("new", "c")
    assert cache.get("living") is not None
    assert len(cache) == 2


def test_the_least_recently_served_goes_first(clock):
    cache = ExactCache(max_entries=3, clock=clock)
    for name in ("one", "two", "three"):
        cache.put(name, "a")
    cache.get("one")
    clock.now -= 1e6  # the order must not hang on the clock
    cache.put("four", "a")
    clock.now += 1e6
    assert cache.get("two") is None
    assert cache.get("one") is not None
    cache.put("five", "a")
    assert cache.get("three") is None
    assert len(cache) == 3


def test_hits_before_closing_count_for_the_next_to_open(tmp_path):
    path = tmp_path / "cache.db"
    with ExactCache(path=path, max_entries=2) as cache:
        cache.put("one", "a")
        cache.put("two", "a")
        cache.get("one")
    with ExactCache(path=path, max_entries=2) as cache:
        cache.put("three", "a")
        assert cache.get("one") is not None
        assert cache.get("two") is None


def test_a_smaller_limit_is_kept_from_the_next_put_on(tmp_path):
    path = tmp_path / "cache.db"
    with ExactCache(path=path) as cache:
        for number in range(20):
            cache.put(f"q{number}", "a")
    with ExactCache(path=path, max_entries=5) as cache:
        cache.put("new", "a")
        assert len(cache) == 5
        assert cache.get("new") is not None


def test_purging(cache, clock):
    acme = Scope(tenant="acme", corpus_version="7")
    cache.put("one", "a", sources=["doc1", "doc2"], tags=["price"])
    cache.put("two", "a", sources=["doc2"], scope=acme)
    clock.now += 100
    cache.put("three", "a", tags=["price"], scope=acme)
    assert cache.purge(source="doc1", tag="fact") == 0
    assert cache.purge(source="doc1") == 1
    assert cache.get("one") is None
    assert cache.purge(scope=acme, older_than_s=50) == 1
    assert cache.purge(corpus_version="8") == 0
    assert cache.purge(corpus_version="7") == 1
    assert len(cache) == 0
    cache.put("four", "a")
    cache.put("five", "a")
    assert cache.purge() == 2
    assert cache.get("four") is None


def test_labels_go_with_their_entry(cache):
    cache.put("q", "a", tags=["x"])
    cache.put("q", "b")
    assert cache.purge(tag="x") == 0
    assert cache.get("q").answer == "b"


def test_revoking(cache):
    entry = cache.put("q", "a")
    assert cache.revoke(entry)
    assert cache.get("q") is None
    assert not cache.revoke(entry)
    assert cache.put("q", "b") > entry  # an id never names another answer


def test_counters_add_up(cache):
    cache.put("one", "a")
    cache.get("one")
    cache.get("two")
    stats = cache.stats
    assert (stats.lookups, stats.exact_hits, stats.misses, stats.puts) == (2, 1, 1, 1)
    assert stats.hits == 1
    assert stats.hit_ratio == 0.5
    assert ExactCache().stats.hit_ratio == 0.0


@pytest.mark.parametrize("question", ["", "  \n", None, 3, b"bytes", ["q"], "\ud800"])
def test_unusable_questions_and_answers_change_nothing(cache, question):
    with pytest.raises(InputError):
        cache.get(question)
    with pytest.raises(InputError):
        cache.put(question, "a")
    with pytest.raises(InputError):
        cache.put("q", question)
    assert len(cache) == 0
    assert cache.stats.lookups == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"ttl_s": 0},
        {"ttl_s": -1},
        {"ttl_s": math.nan},
        {"ttl_s": True},
        {"ttl_s": "60"},
        {"payload": [1]},
        {"payload": {"a": object()}},
        {"payload": {"a": math.nan}},
        {"payload": {"a": {1, 2}}},
        {"sources": "doc1"},
        {"sources": [1]},
        {"tags": [""]},
        {"tags": ["\udc00"]},
        {"scope": "acme"},
        {"scope": {"tenant": "a"}},
    ],
)
def test_unusable_options_of_put_change_nothing(cache, arguments):
    with pytest.raises(InputError):
        cache.put("q", "a", **arguments)
    assert len(cache) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"ttl_s": 0},
        {"ttl_s": math.nan},
        {"ttl_s": -5},
        {"max_entries": 0},
        {"max_entries": True},
        {"secret": "text"},
        {"clock": 5},
    ],
)
def test_unusable_options_are_refused(arguments):
    with pytest.raises(InputError):
        ExactCache(**arguments)


@pytest.mark.parametrize("age", [math.nan, -1, "1", True])
def test_unusable_ages_purge_nothing(cache, age):
    cache.put("q", "a")
    with pytest.raises(InputError):
        cache.purge(older_than_s=age)
    with pytest.raises(InputError):
        cache.purge(source="")
    with pytest.raises(InputError):
        cache.revoke("1")
    assert len(cache) == 1


def test_a_clock_without_time_is_refused():
    cache = ExactCache(clock=lambda: math.nan)
    with pytest.raises(InputError):
        cache.put("q", "a")
    assert len(cache) == 0


def test_a_vector_is_of_no_use_here(cache):
    cache.put("q", "a", vector=np.ones(3))
    assert cache.get("q", vector=np.ones(5)).answer == "a"


def test_a_closed_cache_says_so(tmp_path):
    cache = ExactCache(path=tmp_path / "cache.db")
    cache.put("q", "a")
    cache.close()
    cache.close()
    for call in (
        lambda: cache.get("q"),
        lambda: cache.put("q", "a"),
        cache.purge,
        lambda: len(cache),
    ):
        with pytest.raises(InputError, match="closed"):
            call()
    assert "closed" in repr(cache)


def test_an_empty_cache_is_true_and_shows_itself(tmp_path):
    cache = ExactCache(path=tmp_path / "cache.db")
    assert cache
    assert repr(cache) == f"ExactCache('{tmp_path / 'cache.db'}', 0 entries)"


def test_a_secret_hides_and_seals(tmp_path):
    path = tmp_path / "cache.db"
    with ExactCache(path=path, secret=b"one") as cache:
        cache.put("q", "a")
    with ExactCache(path=path, secret=b"two") as cache:
        assert cache.get("q") is None
    with ExactCache(path=path, secret=b"one") as cache:
        assert cache.get("q").answer == "a"


def test_threads_share_one_cache(cache):
    failures = []

    def work(worker):
        try:
            for number in range(40):
                cache.put(f"q {worker} {number}", f"a {worker} {number}")
                assert cache.get(f"q {worker} {number}").answer == f"a {worker} {number}"
        except (AssertionError, AttributeError, RagoptError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(cache) == 160
    assert cache.stats.exact_hits == 160
