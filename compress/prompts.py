"""Prompts as the linter reads them: texts with roles, and the tools that go with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragopt.errors import InputError

__all__ = ["Prompt", "PromptText", "as_prompt", "read_prompt"]


@dataclass(frozen=True, slots=True)
class PromptText:
    """One text of a prompt.

    Args:
        role: of its message; ``"system"`` for a prompt that is a plain text.
        text: its content.
        where: its place for messages, such as ``"messages[2]"``.
    """

    role: str
    text: str
    where: str = "prompt"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt.

    Args:
        texts: in the order in which they are sent.
        tools: schemas as they are sent, in OpenAI's or Anthropic's form.
        called: names of the tools that the prompt's own turns have called.
        tool_choice: what the request says about tools.
    """

    texts: tuple[PromptText, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    called: frozenset[str] = frozenset()
    tool_choice: Any = None


def read_prompt(path: Path) -> Prompt:
    """A prompt from a file: ``.json`` in the form of a request, anything else as plain text.

    Raises:
        InputError: no such file, no UTF-8, or JSON that is no prompt.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); expected a text in UTF-8") from error
    if path.suffix.lower() != ".json":
        return as_prompt(text)
    try:
        return as_prompt(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); rename a plain text to .txt") from error


def as_prompt(value: Any) -> Prompt:
    """A prompt from what a request holds.

    Args:
        value: a text; a list of messages with ``role`` and ``content``; or a mapping with
            ``messages`` (or ``prompt``), and perhaps ``system``, ``tools`` and ``tool_choice``.

    Raises:
        InputError: none of these.
    """
    if isinstance(value, str):
        return Prompt((PromptText("system", value),))
    if isinstance(value, Sequence):
        return _from_messages({"messages": value})
    if isinstance(value, Mapping) and isinstance(value.get("prompt"), str):
        return Prompt((PromptText("system", value["prompt"]),), _tools(value.get("tools")))
    if isinstance(value, Mapping) and isinstance(value.get("messages"), Sequence):
        return _from_messages(value)
    raise InputError(
        f"a prompt of type {type(value).__name__} without messages; expected a text, a list of "
        '{"role": …, "content": …}, or {"messages": […], "tools": […]}'
    )


def _from_messages(request: Mapping[str, Any]) -> Prompt:
    texts: list[PromptText] = []
    called: set[str] = set()
    if request.get("system") is not None:
        texts.extend(_texts("system", request["system"], "system"))
    for place, message in enumerate(request["messages"]):
        where = f"messages[{place}]"
        role, content = _field(message, "role"), _field(message, "content")
        if not isinstance(role, str):
            raise InputError(f"{where} has no role; expected one like 'user'")
        texts.extend(_texts(role, content, where))
        called.update(_called(message, content))
    tools = _tools(request.get("tools", request.get("functions")))
    return Prompt(tuple(texts), tools, frozenset(called), request.get("tool_choice"))


def _field(message: Any, name: str) -> Any:
    """Of a mapping, or of a `ragopt.llm.Message`."""
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)


def _texts(role: str, content: Any, where: str) -> list[PromptText]:
    if content is None:
        return []
    if isinstance(content, str):
        return [PromptText(role, content, where)] if content else []
    if not isinstance(content, Sequence):
        raise InputError(f"{where}: content is {type(content).__name__}, expected text or parts")
    return [
        PromptText(role, part["text"], f"{where}.content[{place}]")
        for place, part in enumerate(content)
        if isinstance(part, Mapping) and isinstance(part.get("text"), str) and part["text"]
    ]


def _called(message: Any, content: Any) -> set[str]:
    """Names of the tools that a turn has called, in either provider's form."""
    calls = _field(message, "tool_calls") or []
    functions = [call.get("function", {}) for call in calls if isinstance(call, Mapping)]
    parts = content if isinstance(content, Sequence) and not isinstance(content, str) else []
    uses = [part for part in parts if isinstance(part, Mapping) and part.get("type") == "tool_use"]
    found = (call.get("name") for call in (*functions, *uses) if isinstance(call, Mapping))
    return {name for name in found if isinstance(name, str)}


def _tools(value: Any) -> tuple[Mapping[str, Any], ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or not all(isinstance(tool, Mapping) for tool in value):
        raise InputError("tools: expected a list of schemas")
    return tuple(value)
