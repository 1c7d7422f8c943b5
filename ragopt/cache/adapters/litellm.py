"""A custom cache for LiteLLM (extra ``litellm``).

    >>> import litellm                                          # doctest: +SKIP
    >>> litellm.cache = LiteLLMCache(SemanticCache(embedder))   # doctest: +SKIP

Chat completions are cached; embeddings and all other calls go through. The last message is the
question; the messages before it, the model, its tools and its sampling parameters belong to the
scope. Answers that call tools or were cut short are not kept. A cache that fails is counted, and
the model is asked.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ragopt.cache.checks import as_scope
from ragopt.errors import BackendMissing

try:
    from litellm.caching.caching import Cache
except ImportError as error:
    raise BackendMissing("litellm", "litellm", "LiteLLMCache") from error

if TYPE_CHECKING:
    from ragopt.cache.exact import ExactCache
    from ragopt.cache.scope import Scope

__all__ = ["LiteLLMCache"]

_SAMPLING = (
    "temperature", "top_p", "n", "stop", "max_tokens", "max_completion_tokens", "seed",
    "presence_penalty", "frequency_penalty", "logit_bias", "response_format", "reasoning_effort",
    "verbosity",
)  # fmt: skip
_KEPT = ("stop",)
"""Reasons to stop after which an answer is whole."""


@dataclass(frozen=True, slots=True)
class _Asked:
    question: str
    scope: Scope


class LiteLLMCache(Cache):
    """A cache of `ragopt.cache` as LiteLLM calls it.

    Args:
        cache: exact or semantic.
        scope: of all answers: the tenant, the version of the corpus.
        mode: as LiteLLM's own, such as ``"default_off"``.

    Attributes:
        failures: of look-ups (``"get"``) and of remembering (``"put"``), counted.
    """

    def __init__(
        self, cache: ExactCache, *, scope: Scope | None = None, mode: str = "default_on"
    ) -> None:
        super().__init__(type="local", mode=mode)
        self.ragopt = cache
        self.failures: Counter[str] = Counter()
        self._scope = as_scope(scope)

    def get_cache(self, dynamic_cache_object: Any = None, **kwargs: Any) -> Any:  # noqa: ARG002
        """The response of an earlier call, as a dictionary; None where none may be served."""
        asked = self._asked(kwargs) if self.should_use_cache(**kwargs) is True else None
        if asked is None:
            return None
        try:
            hit = self.ragopt.get(asked.question, scope=asked.scope)
        except Exception:  # noqa: BLE001 - a cache that fails must not fail the question
            self.failures["get"] += 1
            return None
        return None if hit is None else dict(hit.payload["response"])

    async def async_get_cache(self, dynamic_cache_object: Any = None, **kwargs: Any) -> Any:
        """`get_cache`, in a thread."""
        return await asyncio.to_thread(self.get_cache, dynamic_cache_object, **kwargs)

    def add_cache(self, result: Any, **kwargs: Any) -> None:
        """Remember a response, if it is one that may be given twice."""
        asked = self._asked(kwargs) if self.should_use_cache(**kwargs) is True else None
        answer, response = _answer(result)
        if asked is None or not answer.strip():
            return
        try:
            self.ragopt.put(
                asked.question,
                answer,
                scope=asked.scope,
                payload={"response": response},
                ttl_s=(kwargs.get("cache") or {}).get("ttl"),
            )
        except Exception:  # noqa: BLE001 - likewise
            self.failures["put"] += 1

    async def async_add_cache(
        self,
        result: Any,
        dynamic_cache_object: Any = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        """`add_cache`, in a thread."""
        await asyncio.to_thread(self.add_cache, result, **kwargs)

    def _asked(self, kwargs: Mapping[str, Any]) -> _Asked | None:
        messages = kwargs.get("messages")
        if not isinstance(messages, Sequence) or not messages:
            return None
        *before, last = messages
        question = last.get("content") if isinstance(last, Mapping) else None
        if not isinstance(question, str) or not question.strip() or last.get("role") != "user":
            return None
        sampling = {name: kwargs[name] for name in _SAMPLING if kwargs.get(name) is not None}
        scope = replace(
            self._scope,
            model=str(kwargs.get("model", "")),
            system_prompt=json.dumps([self._scope.system_prompt, before], default=str),
            tools=_as_json([*self._scope.tools, *(kwargs.get("tools") or [])]),
            sampling=_as_json({**self._scope.sampling, **sampling}),
        )
        return _Asked(question, scope)


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _answer(result: Any) -> tuple[str, dict[str, Any]]:
    """The text of a whole answer and the response as JSON values; no text where it is none."""
    if isinstance(result, str):
        result = json.loads(result)
    response = (
        json.loads(result.model_dump_json()) if hasattr(result, "model_dump_json") else result
    )
    choices = response.get("choices") or []
    if len(choices) != 1 or choices[0].get("finish_reason") not in _KEPT:
        return "", response
    message = choices[0].get("message") or {}
    if message.get("tool_calls") or message.get("function_call"):
        return "", response
    return message.get("content") or "", response
