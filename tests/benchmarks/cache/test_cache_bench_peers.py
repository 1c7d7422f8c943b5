"""Peers through their real interfaces; a real Redis where one is installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cache_bench_made import SMALL, paired

from ragopt.benchmarks.cache import Unavailable, bench_cache, recheck, redis_server
from ragopt.benchmarks.cache.bench import CANDIDATES
from ragopt.benchmarks.cache.honesty import after_update
from ragopt.benchmarks.cache.pairs import FLOOR, check_scores, score_pairs
from ragopt.benchmarks.cache.policies import Candidate, Opening, Policy, fill
from ragopt.benchmarks.cache.redis_server import REDIS_URL, start_redis
from ragopt.benchmarks.cache.services import Services, one_thread, scratch
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.benchmarks.datasets.types import PairSet

DATA = paired(20)
TABLE = VectorTable(*DATA.vectors, id="made")  # type: ignore[misc]
PEERS = [each for each in CANDIDATES if each.peer]
BY_MEANING = [each for each in PEERS if each.default is not None]
PLAIN = shutil.which("redis-server")


@pytest.fixture(scope="module")
def shared() -> Iterator[Services]:
    with Services() as services:
        yield services


@pytest.fixture
def ram() -> Iterator[Path]:
    """A folder that commits at once: some peers commit at every look-up."""
    with one_thread(), scratch(timed=False) as folder:
        yield folder


def _opened(
    candidate: Candidate, folder: Path, services: Services, threshold: float = FLOOR
) -> Policy:
    try:
        return candidate.open(
            Opening(table=TABLE, threshold=threshold, folder=folder, services=services)
        )
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("candidate", PEERS, ids=lambda each: each.name)
def test_a_peer_serves_the_very_text_and_forgets_it(
    candidate: Candidate, ram: Path, shared: Services
) -> None:
    policy = _opened(candidate, ram, shared)
    text = DATA.pairs[0].text_a
    try:
        assert policy.get(text) is None
        policy.put(text, "an answer")
        served = policy.get(text)
        assert served is not None
        assert served.answer == "an answer"
        policy.clear()
        assert policy.get(text) is None
    finally:
        policy.close()


@pytest.mark.parametrize("candidate", PEERS, ids=lambda each: each.name)
def test_what_a_peer_serves_after_an_update_is_known(
    candidate: Candidate, ram: Path, shared: Services
) -> None:
    policy = _opened(candidate, ram, shared)
    try:
        expected = "the replaced answer" if candidate.name == "gptcache" else "the new answer"
        assert after_update(policy, DATA.pairs[0].text_a) == expected
    finally:
        policy.close()


@pytest.mark.parametrize("candidate", BY_MEANING, ids=lambda each: each.name)
def test_a_peer_reads_the_cosine_of_the_same_vectors(
    candidate: Candidate, ram: Path, shared: Services
) -> None:
    policy = _opened(candidate, ram, shared)
    try:
        scores = score_pairs(policy, DATA.pairs, TABLE, lambda _: None)
    finally:
        policy.close()
    for pair, score in zip(DATA.pairs, scores, strict=True):
        assert score == pytest.approx(1e6 * TABLE.cosine(pair.text_a, pair.text_b), abs=100)


@pytest.mark.parametrize("candidate", BY_MEANING, ids=lambda each: each.name)
def test_a_peer_obeys_the_threshold_it_is_opened_at(
    candidate: Candidate, ram: Path, shared: Services
) -> None:
    (ram / "low").mkdir()
    (ram / "high").mkdir()
    low = _opened(candidate, ram / "low", shared)
    high = _opened(candidate, ram / "high", shared, 0.95)
    try:
        scores = score_pairs(low, DATA.pairs, TABLE, lambda _: None)
        assert check_scores(high, DATA.pairs, scores, 950_000, seed=0) > 20
    finally:
        low.close()
        high.close()


@pytest.mark.parametrize("candidate", BY_MEANING, ids=lambda each: each.name)
def test_many_at_once_are_served_like_one_by_one(
    candidate: Candidate, ram: Path, shared: Services
) -> None:
    policy = _opened(candidate, ram, shared, 0.999)
    questions = [pair.text_b for pair in DATA.pairs]
    try:
        fill(policy, questions, [f"answer to {each}" for each in questions])
        for question in questions:
            served = policy.get(question)
            assert served is not None
            assert served.answer == f"answer to {question}"
    finally:
        policy.close()


def test_gptcache_installs_nothing_by_itself(tmp_path: Path, shared: Services) -> None:
    gptcache = next(each for each in PEERS if each.name == "gptcache")
    _opened(gptcache, tmp_path, shared).close()
    import gptcache.utils  # type: ignore[import-untyped,import-not-found,unused-ignore]

    with pytest.raises(Unavailable, match="misses the Python package"):
        gptcache.utils.prompt_install("a-package-nobody-has")


@pytest.mark.skipif(importlib.util.find_spec("gptcache") is None, reason="no gptcache installed")
def test_a_whole_run_with_gptcache_follows_from_its_decisions(pairs: PairSet) -> None:
    options = dataclasses.replace(
        SMALL, only=("static", "gptcache"), requests=20, peer_pairs=24, thresholds=(0.95,)
    )
    result = bench_cache(pairs, options=options)
    assert recheck(result) == []
    assert len(result.rows) == 16
    rows = {row.name: row for row in result.rows}
    for metric in ("hit_rate", "wrong_per_hit", "wrong_per_request"):
        own, other = (
            rows[f"cache/{name}/stream/{metric}"].value for name in ("static", "gptcache")
        )
        assert own == pytest.approx(other)
    assert (
        rows["cache/static/wrong_per_hit"].extra["same_pairs_as_peers"]["hits"]
        == rows["cache/gptcache/wrong_per_hit"].extra["hits"]
    )


def test_a_package_that_is_not_there_is_the_reason(
    monkeypatch: pytest.MonkeyPatch, pairs: PairSet
) -> None:
    for name in ("langchain_core.caches", "gptcache", "sqlalchemy"):
        monkeypatch.setitem(sys.modules, name, None)
    options = dataclasses.replace(SMALL, only=("gptcache", "langchain-memory"))
    result = bench_cache(pairs, options=options)
    assert [row.name for row in result.rows] == ["cache/gptcache", "cache/langchain-memory"]
    assert all("is not installed" in row.reason for row in result.rows)


def _broken(folder: Path) -> redis_server._Program:
    binary = folder / "redis-server"
    binary.write_text("#!/bin/sh\necho missing library libfoo.so >&2\nexit 1\n")
    binary.chmod(0o755)
    return redis_server._Program("redis-stack-server", binary, ())


@pytest.mark.skipif(PLAIN is None, reason="no redis-server on the path")
@pytest.mark.skipif(importlib.util.find_spec("redis") is None, reason="no Python client for Redis")
def test_a_server_without_search_is_started_stopped_and_given_as_the_reason(
    monkeypatch: pytest.MonkeyPatch, pairs: PairSet, tmp_path: Path
) -> None:
    monkeypatch.delenv(REDIS_URL, raising=False)
    plain = redis_server._Program("redis-server", Path(str(PLAIN)), ())
    monkeypatch.setattr(redis_server, "_programs", lambda: [_broken(tmp_path), plain])
    with start_redis() as server:
        if "search" in server.modules:
            pytest.skip(f"{server} searches without a module")
        assert redis_server._answers(server.url)
        assert not server.modules
    assert not redis_server._answers(server.url)
    if importlib.util.find_spec("redisvl") is None:
        pytest.skip("no redisvl installed")
    result = bench_cache(pairs, options=dataclasses.replace(SMALL, only=("redisvl",)))
    assert [row.name for row in result.rows] == ["cache/redisvl"]
    assert "needs the Redis module 'search'" in result.rows[0].reason
    assert "passed over redis-stack-server" in result.rows[0].reason
    assert "libfoo.so" in result.rows[0].reason


@pytest.mark.skipif(importlib.util.find_spec("redis") is None, reason="no Python client for Redis")
def test_a_server_that_does_not_start_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(REDIS_URL, raising=False)
    monkeypatch.setattr(redis_server, "_programs", lambda: [_broken(tmp_path)])
    with pytest.raises(Unavailable, match=r"libfoo\.so"), start_redis():
        pass


@pytest.mark.skipif(importlib.util.find_spec("redis") is None, reason="no Python client for Redis")
def test_without_any_server_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REDIS_URL, raising=False)
    monkeypatch.setattr(redis_server, "_programs", list)
    with pytest.raises(Unavailable, match=REDIS_URL), start_redis():
        pass


@pytest.mark.skipif(not os.environ.get(REDIS_URL), reason=f"{REDIS_URL} names no Redis server")
def test_nothing_is_left_on_a_server_of_the_users(tmp_path: Path) -> None:
    import redis

    with redis.Redis.from_url(os.environ[REDIS_URL]) as client, Services() as services:
        before = set(client.keys("*"))
        for candidate in PEERS:
            (tmp_path / candidate.name).mkdir()
            policy = _opened(candidate, tmp_path / candidate.name, services)
            policy.put(DATA.pairs[0].text_a, "an answer")
            policy.close()
        assert set(client.keys("*")) == before
