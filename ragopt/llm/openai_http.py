"""Clients of any endpoint that speaks OpenAI's chat completions, synchronous and asynchronous.

:class:`Exchange` holds all that is decided (what to send, what an answer means, whether and when to
try again) and touches no network; the two clients send what it says and sleep as long as it says.
"""

from __future__ import annotations

import logging
import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ragopt.closing import Closing
from ragopt.errors import BackendMissing, InputError, ProviderError
from ragopt.llm.base import Completion, Message
from ragopt.llm.openai_reply import read_completion, read_problem
from ragopt.llm.openai_request import DEFAULT_BASE_URL, Endpoint
from ragopt.retry import RetryPolicy, asked_pause_s, is_transient

if TYPE_CHECKING:
    import asyncio

    import httpx

__all__ = ["AsyncOpenAIClient", "Exchange", "Fault", "OpenAIClient", "Reply"]

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 100

_SHOWN_CHARACTERS = 300
_WAYS_OUT = {
    400: "check the request's settings",
    401: "check api_key= or OPENAI_API_KEY",
    403: "check what the API key may use",
    404: "check model= and base_url=",
    408: "raise timeout_s= or retries=",
    422: "check the request's settings",
    429: "send fewer requests, raise retries=, or check the account's limits",
}

Slept = TypeVar("Slept")


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, read to its end; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """There was no answer: why, and whether another try may bring one."""

    reason: str
    transient: bool


@dataclass(frozen=True, slots=True)
class _Failure:
    """A failed try, ready to be shown but for its secrets."""

    what: str
    got: str
    transient: bool
    status: int | None = None
    asked_s: float | None = None


class Exchange:
    """One question to an endpoint, over all its tries.

    Args:
        endpoint: whom to ask.
        policy: how often and when to try again.
        messages: the chat.
        jitter: draws a number in [0, 1).
        now: seconds since the epoch, against which a date in ``Retry-After`` is read.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        policy: RetryPolicy,
        messages: Sequence[Message],
        *,
        jitter: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.body = endpoint.body(messages)
        self._endpoint = endpoint
        self._policy = policy
        self._jitter = jitter
        self._now = now
        self._failures = 0
        self._started = time.perf_counter()

    def judge(self, outcome: Reply | Fault) -> Completion | float:
        """What the outcome of a try means: the completion, or the seconds to wait before the next.

        Raises:
            ProviderError: nothing usable came and no try is left, or none would help.
        """
        read = self._read(outcome)
        if isinstance(read, Completion):
            return replace(read, ms=(time.perf_counter() - self._started) * 1000)
        self._failures += 1
        if not read.transient or self._failures > self._policy.retries:
            raise self._error(read)
        pause = self._policy.pause_s(self._failures, self._jitter(), read.asked_s)
        logger.info(
            "try %d of %d at %s failed: %s; the next one follows in %.2f s",
            self._failures,
            self._policy.retries + 1,
            self._endpoint.name,
            self._endpoint.redact(read.what),
            pause,
        )
        return pause

    def _read(self, outcome: Reply | Fault) -> Completion | _Failure:
        if isinstance(outcome, Fault):
            return _Failure(outcome.reason, "", outcome.transient)
        good = 200 <= outcome.status < 300
        read = (
            read_completion(outcome.body, self._endpoint.model)
            if good
            else read_problem(outcome.body)
        )
        if isinstance(read, Completion):
            return read
        # Gateways report an upstream's failure inside an answer that is itself a success.
        status = read.status if good and read.status is not None else outcome.status
        what = f"HTTP {status}" if not good or read.status else f"HTTP {status} with {read.reason}"
        return _Failure(
            what,
            read.got,
            transient=is_transient(status, outcome.headers, read.code),
            status=status,
            asked_s=asked_pause_s(outcome.headers, self._now()),
        )

    def _error(self, failure: _Failure) -> ProviderError:
        tries = f"{self._failures} tries" if self._failures > 1 else "1 try"
        text = (
            f"{self._endpoint.name} (model {self._endpoint.model!r}) after {tries}: {failure.what}"
        )
        # Secrets go before the text is shortened: half a key is no longer found.
        said = " ".join(self._endpoint.redact(failure.got).split())
        if said:
            kept = said[:_SHOWN_CHARACTERS]
            text += f": {kept}" + ("…" if len(said) > len(kept) else "")
        if failure.asked_s is not None and failure.asked_s > self._policy.max_backoff_s:
            text += f"; it asked to wait {failure.asked_s:.0f} s"
        way_out = _WAYS_OUT.get(failure.status or 0)
        if way_out:
            text += f"; {way_out}"
        return ProviderError(self._endpoint.redact(text), status=failure.status)


class _Client(ABC, Generic[Slept]):
    """What both clients share: their settings."""

    def __init__(
        self,
        *,
        model: str,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
        backoff_s: float = 0.5,
        max_backoff_s: float = 20.0,
        headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        sleep: Callable[[float], Slept] | None = None,
    ) -> None:
        if not isinstance(timeout_s, (int, float)) or not 0 < timeout_s < math.inf:
            raise InputError(f"timeout_s={timeout_s!r}, expected seconds above 0")
        self._policy = RetryPolicy(
            retries=retries, backoff_s=backoff_s, max_backoff_s=max_backoff_s
        )
        self._endpoint = Endpoint(
            base_url=base_url,
            api_key=api_key,
            model=model,
            headers=headers,
            extra_body=extra_body,
            temperature=temperature,
            max_tokens=max_tokens,
        )
        self._timeout_s = timeout_s
        self._sleep_with = sleep
        self._random = random.Random(seed)  # noqa: S311 - jitter, no secret
        self._open()

    @property
    def model(self) -> str:
        """Name of the model that is asked."""
        return self._endpoint.model

    @abstractmethod
    def _open(self) -> None:
        """Make the HTTP client."""

    def _options(self) -> dict[str, Any]:
        """Settings of httpx: a call may wait for a free connection as long as it takes."""
        httpx = _httpx()
        return {
            "headers": self._endpoint.headers,
            "timeout": httpx.Timeout(self._timeout_s, pool=None),
            "limits": httpx.Limits(
                max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS
            ),
        }

    def _begin(self, messages: Sequence[Message], *, closed: bool) -> Exchange:
        if closed:
            raise InputError(f"{self!r} is closed; make a new one")
        return Exchange(self._endpoint, self._policy, messages, jitter=self._random.random)

    def __repr__(self) -> str:
        base_url = self._endpoint.name.removesuffix("/chat/completions")
        return f"{type(self).__name__}(model={self.model!r}, base_url={base_url!r})"


class OpenAIClient(_Client[None], Closing):
    """A model behind an OpenAI-compatible endpoint (extra ``http``), callable as an LLM.

    One client may be shared by any number of threads; its connections are pooled and kept. Answers
    with status 408, 409, 425, 429 or 5xx, broken connections and time-outs are tried again; a try
    that timed out may still be billed by the provider.

    Args:
        model: name of the model.
        base_url: address of the API, without ``/chat/completions``; a query is kept, and shown by
            httpx's own log: put no secret there.
        api_key: sent as a bearer token, to whatever ``base_url`` names; ``None`` reads the
            environment variable ``OPENAI_API_KEY``, ``""`` sends none (local servers).
        timeout_s: seconds to wait for a connection, and for each packet on it.
        retries: tries after the first one, 0 to 100.
        backoff_s: upper end of the first pause, doubled for each further one.
        max_backoff_s: no pause is longer, even when the endpoint asks for it.
        headers: more headers, such as ``{"api-key": …}``; their values are kept as secret as the
            key.
        extra_body: more fields of the request, such as ``{"seed": 7}``.
        temperature: 0 to 2; the endpoint's default when not given.
        max_tokens: limit of the answer in tokens (sent as ``max_completion_tokens`` to OpenAI).
        seed: of the pauses' jitter.
        sleep: waits for so many seconds; ``time.sleep`` when not given.

    Raises:
        InputError: a setting out of its range, or no key for api.openai.com.
        BackendMissing: httpx is not installed.

    Example:
        >>> with OpenAIClient(model="m", base_url="http://localhost:8000/v1", api_key="") as llm:
        ...     print(llm)
        OpenAIClient(model='m', base_url='http://localhost:8000/v1')
    """

    def _open(self) -> None:
        self._http: httpx.Client = _httpx().Client(**self._options())

    def __call__(self, messages: Sequence[Message]) -> Completion:
        """Ask the model.

        Raises:
            ProviderError: no usable answer after the configured tries; ``status`` has the last one.
            InputError: no messages, or the client is closed.
        """
        exchange = self._begin(messages, closed=self._http.is_closed)
        while True:
            verdict = exchange.judge(self._send(exchange.body))
            if isinstance(verdict, Completion):
                return verdict
            (self._sleep_with or time.sleep)(verdict)

    async def acall(self, messages: Sequence[Message]) -> Completion:
        """:meth:`__call__` in a worker thread; for many calls at once see the async client."""
        import asyncio

        return await asyncio.to_thread(self, messages)

    def _send(self, body: bytes) -> Reply | Fault:
        try:
            response = self._http.post(self._endpoint.url, content=body)
        except _httpx().RequestError as error:
            return _fault(error)
        return _reply(response)

    def close(self) -> None:
        """Close all connections; a second time changes nothing."""
        self._http.close()


class AsyncOpenAIClient(_Client[Awaitable[None]]):
    """:class:`OpenAIClient` for asynchronous code: awaitable calls, ``async with``, ``aclose()``.

    Takes the same arguments; ``sleep`` must be awaitable (``asyncio.sleep`` when not given). Its
    connections belong to the event loop of its first call, and it serves no other.
    """

    def _open(self) -> None:
        self._http: httpx.AsyncClient = _httpx().AsyncClient(**self._options())
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, messages: Sequence[Message]) -> Completion:
        """Ask the model.

        Raises:
            ProviderError: no usable answer after the configured tries; ``status`` has the last one.
            InputError: no messages, the client is closed, or it served another event loop before.
        """
        import asyncio

        exchange = self._begin(messages, closed=self._http.is_closed)
        self._check_loop(asyncio.get_running_loop())
        while True:
            verdict = exchange.judge(await self._send(exchange.body))
            if isinstance(verdict, Completion):
                return verdict
            await (self._sleep_with or asyncio.sleep)(verdict)

    async def _send(self, body: bytes) -> Reply | Fault:
        try:
            response = await self._http.post(self._endpoint.url, content=body)
        except _httpx().RequestError as error:
            return _fault(error)
        return _reply(response)

    def _check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise InputError(
                f"{self!r} has connections in another event loop; "
                "make one client for each loop (each asyncio.run starts a new one)"
            )

    async def aclose(self) -> None:
        """Close all connections; a second time changes nothing."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncOpenAIClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _httpx() -> Any:
    try:
        import httpx
    except ImportError as error:
        raise BackendMissing(
            "httpx", "http", "a client of an OpenAI-compatible endpoint"
        ) from error
    return httpx


def _reply(response: httpx.Response) -> Reply:
    return Reply(response.status_code, dict(response.headers), response.content)


def _fault(error: httpx.RequestError) -> Fault:
    """The failure without the exception, whose request holds the key."""
    httpx = _httpx()
    kind = type(error).__name__
    transient = isinstance(error, httpx.TransportError)
    if isinstance(error, httpx.TimeoutException):
        return Fault(f"no answer in time ({kind}); raise timeout_s=", transient)
    detail = str(error)
    return Fault(f"the connection failed ({kind}{': ' + detail if detail else ''})", transient)
