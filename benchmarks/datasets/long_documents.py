"""Questions over long documents: chunking evaluation folders and QMSum meetings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragopt.benchmarks.datasets.passages import Contexts, Evidence, trimmed
from ragopt.benchmarks.datasets.source import Source, at, integer, objects, string
from ragopt.benchmarks.datasets.types import ContextSet
from ragopt.chunk import Chunk, Document, chunk_document
from ragopt.errors import InputError

__all__ = ["is_chunking", "read_chunking", "read_qmsum"]

_CHARS = 800  # of a passage, at most; a meeting's single turn may be longer


def is_chunking(folder: Path) -> bool:
    """Whether a folder holds documents and questions with offsets into them."""
    return (folder / "questions.jsonl").is_file() and any(folder.glob("*.md"))


def read_chunking(folder: Path, source: Source) -> ContextSet:
    """A folder of ``*.md`` and ``questions.jsonl`` with ``references`` into them.

    Smith and Troynikov (2024), "Evaluating Chunking Strategies for Retrieval". A question's
    passages are its whole document in chunks of at most 800 characters; its evidence is the
    references, cut where chunks end. The source has no answers besides those.

    Raises:
        InputError: no such document, or a reference that does not stand where it is said to.
    """
    contexts = Contexts()
    documents: dict[str, tuple[str, tuple[Chunk, ...]]] = {}
    for path in sorted(folder.glob("*.md")):
        text = source.text(path)
        chunks = tuple(chunk_document(Document(id=path.stem, text=text), max_chars=_CHARS))
        documents[path.stem] = (text, chunks)
    for number, (where, row) in enumerate(source.rows(folder / "questions.jsonl"), start=1):
        with at(where):
            name = string(row, "corpus_id")
            if name not in documents:
                raise InputError(f"corpus_id {name!r}; expected one of {sorted(documents)}")
            text, chunks = documents[name]
            evidence: list[Evidence] = []
            for reference in _references(row):
                evidence += _parts(_span(reference, text), chunks)
            contexts.add(
                id=str(number),
                question=string(row, "question"),
                passages=chunks,
                evidence=evidence,
            )
    return _set(source, contexts)


def read_qmsum(path: Path, source: Source) -> ContextSet:
    """QMSum: meetings with questions and the turns that answer them.

    Zhong et al. (2021), "QMSum" (arXiv 2104.05938). A question's passages are its whole meeting,
    consecutive turns together up to 800 characters; its evidence is the relevant turns. Answers
    are summaries, which stand nowhere. Questions about a meeting as a whole have no relevant turns
    and are left out.

    Raises:
        InputError: a meeting is not of this form, or a span is outside it.
    """
    contexts = Contexts()
    for number, (where, row) in enumerate(source.rows(path), start=1):
        with at(where):
            chunks, turns = _meeting(f"meeting-{number}", objects(row, "meeting_transcripts"))
            for place, query in enumerate(objects(row, "specific_query_list"), start=1):
                contexts.add(
                    id=f"{number}/{place}",
                    question=string(query, "query"),
                    passages=chunks,
                    evidence=_relevant(query, turns),
                )
    return _set(source, contexts)


def _set(source: Source, contexts: Contexts) -> ContextSet:
    return ContextSet(
        name=source.name, contexts=contexts.all(), distractors=True, data_hash=source.data_hash
    )


def _references(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The references; the published CSV has them as JSON text."""
    given = row.get("references")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise InputError(f"field 'references' is not JSON: {error}") from error
    return objects({"references": given}, "references")


def _span(reference: Mapping[str, Any], text: str) -> tuple[int, int]:
    start = integer(reference.get("start_index"), "start_index")
    end = integer(reference.get("end_index"), "end_index", least=start + 1)
    content = string(reference, "content")
    if text[start:end] != content:
        raise InputError(
            f"reference {content[:60]!r} does not stand at {start}:{end}; expected offsets in "
            "characters of the document as it is on disk"
        )
    return trimmed(text, start, end)


def _parts(span: tuple[int, int], chunks: Sequence[Chunk]) -> list[Evidence]:
    """A span of a document, cut along its chunks."""
    parts = []
    for chunk in chunks:
        start, end = max(span[0], chunk.start), min(span[1], chunk.end)
        if start < end:
            begin, stop = trimmed(chunk.text, start - chunk.start, end - chunk.start)
            if begin < stop:
                parts.append((chunk.id, begin, stop))
    return parts


def _meeting(
    name: str, turns: Sequence[Mapping[str, Any]]
) -> tuple[list[Chunk], list[Evidence | None]]:
    """Consecutive turns packed into chunks, and where each turn stands; None for a silent one."""
    lines = [f"{string(turn, 'speaker')}: {string(turn, 'content', blank=True)}" for turn in turns]
    silent = [not string(turn, "content", blank=True).strip() for turn in turns]
    chunks: list[Chunk] = []
    places: list[Evidence | None] = []
    start = 0
    for group in _packed(lines):
        text = "\n".join(lines[turn] for turn in group)
        chunk = Chunk(f"{name}#{len(chunks)}", text, source=name, start=start)
        place = 0
        for turn in group:
            end = place + len(lines[turn])
            places.append(None if silent[turn] else (chunk.id, *trimmed(text, place, end)))
            place = end + 1
        chunks.append(chunk)
        start += len(text) + 1
    return chunks, places


def _packed(lines: Sequence[str]) -> list[list[int]]:
    """Numbers of consecutive lines that make a passage each."""
    groups: list[list[int]] = []
    size = 0
    for number, line in enumerate(lines):
        if not groups or size + 1 + len(line) > _CHARS:
            groups.append([])
            size = -1
        groups[-1].append(number)
        size += 1 + len(line)
    return groups


def _relevant(query: Mapping[str, Any], turns: Sequence[Evidence | None]) -> list[Evidence]:
    evidence = []
    for first, last in query["relevant_text_span"]:
        begin = integer(first, "relevant_text_span")
        end = integer(last, "relevant_text_span", least=begin)
        if end >= len(turns):
            raise InputError(f"relevant_text_span {begin}-{end} of {len(turns)} turns")
        evidence += [turn for turn in turns[begin : end + 1] if turn is not None]
    if not evidence:
        raise InputError("no turn is relevant; expected relevant_text_span with at least one")
    return evidence
