"""A user's question file: read whole, or refused with line and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.errors import InputError
from ragopt.questions import EvalQuestion, read_questions

WORDS = st.text(min_size=1).map(str.strip).filter(bool)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "questions.jsonl"


def write(file: Path, *lines: object) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def refusal(file: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_questions(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_all_fields(file: Path) -> None:
    write(
        file,
        {
            "id": "ants-1",
            "question": " When do ants sleep? ",
            "answer": "in winter",
            "gold": ["ants.md", "They sleep in winter."],
            "paraphrases": ["ants sleep when"],
            "area": "ignored",
        },
    )
    assert read_questions(file) == (
        EvalQuestion(
            "ants-1",
            "When do ants sleep?",
            "in winter",
            ("ants.md", "They sleep in winter."),
            ("ants sleep when",),
        ),
    )


def test_ids_default_to_the_line_and_may_be_numbers(file: Path) -> None:
    file.write_text('\n{"question": "a"}\n\n{"question": "b", "id": 7}\r\n{"question": "c"}')
    assert [question.id for question in read_questions(str(file))] == ["line 2", "7", "line 5"]


@pytest.mark.parametrize(
    ("fields", "has_gold"),
    [
        ({}, False),
        ({"answer": None, "gold": None}, False),
        ({"answer": " ", "gold": []}, False),
        ({"paraphrases": ["other words"]}, False),
        ({"answer": "42"}, True),
        ({"gold": ["a.md"]}, True),
    ],
)
def test_a_question_without_answer_and_gold_is_read_and_flagged(
    file: Path, fields: dict[str, object], has_gold: bool
) -> None:
    (question,) = read_questions(write(file, {"question": "why?", **fields}))
    assert question.has_gold is has_gold


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"answer": "x"}, "field 'question' is missing or empty (fields here: 'answer')"),
        ({}, "field 'question' is missing or empty (fields here: none)"),
        ({"question": "  "}, "field 'question' is missing or empty"),
        ({"question": 7}, "field 'question': expected a string, got int"),
        ({"question": "q", "answer": ["x"]}, "field 'answer': expected a string, got list"),
        ({"question": "q", "gold": "a.md"}, "field 'gold': expected a list of strings, got str"),
        (
            {"question": "q", "gold": ["a", 3]},
            "field 'gold': expected strings with text, got 3 at 2",
        ),
        ({"question": "q", "paraphrases": [""]}, "field 'paraphrases': expected strings with text"),
        ({"question": "q", "id": True}, "field 'id': expected a string, got bool"),
        ({"question": "q", "answers": "x"}, "field 'answers' is not known; was 'answer' meant?"),
        ({"question": "q", "anwser": "x"}, "field 'anwser' is not known; was 'answer' meant?"),
        ({"question": "q", "Gold": ["x"]}, "field 'Gold' is not known; was 'gold' meant?"),
        (["question"], "expected a JSON object, got an array"),
        ("question", "expected a JSON object, got str"),
    ],
)
def test_an_unusable_line_is_refused_by_line_and_field(
    file: Path, line: object, message: str
) -> None:
    refused = refusal(write(file, {"question": "fine"}, line))
    assert f"line 2: {message}" in refused
    assert '{"question": "..."' in refused


def test_fields_that_only_look_a_little_alike_are_ignored(file: Path) -> None:
    write(file, {"question": "q", "idx": 1, "category": "x", "traps": [], "score": 0.5})
    assert read_questions(file) == (EvalQuestion("line 1", "q"),)


def test_two_questions_of_one_id_are_refused(file: Path) -> None:
    write(file, {"question": "a", "id": "1"}, {"question": "b"}, {"question": "c", "id": 1})
    assert "line 3: field 'id': '1' is taken by line 1" in refusal(file)


def test_several_bad_lines_are_told_at_once(file: Path) -> None:
    file.write_text('{"question": "a"}\n' + "nonsense\n" * 8)
    refused = refusal(file)
    assert "line 2: not JSON" in refused
    assert "line 6" in refused
    assert "line 7" not in refused
    assert "and 3 more" in refused


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf\n"])
def test_a_file_without_questions_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert "no questions" in refusal(file)


def test_missing_file_folder_and_impossible_name_are_refused(file: Path, tmp_path: Path) -> None:
    assert "No such file" in refusal(file)
    assert "not a regular file" in refusal(tmp_path)
    with pytest.raises(InputError, match="NUL"):
        read_questions("a\0b")


def test_a_line_that_is_not_utf8_is_refused(file: Path) -> None:
    file.write_bytes(b'{"question": "a"}\n{"question": "caf\xe9"}\n')
    assert "line 2: not UTF-8: byte 0xE9" in refusal(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark(file: Path, encoding: str) -> None:
    file.write_text('{"question": "Où?"}\n{"question": "né\u2028e"}', encoding=encoding)
    assert [question.question for question in read_questions(file)] == ["Où?", "né\u2028e"]


@given(
    st.lists(
        st.builds(
            EvalQuestion,
            st.uuids().map(str),
            WORDS,
            st.just("") | WORDS,
            st.lists(WORDS, max_size=3).map(tuple),
            st.lists(WORDS, max_size=3).map(tuple),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda question: question.id,
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, questions: list[EvalQuestion]
) -> None:
    names = ("id", "question", "answer", "gold", "paraphrases")
    file = tmp_path_factory.mktemp("questions") / "q.jsonl"
    write(file, *({name: getattr(question, name) for name in names} for question in questions))
    assert read_questions(file) == tuple(questions)
