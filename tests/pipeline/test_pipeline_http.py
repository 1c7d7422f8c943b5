"""The whole road to a real endpoint on the loopback interface and back."""

from __future__ import annotations

import asyncio
import json
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ragopt.cache import ExactCache
from ragopt.cost.ledger import Ledger
from ragopt.cost.model_prices import Usage
from ragopt.errors import ProviderError
from ragopt.llm import AsyncOpenAIClient, OpenAIClient
from ragopt.pipeline import Billing, Pipeline
from ragopt.rerank import Scores, TellingReranker

QUESTION = "How do I rotate an API key?"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    server: Endpoint

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(request)
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        body = json.dumps(answer(request) if status == 200 else {"error": {"message": "busy"}})
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format, *args) -> None:
        pass


def answer(request):
    """What an endpoint that speaks OpenAI's chat completions says."""
    message = {"role": "assistant", "content": "Press Rotate on the settings page."}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": f"{request['model']}-2026-11-01",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 1200,
            "completion_tokens": 40,
            "total_tokens": 1240,
            "prompt_tokens_details": {"cached_tokens": 1024},
        },
    }


class Endpoint(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict] = []
        self.statuses: list[int] = []

    def settings(self, **options):
        address = f"http://127.0.0.1:{self.server_port}/v1"
        return {"model": "m", "base_url": address, "api_key": "sk-test", "timeout_s": 10, **options}


@pytest.fixture
def endpoint(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def check(found, billing, ledger, endpoint) -> None:
    assert found.text == "Press Rotate on the settings page."
    assert found.usage == Usage(input=1200, cached_input=1024, output=40)
    assert found.usage_method == "provider"
    # 176 tokens at $2, 1,024 at $0.50 and 40 at $8, per million.
    assert found.cost == Decimal("0.000352") + Decimal("0.000512") + Decimal("0.000320")
    assert [stage.note for stage in found.stages if stage.name == "llm"] == ["m-2026-11-01"]
    [request] = endpoint.requests
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert "press Rotate" in request["messages"][1]["content"]
    assert request["messages"][1]["content"].endswith(f"Question: {QUESTION}")
    [event] = ledger.events()
    assert (event.usage, event.usd) == (found.usage, found.cost)


def test_a_question_goes_to_an_endpoint_and_back(corpus, endpoint, sheet, tmp_path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger, ExactCache() as cache:
        billing = Billing(model="m", prices=sheet, ledger=ledger)
        with OpenAIClient(**endpoint.settings()) as client:
            retriever = corpus.retriever(k=2, candidates=8)
            pipeline = Pipeline(retriever, client, cache=cache, billing=billing)
            check(pipeline.ask(QUESTION), billing, ledger, endpoint)
            assert pipeline.ask(QUESTION).served_from == "exact cache"
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("kind", [OpenAIClient, AsyncOpenAIClient])
def test_so_it_does_asynchronously(kind, corpus, endpoint, sheet, tmp_path) -> None:
    async def ask():
        client = kind(**endpoint.settings())
        try:
            return await Pipeline(retriever, client, billing=billing).aask(QUESTION)
        finally:
            if kind is OpenAIClient:
                client.close()
            else:
                await client.aclose()

    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        billing = Billing(model="m", prices=sheet, ledger=ledger)
        retriever = corpus.retriever(k=2, candidates=8)
        check(asyncio.run(ask()), billing, ledger, endpoint)


def test_a_busy_endpoint_is_asked_again_and_billed_once(corpus, endpoint, sheet, tmp_path) -> None:
    endpoint.statuses = [503, 429]
    pauses: list[float] = []
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        billing = Billing(model="m", prices=sheet, ledger=ledger)
        with OpenAIClient(**endpoint.settings(sleep=pauses.append)) as client:
            found = Pipeline(corpus.retriever(k=2), client, billing=billing).ask(QUESTION)
        assert len(ledger) == 1
    assert found.cost == Decimal("0.001184")
    assert (len(endpoint.requests), len(pauses)) == (3, 2)


def test_an_endpoint_that_stays_down_raises(corpus, endpoint, sheet, tmp_path) -> None:
    endpoint.statuses = [503, 503, 503]
    with Ledger(tmp_path / "ledger.sqlite") as ledger, ExactCache() as cache:
        billing = Billing(model="m", prices=sheet, ledger=ledger)
        with OpenAIClient(**endpoint.settings(retries=2, sleep=lambda _: None)) as client:
            pipeline = Pipeline(corpus.retriever(k=2), client, cache=cache, billing=billing)
            with pytest.raises(ProviderError) as raised:
                pipeline.ask(QUESTION)
            assert raised.value.status == 503
            assert (len(ledger), len(cache)) == (0, 0)
            assert pipeline.ask(QUESTION).served_from == "llm"


class BilledReranker(TellingReranker):
    """The order of arrival, for a tenth of a cent."""

    def scored(self, query, chunks):
        values = -np.arange(len(chunks), dtype=np.float32)
        return Scores(values=values, calls=1, usd=Decimal("0.001"))

    def __repr__(self) -> str:
        return "BilledReranker()"


def test_a_reranker_that_is_billed_is_part_of_the_cost(corpus, endpoint, sheet) -> None:
    billing = Billing(model="m", prices=sheet)
    with OpenAIClient(**endpoint.settings()) as client:
        free = Pipeline(corpus.retriever(k=2), client, billing=billing).ask(QUESTION)
        retriever = corpus.retriever(k=2, reranker=BilledReranker())
        dear = Pipeline(retriever, client, billing=billing).ask(QUESTION)
    assert dear.cost - free.cost == Decimal("0.001")
    assert [stage.usd for stage in dear.stages if stage.name == "rerank"] == [Decimal("0.001")]
