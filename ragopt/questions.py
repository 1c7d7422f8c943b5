"""A user's own questions, to measure quality on: one JSON object a line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragopt.errors import InputError
from ragopt.textfile import json_lines, json_object, optional_string, read_bytes

__all__ = ["EvalQuestion", "read_questions"]

_FIELDS = ("id", "question", "answer", "gold", "paraphrases")
_MAX_BYTES = 50 * 2**20
_PROBLEMS_SHOWN = 5
_TYPO = 0.82  # "anwser" is a slip for "answer"; "idx" is not one for "id"


@dataclass(frozen=True, slots=True)
class EvalQuestion:
    """A question whose answer is known, or at least where it stands.

    Args:
        id: unique within the file.
        question: as a user would ask it.
        answer: the words of a document that settle it; empty when not given.
        gold: what holds the answer: ids of documents, names of files, or quotes of chunks.
        paraphrases: other wordings of the same question.
    """

    id: str
    question: str
    answer: str = ""
    gold: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()

    @property
    def has_gold(self) -> bool:
        """Whether quality can be measured on it: it has an answer, or says where that stands."""
        return bool(self.answer or self.gold)


def read_questions(path: str | os.PathLike[str]) -> tuple[EvalQuestion, ...]:
    """Read questions from JSON lines, in their order.

    A line is an object with ``question`` (required), ``answer`` (a string quoted from the
    documents), ``gold`` and ``paraphrases`` (lists of strings) and ``id`` (a string or a whole
    number; ``line N`` by default). Null and empty values count as absent. Other fields are
    ignored, unless their name looks like a slip for one of these.

    Args:
        path: the file, UTF-8 (or UTF-16 with its mark), at most 50 MiB.

    Raises:
        InputError: no such file, no questions in it, or lines that cannot be used; the message
            names line and field. Nothing is returned then: half a question set would measure
            something else.
    """
    file = os.fspath(path)
    try:
        questions, problems = _read_lines(read_bytes(Path(file), _MAX_BYTES))
    except InputError as error:
        raise InputError(f"{file}: {error}; expected a file of questions, JSON lines") from error
    if problems:
        more = len(problems) - _PROBLEMS_SHOWN
        shown = "; ".join(problems[:_PROBLEMS_SHOWN]) + (f"; and {more:,} more" if more > 0 else "")
        raise InputError(
            f"{file}: {shown}. Expected one object a line, such as "
            '{"question": "...", "answer": "...", "gold": ["guide.md"]}'
        )
    if not questions:
        raise InputError(
            f'{file}: no questions; expected lines such as {{"question": "...", "answer": "..."}}'
        )
    return tuple(questions)


def _read_lines(data: bytes) -> tuple[list[EvalQuestion], list[str]]:
    questions: list[EvalQuestion] = []
    problems: list[str] = []
    lines: dict[str, int] = {}
    for number, line in json_lines(data):
        question = _parsed(number, line)
        if isinstance(question, str):
            problems.append(f"line {number}: {question}")
        elif (first := lines.setdefault(question.id, number)) != number:
            problems.append(f"line {number}: field 'id': {question.id!r} is taken by line {first}")
        else:
            questions.append(question)
    return questions, problems


def _parsed(number: int, line: bytes) -> EvalQuestion | str:
    """The question, or what is wrong with the line."""
    try:
        return _question(json_object(line), number)
    except InputError as error:
        return str(error)


def _question(fields: Mapping[str, Any], number: int) -> EvalQuestion:
    for name in fields:
        _check_name(name)
    question = optional_string(fields, "question")
    if not question:
        names = ", ".join(map(repr, list(fields)[:10])) or "none"
        raise InputError(f"field 'question' is missing or empty (fields here: {names})")
    return EvalQuestion(
        id=_id(fields) or f"line {number}",
        question=question,
        answer=optional_string(fields, "answer"),
        gold=_strings(fields, "gold"),
        paraphrases=_strings(fields, "paraphrases"),
    )


def _check_name(name: str) -> None:
    if name in _FIELDS:
        return
    meant = difflib.get_close_matches(name.strip().lower(), _FIELDS, n=1, cutoff=_TYPO)
    if meant:
        raise InputError(f"field {name!r} is not known; was {meant[0]!r} meant?")


def _id(fields: Mapping[str, Any]) -> str:
    value = fields.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return optional_string(fields, "id")


def _strings(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InputError(f"field {name!r}: expected a list of strings, got {type(value).__name__}")
    for position, item in enumerate(value):
        if not isinstance(item, str) or not item.strip():
            raise InputError(
                f"field {name!r}: expected strings with text, got {item!r:.50} at {position + 1}"
            )
    return tuple(item.strip() for item in value)
