"""Where and how to ask an OpenAI-compatible endpoint: checked settings, the body, the secrets."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from ragopt.errors import InputError
from ragopt.llm.base import Message, check_messages

__all__ = ["DEFAULT_BASE_URL", "Endpoint"]

DEFAULT_BASE_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"

_OPENAI_HOST = "api.openai.com"
_MASK = "***"
_SHORTEST_SECRET = 4  # a placeholder such as "x" would mask letters of every message
_OWN_FIELDS = {
    "messages": "call the client with them",
    "model": "give model=",
    "temperature": "give temperature=",
    "max_tokens": "give max_tokens=",
    "max_completion_tokens": "give max_tokens=",
    "stream": "answers are read whole",
    "n": "one answer is read and the others would be paid for nothing",
}


class Endpoint:
    """One model at one address, with its settings checked once.

    Its key and the values of its headers and query stand in no repr, and :meth:`redact` takes them
    out of any text before that is shown.

    Args:
        base_url: address of the API, without ``/chat/completions``.
        api_key: sent as a bearer token; ``None`` reads ``OPENAI_API_KEY``, ``""`` sends none.
        model: name of the model.
        headers: more headers; theirs win.
        extra_body: more fields of the request body.
        temperature: 0 to 2.
        max_tokens: limit of the answer, in tokens.

    Raises:
        InputError: a setting that cannot be sent; no message shows a secret.
    """

    __slots__ = ("_fields", "_secrets", "headers", "model", "name", "url")

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        model: str,
        headers: Mapping[str, str] | None,
        extra_body: Mapping[str, Any] | None,
        temperature: float | None,
        max_tokens: int | None,
    ) -> None:
        address = _checked_address(base_url)
        if not isinstance(model, str) or not model.strip():
            raise InputError(f"model={model!r}, expected the name of a model")
        key = _checked_key(api_key, address.hostname)
        own = {"content-type": "application/json", "accept": "application/json"}
        if key:
            own["authorization"] = f"Bearer {key}"
        given = _checked_headers(headers or {})
        limit = "max_completion_tokens" if address.hostname == _OPENAI_HOST else "max_tokens"
        self.model = model
        self.url = urlunsplit(address)
        self.name = urlunsplit(address._replace(query=""))
        self.headers = own | given
        self._fields: dict[str, Any] = {
            "model": model,
            **_checked_sampling(temperature, max_tokens, limit),
            **_checked_extra(extra_body or {}),
        }
        queried = [value for _, value in parse_qsl(address.query)]
        secrets = [key, *given.values(), *queried]
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]

    def body(self, messages: Sequence[Message]) -> bytes:
        """The request's JSON.

        Raises:
            InputError: no messages, or something else than :class:`Message` among them.
        """
        check_messages(messages)
        rendered = [{"role": item.role, "content": item.content} for item in messages]
        return json.dumps({**self._fields, "messages": rendered}).encode()

    def redact(self, text: str) -> str:
        """The text with every secret of this endpoint masked."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, _MASK)
        return text

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, model={self.model!r})"


def _checked_address(base_url: str) -> SplitResult:
    """The address to post to. A bad one is not shown: it may carry a password."""
    try:
        parts = urlsplit(base_url)
        _ = parts.port
    except (ValueError, TypeError, AttributeError):
        raise InputError("base_url is no URL; expected one like https://host/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"base_url has the scheme {parts.scheme!r} and the host {parts.hostname!r}; "
            "expected http or https and a host, like https://host/v1"
        )
    if parts.username is not None or parts.password is not None:
        raise InputError("base_url holds a user or password; give api_key= or headers= instead")
    return parts._replace(path=parts.path.rstrip("/") + "/chat/completions", fragment="")


def _checked_key(api_key: str | None, host: str | None) -> str:
    key = (os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key).strip()
    if not key and host == _OPENAI_HOST:
        raise InputError(f"no API key for {host}: give api_key= or set {KEY_VARIABLE}")
    if not _sendable(key) or " " in key:
        raise InputError(
            f"the API key ({len(key)} characters, not shown) holds spaces, control or non-ASCII "
            f"characters, which no header can carry; check api_key= or {KEY_VARIABLE}"
        )
    return key


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not isinstance(name, str) or not _sendable(name) or not name or set(name) & set(" :"):
            raise InputError(f"headers has the name {name!r}, expected one like 'x-team'")
        if not isinstance(value, str) or not _sendable(value):
            raise InputError(f"the value of header {name!r} (not shown) is no line of ASCII text")
    return {name.lower(): value for name, value in headers.items()}


def _sendable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _checked_sampling(
    temperature: float | None, max_tokens: int | None, limit: str
) -> dict[str, float | int]:
    """Sampling fields. OpenAI's reasoning models refuse ``max_tokens``, others know only that."""
    fields: dict[str, float | int] = {}
    if temperature is not None:
        number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
        if not number or not math.isfinite(temperature) or not 0 <= temperature <= 2:
            raise InputError(f"temperature={temperature!r}, expected 0 to 2")
        fields["temperature"] = temperature
    if max_tokens is not None:
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
            raise InputError(f"max_tokens={max_tokens!r}, expected a whole number, 1 or more")
        fields[limit] = max_tokens
    return fields


def _checked_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """A copy, so that the caller's later changes reach no request."""
    for name in extra:
        if name in _OWN_FIELDS:
            raise InputError(f"extra_body sets {name!r}, which it cannot: {_OWN_FIELDS[name]}")
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(extra), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"extra_body is no JSON ({error}); pass plain values") from error
    return copied
