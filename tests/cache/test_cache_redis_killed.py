"""A Redis that is killed in the middle of a session, with and without its data afterwards."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time

import pytest

from ragopt.cache import AsyncCachedLLM, Audit, CachedLLM, SemanticCache, cached
from ragopt.cache.stores import RedisStore
from ragopt.errors import RagoptError
from ragopt.llm import Completion, Message

redis = pytest.importorskip("redis")


class Server:
    """A real server that can be killed and started again, on one port and one folder."""

    def __init__(self, folder, *, keeps):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._settings = [
            "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder), "--save", "",
            "--appendonly", "yes" if keeps else "no", "--appendfsync", "always",
        ]  # fmt: skip
        self._process = None

    def start(self):
        self._process = subprocess.Popen(
            ["redis-server", *self._settings],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with contextlib.closing(redis.Redis.from_url(self.url)) as client:
            for _ in range(300):
                with contextlib.suppress(redis.exceptions.ConnectionError):
                    if client.ping():
                        return
                time.sleep(0.05)
        raise AssertionError("redis-server does not start")

    def kill(self):
        self._process.kill()
        self._process.wait()


@pytest.fixture(params=[True, False], ids=["keeps its data", "comes back empty"])
def server(request, tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server on the path")
    made = Server(tmp_path, keeps=request.param)
    made.keeps = request.param
    made.start()
    yield made
    made.kill()


def test_a_killed_redis_costs_calls_and_the_cache_goes_on_after_it(server, embedder):
    calls = []

    @cached(SemanticCache(embedder, store=RedisStore(server.url, timeout_s=0.5)))
    def answer(question):
        calls.append(question)
        return f"to {question}"

    for number in range(30):
        answer(f"rotate key{number} now")
    assert answer("rotate a key3 now") == "to rotate key3 now"
    assert len(calls) == 30
    server.kill()
    assert answer("rotate a key3 now") == "to rotate a key3 now"
    assert dict(answer.behind.failures) == {"get": 1, "put": 1}
    server.start()
    again = answer("rotate the key3 now")
    assert again == ("to rotate key3 now" if server.keeps else "to rotate the key3 now")
    # what comes new is found by its text and by its meaning, whatever numbers Redis gives it
    before = len(calls)
    answer("close the first window")
    assert answer("close a first window") == "to close the first window"
    assert len(calls) == before + 1
    assert dict(answer.behind.failures) == {"get": 1, "put": 1}
    answer.behind.cache.close()


def test_audits_go_on_after_a_restart(server, embedder):
    def wrong(question, cached, fresh):
        return False

    cache = SemanticCache(
        embedder, threshold=0.5, guards=(), exact=False, judge=wrong,
        audit=Audit(share=1, max_error=0.05, on_drift="off"),
        store=RedisStore(server.url, timeout_s=0.5),
    )  # fmt: skip

    def audited(times):
        cache.put("rotate key", "a")
        for _ in range(times):
            assert cache.get("key rotate") is None
            cache.put("key rotate", "b")

    audited(3)
    assert cache.live_error().audits == 3
    server.kill()
    with pytest.raises(RagoptError):
        cache.get("key rotate")
    server.start()
    audited(2)
    assert cache.live_error().audits == 5, "what is audited after the restart counts as well"
    cache.close()


def test_models_answer_while_redis_is_dead(server, embedder):
    store = RedisStore(server.url, timeout_s=0.5)
    cache = SemanticCache(embedder, store=store)
    model = CachedLLM(lambda messages: Completion("fresh"), cache)
    later = AsyncCachedLLM(lambda messages: Completion("fresh"), cache)
    server.kill()
    asked = [Message("user", "rotate a key")]
    assert model(asked).text == "fresh"
    assert asyncio.run(later(asked)).text == "fresh"
    assert dict(model.failures) == dict(later.failures) == {"get": 1, "put": 1}
    with pytest.raises(RagoptError, match="is it running"):
        RedisStore(server.url, timeout_s=0.5)
    server.start()
    assert model(asked).text == "fresh"
    assert model(asked).finish_reason == "cached"
    cache.close()
