"""Questions with the passage that answers them: SQuAD, Natural Questions, CLAPNQ, PubMedQA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragopt.benchmarks.datasets.passages import (
    Contexts,
    Evidence,
    Passages,
    identifier,
    occurrences,
    sentence_around,
    standing,
    supporting,
    whole,
)
from ragopt.benchmarks.datasets.source import Source, at, objects, string, strings
from ragopt.benchmarks.datasets.types import ContextSet
from ragopt.chunk import Chunk
from ragopt.errors import InputError

__all__ = ["read_clapnq", "read_nq", "read_pubmedqa", "read_squad", "read_squad_rows"]


def read_squad(path: Path, source: Source) -> ContextSet:
    """SQuAD 1.1 or 2.0 as published: articles, paragraphs, questions with ``answer_start``.

    Rajpurkar et al. (2016, arXiv 1606.05250; 2018, arXiv 1806.03822). Evidence is the sentence
    that holds the first annotator's answer.

    Raises:
        InputError: not of this form, or an answer does not stand where it is said to.
    """
    passages, contexts = Passages(), Contexts()
    content = source.json(path)
    with at(str(path)):
        articles = objects(content, "data")
    for number, article in enumerate(articles):
        for where, title, paragraph in _paragraphs(f"{path}, article {number}", article):
            with at(where):
                chunk = passages.chunk(title, string(paragraph, "context"))
                for question in objects(paragraph, "qas"):
                    _add_marked(contexts, chunk, question)
    return _set(source, contexts)


def read_squad_rows(path: Path, source: Source) -> ContextSet:
    """SQuAD flattened, an object a question: ``context``, ``question``, ``answers``.

    ``answers`` are texts, or ``{"text": [...], "answer_start": [...]}``. Without ``answer_start``
    the evidence is the sentence that holds the answers, the whole passage where several do.

    Raises:
        InputError: a row is not of this form; the message names it.
    """
    passages, contexts = Passages(), Contexts()
    for number, (where, row) in enumerate(source.rows(path), start=1):
        with at(where):
            chunk = passages.chunk(string(row, "title", blank=True), string(row, "context"))
            if isinstance(row.get("answers"), dict):
                marked = row["answers"]
                texts, starts = strings(marked, "text"), marked["answer_start"]
                pairs = [
                    {"text": text, "answer_start": start}
                    for text, start in zip(texts, starts, strict=True)
                ]
                _add_marked(contexts, chunk, {"id": number, **row, "answers": pairs})
                continue
            answers = [] if row.get("impossible") else strings(row, "answers")
            # Some annotators marked parts of words.
            found = standing(answers, [chunk]) or [text for text in answers if text in chunk.text]
            if answers and not found:
                raise InputError(f"none of the answers {answers} stands in the context")
            contexts.add(
                id=identifier(row.get("id"), number),
                question=string(row, "question"),
                passages=[chunk],
                answers=found,
                evidence=supporting(chunk, found) if found else (),
            )
    return _set(source, contexts)


def read_nq(path: Path, source: Source) -> ContextSet:
    """Natural Questions with the passage that answers each: ``question``, ``answers``, ``text``.

    Kwiatkowski et al. (2019), "Natural Questions". Evidence as of a flat SQuAD file.

    Raises:
        InputError: a row is not of this form; the message names it.
    """
    passages, contexts = Passages(), Contexts()
    for number, (where, row) in enumerate(source.rows(path), start=1):
        with at(where):
            chunk = passages.chunk(string(row, "title", blank=True), string(row, "text"))
            answers = standing(strings(row, "answers"), [chunk])
            contexts.add(
                id=identifier(row.get("id"), number),
                question=string(row, "question"),
                passages=[chunk],
                answers=answers,
                evidence=supporting(chunk, answers),
            )
    return _set(source, contexts)


def read_clapnq(path: Path, source: Source) -> ContextSet:
    """CLAPNQ: ``input``, ``passages`` with ``sentences``, ``output`` with ``selected_sentences``.

    Rosenthal et al. (2025), "CLAPnq" (arXiv 2404.02103). Evidence is what any annotator selected.
    Its answers are written by hand; the few that stand in the passage verbatim are kept.

    Raises:
        InputError: a row is not of this form; the message names it.
    """
    passages, contexts = Passages(), Contexts()
    for number, (where, row) in enumerate(source.rows(path), start=1):
        with at(where):
            given = objects(row, "passages")
            chunks = [
                passages.chunk(string(item, "title", blank=True), string(item, "text"))
                for item in given
            ]
            outputs = objects(row, "output")
            selected = {
                text
                for output in outputs
                if output.get("selected_sentences")
                for text in strings(output, "selected_sentences")
            }
            answers = [string(output, "answer", blank=True) for output in outputs]
            contexts.add(
                id=identifier(row.get("id"), number),
                question=string(row, "input"),
                passages=chunks,
                answers=standing(answers, chunks),
                evidence=_selected(chunks, given, selected),
            )
    return _set(source, contexts)


def read_pubmedqa(path: Path, source: Source) -> ContextSet:
    """PubMedQA: the sections of an abstract and a question that its conclusion answers.

    Jin et al. (2019), "PubMedQA" (arXiv 1909.06146), as JSON lines or the published object by
    PubMed id. The source marks no sentences and answers yes, no or maybe, which stands nowhere:
    every section is evidence as a whole, and there are no answers.

    Raises:
        InputError: a row is not of this form; the message names it.
    """
    passages, contexts = Passages(), Contexts()
    for number, (where, row) in enumerate(_pubmed_rows(path, source), start=1):
        with at(where):
            chunks = [passages.chunk("", text) for text in strings(row, "CONTEXTS")]
            contexts.add(
                id=identifier(row.get("pmid"), number),
                question=string(row, "QUESTION"),
                passages=chunks,
                evidence=[whole(chunk) for chunk in chunks],
            )
    return _set(source, contexts)


def _set(source: Source, contexts: Contexts) -> ContextSet:
    return ContextSet(
        name=source.name,
        contexts=contexts.all(),
        distractors=False,
        data_hash=source.data_hash,
    )


def _paragraphs(
    where: str, article: Mapping[str, Any]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    with at(where):
        title = string(article, "title", blank=True)
        paragraphs = objects(article, "paragraphs")
    for number, paragraph in enumerate(paragraphs):
        yield f"{where}, paragraph {number}", title, paragraph


def _add_marked(contexts: Contexts, chunk: Chunk, question: Mapping[str, Any]) -> None:
    """A question whose answers say where they begin."""
    impossible = question.get("is_impossible") or question.get("impossible")
    answers = [] if impossible else objects(question, "answers")
    evidence: list[Evidence] = []
    texts = []
    for answer in answers:
        text, start = string(answer, "text"), answer["answer_start"]
        if chunk.text[start : start + len(text)] != text:
            raise InputError(
                f"question {question.get('id')!r}: the answer {text!r} does not stand at "
                f"{start}; expected offsets in characters of the context"
            )
        texts.append(text.strip())
        begin = sentence_around(chunk.text, start)[0]
        evidence.append((chunk.id, begin, sentence_around(chunk.text, start + len(text) - 1)[1]))
    contexts.add(
        id=identifier(question.get("id"), len(contexts) + 1),
        question=string(question, "question"),
        passages=[chunk],
        answers=texts,
        evidence=evidence[:1],
    )


def _selected(
    chunks: list[Chunk], given: list[dict[str, Any]], selected: set[str]
) -> list[Evidence]:
    """Selected sentences by their offsets; a sentence that occurs twice counts at both places."""
    evidence: list[Evidence] = []
    missing = set(selected)
    for chunk, item in zip(chunks, given, strict=True):
        place = 0
        for sentence in strings(item, "sentences"):
            found = chunk.text.find(sentence, place)
            if found < 0:
                raise InputError(f"sentence {sentence[:60]!r} does not stand in the passage")
            place = found + len(sentence)
            if sentence in selected and sentence.strip():
                evidence.append((chunk.id, found, place))
                missing.discard(sentence)
    lost = [text for text in missing if text.strip() and not _held(text, chunks, evidence)]
    if lost:
        raise InputError(f"selected sentence {lost[0][:60]!r} does not stand in the passage")
    return evidence


def _held(text: str, chunks: list[Chunk], evidence: list[Evidence]) -> bool:
    """Find a selection that is not one of the sentences; counted in where it stands."""
    for chunk in chunks:
        places = occurrences(chunk.text, text)
        if places:
            evidence.append((chunk.id, places[0], places[0] + len(text.strip())))
            return True
    return False


def _pubmed_rows(path: Path, source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    if ".jsonl" in path.suffixes or isinstance(source.json(path), list):
        yield from source.rows(path)
        return
    for pmid, row in source.json(path).items():
        if not isinstance(row, dict):
            raise InputError(f"{path}, {pmid!r}: expected an object")
        yield f"{path}, {pmid!r}", {"pmid": pmid, **row}
