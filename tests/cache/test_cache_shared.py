"""Sharing across tenants: what is listed may be read, and nothing else by any road."""

from __future__ import annotations

from itertools import product

import pytest

from ragopt.cache import (
    Audit,
    ExactCache,
    Quota,
    Safety,
    Scope,
    SemanticCache,
    Static,
    cached,
    same_words,
)
from ragopt.cache.hitlog import read_hits
from ragopt.cache.stores import SqliteStore
from ragopt.errors import InputError

PUBLIC = Scope(tenant="public-docs")
A, B = Scope(tenant="a"), Scope(tenant="b")
QUESTION, REWORDED = "How do I rotate a key?", "how can I rotate the key"


def caches(embedder, **options):
    return [ExactCache(**options), SemanticCache(embedder, **options)]


def questions(cache):
    return (QUESTION, REWORDED) if isinstance(cache, SemanticCache) else (QUESTION,)


# What it does -------------------------------------------------------------------------------


def test_what_is_listed_is_read_and_the_hit_says_where_it_is_from(embedder):
    for cache in caches(embedder, shared=[PUBLIC]):
        cache.put(QUESTION, "public", scope=PUBLIC)
        for scope, asked in product((A, B, None), questions(cache)):
            hit = cache.get(asked, scope=scope)
            assert (hit.answer, hit.scope, hit.shared) == ("public", PUBLIC, True)
        hit = cache.get(QUESTION, scope=PUBLIC)
        assert (hit.scope, hit.shared) == (PUBLIC, False)
        stats = cache.stats
        assert stats.shared_hits == stats.hits - 1
        assert stats.lookups == stats.hits + stats.misses


def test_the_own_scope_comes_first_then_the_order_of_the_list(embedder):
    other = Scope(tenant="handbook")
    for cache in caches(embedder, shared=[PUBLIC, other]):
        cache.put(QUESTION, "handbook", scope=other)
        assert cache.get(QUESTION, scope=A).answer == "handbook"
        cache.put(QUESTION, "public", scope=PUBLIC)
        assert cache.get(QUESTION, scope=A).answer == "public"
        cache.put(QUESTION, "own", scope=A)
        hit = cache.get(QUESTION, scope=A)
        assert (hit.answer, hit.scope, hit.shared) == ("own", A, False)
        assert cache.get(QUESTION, scope=B).answer == "public"


def test_a_similar_question_of_the_own_scope_comes_before_the_same_text_of_another(embedder):
    cache = SemanticCache(embedder, shared=[PUBLIC])
    cache.put(REWORDED, "own", scope=A)
    cache.put(QUESTION, "public", scope=PUBLIC)
    assert cache.get(QUESTION, scope=A).answer == "own"


def test_the_question_is_embedded_once_for_all_scopes(embedder):
    shared = [Scope(tenant=name) for name in ("one", "two", "three")]
    cache = SemanticCache(embedder, shared=shared)
    for scope in (A, *shared):
        cache.put("When are invoices sent?", "Monthly.", scope=scope)
    embedder.asked = 0
    assert cache.get(QUESTION, scope=A) is None
    assert embedder.asked == 1
    given = []

    def vector():
        given.append(1)
        return embedder.embed([QUESTION])[0]

    assert cache.get(QUESTION, scope=A, vector=vector) is None
    assert len(given) == 1


# Red team -----------------------------------------------------------------------------------


def test_no_tenant_reads_another_that_is_not_listed(embedder):
    fields = ("tenant", "model", "system_prompt", "corpus_version")
    for cache in caches(embedder, shared=[PUBLIC]):
        cache.put(QUESTION, "b's secret", scope=B)
        near = [Scope(**{"tenant": "b", field: "b "}) for field in fields]
        asking = [A, None, PUBLIC, Scope(tenant="B"), Scope(sampling={"tenant": "b"}), *near]
        for scope, asked in product(asking, questions(cache)):
            assert cache.get(asked, scope=scope) is None, scope
        assert cache.get(QUESTION, scope=B).answer == "b's secret"


def test_a_shared_scope_reads_nobody(embedder):
    for cache in caches(embedder, shared=[PUBLIC]):
        cache.put(QUESTION, "a's secret", scope=A)
        assert cache.get(QUESTION, scope=PUBLIC) is None


def test_a_listed_scope_is_meant_with_all_its_fields(embedder):
    listed = Scope(tenant="public-docs", model="m", corpus_version="2")
    for cache in caches(embedder, shared=[listed]):
        for other in (
            Scope(tenant="public-docs"),
            Scope(tenant="public-docs", model="m", corpus_version="1"),
            Scope(tenant="public-docs", model="n", corpus_version="2"),
        ):
            cache.put(QUESTION, "not this one", scope=other)
        assert cache.get(QUESTION, scope=A) is None
        cache.put(QUESTION, "this one", scope=listed)
        assert cache.get(QUESTION, scope=A).answer == "this one"


def test_nothing_is_written_to_a_shared_scope_but_by_name(embedder):
    for cache in caches(embedder, shared=[PUBLIC]):
        answered = cached(cache)(lambda question: "a's answer")
        assert answered(QUESTION, scope=A) == "a's answer"
        cache.put("What is a WAL?", "a's log", scope=A)
        for scope, asked in product((PUBLIC, B), (QUESTION, "What is a WAL?")):
            assert cache.get(asked, scope=scope) is None
        assert cache.purge(scope=PUBLIC) == 0


def test_who_lists_a_scope_is_the_one_cache_not_the_file(embedder, tmp_path):
    path = tmp_path / "cache.db"
    with ExactCache(path=path, shared=[PUBLIC]) as sharing, ExactCache(path=path) as alone:
        sharing.put(QUESTION, "public", scope=PUBLIC)
        assert sharing.get(QUESTION, scope=A).shared
        assert alone.get(QUESTION, scope=A) is None
    with ExactCache(path=path, shared=[PUBLIC], secret=b"other") as stranger:
        assert stranger.get(QUESTION, scope=A) is None


def test_quarantine_holds_across_scopes(embedder):
    for cache in caches(embedder, shared=[PUBLIC], safety=Safety(confirmations=1)):
        cache.put(QUESTION, "Send it to mallory.", scope=PUBLIC, principal="mallory")
        assert cache.get(QUESTION, scope=A, principal="alice") is None
        # the same answer, given in the own scope, vouches for nobody else's
        cache.put(QUESTION, "Send it to mallory.", scope=A, principal="alice")
        assert cache.get(QUESTION, scope=B, principal="bob") is None
        cache.put(QUESTION, "Send it to mallory", scope=PUBLIC, principal="carol")
        assert cache.get(QUESTION, scope=B, principal="bob").shared


def test_admission_and_quota_hold_for_what_is_shared(embedder):
    safety = Safety(quota=Quota(inserts=1))
    for cache in caches(embedder, shared=[PUBLIC], safety=safety):
        assert cache.put(QUESTION, "Ask joe@example.com", scope=PUBLIC, principal="a") is None
        assert cache.put(QUESTION, "Rotate it.", scope=PUBLIC, principal="a") is not None
        assert cache.put("What is a WAL?", "A log.", scope=PUBLIC, principal="a") is None
        assert cache.get("What is a WAL?", scope=B) is None


def test_what_is_revoked_or_expired_is_shared_no_more(embedder, clock):
    for cache in caches(embedder, shared=[PUBLIC], ttl_s=60, clock=clock):
        entry = cache.put(QUESTION, "public", scope=PUBLIC)
        assert cache.get(QUESTION, scope=A).entry_id == entry
        cache.revoke(entry)
        assert cache.get(QUESTION, scope=A) is None
        cache.put(QUESTION, "again", scope=PUBLIC)
        clock.now += 61
        assert cache.get(QUESTION, scope=A) is None


def test_the_log_names_the_scope_that_served(embedder, tmp_path):
    path = tmp_path / "hits.log"
    with ExactCache(shared=[PUBLIC], safety=Safety(hit_log=path)) as cache:
        cache.put(QUESTION, "public", scope=PUBLIC)
        cache.put("What is a WAL?", "own", scope=A)
        cache.get(QUESTION, scope=A)
        cache.get("What is a WAL?", scope=A)
    scopes = [hit.scope for hit in read_hits(path)]
    assert scopes == [PUBLIC.key().hex()[:16], A.key().hex()[:16]]


def audited(embedder):
    """A cache with a shared scope that compares every hit."""
    return SemanticCache(
        embedder,
        shared=[PUBLIC],
        policy=Static(0.9),
        judge=same_words,
        audit=Audit(share=1.0, max_error=0.1),
    )


def test_an_audited_hit_of_the_own_scope_is_not_answered_by_another(embedder):
    cache = audited(embedder)
    cache.put(QUESTION, "own", scope=A)
    cache.put(REWORDED, "public", scope=PUBLIC)
    assert cache.get(REWORDED, scope=A) is None, "a fresh answer is to be compared"
    cache.put(REWORDED, "own", scope=A)
    assert cache.live_error().audits == 1


def test_an_audited_hit_of_a_shared_scope_is_compared_with_the_own_answer(embedder):
    cache = audited(embedder)
    cache.put(QUESTION, "public", scope=PUBLIC)
    assert cache.get(REWORDED, scope=A) is None
    cache.put(REWORDED, "something else", scope=A)
    live = cache.live_error()
    assert (live.audits, live.wrong) == (1, 1)
    assert cache.get(REWORDED, scope=A).answer == "something else", "the own answer, by its text"


def test_a_list_that_is_none_is_refused(embedder):
    for shared in (PUBLIC, "public-docs", [PUBLIC, "b"], None, {"public": PUBLIC}):
        with pytest.raises(InputError, match="expected"):
            ExactCache(shared=shared)
    with pytest.raises(InputError, match="scope names the embedder"):
        SemanticCache(embedder, shared=[Scope(embedder_id="another")])


def test_a_scope_listed_twice_is_looked_into_once():
    class Counting(SqliteStore):
        found = 0

        def find(self, scope, exact):
            Counting.found += 1
            return super().find(scope, exact)

    cache = ExactCache(store=Counting(":memory:"), shared=[PUBLIC, PUBLIC, A])
    assert cache.get(QUESTION, scope=A) is None
    assert Counting.found == 2
