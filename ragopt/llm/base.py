"""The shape of a language model as ragopt calls it, and the layout of its RAG prompt.

Any callable from messages to a :class:`Completion` (or to a bare string) is an LLM. The prompt has
one layout, rendered by :func:`render_prompt` and read back by :func:`split_prompt`::

    system  SYSTEM_PROMPT                stable: the prefix that providers can cache
    user    Context:

            [1] title of the first passage
            its text

            [2] …

            Question: the question
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, cast

from ragopt.errors import InputError

if TYPE_CHECKING:
    from ragopt.cost.model_prices import Usage

__all__ = [
    "CONTEXT_HEADER",
    "LLM",
    "NO_ANSWER",
    "QUESTION_PREFIX",
    "SYSTEM_PROMPT",
    "AsyncLLM",
    "Completion",
    "Message",
    "acomplete",
    "complete",
    "render_prompt",
    "split_prompt",
]

ROLES = ("system", "developer", "user", "assistant")

CONTEXT_HEADER = "Context:"
QUESTION_PREFIX = "Question:"
NO_ANSWER = "I cannot answer this from the given context."
SYSTEM_PROMPT = (
    "Answer the question from the numbered context passages alone. Be brief and exact; keep names, "
    "numbers and code as they stand in the passages. If the passages do not hold the answer, reply "
    f'with exactly: "{NO_ANSWER}"'
)

_QUESTION_LINE = re.compile(rf"^[ \t]*{re.escape(QUESTION_PREFIX)}", re.MULTILINE | re.IGNORECASE)
_CONTEXT_LINE = re.compile(
    rf"^[ \t]*{re.escape(CONTEXT_HEADER)}[ \t]*$", re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat.

    Args:
        role: one of ``system``, ``developer``, ``user``, ``assistant``.
        content: its text.

    Raises:
        InputError: another role, or a content that is no text.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise InputError(f"Message.role={self.role!r}, expected one of {', '.join(ROLES)}")
        if not isinstance(self.content, str):
            raise InputError(f"Message.content is {type(self.content).__name__}, expected str")


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered.

    Args:
        text: the answer.
        usage: tokens as the provider billed them; ``None`` where it reported none, and the caller
            must count for itself and say so.
        model: the model that answered, in the provider's words; ``"unknown"`` where nobody said.
        finish_reason: why it stopped (``"stop"``, ``"length"``, …), where reported.
        ms: milliseconds that the caller waited, retries and their pauses included.
    """

    text: str
    usage: Usage | None = None
    model: str = "unknown"
    finish_reason: str | None = None
    ms: float | None = None


LLM: TypeAlias = Callable[[Sequence[Message]], Completion]
AsyncLLM: TypeAlias = Callable[[Sequence[Message]], Awaitable[Completion]]
_AnyLLM: TypeAlias = Callable[[Sequence[Message]], object]


def complete(
    llm: LLM | Callable[[Sequence[Message]], str], messages: Sequence[Message]
) -> Completion:
    """Call a model and return a :class:`Completion`, whatever of the two shapes it answers in.

    A bare string becomes a completion without usage, of the model that ``llm.model`` names.
    What the model raises passes through.

    Raises:
        InputError: no messages; an asynchronous callable (use :func:`acomplete`); an answer that is
            neither a :class:`Completion` nor a string.
    """
    check_messages(messages)
    if _is_async(llm):
        raise InputError(_async_in_sync(llm))
    started = time.perf_counter()
    answer = cast("_AnyLLM", llm)(messages)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise InputError(_async_in_sync(llm))
    return _as_completion(answer, llm, started)


async def acomplete(
    llm: LLM | AsyncLLM | Callable[[Sequence[Message]], str], messages: Sequence[Message]
) -> Completion:
    """:func:`complete` for asynchronous code; a synchronous model runs in a worker thread.

    Raises:
        InputError: no messages, or an answer that is neither a :class:`Completion` nor a string.
    """
    import asyncio

    check_messages(messages)
    started = time.perf_counter()
    call = cast("_AnyLLM", llm)
    answer = call(messages) if _is_async(llm) else await asyncio.to_thread(call, messages)
    if inspect.isawaitable(answer):
        answer = await answer
    return _as_completion(answer, llm, started)


def render_prompt(
    question: str, passages: Sequence[tuple[str, str]], *, system: str = SYSTEM_PROMPT
) -> list[Message]:
    """The prompt of a question: what never changes first, the question last.

    Args:
        question: as the user put it.
        passages: ``(title, text)`` of each, in the order in which they are numbered from 1; a
            title may be empty.
        system: the instructions; keep them equal over all questions, so that the provider's prompt
            cache can serve them.

    Raises:
        InputError: the question is blank.
    """
    if not question.strip():
        raise InputError("the question is blank; expected at least one word")
    blocks = [CONTEXT_HEADER]
    for number, (title, text) in enumerate(passages, 1):
        blocks.append(f"[{number}] {' '.join(title.split())}".rstrip() + f"\n{text.strip()}")
    blocks.append(f"{QUESTION_PREFIX} {question.strip()}")
    return [Message("system", system), Message("user", "\n\n".join(blocks))]


def split_prompt(messages: Sequence[Message]) -> tuple[str, str]:
    """Context and question of a prompt that :func:`render_prompt` or the like made.

    The question follows the last line of the last user message that begins with
    ``QUESTION_PREFIX`` (passages may quote such lines: the last one counts); without such a line it
    is the message's last paragraph. Where that message holds no context, the context is what
    follows ``CONTEXT_HEADER`` in the latest earlier message that has one.

    Returns:
        The passages with their ``[n] title`` lines (``""`` where there are none), and the question.

    Raises:
        InputError: there is no user message.
    """
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    if not users:
        raise InputError("the prompt has no user message; expected the question in the last one")
    context, question = _cut_question(messages[users[-1]].content)
    header = _CONTEXT_LINE.search(context)
    if header:
        context = context[header.end() :]
    if not context.strip():
        context = _earlier_context(messages[: users[-1]])
    return context.strip(), question.strip()


def _cut_question(content: str) -> tuple[str, str]:
    lines = list(_QUESTION_LINE.finditer(content))
    if lines:
        return content[: lines[-1].start()], content[lines[-1].end() :]
    context, _, question = content.strip().rpartition("\n\n")
    return context, question


def _earlier_context(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        header = _CONTEXT_LINE.search(message.content)
        if header:
            return message.content[header.end() :]
    return ""


def check_messages(messages: Sequence[Message]) -> None:
    """Refuse what is no chat.

    Raises:
        InputError: no messages, or something else than :class:`Message` among them.
    """
    if not all(isinstance(item, Message) for item in messages):
        raise InputError("messages hold something else than Message; pass [Message('user', '…')]")
    if not messages:
        raise InputError("there are no messages; expected at least one")


def _is_async(llm: object) -> bool:
    return inspect.iscoroutinefunction(llm) or inspect.iscoroutinefunction(
        getattr(llm, "__call__", None)  # noqa: B004 - asks about the method, not whether it exists
    )


def _async_in_sync(llm: object) -> str:
    return (
        f"the LLM {_name(llm)} is asynchronous and was called from synchronous code; "
        "await acomplete(llm, messages), or pass a synchronous callable"
    )


def _as_completion(answer: object, llm: object, started: float) -> Completion:
    ms = (time.perf_counter() - started) * 1000
    if isinstance(answer, Completion):
        return answer if answer.ms is not None else replace(answer, ms=ms)
    if isinstance(answer, str):
        model = getattr(llm, "model", None)
        return Completion(answer, model=model if isinstance(model, str) else "unknown", ms=ms)
    raise InputError(
        f"the LLM {_name(llm)} returned {type(answer).__name__}, expected a Completion or a str"
    )


def _name(llm: object) -> str:
    return getattr(llm, "__qualname__", None) or type(llm).__name__
