"""Input that ``ragopt savings`` cannot use: one sentence with the way out, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_places import Place, write_questions

Refused = Callable[..., str]

PRICES = {
    "source": "our contract",
    "as_of": "2026-11-01",
    "models": {"mine": {"provider": "me", "mode": "chat", "input": 1, "output": 2}},
}


def put(path: Path, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, "utf-8")
    return path


# Documents -------------------------------------------------------------------------------


def test_a_folder_that_is_missing(refused: Refused) -> None:
    sentence = refused(docs="nowhere")
    assert "'nowhere': no such file or folder; expected a folder of documents (.txt, " in sentence


@pytest.mark.parametrize("name", ["[bold]docs[/bold]", "[/docs]", ":tada:", "a\x1b[31mb", "a\nb"])
def test_a_name_is_told_as_it_is_on_one_line(name: str, refused: Refused) -> None:
    assert f"{name!r}: no such file or folder" in refused(docs=name)


def test_an_empty_folder(refused: Refused, place: Place) -> None:
    (place.folder / "empty").mkdir()
    sentence = refused(docs="empty")
    assert sentence.startswith(
        "empty: no document could be read; found nothing, hidden files aside"
    )
    assert "Supported are .txt, .md, " in sentence


def test_a_folder_of_other_kinds(refused: Refused, place: Place) -> None:
    (place.folder / "office").mkdir()
    for name in ("a.docx", "b.docx", "c.xlsx"):
        put(place.folder / "office" / name, "x")
    assert "found no supported file, others: 2 .docx, 1 .xlsx" in refused(docs="office")


def test_a_folder_of_unreadable_files(refused: Refused, place: Place) -> None:
    (place.folder / "bad").mkdir()
    (place.folder / "bad" / "latin.md").write_bytes(b"caf\xe9")
    (place.folder / "bad" / "empty.txt").touch()
    sentence = refused(docs="bad")
    assert "found 2 supported; could not be read: empty.txt: empty; latin.md: not UTF-8" in sentence


def test_documents_without_a_word(refused: Refused, place: Place) -> None:
    (place.folder / "signs").mkdir()
    put(place.folder / "signs" / "---.txt", "... --- ...")  # the title is made of the name
    asked = [{"question": f"{number}?", "answer": "---"} for number in range(8)]
    write_questions(place, asked)
    assert "no text holds a single word" in refused(docs="signs")


# Questions -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_no_questions(content: str, refused: Refused, place: Place) -> None:
    put(place.questions, content)
    assert 'no questions; expected lines such as {"question"' in refused()


def test_a_file_of_questions_that_is_missing(refused: Refused) -> None:
    assert "nowhere.jsonl: cannot be read: No such file" in refused(questions="nowhere.jsonl")


def test_a_folder_for_questions(refused: Refused) -> None:
    assert "docs: not a regular file but a folder" in refused(questions="docs")


def test_a_malformed_line_is_named(refused: Refused, place: Place) -> None:
    lines = place.questions.read_text("utf-8").splitlines()
    put(place.questions, "\n".join([*lines[:2], '{"question": "What?",', *lines[2:]]))
    assert "questions.jsonl: line 3: not JSON: " in refused()


def test_all_malformed_lines_are_named_and_the_others_counted(
    refused: Refused, place: Place
) -> None:
    put(place.questions, "[]\n" * 7 + place.questions.read_text("utf-8"))
    sentence = refused()
    assert "line 1: expected a JSON object, got an array; line 2: " in sentence
    assert "line 5: expected a JSON object, got an array; and 2 more. Expected one " in sentence


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"answer": "12 days"}, "field 'question' is missing or empty (fields here: 'answer')"),
        ({"question": 7}, "field 'question': expected a string, got int"),
        ({"question": "Why?", "anwser": "x"}, "'anwser' is not known; was 'answer' meant?"),
        ({"question": "Why?", "gold": "guide.md"}, "field 'gold': expected a list of strings"),
        ({"question": "Why?", "paraphrases": [""]}, "field 'paraphrases': expected strings"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(
    fields: dict[str, object], words: str, refused: Refused, place: Place
) -> None:
    write_questions(place, [{"question": "Who?", "answer": "x"}, fields])
    sentence = refused()
    assert "questions.jsonl: line 2: " in sentence
    assert words in sentence


def test_questions_that_are_no_utf_8(refused: Refused, place: Place) -> None:
    place.questions.write_bytes(b'{"question": "caf\xe9?"}\n')
    assert "line 1: not UTF-8: byte 0xE9" in refused()


def test_questions_without_any_evidence(refused: Refused, place: Place) -> None:
    write_questions(
        place,
        [
            *(
                {"question": f"Who is {number}?", "answer": "words of no page"}
                for number in range(5)
            ),
            {"question": "Who?"},
            {"question": "Whose?", "gold": ["nowhere.md"]},
        ],
    )
    sentence = refused()
    assert (
        "questions.jsonl: none of the 7 questions has evidence in docs; give each an " in sentence
    )
    assert '"answer" quoted from the documents, or the "gold" document\'s name' in sentence


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_than_four_questions(count: int, refused: Refused, place: Place) -> None:
    lines = place.questions.read_text("utf-8").splitlines()
    put(place.questions, "\n".join(lines[:count]))
    sentence = refused()
    assert sentence.startswith(f"{count} question")
    assert "at least 4" in sentence


def test_the_same_words_twice(refused: Refused, place: Place) -> None:
    lines = place.questions.read_text("utf-8").splitlines()
    put(place.questions, "\n".join([*lines, lines[0]]))
    assert "are both put as 'What is the retention period of bucket Acacia?'" in refused()


def test_an_id_twice(refused: Refused, place: Place) -> None:
    write_questions(place, [{"id": 1, "question": f"{word}?"} for word in ("Who", "What")])
    assert "line 2: field 'id': '1' is taken by line 1" in refused()


# Models and prices -----------------------------------------------------------------------


def test_an_unknown_model_with_names_close_to_it(refused: Refused) -> None:
    sentence = refused(model="gpt-5-minni")
    assert "--model: no price for model 'gpt-5-minni' in " in sentence
    assert "close: gpt-5-mini, " in sentence
    assert sentence.endswith("(here: --prices FILE)")


def test_an_unknown_model_with_none_close_to_it(refused: Refused) -> None:
    assert "'xyzzyx' in litellm" in refused(model="xyzzyx")
    assert "no listed name is close" in refused(model="xyzzyx")


def test_an_empty_model(refused: Refused) -> None:
    assert "expected the name of a model" in refused(model="")


@pytest.mark.parametrize("model", ["text-embedding-3-small", "voyage/rerank-2"])
def test_a_model_that_does_not_answer_is_no_free_one(model: str, refused: Refused) -> None:
    sentence = refused(model=model)
    assert f"{model}: no standard price for output tokens is published" in sentence


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"mode": "chat", "input": 1}, "no standard price for output tokens"),
        ({"mode": "chat", "output": 1}, "no standard price for input tokens"),
        ({"mode": "rerank", "per_search": 0.002}, "billed per search"),
    ],
)
def test_half_a_price_is_none(
    row: dict[str, object], words: str, refused: Refused, place: Place
) -> None:
    put(place.folder / "prices.json", {**PRICES, "models": {"mine": {"provider": "me", **row}}})
    assert words in refused(model="mine", prices="prices.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "prices.json: not valid JSON"),
        ("[]", "prices.json: expected a JSON object, got list"),
        ({**PRICES, "as_of": "yesterday"}, "as_of='yesterday': expected the date of these prices"),
        ({**PRICES, "models": {}}, 'expected "models": {name: {...}} with at least one model'),
        ({**PRICES, "modles": {}}, "unknown field 'modles'; did you mean 'models'?"),
        (
            {**PRICES, "models": {"mine": {"provider": "me", "mode": "chat", "input": -1}}},
            "model 'mine': input=-1: expected",
        ),
        (
            {**PRICES, "models": {"mine": {"provider": "me", "mode": "chat", "imput": 1}}},
            "model 'mine': unknown field 'imput'; did you mean 'input'?",
        ),
        ({**PRICES, "currency": "EUR"}, "currency='EUR': expected 'USD'"),
    ],
)
def test_prices_that_cannot_be_used(
    content: object, words: str, refused: Refused, place: Place
) -> None:
    put(place.folder / "prices.json", content)
    sentence = refused(model="mine", prices="prices.json")
    assert "prices.json" in sentence
    assert words in sentence


def test_prices_that_are_missing(refused: Refused) -> None:
    assert "nowhere.json: cannot be read" in refused(prices="nowhere.json")
    assert "docs: cannot be read" in refused(prices="docs")


# Output ----------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["json", "html"])
def test_output_into_a_folder_that_is_missing(option: str, refused: Refused) -> None:
    sentence = refused(**{option: "nowhere/out"})
    assert sentence == "nowhere/out: there is no folder nowhere; make it first"


def test_output_below_a_file(refused: Refused) -> None:
    sentence = refused(json="questions.jsonl/out")
    assert sentence == "questions.jsonl/out: there is no folder questions.jsonl; make it first"


@pytest.mark.parametrize("option", ["json", "html"])
@pytest.mark.parametrize("folder", ["docs", ".", ""])
def test_output_onto_a_folder(option: str, folder: str, refused: Refused) -> None:
    sentence = refused(**{option: folder})
    assert sentence == f"{folder or '.'} is a folder; give the name of a file to write"


@pytest.mark.parametrize("option", ["json", "html"])
def test_output_over_an_input(option: str, refused: Refused, place: Place) -> None:
    put(place.folder / "prices.json", PRICES)
    for name in ("questions.jsonl", "docs/../questions.jsonl", "prices.json"):
        sentence = refused(prices="prices.json", **{option: name})
        assert sentence == f"{name}: another option names this file; give one of its own"


def test_output_over_an_input_by_a_link(refused: Refused, place: Place) -> None:
    (place.folder / "link.json").symlink_to(place.questions)
    assert "link.json: another option names this file" in refused(json="link.json")


def test_both_outputs_into_one_file(refused: Refused) -> None:
    assert "./out: another option" in refused(json="out", html="./out").replace("out:", "./out:", 1)


def test_bad_output_is_found_before_bad_documents(refused: Refused) -> None:
    """It is checked first: the measurement takes minutes."""
    assert "there is no folder" in refused(json="nowhere/out", docs="nowhere")
