"""LangChain's cache interface (extra ``langchain``).

    >>> from langchain_core.globals import set_llm_cache       # doctest: +SKIP
    >>> set_llm_cache(LangChainCache(SemanticCache(embedder)))  # doctest: +SKIP

The last message of a chat is the question; the messages before it, the model and its parameters
belong to the scope. Answers that call tools are not kept, and chats that do not end with a message
of the user are not cached. A cache that fails is counted, and the model is asked.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ragopt.cache.checks import as_scope
from ragopt.errors import BackendMissing

try:
    from langchain_core.caches import BaseCache
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, Generation
except ImportError as error:
    raise BackendMissing("langchain-core", "langchain", "LangChainCache") from error

if TYPE_CHECKING:
    from ragopt.cache.exact import ExactCache
    from ragopt.cache.scope import Scope

__all__ = ["LangChainCache"]


@dataclass(frozen=True, slots=True)
class _Asked:
    question: str
    scope: Scope


class LangChainCache(BaseCache):
    """A cache of `ragopt.cache` as LangChain calls it.

    Args:
        cache: exact or semantic.
        scope: of all answers: the tenant, the version of the corpus.

    Attributes:
        failures: of look-ups (``"get"``) and of remembering (``"put"``), counted.
    """

    def __init__(self, cache: ExactCache, *, scope: Scope | None = None) -> None:
        self.cache = cache
        self.failures: Counter[str] = Counter()
        self._scope = as_scope(scope)
        self._lock = threading.Lock()

    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """What was answered before, if it may be served."""
        asked = self._asked(prompt, llm_string)
        if asked is None:
            return None
        try:
            hit = self.cache.get(asked.question, scope=asked.scope)
        except Exception:  # noqa: BLE001 - a cache that fails must not fail the question
            self._failed("get")
            return None
        if hit is None:
            return None
        if hit.payload.get("chat"):
            message = AIMessage(hit.answer, response_metadata=dict(hit.payload.get("metadata", {})))
            return [ChatGeneration(message=message)]
        return [Generation(text=hit.answer)]

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Remember an answer, if it is one that may be given twice."""
        asked = self._asked(prompt, llm_string)
        if asked is None or len(return_val) != 1 or not return_val[0].text.strip():
            return
        generation = return_val[0]
        message = getattr(generation, "message", None)
        if getattr(message, "tool_calls", None):
            return
        payload = {"chat": message is not None, "metadata": _plain(message)}
        try:
            self.cache.put(asked.question, generation.text, scope=asked.scope, payload=payload)
        except Exception:  # noqa: BLE001 - likewise
            self._failed("put")

    def clear(self, **kwargs: Any) -> None:  # noqa: ARG002 - nothing is asked for by them
        """Remove all entries, of all scopes."""
        self.cache.purge()

    def _asked(self, prompt: str, llm_string: str) -> _Asked | None:
        before, question = _split(prompt)
        if not question.strip():
            return None
        told = json.dumps([self._scope.system_prompt, before])
        return _Asked(question, replace(self._scope, model=llm_string, system_prompt=told))

    def _failed(self, what: str) -> None:
        with self._lock:
            self.failures[what] += 1


def _split(prompt: str) -> tuple[list[Any], str]:
    """The messages before the last and the text of that; a plain prompt is the question itself."""
    try:
        messages = json.loads(prompt)
    except ValueError:
        return [], prompt
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        return [], prompt
    last = messages[-1]["kwargs"]
    if last.get("type") != "human" or not isinstance(last.get("content"), str):
        return messages, ""  # pictures, or the answer of a tool
    return messages[:-1], last["content"]


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("kwargs"), dict)


def _plain(message: Any) -> dict[str, str]:
    """What is said of a message and is plain text: the model's name, why it stopped."""
    metadata = getattr(message, "response_metadata", None) or {}
    return {name: value for name, value in metadata.items() if isinstance(value, str)}
