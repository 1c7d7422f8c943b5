"""Rerankers behind an API: Cohere, Jina, Voyage and what else litellm reaches."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from ragopt.chunk import Chunk
from ragopt.cost.model_prices import ModelPrice, Usage
from ragopt.errors import InputError, UnknownPrice
from ragopt.optional import import_backend
from ragopt.rerank.base import passage
from ragopt.rerank.scores import Scores, TellingReranker, below, order_of_arrival
from ragopt.retry import RetryPolicy, asked_pause_s, is_transient

if TYPE_CHECKING:
    from ragopt.cost.prices import PriceSheet
    from ragopt.cost.tokens import TokenCounter

__all__ = ["RemoteReranker"]

_CHUNKS_A_SEARCH = 100
_TOKENS_A_CHUNK = 500  # Cohere counts a longer one, with the query, as several
_TIMED_OUT = 408
_SHOWN_CHARACTERS = 300
_NOTHING = Decimal(0)


class RemoteReranker(TellingReranker):
    """A provider's reranker through litellm (extra ``litellm``).

    It never raises in a call: a provider that fails leaves the order of arrival, and
    `Scores.failed` says why. Chunks without a word are not sent and come last.

    Args:
        model: as litellm names it: ``"cohere/rerank-v3.5"``, ``"voyage/rerank-2.5"``,
            ``"jina_ai/jina-reranker-v2-base-multilingual"``.
        api_key: of the provider; litellm reads its environment variable when not given.
        api_base: address instead of the provider's own.
        timeout_s: of each try, above 0.
        retries: tries after the first one; answers with status 408, 409, 425, 429 or 5xx and broken
            connections are tried again.
        backoff_s: upper end of the first pause, doubled for each further one.
        max_backoff_s: no pause is longer, even when the provider asks for it.
        max_tokens: of a chunk with the question, beyond which the provider cuts it; litellm's own
            table by default, where that lists the model.
        prices: the sheet; the shipped one by default.
        counter: of tokens, for quotes, for `Scores.read_in_part`, and where the provider reports
            none.
        seed: of the pauses' jitter.
        sleep: waits for so many seconds; ``time.sleep`` when not given.

    Attributes:
        price: of the model; None where the sheet does not list it, and `Scores.usd` is None then.
        outcomes: calls by what became of them: ``"scored"``, ``"retried"``, ``"failed"``.

    Raises:
        BackendMissing: litellm is not installed.
        InputError: a setting out of its range.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str | None = None,
        api_base: str | None = None,
        timeout_s: float = 10.0,
        retries: int = 2,
        backoff_s: float = 0.5,
        max_backoff_s: float = 5.0,
        max_tokens: int | None = None,
        prices: PriceSheet | None = None,
        counter: TokenCounter | None = None,
        seed: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise InputError(f"model={model!r}: expected a name such as 'cohere/rerank-v3.5'")
        if not isinstance(timeout_s, int | float) or not 0 < timeout_s < math.inf:
            raise InputError(f"timeout_s={timeout_s!r}: expected seconds above 0")
        if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
            raise InputError(f"max_tokens={max_tokens!r}: expected 1 or more")
        self._policy = RetryPolicy(
            retries=retries, backoff_s=backoff_s, max_backoff_s=max_backoff_s
        )
        self._litellm = import_backend("litellm", "litellm", "reranking through an API")
        self._litellm.suppress_debug_info = True  # it prints advice with every error
        from ragopt.cost.tokens import token_counter

        self.model = model
        self._options = {"api_key": api_key, "api_base": api_base, "timeout": timeout_s}
        self._max_tokens = max_tokens or self._listed_limit()
        self._counter = counter or token_counter()
        self._random = random.Random(seed)  # noqa: S311 - jitter, no secret
        self._sleep = sleep
        self._lock = threading.Lock()
        self.price = _price(model, prices)
        self.outcomes: Counter[str] = Counter()

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """The provider's relevance scores (n,), and what they cost."""
        asked = _Asked.of(query, chunks, self._counter)
        tries = _Tries(self._policy, self._random.random)
        try:
            while asked.texts:
                found = self._once(asked, tries)
                if isinstance(found, Scores):
                    return found
                self._sleep(found)
        except Exception as error:  # noqa: BLE001 - whatever fails here must not fail the question
            return self._failed(asked, error, tries)
        return Scores(values=order_of_arrival(len(chunks)))

    async def ascored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """`scored` for asynchronous code."""
        import asyncio

        asked = _Asked.of(query, chunks, self._counter)
        tries = _Tries(self._policy, self._random.random)
        try:
            while asked.texts:
                found = await self._aonce(asked, tries)
                if isinstance(found, Scores):
                    return found
                await asyncio.sleep(found)
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed(asked, error, tries)
        return Scores(values=order_of_arrival(len(chunks)))

    def quote(self, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
        """US dollars of a call by the price table; None where it does not list the model."""
        asked = _Asked.of(query, chunks, self._counter)
        return self._usd(asked, {}) if asked.texts else _NOTHING

    def _once(self, asked: _Asked, tries: _Tries) -> Scores | float:
        """Scores, or the seconds to wait before the next try."""
        try:
            return self._read(asked, self._litellm.rerank(**self._request(asked)), tries)
        except Exception as error:  # noqa: BLE001 - judged by its status
            return tries.pause_s(error)

    async def _aonce(self, asked: _Asked, tries: _Tries) -> Scores | float:
        try:
            return self._read(asked, await self._litellm.arerank(**self._request(asked)), tries)
        except Exception as error:  # noqa: BLE001 - as above
            return tries.pause_s(error)

    def _request(self, asked: _Asked) -> dict[str, Any]:
        given = {name: value for name, value in self._options.items() if value is not None}
        return {
            "model": self.model,
            "query": asked.query,
            "documents": asked.texts,
            "return_documents": False,
            "max_retries": 0,  # the pauses between tries are ours
            **given,
        }

    def _read(self, asked: _Asked, answer: Any, tries: _Tries) -> Scores:
        found = np.full(len(asked.texts), np.nan, dtype=np.float32)
        for result in answer.results or ():
            place = int(result["index"])
            if not 0 <= place < len(found):
                raise _UnusableError(f"a score for chunk {place} of {len(found)}")
            found[place] = float(result["relevance_score"])
        if not np.isfinite(found).all():
            known = int(np.isfinite(found).sum())
            raise _UnusableError(f"scores for {known} of {len(found)} chunks")
        billed = (answer.meta or {}).get("billed_units") or {}
        self._count("retried" if tries.failures else "scored")
        values = np.empty(asked.count, dtype=np.float32)
        values[asked.places] = found
        blank = np.setdiff1d(np.arange(asked.count), asked.places)
        values[blank] = below(found, len(blank))
        limit = self._max_tokens or math.inf
        usd = None if tries.timed_out else self._usd(asked, billed)
        return Scores(
            values=values,
            read_in_part=tuple(
                place
                for place, tokens in zip(asked.places, asked.tokens, strict=True)
                if tokens + asked.query_tokens > limit
            ),
            calls=tries.failures + 1,
            usage=Usage(input=int(billed.get("total_tokens") or 0)),
            usd=usd,
        )

    def _usd(self, asked: _Asked, billed: Mapping[str, Any]) -> Decimal | None:
        """By what the provider reports, else by what it will count."""
        if self.price is None:
            return None
        searches = billed.get("search_units") or asked.searches
        tokens = billed.get("total_tokens") or asked.billed_tokens
        try:
            return self.price.rerank_cost(searches=math.ceil(searches), tokens=int(tokens))
        except UnknownPrice:
            return None

    def _failed(self, asked: _Asked, error: Exception, tries: _Tries) -> Scores:
        self._count("failed")
        text = " ".join(f"{type(error).__name__}: {error}".split())
        key = self._options["api_key"]
        # The key goes before the text is shortened: half a key is no longer found.
        text = text.replace(str(key), "…") if key else text
        scores = Scores(values=order_of_arrival(asked.count), calls=tries.failures)
        # A try that was given up may still be billed, and an answer that is of no use is.
        unknown = tries.timed_out or isinstance(error, _UnusableError)
        usd = None if unknown else _NOTHING
        return replace(scores, usd=usd, failed=f"{self.model}: {text[:_SHOWN_CHARACTERS]}")

    def _listed_limit(self) -> int | None:
        try:
            limit = self._litellm.get_model_info(self.model).get("max_input_tokens")
        except Exception:  # noqa: BLE001 - it raises a bare Exception for a model it does not list
            return None
        return int(limit) if limit else None

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1

    @property
    def id(self) -> str:
        """The model, as the provider names it."""
        return f"remote({self.model})"

    def __repr__(self) -> str:
        return f"RemoteReranker({self.model!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is sent of a question and its chunks, and how much the provider will count."""

    query: str
    count: int
    places: list[int]
    texts: list[str]
    query_tokens: int
    tokens: list[int]

    @classmethod
    def of(cls, query: str, chunks: Sequence[Chunk], counter: TokenCounter) -> _Asked:
        texts = [passage(chunk) for chunk in chunks]
        places = [place for place, text in enumerate(texts) if text.strip()]
        kept = [texts[place] for place in places]
        return cls(
            query=query,
            count=len(chunks),
            places=places,
            texts=kept,
            query_tokens=counter.count(query),
            tokens=counter.count_many(kept),
        )

    @property
    def searches(self) -> int:
        """One a hundred chunks begun, long ones counted as several."""
        parts = [math.ceil((one + self.query_tokens) / _TOKENS_A_CHUNK) for one in self.tokens]
        return math.ceil(sum(parts) / _CHUNKS_A_SEARCH)

    @property
    def billed_tokens(self) -> int:
        """The question counts with every chunk."""
        return self.query_tokens * len(self.tokens) + sum(self.tokens)


class _Tries:
    """The failed tries of one call."""

    def __init__(self, policy: RetryPolicy, jitter: Callable[[], float]) -> None:
        self._policy = policy
        self._jitter = jitter
        self.failures = 0
        self.timed_out = False

    def pause_s(self, error: Exception) -> float:
        """Seconds to wait before the next try; raises the error where none would help."""
        self.failures += 1
        status = _status(error)
        self.timed_out = self.timed_out or status == _TIMED_OUT
        headers = _headers(error)
        if self.failures > self._policy.retries or status is None:
            raise error
        if not is_transient(status, headers):
            raise error
        asked = asked_pause_s(headers, time.time())
        return self._policy.pause_s(self.failures, self._jitter(), asked)


class _UnusableError(Exception):
    """An answer that gives no number for each chunk; asking again would bring the same."""


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it came from: litellm's own, of status 500, hides the provider's."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def _status(error: BaseException) -> int | None:
    """The status that came first."""
    found = [getattr(one, "status_code", None) for one in _chain(error)]
    return next((status for status in reversed(found) if isinstance(status, int)), None)


def _headers(error: BaseException) -> dict[str, str]:
    for one in reversed(_chain(error)):
        found = getattr(getattr(one, "response", None), "headers", None)
        if found:
            return {str(name).lower(): str(found[name]) for name in found}
    return {}


def _price(model: str, prices: PriceSheet | None) -> ModelPrice | None:
    from ragopt.cost.prices import PriceSheet

    try:
        return (prices or PriceSheet.default()).model(model)
    except UnknownPrice:
        return None
