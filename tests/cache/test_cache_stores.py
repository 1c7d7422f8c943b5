"""What every store of entries does, whatever it stands on."""

import math
import threading
from contextlib import closing

import numpy as np
import pytest

from ragopt.cache.policies import Observation
from ragopt.cache.stores import (
    DamagedEntry,
    Entry,
    Limits,
    Put,
    Quota,
    RedisStore,
    SqliteStore,
)
from ragopt.errors import InputError, RagoptError, StorageError

SCOPE, OTHER = b"s" * 32, b"o" * 32


def entry(number, *, scope=SCOPE, created=1000.0, expires=None, answer=b"a", usd=None, **more):
    vector = np.full(4, number, "<f4").tobytes()
    return Entry(
        scope=scope, exact=b"x%031d" % number, created=created, expires=expires, vector=vector,
        question=b"q%d" % number, answer=answer, payload=b"{}", usd=usd, **more,
    )  # fmt: skip


@pytest.fixture(params=["memory", "file", "redis"])
def store(request, tmp_path):
    if request.param == "redis":
        made = RedisStore(request.getfixturevalue("redis_url"), prefix=f"test:{tmp_path.name}")
        made.purge()
    else:
        made = SqliteStore(":memory:" if request.param == "memory" else tmp_path / "cache.db")
    with closing(made):
        yield made


def put(store, one, **more):
    entry_id, reason = store.put(Put(entry=one, **more))
    assert (entry_id > 0) == (not reason)
    return entry_id or reason


def test_what_is_put_is_found_as_it_was(store):
    given = entry(1, expires=1e9 + 0.1, usd=0.125, author=b"m" * 16, created=12345.678901)
    entry_id = put(store, given)
    for found in (store.find(SCOPE, given.exact), store.fetch(entry_id)):
        assert found.id == entry_id
        for name in ("scope", "exact", "created", "expires", "vector", "question", "answer",
                     "payload", "author", "usd"):  # fmt: skip
            assert getattr(found, name) == getattr(given, name)
    assert store.find(OTHER, given.exact) is None
    assert store.find(SCOPE, b"y" * 32) is None
    assert store.fetch(entry_id + 1) is None


def test_an_entry_without_vector_time_or_price(store):
    given = Entry(SCOPE, b"x" * 32, 1.0, None, None, b"q", b"a\x00\xff", b"{}")
    entry_id = put(store, given)
    found = store.fetch(entry_id)
    assert (found.vector, found.expires, found.usd) == (None, None, None)
    assert found.answer == b"a\x00\xff"
    assert list(store.vectors(SCOPE, 0)) == [(entry_id, None)]


def test_the_same_text_takes_the_place_of_the_old_entry(store):
    old = put(store, entry(1), labels=[("source", "doc")])
    new = put(store, entry(1, answer=b"b"))
    assert new > old
    assert store.fetch(old) is None
    assert store.fetch(new).answer == b"b"
    assert store.totals() == (1, 1)
    assert store.purge(labels=[("source", "doc")]) == 0


def test_vectors_and_ids_of_a_scope(store):
    ids = [put(store, entry(number)) for number in range(5)]
    put(store, entry(9, scope=OTHER))
    assert store.ids(SCOPE) == ids
    found = list(store.vectors(SCOPE, ids[1]))
    assert [each for each, _ in found] == ids[2:]
    assert np.frombuffer(found[0][1], "<f4").tolist() == [2, 2, 2, 2]


def test_the_state_changes_with_every_change(store):
    states = [store.state()]
    one = put(store, entry(1))
    for change in (
        lambda: None,
        lambda: put(store, entry(2)),
        lambda: store.purge(entry_id=one),
        lambda: store.observe([Observation(1, 0.9, True)]),
    ):
        states.append(store.state())
        change()
    states.append(store.state())
    assert len(set(states)) == 5
    assert store.state() == states[-1]


def test_purging_meets_every_condition(store):
    ids = [
        put(
            store,
            entry(number, scope=SCOPE if number % 2 else OTHER, created=float(number)),
            labels=[("source", f"d{number % 3}"), ("tag", "é")],
        )
        for number in range(12)
    ]
    assert store.purge(scope=SCOPE, labels=[("source", "d0")], created_until=5.0) == 1
    assert store.fetch(ids[3]) is None
    assert store.purge(labels=[("source", "d1"), ("tag", "other")]) == 0
    assert store.purge(labels=[("source", "d1"), ("tag", "é")]) == 4
    assert store.purge(entry_id=ids[0]) == 1
    assert store.purge(entry_id=ids[0]) == 0
    assert store.purge(created_until=8.0) == 4
    assert store.purge(scope=OTHER) == 0
    assert store.purge() == 2
    assert store.totals() == (0, 12)
    assert store.summary(0)["bytes"] == 0


def test_the_summary_counts(store):
    put(store, entry(1, created=100.0, expires=200.0))
    put(store, entry(2, created=150.0, scope=OTHER))
    store.observe([Observation(1, 0.9, False, audit=True), Observation(1, 0.9, True)])
    found = store.summary(250.0)
    assert found["bytes"] == entry(1).size + entry(2).size
    assert (found["entries"], found["expired"], found["scopes"]) == (2, 1, 2)
    assert (found["oldest_s"], found["newest_s"]) == (150.0, 100.0)
    assert (found["audits"], found["audits_wrong"]) == (1, 1)


# Eviction ------------------------------------------------------------------------------------


def test_the_expired_go_first(store):
    limits = Limits(max_entries=2)
    keep = put(store, entry(1))
    gone = put(store, entry(2, expires=1500.0))
    new = put(store, entry(3, created=2000.0), limits=limits)
    assert store.ids(SCOPE) == [keep, new]
    assert store.fetch(gone) is None


def test_what_is_served_stays(store):
    limits = Limits(max_entries=3)
    ids = [put(store, entry(number)) for number in range(3)]
    new = put(store, entry(3), limits=limits, used=[ids[0], ids[0], ids[2]])
    assert store.ids(SCOPE) == [ids[0], ids[2], new]


def test_what_saves_more_a_byte_stays(store):
    limits = Limits(max_entries=2)
    cheap = put(store, entry(1, usd=0.001))
    dear = put(store, entry(2, usd=0.01))
    new = put(store, entry(3, usd=0.002), limits=limits)
    assert store.ids(SCOPE) == [dear, new]
    assert store.fetch(cheap) is None
    assert put(store, entry(4, usd=0.0005), limits=limits) == "worth less"
    assert store.ids(SCOPE) == [dear, new]


def test_what_is_asked_more_often_is_admitted(store):
    limits = Limits(max_entries=1)
    put(store, entry(1, usd=0.01))
    assert put(store, entry(2, usd=0.003), limits=limits) == "worth less"
    assert put(store, entry(2, usd=0.003), limits=limits, frequency=4) != "worth less"
    assert store.totals()[0] == 1


def test_what_was_dear_once_does_not_stay_for_ever(store):
    limits = Limits(max_entries=2)
    put(store, entry(0, usd=0.05))
    put(store, entry(1, usd=0.05))
    refused = 0
    for number in range(2, 300):
        refused += put(store, entry(number, usd=0.001), limits=limits) == "worth less"
        if store.find(SCOPE, entry(0).exact) is None:
            break
    else:
        raise AssertionError("never evicted")
    assert refused > 0


def test_bytes_are_limited_too(store):
    size = entry(1).size
    limits = Limits(max_bytes=3 * size)
    for number in range(6):
        put(store, entry(number), limits=limits)
    assert store.totals()[0] == 3
    assert store.summary(0)["bytes"] == 3 * size
    put(store, entry(7, answer=b"a" * 2 * size), limits=limits)
    assert store.totals()[0] == 1
    assert store.summary(0)["bytes"] <= 3 * size
    assert put(store, entry(8, answer=b"a" * 4 * size), limits=limits) == "worth less"


def test_a_new_answer_to_a_question_that_is_there_is_always_taken(store):
    limits = Limits(max_entries=2)
    put(store, entry(1, usd=0.5))
    put(store, entry(2, usd=0.5))
    new = put(store, entry(2, usd=0.0, answer=b"b"), limits=limits)
    assert store.fetch(new).answer == b"b"
    assert store.totals()[0] == 2


def test_what_is_doomed_goes_with_the_next_put(store):
    ids = [put(store, entry(number)) for number in range(3)]
    new = put(store, entry(3), doomed=[ids[0], ids[2], 999])
    assert store.ids(SCOPE) == [ids[1], new]
    store.settle(used=[ids[1], 999], doomed=[new])
    assert store.ids(SCOPE) == [ids[1]]


# Trust ---------------------------------------------------------------------------------------


def test_a_quota_holds_for_each_author(store):
    quota = Quota(inserts=2, seconds=60)
    assert put(store, entry(1, created=0.0), author=b"a", quota=quota) != "quota"
    assert put(store, entry(2, created=30.0), author=b"a", quota=quota) != "quota"
    assert put(store, entry(3, created=59.0), author=b"a", quota=quota) == "quota"
    assert put(store, entry(3, created=59.0), author=b"b", quota=quota) != "quota"
    assert put(store, entry(4, created=60.0), author=b"a", quota=quota) != "quota"
    assert put(store, entry(5, created=61.0), author=b"a", quota=quota) == "quota"


def test_confirmations_count_each_once_and_go_with_the_entry(store):
    one = put(store, entry(1))
    assert store.confirmations(one) == 0
    assert [store.confirm(one, who) for who in (b"a", b"b", b"a")] == [1, 2, 2]
    assert store.confirmations(one) == 2
    assert store.confirm(one + 7, b"a") == 0
    new = put(store, entry(1, answer=b"b"))
    assert store.confirmations(one) == store.confirmations(new) == 0


# Learning ------------------------------------------------------------------------------------


def test_observations_are_kept_in_order(store):
    one, other = put(store, entry(1)), put(store, entry(2))
    given = [
        Observation(one, 0.9, True), Observation(other, 0.8, False),
        Observation(one, 0.7, False, audit=True),
    ]  # fmt: skip
    store.observe(given[:2])
    store.observe(given[2:])
    found = store.observations()
    assert [each for _, each in found] == given
    assert store.observations(found[0][0]) == found[1:]
    assert store.observations(found[-1][0]) == []
    assert store.observed(one) == (given[0], given[2])


def test_a_new_answer_begins_anew(store):
    one = put(store, entry(1))
    store.observe([Observation(one, 0.9, False)])
    new = put(store, entry(1, answer=b"b"))
    assert store.observed(new) == ()


def test_settings_are_kept(store):
    assert store.setting("policy") is None
    store.set("policy", b"\x00one")
    store.set("policy", b"two")
    assert store.setting("policy") == b"two"
    assert store.setting("other") is None


# Faults --------------------------------------------------------------------------------------


def test_threads_share_a_store(store):
    failures = []

    def work(offset):
        try:
            for number in range(offset, offset + 25):
                put(store, entry(number), limits=Limits(max_entries=40))
                store.find(SCOPE, entry(number).exact)
        except Exception as error:  # noqa: BLE001 - any failure is one
            failures.append(error)

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.totals() == (40, 60)
    assert len(store.ids(SCOPE)) == 40


def test_a_store_that_is_closed_says_so(tmp_path):
    store = SqliteStore(tmp_path / "cache.db")
    store.close()
    with pytest.raises(RagoptError, match="closed"):
        store.totals()


@pytest.mark.parametrize("field", ["answer", "question", "payload", "vector", "created", "author"])
def test_an_altered_entry_in_redis_is_damaged(redis_url, tmp_path, field):
    import redis

    with closing(RedisStore(redis_url, prefix=f"test:{tmp_path.name}")) as store:
        one = put(store, entry(1))
        client = redis.Redis.from_url(redis_url)
        client.hset(f"test:{tmp_path.name}:e:{one}", field, b"altered!")
        with pytest.raises(DamagedEntry):
            store.fetch(one)
        client.hdel(f"test:{tmp_path.name}:e:{one}", field)
        with pytest.raises(DamagedEntry):
            store.find(SCOPE, entry(1).exact)


def test_entries_in_redis_cannot_be_forged_without_the_secret(redis_url, tmp_path):
    prefix = f"test:{tmp_path.name}"
    with (
        closing(RedisStore(redis_url, prefix=prefix, secret=b"s")) as store,
        closing(RedisStore(redis_url, prefix=prefix)) as forger,
    ):
        one = put(forger, entry(1))
        with pytest.raises(DamagedEntry):
            store.fetch(one)


def test_a_redis_that_is_not_there_is_named():
    with pytest.raises(StorageError, match=r"127.0.0.1:1/0#ragopt: Redis does not answer"):
        RedisStore("redis://127.0.0.1:1/0", timeout_s=0.2)
    with pytest.raises(InputError, match="no address of a Redis"):
        RedisStore("nonsense")


def test_keys_of_another_program_are_left_alone(redis_url, tmp_path):
    import redis

    redis.Redis.from_url(redis_url).set(f"{tmp_path.name}:format", "mine")
    with pytest.raises(InputError, match="choose another prefix"):
        RedisStore(redis_url, prefix=tmp_path.name)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Limits(max_entries=0), "max_entries=0"),
        (lambda: Limits(max_bytes=True), "max_bytes=True"),
        (lambda: Quota(inserts=0), "inserts=0"),
        (lambda: Quota(inserts=1, seconds=0), "seconds=0"),
        (lambda: Quota(inserts=math.nan), "inserts=nan"),
    ],
)
def test_bad_limits_are_refused(make, told):
    with pytest.raises(InputError, match=told):
        make()
