"""``ragopt cache`` on a cache in a real Redis."""

import json
import socket

import pytest

from ragopt.cache import ExactCache
from ragopt.cache.stores import RedisStore
from ragopt.cli.app import run


@pytest.fixture(scope="module")
def server():
    from ragopt.benchmarks.cache.redis_server import start_redis
    from ragopt.benchmarks.cache.unavailable import Unavailable

    try:
        with start_redis() as started:
            yield started
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def open_cache(server, tmp_path):
    def make(prefix=f"test:{tmp_path.name}"):
        return ExactCache(store=RedisStore(server.url, prefix=prefix))

    return make


@pytest.fixture
def url(server, open_cache, tmp_path):
    """Of a cache with five answers."""
    with open_cache() as cache:
        for number in range(5):
            sources = ["one"] if number < 2 else ["two"]
            cache.put(f"q{number}?", "a", sources=sources, tags=["t"])
    return f"{server.url}#test:{tmp_path.name}"


def told(capsys):
    said = capsys.readouterr()
    return " ".join((said.out + said.err).split())


def test_stats_say_what_stands_in_redis(url, tmp_path, capsys):
    assert run(["cache", "stats", url, "--json", str(tmp_path / "s.json")]) == 0
    assert "5 (0 of them expired)" in told(capsys)
    content = (tmp_path / "s.json").read_text()
    found = json.loads(content)
    assert (found["entries"], found["scopes"], found["expired"]) == (5, 1, 0)
    assert 0 <= found["newest_s"] <= found["oldest_s"] < 60
    password = url.partition("@")[0].rpartition(":")[2]
    assert len(password) > 20
    assert password not in content
    assert found["cache"] == url.rpartition("@")[2]


def test_answers_are_taken_out_for_every_process(url, open_cache, tmp_path, capsys):
    with open_cache() as cache:
        entry = cache.get("q4?").entry_id
        assert run(["cache", "purge", url]) == 2
        assert "give a condition, or --everything" in told(capsys)
        figures = tmp_path / "p.json"
        purge = ["cache", "purge", url, "--source", "one", "--tag", "t", "--json", str(figures)]
        assert run(purge) == 0
        assert "2 answers taken out" in told(capsys)
        assert json.loads(figures.read_text())["purged"] == 2
        assert [cache.get(f"q{number}?") is None for number in range(4)] == [
            True,
            True,
            False,
            False,
        ]
        assert run(["cache", "revoke", url, str(entry)]) == 0
        assert f"entry {entry} taken out" in told(capsys)
        assert cache.get("q4?") is None
        assert run(["cache", "revoke", url, str(entry), "--json", str(figures)]) == 0
        assert f"there is no entry {entry}" in told(capsys)
        assert json.loads(figures.read_text())["purged"] == 0
        assert run(["cache", "purge", url, "--everything"]) == 0
        assert len(cache) == 0


def test_other_prefixes_are_left_alone(url, open_cache):
    with open_cache(prefix="test:another") as other:
        other.purge()
        other.put("q?", "a")
        assert run(["cache", "purge", url, "--everything"]) == 0
        assert len(other) == 1


@pytest.mark.parametrize("command", [["stats"], ["purge", "--everything"], ["revoke", "1"]])
def test_a_cache_that_is_not_there_is_not_made(server, command, capsys):
    import redis

    address = f"{server.url}#test:nowhere"
    assert run(["cache", command[0], address, *command[1:]]) == 2
    said = told(capsys)
    assert "there is no cache" in said
    assert server.url not in said
    with redis.Redis.from_url(server.url) as client:
        assert client.keys("test:nowhere*") == []


def test_keys_of_another_program_are_left_alone(server, capsys):
    import redis

    with redis.Redis.from_url(server.url) as client:
        client.set("test:mine:format", "mine")
        assert run(["cache", "purge", f"{server.url}#test:mine", "--everything"]) == 2
        assert "expected a ragopt cache" in told(capsys)
        assert client.get("test:mine:format") == b"mine"


def test_a_redis_that_is_not_reached_is_named(capsys):
    with socket.socket() as probe:  # bound and not listening: nobody answers here
        probe.bind(("127.0.0.1", 0))
        address = f"redis://:hush@127.0.0.1:{probe.getsockname()[1]}/0"
        assert run(["cache", "stats", address]) == 1
    said = told(capsys)
    assert "Redis does not answer" in said
    assert "is it running?" in said
    assert "hush" not in said


def test_an_address_that_is_none_is_refused_without_its_password(capsys):
    assert run(["cache", "stats", "redis://:hush@127.0.0.1:port/0"]) == 2
    said = told(capsys)
    assert "no address of a Redis" in said
    assert "hush" not in said


def test_hits_are_read_from_a_file(url, capsys):
    assert run(["cache", "audit", url]) == 2
    assert "Safety(hit_log=…) names" in told(capsys)
