"""The embedded corpus and its questions, and a checker that finds what is wrong with them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ragopt.benchmarks.embedded import questions as questions_module
from ragopt.benchmarks.embedded import reference
from ragopt.benchmarks.embedded.questions import (
    Question,
    Trap,
    check,
    fold,
    main,
    read_questions,
    resolve,
)
from ragopt.benchmarks.embedded.reference import CHUNK_CHARS, reference_documents
from ragopt.chunk import Chunk, Document, chunk_documents
from ragopt.errors import InputError
from ragopt.quality import data_hash


@pytest.fixture(scope="module")
def documents() -> tuple[Document, ...]:
    return reference_documents()


@pytest.fixture(scope="module")
def chunks(documents: tuple[Document, ...]) -> list[Chunk]:
    return list(chunk_documents(documents, max_chars=CHUNK_CHARS))


# --------------------------------------------------------------------------------------- corpus


def test_the_corpus_is_large_enough(documents: tuple[Document, ...], chunks: list[Chunk]) -> None:
    assert len(documents) >= 4_000
    assert len(chunks) >= 5_000


def test_ids_are_unique(documents: tuple[Document, ...], chunks: list[Chunk]) -> None:
    assert len({document.id for document in documents}) == len(documents)
    assert len({chunk.id for chunk in chunks}) == len(chunks)


def test_chunks_are_verbatim_and_every_document_has_one(
    documents: tuple[Document, ...], chunks: list[Chunk]
) -> None:
    texts = {document.id: document.text for document in documents}
    assert {chunk.source for chunk in chunks} == set(texts)
    for chunk in chunks:
        assert texts[chunk.source][chunk.start : chunk.end] == chunk.text
        assert 0 < len(chunk.text) <= CHUNK_CHARS


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("topic:with", "context manager"),
        ("textwrap.dedent", "Remove any common leading whitespace"),
        ("math.hypot", "Euclidean distance"),
        ("sys.unraisablehook", "Handle an unraisable exception"),
        ("json", "JSON"),
        ("collections.OrderedDict.move_to_end", "Move an existing element"),
    ],
)
def test_topics_and_docstrings_of_python_and_c_are_there(
    documents: tuple[Document, ...], name: str, words: str
) -> None:
    (document,) = (document for document in documents if document.id == name)
    assert words in document.text
    assert document.source == f"python:{name}"
    assert document.title


def test_private_names_and_tests_are_left_out(documents: tuple[Document, ...]) -> None:
    for document in documents:
        parts = document.id.split(".")
        assert parts[0] not in {"test", "idlelib", "site-packages", "turtledemo"}
        assert not any(part.startswith("_") and not part.startswith("__") for part in parts)


FRESH = """
import sys
from ragopt.benchmarks.embedded.reference import reference_documents
from ragopt.quality import data_hash
parts = [part for document in reference_documents() for part in (document.id, document.text)]
print(data_hash(*parts), *sorted({"antigravity", "this", "turtle", "tkinter"} & set(sys.modules)))
"""


def test_another_process_reads_the_same_without_importing_anything_odd(
    documents: tuple[Document, ...],
) -> None:
    parts = [part for document in documents for part in (document.id, document.text)]
    fresh = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", FRESH], capture_output=True, text=True, check=False
    )
    assert fresh.stdout.split() == [data_hash(*parts)], fresh.stderr


def test_a_python_without_sources_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "_stdlib", lambda: tmp_path)
    with pytest.raises(InputError, match="standard-library sources"):
        reference_documents.__wrapped__()


def test_a_file_that_is_no_python_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docstring = "Words that explain this module at a length that makes them worth a question."
    (tmp_path / "json.py").write_text(f'"""{docstring}"""\nif True:\n    def f():\n        pass\n')
    (tmp_path / "ast.py").write_text("{{ template }} is not Python")
    (tmp_path / "not_of_the_library.py").write_text(f'"""{docstring}"""')
    monkeypatch.setattr(reference, "_stdlib", lambda: tmp_path)
    found = list(reference._python_docstrings())
    assert [(document.id, docstring in document.text) for document in found] == [("json", True)]


# ------------------------------------------------------------------------------------ questions


@pytest.fixture(scope="module")
def shipped() -> tuple[Question, ...]:
    return read_questions()


def test_the_shipped_questions_are_sound(
    shipped: tuple[Question, ...], chunks: list[Chunk]
) -> None:
    assert check(shipped, chunks) == []


def test_there_are_enough_of_them(shipped: tuple[Question, ...]) -> None:
    assert len(shipped) >= 100
    assert sum(len(question.paraphrases) == 3 for question in shipped) >= 40
    assert sum(len(question.traps) for question in shipped) >= 40
    assert {trap.kind for question in shipped for trap in question.traps} == {
        "number",
        "negation",
        "entity",
        "reversal",
    }


def test_every_question_resolves_to_chunks_that_hold_its_answer(
    shipped: tuple[Question, ...], chunks: list[Chunk]
) -> None:
    by_source: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_source.setdefault(chunk.source, []).append(chunk)
    for question in shipped:
        found = resolve(question, by_source)
        assert found
        assert all(chunk.source in question.gold for chunk in found)
        assert all(fold(question.answer) in fold(chunk.text) for chunk in found)


CORPUS = [
    Chunk("guide#0", "The default\n  port is 8080.", source="guide"),
    Chunk("guide#1", "It may be changed.", source="guide"),
    Chunk("faq#0", "The default port is 8080, as ever.", source="faq"),
]
SOUND = Question(
    id="net-001",
    question="Which port is the default?",
    answer="default port is 8080",
    gold=("guide", "faq"),
    paraphrases=("What is the default port?", "Which port is used?", "Port if none is given?"),
    traps=(Trap("Which port is not the default?", "negation"),),
)
OTHER = replace(SOUND, id="net-002", question="Other?", paraphrases=(), traps=())


def test_a_sound_set_has_no_complaint() -> None:
    assert check([SOUND, OTHER], CORPUS) == []
    assert check([replace(SOUND, gold=("guide", "only in another version"))], CORPUS) == []


@pytest.mark.parametrize(
    ("faulty", "complaint"),
    [
        (replace(SOUND, answer="default port is 9090"), "'default port is 9090': not in its gold"),
        (replace(SOUND, answer="may be changed", gold=("faq",)), "not in its gold documents"),
        (replace(SOUND, answer=" \n"), "the answer is empty"),
        (replace(SOUND, gold=("nowhere",)), "no such document: ['nowhere']"),
        (replace(SOUND, gold=()), "not in its gold documents"),
        (replace(SOUND, id="net-002"), "net-002: this id occurs twice"),
        (replace(SOUND, question="other?"), "'Other?' already stands in net-001"),
        (replace(SOUND, paraphrases=("A?", "B?")), "2 paraphrases; expected 0 or 3"),
        (replace(SOUND, paraphrases=("A?", "B?", " a? ")), "' a? ' already stands in net-001"),
        (replace(SOUND, paraphrases=("A?", "B?", " ")), "an empty wording"),
        (replace(SOUND, traps=(Trap("No?", "sarcasm"),)), "trap kind 'sarcasm'"),
        (replace(SOUND, traps=(Trap(SOUND.question, "entity"),)), "already stands in net-001"),
        (replace(SOUND, traps=(Trap("", "entity"),)), "an empty wording or trap"),
    ],
)
def test_a_planted_fault_is_the_only_complaint(faulty: Question, complaint: str) -> None:
    (found,) = check([faulty, OTHER], CORPUS)
    assert complaint in found


def test_several_faults_are_all_found() -> None:
    faulty = replace(SOUND, answer="nothing", traps=(Trap("Other?", "sarcasm"),))
    assert len(check([faulty, OTHER], CORPUS)) == 3


def line(**changes: object) -> str:
    row = {"id": "a-1", "question": "Q?", "answer": "A", "gold": ["guide"]}
    return json.dumps({**row, **changes}, ensure_ascii=False)


def test_a_file_is_read_as_it_is_described(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    separators = "one\u2028two\u0085three"
    rows = [
        line(),
        "",
        line(
            question=separators, paraphrases=["a", "b", "c"], traps=[{"question": "t", "kind": "k"}]
        ),
    ]
    path.write_text("\n".join(rows) + "\n", "utf-8")
    plain, full = read_questions(path)
    assert plain == Question("a-1", "Q?", "A", ("guide",))
    assert full == replace(
        plain, question=separators, paraphrases=("a", "b", "c"), traps=(Trap("t", "k"),)
    )
    assert full.wordings == (separators, "a", "b", "c")


@pytest.mark.parametrize(
    "bad",
    [
        "not json",
        "[1, 2]",
        "7",
        json.dumps({"id": "a-1", "question": "Q?", "answer": "A"}),
        line(surprise=1),
        line(gold=None),
        line(traps=[{"question": "t"}]),
        line(traps=[{"question": "t", "kind": "k", "more": 1}]),
        line(traps=["t"]),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(f"{line()}\n\n{bad}\n", "utf-8")
    with pytest.raises(InputError, match=r"questions\.jsonl, line 3"):
        read_questions(path)


def test_the_command_reports_and_fails_when_something_is_wrong(
    tmp_path: Path,
    documents: tuple[Document, ...],
    shipped: tuple[Question, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    assert f"{len(shipped)} questions" in capsys.readouterr().out
    path = tmp_path / "faulty.jsonl"
    path.write_text(line(gold=["topic:with"], answer="words that stand nowhere"), "utf-8")
    assert main([str(questions_module.QUESTIONS_PATH), str(path)]) == 1
    assert "a-1: answer 'words that stand nowhere'" in capsys.readouterr().out
