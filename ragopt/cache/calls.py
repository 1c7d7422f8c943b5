"""Functions and language models behind a cache: what is asked again is not paid for again.

`cached` wraps a function from a question to an answer, `CachedLLM` and `AsyncCachedLLM` a language
model. Whatever fails in the cache is counted and costs a call, never an answer. Questions that are
asked while their answer is on its way wait for it, so that the same question asked by a hundred
threads or tasks at once costs one call.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast

from ragopt.cache.checks import as_scope, check_text
from ragopt.cache.results import CacheHit
from ragopt.cache.scope import Scope
from ragopt.cache.text import normalise
from ragopt.cost.model_prices import Usage
from ragopt.errors import InputError
from ragopt.llm.base import LLM, AsyncLLM, Completion, Message, acomplete, check_messages, complete

__all__ = ["AsyncCachedLLM", "CachedLLM", "SingleFlight", "cached"]

_CUT_SHORT = {"length", "content_filter", "tool_calls"}
"""Reasons for which a model stopped that make an answer not worth giving twice."""

T = TypeVar("T")
Answering = TypeVar("Answering", bound=Callable[..., Any])


class AnswerStore(Protocol):
    """What is asked of a cache; those of `ragopt.cache` are such."""

    def get(self, question: str, *, scope: Scope | None = None) -> CacheHit | None:
        """The cached answer, if one may be served."""
        ...

    def put(
        self,
        question: str,
        answer: str,
        *,
        scope: Scope | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> object:
        """Remember an answer."""
        ...


class Abandoned(Exception):
    """Whoever was to bring the answer was cancelled; never leaves this module."""


class SingleFlight:
    """Calls that are made once for all who ask for the same while one is under way.

    What the call raises is raised to all of them. Where the one who makes it is cancelled, another
    takes over. Threads and event loops may wait for each other's calls.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[Any]] = {}
        self.shared = 0
        """Calls that were spared."""

    def call(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of ``make()``, or of the call under way for this key."""
        while True:
            flight, mine = self._join(key)
            if mine:
                with _Landing(self, key, flight) as landing:
                    landing.result = make()
                return cast("T", landing.result)
            try:
                return cast("T", flight.result())
            except Abandoned:
                continue

    async def acall(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """`call` for asynchronous code."""
        while True:
            flight, mine = self._join(key)
            if mine:
                with _Landing(self, key, flight) as landing:
                    landing.result = await make()
                return cast("T", landing.result)
            try:
                # shielded: who stops waiting must not cancel the flight of the others
                return cast("T", await asyncio.shield(asyncio.wrap_future(flight)))
            except Abandoned:
                continue

    def _join(self, key: Hashable) -> tuple[Future[Any], bool]:
        with self._lock:
            flight = self._under_way.get(key)
            if flight is not None:
                self.shared += 1
                return flight, False
            flight = self._under_way[key] = Future()
            return flight, True

    def _land(self, key: Hashable) -> None:
        with self._lock:
            del self._under_way[key]


class _Landing:
    """Tells everybody how a flight ended, whatever way that was."""

    def __init__(self, flights: SingleFlight, key: Hashable, flight: Future[Any]) -> None:
        self._flights, self._key, self._flight = flights, key, flight
        self.result: Any = None

    def __enter__(self) -> _Landing:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._flights._land(self._key)
        if error is None:
            self._flight.set_result(self.result)
        elif isinstance(error, Exception):
            self._flight.set_exception(error)
        else:  # cancelled, or the process is to end: another asks again
            self._flight.set_exception(Abandoned())


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with the scope of its answer."""

    question: str
    scope: Scope

    @property
    def key(self) -> Hashable:
        return normalise(self.question), self.scope


class _Behind:
    """What all wrappers share: look-up and remembering that never fail the question.

    Attributes:
        cache: behind which it stands.
        failures: of look-ups (``"get"``) and of remembering (``"put"``), counted.
    """

    def __init__(self, cache: AnswerStore, scope: Scope | None) -> None:
        self.cache = cache
        self.failures: Counter[str] = Counter()
        self._scope = as_scope(scope)
        self._flights = SingleFlight()
        self._lock = threading.Lock()

    @property
    def shared(self) -> int:
        """Calls spared because the same question was being answered."""
        return self._flights.shared

    def _look_up(self, asked: _Asked) -> CacheHit | None:
        return cast(
            "CacheHit | None",
            self._guarded("get", lambda: self.cache.get(asked.question, scope=asked.scope)),
        )

    def _remember(self, asked: _Asked, answer: str, payload: Mapping[str, Any]) -> None:
        if answer.strip():
            self._guarded(
                "put",
                lambda: self.cache.put(asked.question, answer, scope=asked.scope, payload=payload),
            )

    def _guarded(self, name: str, call: Callable[[], object]) -> object:
        try:
            return call()
        except Exception:  # noqa: BLE001 - a cache that fails must not fail the question
            with self._lock:
                self.failures[name] += 1
            return None


class _CachedFunction(_Behind):
    """A function from a question to an answer, behind a cache."""

    def __init__(self, function: Callable[..., Any], cache: AnswerStore, scope: Scope | None):
        super().__init__(cache, scope)
        self._function = function

    def __call__(self, question: str, *, scope: Scope | None = None) -> str:
        asked = self._asked(question, scope)
        return self._flights.call(asked.key, lambda: self._answered(asked))

    async def acall(self, question: str, *, scope: Scope | None = None) -> str:
        asked = self._asked(question, scope)
        return await self._flights.acall(asked.key, lambda: self._aanswered(asked))

    def _asked(self, question: str, scope: Scope | None) -> _Asked:
        check_text(question, "question")
        return _Asked(question, self._scope if scope is None else as_scope(scope))

    def _answered(self, asked: _Asked) -> str:
        hit = self._look_up(asked)
        if hit is not None:
            return hit.answer
        answer = self._checked(self._function(asked.question))
        self._remember(asked, answer, {})
        return answer

    async def _aanswered(self, asked: _Asked) -> str:
        hit = await asyncio.to_thread(self._look_up, asked)
        if hit is not None:
            return hit.answer
        answer = self._checked(await self._function(asked.question))
        await asyncio.to_thread(self._remember, asked, answer, {})
        return answer

    def _checked(self, answer: object) -> str:
        if not isinstance(answer, str):
            name = getattr(self._function, "__qualname__", type(self._function).__name__)
            raise InputError(f"{name} returned {type(answer).__name__}, expected the answer, a str")
        return answer


def cached(cache: AnswerStore, *, scope: Scope | None = None) -> Callable[[Answering], Answering]:
    """Decorate a function, or a coroutine function, from a question to an answer.

    What it becomes is called with the question and, to override the decorator's, ``scope=``. It
    has ``cache``, ``failures`` and ``shared`` as attributes of its ``behind``.

    Args:
        cache: of `ragopt.cache`.
        scope: of the answers; whatever they depend on besides the question belongs in it.

    Example:
        >>> from ragopt.cache import ExactCache
        >>> @cached(ExactCache())
        ... def answer(question: str) -> str:
        ...     print("asked")
        ...     return "A write-ahead log."
        >>> answer("What is a WAL?") == answer("what is a WAL")
        asked
        True
    """

    def decorate(function: Answering) -> Answering:
        behind = _CachedFunction(function, cache, scope)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapped(question: str, *, scope: Scope | None = None) -> str:
                return await behind.acall(question, scope=scope)

        else:

            @functools.wraps(function)
            def wrapped(question: str, *, scope: Scope | None = None) -> str:
                return behind(question, scope=scope)

        wrapped.behind = behind  # type: ignore[attr-defined]
        return cast("Answering", wrapped)

    return decorate


class _BehindModel(_Behind):
    """What the two wrappers of language models share."""

    def __init__(self, llm: Any, cache: AnswerStore, *, scope: Scope | None = None) -> None:
        super().__init__(cache, scope)
        self.llm = llm
        model = getattr(llm, "model", "")
        self.model = model if isinstance(model, str) else ""

    def _asked(self, messages: Sequence[Message]) -> _Asked | None:
        """The last message is the question; all before it belongs to the scope."""
        check_messages(messages)
        *before, last = messages
        if last.role != "user" or not last.content.strip():
            return None
        told = [[message.role, message.content] for message in before]
        scope = replace(
            self._scope,
            model=self._scope.model or self.model,
            system_prompt=json.dumps([self._scope.system_prompt, told]),
        )
        return _Asked(last.content, scope)

    def _kept(self, asked: _Asked, completion: Completion) -> None:
        if completion.finish_reason not in _CUT_SHORT:
            self._remember(asked, completion.text, {"model": completion.model})

    def _served(self, hit: CacheHit) -> Completion:
        return Completion(
            hit.answer,
            usage=Usage(),
            model=str(hit.payload.get("model", self.model or "unknown")),
            finish_reason="cached",
            ms=0.0,
        )


class CachedLLM(_BehindModel):
    """A language model behind a cache, itself a language model.

    A prompt's last message is the question; the messages before it, the model's name and the given
    scope decide who shares its answer. Answers that were cut short are not kept. What comes out of
    the cache has the ``finish_reason`` ``"cached"`` and a usage of no tokens.

    Args:
        llm: to ask on a miss.
        cache: of `ragopt.cache`.
        scope: the tenant, sampling parameters and whatever else answers depend on.

    Example:
        >>> model = CachedLLM(OpenAIClient(...), SemanticCache(embedder))  # doctest: +SKIP
        >>> model([Message("user", "How do I rotate a key?")]).text        # doctest: +SKIP
    """

    llm: LLM

    def __call__(self, messages: Sequence[Message]) -> Completion:
        """The answer to a chat, cached or fresh; what the model raises passes through."""
        asked = self._asked(messages)
        if asked is None:
            return complete(self.llm, messages)

        def answered() -> Completion:
            hit = self._look_up(asked)
            if hit is not None:
                return self._served(hit)
            completion = complete(self.llm, messages)
            self._kept(asked, completion)
            return completion

        return self._flights.call(asked.key, answered)


class AsyncCachedLLM(_BehindModel):
    """`CachedLLM` for asynchronous code; the event loop is never blocked."""

    llm: LLM | AsyncLLM

    async def __call__(self, messages: Sequence[Message]) -> Completion:
        """The answer to a chat, cached or fresh; what the model raises passes through."""
        asked = self._asked(messages)
        if asked is None:
            return await acomplete(self.llm, messages)

        async def answered() -> Completion:
            hit = await asyncio.to_thread(self._look_up, asked)
            if hit is not None:
                return self._served(hit)
            completion = await acomplete(self.llm, messages)
            await asyncio.to_thread(self._kept, asked, completion)
            return completion

        return await self._flights.acall(asked.key, answered)
