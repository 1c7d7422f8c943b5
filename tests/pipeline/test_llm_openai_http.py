"""Both clients against a real server on the loopback interface that fails to order."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import subprocess
import sys
import threading
import traceback
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time

import pytest

from ragopt.cost.model_prices import Usage
from ragopt.errors import BackendMissing, InputError, ProviderError
from ragopt.llm import AsyncOpenAIClient, Message, OpenAIClient, acomplete, complete

KEY = "sk-test-0123456789abcdefghij"
ASK = [Message("system", "Be brief."), Message("user", "What is a socket?")]


@dataclass(frozen=True)
class Say:
    """An answer; ``cut`` closes the connection after so many bytes of the body."""

    status: int = 200
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None


@dataclass(frozen=True)
class Hang:
    """No answer until the test ends."""


@dataclass(frozen=True)
class HangUp:
    """The connection closed without an answer."""


def error(status, message, *headers, **fields):
    body = json.dumps({"error": {"message": message, **fields}}).encode()
    return Say(status, body, headers)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    server: Provider

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        step = self.server.take(self, body)
        if isinstance(step, Hang):
            self.server.ended.wait(10)
        if not isinstance(step, Say):
            self.close_connection = True
            return
        answer = step.body if step.body is not None else echo(body)
        self.send_response(step.status)
        for name, value in step.headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer[: step.cut])
        self.close_connection = step.cut is not None

    def log_message(self, format, *args):
        pass


def echo(body):
    """A chat completion that repeats the question."""
    message = {"role": "assistant", "content": "You asked: " + body["messages"][-1]["content"]}
    return json.dumps(
        {
            "object": "chat.completion",
            "model": body["model"] + "-2026-11-01",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": 30,
                "completion_tokens": 7,
                "total_tokens": 37,
                "prompt_tokens_details": {"cached_tokens": 16},
            },
        }
    ).encode()


class Provider(ThreadingHTTPServer):
    """Plays ``script`` step by step, then answers well."""

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = deque()
        self.requests = []
        self.peers = set()
        self.ended = threading.Event()
        self.faults = []
        self._lock = threading.Lock()

    def take(self, handler, body):
        with self._lock:
            self.requests.append((handler.path, dict(handler.headers.items()), body))
            self.peers.add(handler.client_address)
            return self.script.popleft() if self.script else Say()

    def handle_error(self, request, client_address):
        fault = sys.exc_info()[1]
        if not isinstance(fault, ConnectionError):
            self.faults.append(fault)

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


@pytest.fixture
def provider(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()
    thread.join()
    assert server.faults == []


class Asker:
    """One of the two clients, asked once, with the pauses it made."""

    def __init__(self, kind):
        self.kind = kind
        self.pauses = []

    def __call__(self, provider, messages=ASK, **options):
        settings = {
            "model": "small",
            "base_url": provider.base_url,
            "api_key": KEY,
            "timeout_s": 10,
            "seed": 7,
        } | options
        if self.kind == "sync":
            with OpenAIClient(sleep=self.pauses.append, **settings) as client:
                return complete(client, messages)
        return asyncio.run(self._ask(messages, settings))

    async def _ask(self, messages, settings):
        async def sleep(seconds):
            self.pauses.append(seconds)

        async with AsyncOpenAIClient(sleep=sleep, **settings) as client:
            return await acomplete(client, messages)


@pytest.fixture(params=["sync", "async"])
def ask(request):
    return Asker(request.param)


def test_a_good_answer_is_read_with_its_usage(provider, ask):
    done = ask(provider)
    assert done.text == "You asked: What is a socket?"
    assert done.usage == Usage(input=30, cached_input=16, output=7)
    assert (done.model, done.finish_reason) == ("small-2026-11-01", "stop")
    assert done.ms > 0
    assert ask.pauses == []


def test_the_request_is_what_the_protocol_wants(provider, ask):
    extra = {"seed": 3, "response_format": {"type": "text"}}
    ask(
        provider,
        headers={"X-Team": "search"},
        extra_body=extra,
        temperature=0,
        max_tokens=50,
        base_url=provider.base_url + "/?api-version=2026-10-21",
    )
    [(path, headers, body)] = provider.requests
    assert path == "/v1/chat/completions?api-version=2026-10-21"
    lower = {name.lower(): value for name, value in headers.items()}
    assert lower["authorization"] == f"Bearer {KEY}"
    assert lower["content-type"] == "application/json"
    assert lower["x-team"] == "search"
    assert body == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is a socket?"},
        ],
        "temperature": 0,
        "max_tokens": 50,
        **extra,
    }


def test_any_text_survives_the_road(provider, ask):
    text = 'é☃🦜 "quoted" \\ \x00 \u2028 \ud800 end'
    assert ask(provider, [Message("user", text)]).text == f"You asked: {text}"


def test_without_a_key_none_is_sent(provider, ask):
    ask(provider, api_key=None)
    assert "authorization" not in {name.lower() for name in provider.requests[0][1]}


def test_the_key_is_taken_from_the_environment(provider, ask, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    ask(provider, api_key=None)
    assert provider.requests[0][1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_passing_failures_are_tried_again(provider, ask, status):
    provider.script.extend([error(status, "not now"), error(status, "not now")])
    assert ask(provider).text.startswith("You asked")
    assert len(provider.requests) == 3
    assert len(ask.pauses) == 2
    assert 0 <= ask.pauses[0] <= 0.5
    assert 0 <= ask.pauses[1] <= 1.0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 302])
def test_lasting_failures_are_not(provider, ask, status):
    provider.script.append(error(status, "no such thing", ("location", "/elsewhere")))
    with pytest.raises(ProviderError, match=rf"1 try: HTTP {status}: no such thing") as caught:
        ask(provider)
    assert caught.value.status == status
    assert len(provider.requests) == 1
    assert ask.pauses == []


def test_after_the_last_try_the_providers_words_are_told(provider, ask):
    provider.script.extend([error(500, "first"), error(503, "all machines\n are busy")])
    with pytest.raises(ProviderError) as caught:
        ask(provider, retries=1)
    assert caught.value.status == 503
    assert "small" in str(caught.value)
    assert "after 2 tries: HTTP 503: all machines are busy" in str(caught.value)


def test_no_retries_means_one_try(provider, ask):
    provider.script.append(error(500, "x"))
    with pytest.raises(ProviderError, match="1 try"):
        ask(provider, retries=0)
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        (("Retry-After", "2"), 2, 2.5),
        (("retry-after-ms", "1500"), 1.5, 2.0),
        (("Retry-After", "3600"), 20, 20),
        (("Retry-After", "soon"), 0, 0.5),
    ],
    ids=str,
)
def test_the_asked_pause_is_made(provider, ask, header, least, most):
    provider.script.append(error(429, "slow down", header))
    ask(provider)
    [pause] = ask.pauses
    assert least <= pause <= most


def test_the_asked_pause_may_be_a_date(provider, ask):
    provider.script.append(error(503, "x", ("Retry-After", formatdate(time() + 3600, usegmt=True))))
    ask(provider, max_backoff_s=10_000)
    assert 3000 < ask.pauses[0] <= 3600.5


def test_a_pause_longer_than_allowed_is_told(provider, ask):
    provider.script.extend([error(429, "slow", ("Retry-After", "3600"))] * 2)
    with pytest.raises(ProviderError, match="asked to wait 3600 s"):
        ask(provider, retries=1)


def test_an_unpaid_account_is_not_asked_again(provider, ask):
    provider.script.append(error(429, "You exceeded your quota", code="insufficient_quota"))
    with pytest.raises(ProviderError, match="exceeded your quota"):
        ask(provider)
    assert len(provider.requests) == 1


def test_an_upstream_failure_inside_a_success_is_tried_again(provider, ask):
    provider.script.append(error(200, "upstream down", code=502))
    assert ask(provider).text.startswith("You asked")
    provider.script.append(error(200, "upstream refused", code=403))
    with pytest.raises(ProviderError, match="HTTP 403: upstream refused") as caught:
        ask(provider)
    assert caught.value.status == 403


def test_a_hanging_endpoint_is_left_and_tried_again(provider, ask):
    provider.script.append(Hang())
    assert ask(provider, timeout_s=0.3).text.startswith("You asked")
    assert len(provider.requests) == 2


def test_an_endpoint_that_always_hangs_is_reported(provider, ask):
    provider.script.extend([Hang(), Hang()])
    with pytest.raises(
        ProviderError, match=r"2 tries: no answer in time \(ReadTimeout\)"
    ) as caught:
        ask(provider, timeout_s=0.2, retries=1)
    assert caught.value.status is None


@pytest.mark.parametrize("step", [HangUp(), Say(cut=40), Say(cut=0)], ids=str)
def test_a_broken_connection_is_tried_again(provider, ask, step):
    provider.script.append(step)
    assert ask(provider).text.startswith("You asked")
    provider.script.extend([step, step])
    with pytest.raises(ProviderError, match="2 tries: the connection failed"):
        ask(provider, retries=1)


def test_nobody_listening(ask, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))

        class Nobody:
            base_url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"

        with pytest.raises(ProviderError, match=r"3 tries: the connection failed \(ConnectError"):
            ask(Nobody, retries=2)
    assert len(ask.pauses) == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "an empty body"),
        (b'{"choices": [{"mess', "no JSON .cut short"),
        (b'{"object": "list"}', 'no choices: {"object": "list"}'),
        (b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}', "length"),
        (b'{"choices": [{"message": {"content": null, "refusal": "I must not"}}]}', "I must not"),
    ],
    ids=str,
)
def test_an_unusable_success_is_paid_for_once_and_told(provider, ask, body, reason):
    provider.script.append(Say(body=body))
    with pytest.raises(ProviderError, match=f"HTTP 200 with .*{reason}"):
        ask(provider)
    assert len(provider.requests) == 1


def test_a_body_that_is_not_what_its_encoding_says(provider, ask):
    provider.script.append(Say(body=b"not gzip", headers=(("content-encoding", "gzip"),)))
    with pytest.raises(ProviderError, match=r"1 try: the connection failed \(DecodingError"):
        ask(provider)


def test_no_usage_is_no_usage(provider, ask):
    provider.script.append(Say(body=b'{"choices": [{"message": {"content": "hi"}}]}'))
    done = ask(provider)
    assert (done.text, done.usage, done.model) == ("hi", None, "small")


def test_a_long_error_page_is_shortened(provider, ask):
    provider.script.append(Say(400, b"<p>" + b"word " * 10_000))
    with pytest.raises(ProviderError) as caught:
        ask(provider)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("place", range(270, 305, 7))
def test_no_secret_is_ever_shown(provider, ask, caplog, place):
    caplog.set_level(logging.DEBUG)
    secrets = {"api-key": "azure-0123456789", "X-Org": "org-987654321"}
    told = "x" * place + KEY + " " + " ".join(secrets.values())
    provider.script.extend([error(500, told), error(401, told)])
    with pytest.raises(ProviderError) as caught:
        ask(provider, headers=secrets)
    shown = "".join(traceback.format_exception(caught.value))
    shown += repr(caught.value) + str(vars(caught.value)) + caplog.text
    assert "HTTP 500" in caplog.text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    for secret in [KEY, *secrets.values()]:
        assert secret[:12] not in shown


def test_a_secret_that_begins_with_another_is_masked_whole(provider, ask):
    longer = KEY + "-and-more"
    provider.script.append(error(403, f"neither {KEY} nor {longer}"))
    with pytest.raises(ProviderError, match=r"neither \*\*\* nor \*\*\*;"):
        ask(provider, headers={"x-second-key": longer})


def test_no_secret_is_in_a_repr(provider):
    with OpenAIClient(
        model="small",
        base_url=provider.base_url + "?key=hidden-in-query",
        api_key=KEY,
        headers={"api-key": "azure-0123456789"},
    ) as client:
        assert repr(client) == f"OpenAIClient(model='small', base_url='{provider.base_url}')"
        shown = repr(client) + str(client) + repr(client._endpoint)
    for secret in (KEY, "azure-0123456789", "hidden-in-query"):
        assert secret not in shown


def test_the_log_tells_tries_and_pauses_but_no_words(provider, ask, caplog):
    caplog.set_level(logging.INFO, logger="ragopt")
    provider.script.append(error(500, "private words of the provider"))
    ask(provider)
    [record] = [record for record in caplog.records if record.name.startswith("ragopt")]
    assert "try 1 of 5" in record.getMessage()
    assert "private" not in caplog.text
    assert "socket" not in caplog.text


def test_equal_seeds_give_equal_pauses(provider):
    runs = []
    for seed in (1, 1, 2):
        asker = Asker("sync")
        provider.script.extend([error(500, "x")] * 4)
        asker(provider, seed=seed)
        runs.append(asker.pauses)
    assert runs[0] == runs[1] != runs[2]


def test_many_threads_share_one_client(provider):
    rng = random.Random(5)
    provider.script.extend(rng.choice([Say(), error(500, "x"), HangUp()]) for _ in range(60))
    questions = [f"question {number}" for number in range(160)]
    with (
        OpenAIClient(
            model="m", base_url=provider.base_url, api_key=KEY, retries=30, backoff_s=0.01
        ) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        answers = list(pool.map(lambda text: client([Message("user", text)]).text, questions))
    assert answers == [f"You asked: {text}" for text in questions]


def test_many_tasks_share_one_client(provider):
    questions = [f"question {number}" for number in range(60)]
    provider.script.extend([error(503, "x")] * 20)

    async def run():
        async with AsyncOpenAIClient(
            model="m", base_url=provider.base_url, api_key=KEY, retries=30, backoff_s=0.01
        ) as client:
            calls = [client([Message("user", text)]) for text in questions]
            return [done.text for done in await asyncio.gather(*calls)]

    assert asyncio.run(run()) == [f"You asked: {text}" for text in questions]


def test_connections_are_kept(provider):
    with OpenAIClient(model="m", base_url=provider.base_url, api_key="") as client:
        for _ in range(5):
            client(ASK)
    assert len(provider.requests) == 5
    assert len(provider.peers) == 1


def test_a_connection_that_the_server_dropped_is_replaced(provider):
    provider.script.extend([Say(), HangUp()])
    pauses = []
    with OpenAIClient(
        model="m", base_url=provider.base_url, api_key="", sleep=pauses.append
    ) as client:
        client(ASK)
        assert client(ASK).text.startswith("You asked")
    assert len(pauses) == 1


def test_the_sync_client_serves_async_code(provider):
    async def run(client):
        first, second = await asyncio.gather(client.acall(ASK), acomplete(client, ASK))
        return first.text == second.text

    with OpenAIClient(model="m", base_url=provider.base_url, api_key="") as client:
        assert asyncio.run(run(client))


def test_the_async_client_is_refused_in_sync_code(provider):
    client = AsyncOpenAIClient(model="m", base_url=provider.base_url, api_key="")
    with pytest.raises(InputError, match="AsyncOpenAIClient is asynchronous"):
        complete(client, ASK)
    asyncio.run(client.aclose())


def test_a_cancelled_call_leaves_a_client_that_works(provider):
    provider.script.append(Hang())

    async def run():
        async with AsyncOpenAIClient(
            model="m", base_url=provider.base_url, api_key="", timeout_s=10
        ) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client(ASK), 0.2)
            return (await client(ASK)).text

    assert asyncio.run(run()).startswith("You asked")


def test_an_async_client_serves_one_event_loop(provider):
    client = AsyncOpenAIClient(model="m", base_url=provider.base_url, api_key="")
    provider.script.append(Say(headers=(("connection", "close"),)))
    asyncio.run(client(ASK))
    with pytest.raises(InputError, match="one client for each loop"):
        asyncio.run(client(ASK))
    asyncio.run(client.aclose())
    with pytest.raises(InputError, match="is closed"):
        asyncio.run(client(ASK))
    assert len(provider.requests) == 1


def test_a_closed_client_says_so(provider):
    client = OpenAIClient(model="m", base_url=provider.base_url, api_key="")
    client.close()
    client.close()
    with pytest.raises(InputError, match="is closed; make a new one"):
        client(ASK)
    assert provider.requests == []


@pytest.mark.parametrize("messages", [[], "hello", [{"role": "user", "content": "x"}]], ids=str)
def test_what_is_no_chat_is_never_sent(provider, messages):
    with (
        OpenAIClient(model="m", base_url=provider.base_url, api_key="") as client,
        pytest.raises(InputError, match="messages"),
    ):
        client(messages)
    assert provider.requests == []


WRONG = [
    {"model": ""},
    {"model": None},
    {"timeout_s": 0},
    {"timeout_s": float("inf")},
    {"timeout_s": "60"},
    {"retries": -1},
    {"backoff_s": -1},
    {"max_backoff_s": float("nan")},
    {"temperature": 2.1},
    {"temperature": float("nan")},
    {"temperature": True},
    {"max_tokens": 0},
    {"max_tokens": 1.5},
    {"extra_body": {"stream": True}},
    {"extra_body": {"messages": []}},
    {"extra_body": {"n": 2}},
    {"extra_body": {"x": object()}},
    {"extra_body": {"x": float("nan")}},
    {"headers": {"x": "a\r\nb: c"}},
    {"headers": {"x": 5}},
    {"headers": {"x y": "z"}},
    {"base_url": "localhost:8000"},
    {"base_url": "ftp://host/v1"},
    {"base_url": "http://"},
    {"base_url": "http://host:port/v1"},
    {"base_url": None},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
@pytest.mark.parametrize("client", [OpenAIClient, AsyncOpenAIClient])
def test_settings_that_cannot_be_sent_are_refused(client, wrong):
    name = next(iter(wrong))
    with pytest.raises(InputError, match="header" if name == "headers" else name):
        client(**({"model": "m", "base_url": "http://localhost/v1", "api_key": ""} | wrong))


@pytest.mark.parametrize(
    "key", [f"{KEY}\n{KEY}", f"{KEY} {KEY}", f"{KEY}é", f"{KEY}\x00"], ids=repr
)
def test_an_unsendable_key_is_refused_and_not_shown(key):
    with pytest.raises(InputError, match="not shown") as caught:
        OpenAIClient(model="m", api_key=key)
    assert KEY not in str(caught.value)


def test_a_password_in_the_address_is_refused_and_not_shown():
    with pytest.raises(InputError, match="user or password") as caught:
        OpenAIClient(model="m", base_url="https://me:sesame@host/v1", api_key="")
    assert "sesame" not in str(caught.value)


def test_openai_itself_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match="give api_key= or set OPENAI_API_KEY"):
        OpenAIClient(model="m")


def test_openai_itself_gets_the_newer_name_of_the_limit():
    with OpenAIClient(model="m", api_key=KEY, max_tokens=9) as client:
        body = json.loads(client._endpoint.body(ASK))
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


def test_later_changes_of_the_callers_settings_reach_no_request(provider):
    extra = {"metadata": {"a": 1}}
    with OpenAIClient(
        model="m", base_url=provider.base_url, api_key="", extra_body=extra
    ) as client:
        extra["metadata"]["a"] = 2
        client(ASK)
    assert provider.requests[0][2]["metadata"] == {"a": 1}


@pytest.mark.parametrize("client", [OpenAIClient, AsyncOpenAIClient])
def test_a_missing_httpx_is_named_when_used(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(BackendMissing, match=r"pip install 'ragopt\[http\]'"):
        client(model="m", base_url="http://localhost/v1", api_key="")


def test_the_import_is_light():
    code = (
        "import sys, ragopt.llm; sys.exit(bool({'httpx', 'asyncio', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
