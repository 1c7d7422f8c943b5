"""The hand-written questions over the embedded corpus, and the checker that proves them.

``questions.jsonl`` holds one JSON object a line:

- ``id``: unique, ``AREA-NNN``.
- ``question``: what a user would ask.
- ``answer``: words quoted from the documentation that settle it; white space is folded.
- ``gold``: ids of the documents that hold those words; any one of them is evidence enough.
- ``paraphrases``: other wordings of the same question (three, or none).
- ``traps``: ``{"question", "kind"}``: nearly the same words, another answer
  (``number``, ``negation``, ``entity``, ``reversal``). A cache that serves the answer of
  ``question`` for one of these is wrong.

``python -m ragopt.benchmarks.embedded.questions [FILE ...]`` checks them on the running Python.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragopt.benchmarks.embedded.reference import CHUNK_CHARS, reference_documents
from ragopt.chunk import Chunk, chunk_documents
from ragopt.errors import InputError

__all__ = ["QUESTIONS_PATH", "Question", "Trap", "check", "fold", "read_questions", "resolve"]

QUESTIONS_PATH = Path(__file__).with_name("questions.jsonl")
TRAP_KINDS = frozenset({"number", "negation", "entity", "reversal"})


@dataclass(frozen=True, slots=True)
class Trap:
    """A question that looks like another one and must not share its answer."""

    question: str
    kind: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold documents and the quoted words that answer it."""

    id: str
    question: str
    answer: str
    gold: tuple[str, ...]
    paraphrases: tuple[str, ...] = ()
    traps: tuple[Trap, ...] = ()

    @property
    def wordings(self) -> tuple[str, ...]:
        """The question and its paraphrases."""
        return (self.question, *self.paraphrases)


def fold(text: str) -> str:
    """Text with every run of white space as one blank, the form answers are compared in."""
    return " ".join(text.split())


def read_questions(path: Path = QUESTIONS_PATH) -> tuple[Question, ...]:
    """Read a question file.

    Raises:
        InputError: a line is not of the form that the module describes; the line is named.
    """
    questions = []
    # Not splitlines(): a JSON string may hold U+2028 and the like as they are.
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if line.strip():
            try:
                questions.append(_question(json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path.name}, line {number}: {error!r}") from error
    return tuple(questions)


def _question(row: Mapping[str, object]) -> Question:
    unknown = set(row) - {"id", "question", "answer", "gold", "paraphrases", "traps"}
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    return Question(
        id=str(row["id"]),
        question=str(row["question"]),
        answer=str(row["answer"]),
        gold=tuple(row["gold"]),  # type: ignore[arg-type]
        paraphrases=tuple(row.get("paraphrases", ())),  # type: ignore[arg-type]
        traps=tuple(Trap(**trap) for trap in row.get("traps", ())),  # type: ignore[attr-defined]
    )


def resolve(question: Question, chunks_by_source: Mapping[str, Sequence[Chunk]]) -> list[Chunk]:
    """The chunks of the gold documents in which the answer stands; empty when there is none."""
    answer = fold(question.answer)
    return [
        chunk
        for source in question.gold
        for chunk in chunks_by_source.get(source, ())
        if answer in fold(chunk.text)
    ]


def check(questions: Iterable[Question], chunks: Iterable[Chunk]) -> list[str]:
    """Everything wrong with a question set, a line each; an empty list proves it sound.

    Proves that ids and wordings are unique, that nothing is empty, that every answer stands in a
    chunk of a gold document, and that traps are of a known kind. Some of a question's gold
    documents may be missing: one may exist in another Python version only.
    """
    by_source: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_source.setdefault(chunk.source, []).append(chunk)
    complaints = []
    ids: set[str] = set()
    wordings: dict[str, str] = {}
    for question in questions:
        where = question.id
        if where in ids:
            complaints.append(f"{where}: this id occurs twice")
        ids.add(where)
        if not fold(question.answer):
            complaints.append(f"{where}: the answer is empty, which every text holds")
        if not resolve(question, by_source):
            missing = [source for source in question.gold if source not in by_source]
            reason = f"no such document: {missing}" if missing else "not in its gold documents"
            complaints.append(f"{where}: answer {question.answer!r}: {reason}")
        if len(question.paraphrases) not in (0, 3):
            complaints.append(f"{where}: {len(question.paraphrases)} paraphrases; expected 0 or 3")
        complaints.extend(
            f"{where}: trap kind {trap.kind!r}; expected {sorted(TRAP_KINDS)}"
            for trap in question.traps
            if trap.kind not in TRAP_KINDS
        )
        for text in (*question.wordings, *(trap.question for trap in question.traps)):
            key = fold(text).casefold()
            if not key:
                complaints.append(f"{where}: an empty wording or trap")
            if key in wordings:
                complaints.append(f"{where}: {text!r} already stands in {wordings[key]}")
            wordings[key] = where
    return complaints


def main(arguments: Sequence[str]) -> int:
    """Check the question files named, or the shipped one; return the exit status."""
    chunks = list(chunk_documents(reference_documents(), max_chars=CHUNK_CHARS))
    paths = [Path(argument) for argument in arguments] or [QUESTIONS_PATH]
    questions = [question for path in paths for question in read_questions(path)]
    complaints = check(questions, chunks)
    paraphrased = sum(bool(question.paraphrases) for question in questions)
    traps = sum(len(question.traps) for question in questions)
    summary = (
        f"{len(questions)} questions ({paraphrased} with paraphrases, {traps} traps) over "
        f"{len(chunks)} chunks on Python {sys.version.split()[0]}: {len(complaints)} complaints"
    )
    sys.stdout.write("\n".join([*complaints, summary]) + "\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
