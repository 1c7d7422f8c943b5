"""Logs: queries as they were asked, prompts sent to a model, traces of its load.

A log is taken as it is: what repeats in it repeats in the set, and nothing else does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.benchmarks.datasets.source import Source, at, integer, string
from ragopt.benchmarks.datasets.types import QueryLog, TraceSet
from ragopt.errors import InputError

__all__ = [
    "read_azure",
    "read_chat_log",
    "read_chat_trace",
    "read_lines",
    "read_mooncake",
    "read_prompts",
]

_NUMBERED = re.compile(r"\d+:")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\s*(Z|[+-]\d\d:?\d\d)?")
_AZURE = ("timestamp", "contexttokens", "generatedtokens")


def read_lines(path: Path, source: Source) -> QueryLog:
    """A query a line: ``N:query`` where all lines are numbered, the first cell of a ``.tsv``.

    A line that is not UTF-8 is read as Latin-1, as old logs mix the two. Blank lines are left out.

    Raises:
        InputError: no query, or a binary file.
    """
    lines = [_decoded(line) for line in source.data(path).split(b"\n")]
    if ".tsv" in path.suffixes:
        lines = [line.split("\t", 1)[0] for line in lines]
    queries = [line.strip() for line in lines if line.strip()]
    if all(_NUMBERED.match(query) for query in queries):
        queries = [query.split(":", 1)[1].strip() for query in queries]
    return _log(path, source, [query for query in queries if query])


def read_prompts(path: Path, source: Source) -> QueryLog:
    """JSON lines or a JSON list with the query in ``query``, ``prompt`` or ``question``.

    Raises:
        InputError: a row without one; the message names it.
    """
    queries = []
    for where, row in source.rows(path):
        with at(where):
            queries.append(string(row, "query", "prompt", "question").strip())
    return _log(path, source, queries)


def read_chat_log(path: Path, source: Source) -> QueryLog:
    """The last user message of every request in an OpenAI-style log, in the order of the file.

    JSON lines of ``{"messages": [...]}``, or of batch requests ``{"body": {"messages": [...]}}``.
    Requests without a user message (embeddings, tool turns alone) are left out.

    Raises:
        InputError: a row is not of this form, or no request has a user message.
    """
    queries = []
    for where, row in source.rows(path):
        with at(where):
            query = _last_user_message(row)
            if query:
                queries.append(query)
    return _log(path, source, queries)


def read_chat_trace(path: Path, source: Source) -> TraceSet:
    """Times and token counts of an OpenAI-style log, from its ``created`` and ``usage``.

    Both may stand in the row itself or in its ``response`` (and its ``body``). Failed requests
    (neither of the two) are left out.

    Raises:
        InputError: a request with only one of the two, or none with both.
    """
    rows = []
    for where, row in source.rows(path):
        with at(where):
            answered = _answered(row)
            if answered is not None:
                rows.append(answered)
    if not rows:
        raise InputError(f"{path}: no request has both 'created' and 'usage'; expected a trace")
    return _trace(source, rows)


def read_azure(path: Path, source: Source) -> TraceSet:
    """Azure LLM inference trace: ``TIMESTAMP, ContextTokens, GeneratedTokens``.

    Patel et al. (2024), "Splitwise" (arXiv 2311.18677).

    Raises:
        InputError: another header, or a row is not of this form; the message names it.
    """
    rows: list[tuple[float, int, int, tuple[int, ...]]] = []
    table = source.table(path, delimiter=",")
    where, header = next(table)
    names = [name.strip().lower() for name in header]
    if not set(_AZURE) <= set(names):
        raise InputError(
            f"{where}: columns {header}; expected TIMESTAMP, ContextTokens, GeneratedTokens"
        )
    when, asked, answered = (names.index(name) for name in _AZURE)
    first = None
    for where, cells in table:
        with at(where):
            moment, fraction = _moment(cells[when])
            first = first or moment
            # Seconds since 1970 as one float would lose the microseconds.
            seconds = (moment - first) / timedelta(seconds=1) + fraction
            rows.append(
                (
                    seconds,
                    integer(cells[asked], "ContextTokens"),
                    integer(cells[answered], "GeneratedTokens"),
                    (),
                )
            )
    if not rows:
        raise InputError(f"{path}: no request below the header")
    return _trace(source, rows)


def read_mooncake(path: Path, source: Source) -> TraceSet:
    """Mooncake trace: milliseconds, lengths, and hashes of the prompt's blocks of 512 tokens.

    Qin et al. (2024), "Mooncake" (arXiv 2407.00079).

    Raises:
        InputError: a row is not of this form; the message names it.
    """
    rows = []
    for where, row in source.rows(path):
        with at(where):
            blocks = row.get("hash_ids", [])
            if not isinstance(blocks, list):
                raise InputError("field 'hash_ids': expected a list of whole numbers")
            rows.append(
                (
                    _seconds(row["timestamp"]) / 1000,
                    integer(row["input_length"], "input_length"),
                    integer(row["output_length"], "output_length"),
                    tuple(integer(block, "hash_ids") for block in blocks),
                )
            )
    return _trace(source, rows)


def _log(path: Path, source: Source, queries: Sequence[str]) -> QueryLog:
    if not queries:
        raise InputError(f"{path}: no query; expected one a line, or requests with user messages")
    return QueryLog(name=source.name, queries=tuple(queries), data_hash=source.data_hash)


def _trace(source: Source, rows: Sequence[tuple[float, int, int, tuple[int, ...]]]) -> TraceSet:
    """Requests by time of arrival; of the same moment, in the order of the file."""
    seconds = np.array([row[0] for row in rows], dtype=np.float64)
    order = np.argsort(seconds, kind="stable")
    seconds = seconds[order] - seconds.min()
    recorded = any(row[3] for row in rows)
    return TraceSet(
        name=source.name,
        seconds=seconds,
        input_tokens=np.array([row[1] for row in rows], dtype=np.int64)[order],
        output_tokens=np.array([row[2] for row in rows], dtype=np.int64)[order],
        blocks=tuple(rows[place][3] for place in order) if recorded else (),
        data_hash=source.data_hash,
    )


def _decoded(line: bytes) -> str:
    if b"\0" in line:
        raise InputError("holds NUL characters: not a text file of one query a line")
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _last_user_message(row: Mapping[str, Any]) -> str:
    """Text of the last user message; empty where there is none."""
    request = row["body"] if isinstance(row.get("body"), dict) else row
    messages = request.get("messages", [])
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        raise InputError("field 'messages': expected a list of objects")
    for message in reversed(messages):
        if message.get("role") == "user":
            return _text(message.get("content"))
    return ""


def _text(content: Any) -> str:
    """Text of a message: a string, or the text parts of a list."""
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if part.get("type", "text") == "text"]
        return "\n".join(parts).strip()
    if content is not None and not isinstance(content, str):
        raise InputError(f"field 'content': expected text, got {type(content).__name__}")
    return (content or "").strip()


def _answered(row: Mapping[str, Any]) -> tuple[float, int, int, tuple[int, ...]] | None:
    """When a request was made and what it used; None where it was not answered."""
    places = [row]
    for name in ("response", "body"):
        inner = places[-1].get(name)
        if isinstance(inner, dict):
            places.append(inner)
    created = next((place["created"] for place in places if "created" in place), None)
    usage = next((place["usage"] for place in places if place.get("usage")), None)
    if created is None and usage is None:
        return None
    if created is None or not isinstance(usage, dict):
        raise InputError("expected both 'created' and 'usage', or neither")
    asked = usage.get("prompt_tokens", usage.get("input_tokens"))
    answered = usage.get("completion_tokens", usage.get("output_tokens"))
    return (
        _seconds(created),
        integer(asked, "usage.prompt_tokens"),
        integer(answered, "usage.completion_tokens"),
        (),
    )


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise InputError(f"time {value!r}: expected a number")
    return float(value)


def _moment(text: str) -> tuple[datetime, float]:
    """A moment to the second, in UTC where it names no zone, and the fraction of its second."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise InputError(f"time {text!r}: expected such as 2023-11-16 18:15:46.6805900")
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise InputError(f"time {text!r}: {error}") from error
    if zone and zone != "Z":
        sign = -1 if zone[0] == "+" else 1
        moment += sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    return moment, float(f"0.{fraction or 0}")
