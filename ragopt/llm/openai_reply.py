"""What an OpenAI-compatible endpoint answered: the text, and the tokens it will bill.

Pure functions from bytes; no network. Endpoints agree on the text and differ on the counts:

- OpenAI, LiteLLM, OpenRouter, xAI, DeepSeek: ``prompt_tokens`` holds the cached and cache-written
  tokens, which ``prompt_tokens_details`` (or DeepSeek's ``prompt_cache_hit_tokens``, or
  ``cache_read_input_tokens`` and ``cache_creation_input_tokens`` in Anthropic's words) sets apart.
- Gateways that pass Anthropic's counts through leave them out of ``prompt_tokens``.
- Gemini leaves thinking out of ``completion_tokens``, some gateways too; ``total_tokens`` has it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragopt.cost.model_prices import Usage
from ragopt.llm.base import Completion

__all__ = ["Problem", "read_completion", "read_problem", "read_usage"]

logger = logging.getLogger(__name__)

_CACHED = ("cached_tokens",)
_WRITTEN = ("cache_write_tokens", "cache_creation_tokens")
_CACHED_TOP = ("cache_read_input_tokens", "prompt_cache_hit_tokens")
_WRITTEN_TOP = ("cache_creation_input_tokens",)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an answer cannot be used.

    Args:
        reason: in ragopt's words.
        got: what the endpoint sent or said, whole: redact and shorten it before showing.
        status: status that an error inside the body names, where it does.
        code: the provider's error code, where it gave one.
    """

    reason: str
    got: str = ""
    status: int | None = None
    code: str | None = None


def read_completion(body: bytes, asked_model: str) -> Completion | Problem:
    """The completion in the body of a successful answer, or what is wrong with it.

    Args:
        body: as received.
        asked_model: named in the completion where the answer names no model.
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return Problem(
            "a body that is no JSON (cut short?)" if body else "an empty body", _text(body)
        )
    if not isinstance(payload, dict):
        return Problem(f"JSON of type {type(payload).__name__}, expected an object", _text(body))
    if payload.get("error"):
        return read_problem(body)
    choices = payload.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return Problem("no choices", _text(body))
    text = _message_text(choices[0], body)
    if isinstance(text, Problem):
        return text
    return Completion(
        text=text,
        usage=_trusted_usage(payload.get("usage"), text),
        model=_string(payload.get("model")) or asked_model,
        finish_reason=_string(choices[0].get("finish_reason")),
    )


def read_problem(body: bytes) -> Problem:
    """What the body of a failed answer says: its error message, or the body itself."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return Problem("an error", _text(body))
    error = payload.get("error", payload) if isinstance(payload, dict) else payload
    if not isinstance(error, dict):
        return Problem("an error", error if isinstance(error, str) else _text(body))
    said = _string(error.get("message")) or _string(error.get("detail")) or _text(body)
    code = error.get("code")
    return Problem(
        "an error",
        said,
        status=code if isinstance(code, int) and 400 <= code < 600 else None,
        code=_string(code) or _string(error.get("type")),
    )


def read_usage(raw: object) -> Usage | None:
    """Billed tokens from the ``usage`` of an answer; ``None`` where absent or not believable.

    Cached and cache-written tokens count as part of ``prompt_tokens``, the API's convention, unless
    the numbers say otherwise: more of them than prompt tokens, or a ``total_tokens`` that leaves
    room for them, or Anthropic's own field names throughout. Tokens that only ``total_tokens``
    holds are output (thinking): the dearer reading, never the cheaper.
    """
    if not isinstance(raw, dict):
        return None
    try:
        return _usage(raw)
    except ValueError as error:
        logger.info("the reported usage is ignored: %s", error)
        return None


def _usage(raw: Mapping[str, Any]) -> Usage:
    prompt, output = _main_counts(raw)
    details = _mapping(raw, "prompt_tokens_details") or _mapping(raw, "input_tokens_details")
    read = max(_most(details, _CACHED), _most(raw, _CACHED_TOP))
    hour = _hour_writes(raw, details)
    written = max(_most(details, _WRITTEN), _most(raw, _WRITTEN_TOP), hour)
    thinking = _most(
        _mapping(raw, "completion_tokens_details") or _mapping(raw, "output_tokens_details"),
        ("reasoning_tokens",),
    )
    left_out = max(0, _most(raw, ("total_tokens",)) - prompt - output)
    if _is_apart(raw, read + written, prompt, left_out, thinking):
        prompt += read + written
        left_out = max(0, left_out - read - written)
    if prompt == 0:
        raise ValueError("0 input tokens for a request that had messages")
    return Usage(
        input=prompt,
        cached_input=read,
        cache_write_5m=written - hour,
        cache_write_1h=hour,
        output=output + max(left_out, thinking if thinking > output else 0),
    )


def _main_counts(raw: Mapping[str, Any]) -> tuple[int, int]:
    """Input and output as reported, under the names of the chat or of the newer APIs."""
    prompt = _first(raw, ("prompt_tokens", "input_tokens"))
    output = _first(raw, ("completion_tokens", "output_tokens"))
    total = _first(raw, ("total_tokens",))
    if prompt is None:
        raise ValueError("no prompt_tokens")
    if output is None:
        if total is None or total < prompt:
            raise ValueError("no completion_tokens")
        output = total - prompt
    return prompt, output


def _is_apart(
    raw: Mapping[str, Any], cache_tokens: int, prompt: int, left_out: int, thinking: int
) -> bool:
    """Whether cached and cache-written tokens stand beside the prompt tokens, not among them."""
    if cache_tokens == 0:
        return False
    anthropic = "prompt_tokens" not in raw and any(
        name in raw for name in ("cache_read_input_tokens", "cache_creation_input_tokens")
    )
    explained = left_out in (cache_tokens, cache_tokens + thinking) and left_out != thinking
    return anthropic or cache_tokens > prompt or explained


def _hour_writes(raw: Mapping[str, Any], details: Mapping[str, Any]) -> int:
    names = ("ephemeral_1h_input_tokens",)
    by_lifetime = _mapping(details, "cache_creation_token_details")
    return max(_most(_mapping(raw, "cache_creation"), names), _most(by_lifetime, names))


def _trusted_usage(raw: object, text: str) -> Usage | None:
    """The usage, unless it claims that a text cost no output: that would bill it at nothing."""
    usage = read_usage(raw)
    return None if usage is not None and text and usage.output == 0 else usage


def _message_text(choice: Mapping[str, Any], body: bytes) -> str | Problem:
    message = choice.get("message")
    if not isinstance(message, dict):
        return Problem("a choice without a message", _text(body))
    content = message.get("content")
    refusal = _string(message.get("refusal"))
    if isinstance(content, list):
        refusal = refusal or _refused_part(content)
        content = _joined_parts(content)
    if isinstance(content, str) and (content or not refusal):
        return content
    if refusal:
        return Problem("a refusal", refusal)
    if message.get("tool_calls") or message.get("function_call"):
        return Problem("tool calls instead of a text", _text(body))
    reason = _string(choice.get("finish_reason")) or "not given"
    return Problem(f"a message without text (finish_reason {reason})", _text(body))


def _joined_parts(parts: list[Any]) -> str | None:
    """The text parts of a content in parts; thinking and other kinds are no answer."""
    texts = [
        part["text"]
        for part in parts
        if isinstance(part, dict)
        and part.get("type") in ("text", "output_text")
        and isinstance(part.get("text"), str)
    ]
    return "".join(texts) if texts else None


def _refused_part(parts: list[Any]) -> str | None:
    said = [_string(part.get("refusal")) for part in parts if isinstance(part, dict)]
    return next((text for text in said if text), None)


def _first(raw: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((_count(raw, name) for name in names if raw.get(name) is not None), None)


def _most(raw: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """The largest of several names of one count: gateways fill some of them with 0."""
    return max(_count(raw, name) for name in names)


def _count(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name)
    if value is None:
        return 0
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 0:
        raise ValueError(f"{name}={value!r}, expected a whole number, 0 or more")
    return int(value)


def _mapping(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")
