"""Language models: the callable shape, OpenAI-compatible clients, and a quoting answerer."""

from ragopt.llm.base import (
    CONTEXT_HEADER,
    LLM,
    NO_ANSWER,
    QUESTION_PREFIX,
    SYSTEM_PROMPT,
    AsyncLLM,
    Completion,
    Message,
    acomplete,
    complete,
    render_prompt,
    split_prompt,
)
from ragopt.llm.extractive import ExtractiveAnswerer
from ragopt.llm.openai_http import AsyncOpenAIClient, OpenAIClient
from ragopt.retry import RetryPolicy

__all__ = [
    "CONTEXT_HEADER",
    "LLM",
    "NO_ANSWER",
    "QUESTION_PREFIX",
    "SYSTEM_PROMPT",
    "AsyncLLM",
    "AsyncOpenAIClient",
    "Completion",
    "ExtractiveAnswerer",
    "Message",
    "OpenAIClient",
    "RetryPolicy",
    "acomplete",
    "complete",
    "render_prompt",
    "split_prompt",
]
