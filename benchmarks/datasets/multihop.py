"""Multi-hop questions with distractors of their own: HotpotQA and MuSiQue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragopt.benchmarks.datasets.passages import (
    Contexts,
    Evidence,
    Passages,
    identifier,
    standing,
    trimmed,
    whole,
)
from ragopt.benchmarks.datasets.source import Source, at, integer, objects, string, strings
from ragopt.benchmarks.datasets.types import ContextSet
from ragopt.chunk import Chunk
from ragopt.errors import InputError

__all__ = ["read_hotpotqa", "read_musique"]

_VERDICTS = frozenset({"yes", "no", "noanswer"})


def read_hotpotqa(path: Path, source: Source) -> ContextSet:
    """HotpotQA, distractor setting: a JSON list or JSON lines, in either published style.

    Yang et al. (2018), "HotpotQA" (arXiv 1809.09600). A passage is its sentences joined; the
    evidence is the supporting sentences, without the white space around them. Answers of
    comparisons ("yes", "no") stand nowhere and are left out. A supporting fact past the last
    sentence of its passage (the published files have a few) is left out too.

    Raises:
        InputError: a question is not of this form, or its supporting passages are not with it.
    """
    passages, contexts = Passages(), Contexts()
    for number, (where, row) in enumerate(source.rows(path), start=1):
        with at(where):
            by_title: dict[str, tuple[Chunk, list[tuple[int, int]]]] = {}
            for title, sentences in _titled(row):
                text, spans = _joined(sentences)
                if text.strip():
                    by_title.setdefault(title, (passages.chunk(title, text), spans))
            evidence = _facts(row, by_title)
            gold = {chunk for chunk, _, _ in evidence}
            chunks = [chunk for chunk, _ in by_title.values()]
            answer = string(row, "answer", blank=True)
            answers = [] if answer.strip().lower() in _VERDICTS else [answer]
            contexts.add(
                id=identifier(row.get("_id", row.get("id")), number),
                question=string(row, "question"),
                passages=chunks,
                answers=standing(answers, [chunk for chunk in chunks if chunk.id in gold]),
                evidence=evidence,
            )
    return _set(source, contexts)


def read_musique(path: Path, source: Source) -> ContextSet:
    """MuSiQue: ``paragraphs`` of which some ``is_supporting``.

    Trivedi et al. (2022), "MuSiQue" (arXiv 2108.00573). It marks no sentences: supporting
    paragraphs are evidence as a whole. Of the answer and its aliases those are kept that stand in
    a supporting paragraph.

    Raises:
        InputError: a question is not of this form; the message names it.
    """
    passages, contexts = Passages(), Contexts()
    for number, (where, row) in enumerate(source.rows(path), start=1):
        with at(where):
            chunks, gold = [], []
            for item in objects(row, "paragraphs"):
                chunk = passages.chunk(
                    string(item, "title", blank=True), string(item, "paragraph_text", "text")
                )
                chunks.append(chunk)
                if item.get("is_supporting"):
                    gold.append(chunk)
            if not row.get("answerable", True):
                gold = []
            elif not gold:
                raise InputError("no paragraph is marked is_supporting; expected the full file")
            aliases = strings(row, "answer_aliases") if row.get("answer_aliases") else []
            contexts.add(
                id=identifier(row.get("id"), number),
                question=string(row, "question"),
                passages=chunks,
                answers=standing([string(row, "answer", blank=True), *aliases], gold),
                evidence=[whole(chunk) for chunk in gold],
            )
    return _set(source, contexts)


def _set(source: Source, contexts: Contexts) -> ContextSet:
    return ContextSet(
        name=source.name, contexts=contexts.all(), distractors=True, data_hash=source.data_hash
    )


def _titled(row: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Titles and sentences: ``[[title, [sentence, …]], …]``, or both as lists of an object."""
    context = row["context"]
    if isinstance(context, dict):
        titles = strings(context, "title")
        sentences = context.get("sentences")
        if not isinstance(sentences, list) or len(sentences) != len(titles):
            raise InputError(f"{len(titles)} titles; expected a list of sentences for each")
        pairs = list(zip(titles, sentences, strict=True))
    else:
        pairs = [(title, sentences) for title, sentences in context]
    return [
        (string({"title": title}, "title"), strings({"sentences": texts}, "sentences"))
        for title, texts in pairs
    ]


def _joined(sentences: list[str]) -> tuple[str, list[tuple[int, int]]]:
    """The text of sentences and where each stands; a blank between those that lack one."""
    text = ""
    spans = []
    for sentence in sentences:
        if text and not text[-1].isspace() and not sentence[:1].isspace():
            text += " "
        spans.append(trimmed(text + sentence, len(text), len(text) + len(sentence)))
        text += sentence
    return text, spans


def _facts(
    row: Mapping[str, Any], by_title: Mapping[str, tuple[Chunk, list[tuple[int, int]]]]
) -> list[Evidence]:
    facts = row["supporting_facts"]
    if isinstance(facts, dict):
        facts = list(zip(strings(facts, "title"), facts["sent_id"], strict=True))
    evidence = []
    for title, sentence in facts:
        if title not in by_title:
            raise InputError(
                f"the supporting passage {title!r} is not with the question; expected a file of "
                "the distractor setting"
            )
        chunk, spans = by_title[title]
        place = integer(sentence, "supporting fact")
        if place < len(spans) and spans[place][0] < spans[place][1]:
            evidence.append((chunk.id, *spans[place]))
    if not evidence:
        raise InputError("no supporting fact is a sentence of its passage")
    return evidence
