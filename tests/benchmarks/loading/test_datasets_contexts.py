"""Questions with contexts: SQuAD, NQ, CLAPNQ, PubMedQA, HotpotQA, MuSiQue, long documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.benchmarks.datasets import Context, ContextSet, load
from ragopt.benchmarks.datasets.passages import occurrences, sentence_around
from ragopt.errors import InputError

Write = Callable[..., Path]

TEXT = "Normandy is a region in France. Its dukes took England in 1066. It has cows."
HOTPOT: dict[str, Any] = {
    "_id": "h1",
    "question": "Who?",
    "answer": "Ada Lovelace",
    "context": [
        ["One", ["First sentence.", " It was Ada Lovelace.", " Third."]],
        ["Two", ["Other text.", "No blank before this."]],
        ["Three", ["A distractor on Ada Lovelace."]],
    ],
    "supporting_facts": [["One", 1], ["Two", 1]],
}


def read(path: Path) -> ContextSet:
    found = load(path)
    assert isinstance(found, ContextSet)
    return found


def quotes(context: Context) -> list[str]:
    """The evidence as text."""
    by_id = {chunk.id: chunk.text for chunk in context.passages}
    return [by_id[chunk][start:end] for chunk, start, end in context.evidence]


def squad(**question: Any) -> dict[str, Any]:
    asked = {"id": "s1", "question": "Which country?", "answers": [], **question}
    return {
        "version": "2.0",
        "data": [{"title": "T", "paragraphs": [{"context": TEXT, "qas": [asked]}]}],
    }


def test_squad_as_published(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    answers = [{"text": "France", "answer_start": 24}, {"text": "in France", "answer_start": 21}]
    path.write_text(json.dumps(squad(answers=answers)))
    (context,) = read(path).contexts
    assert context.answers == ("France", "in France")
    assert quotes(context) == ["Normandy is a region in France."]
    assert context.passages[0].title == "T"


def test_squad_unanswerable_and_misplaced(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(squad(is_impossible=True, plausible_answers=[])))
    (context,) = read(path).contexts
    assert (context.answers, context.evidence) == ((), ())
    path.write_text(json.dumps(squad(answers=[{"text": "France", "answer_start": 25}])))
    with pytest.raises(InputError, match=r"article 0, paragraph 0: question 's1': the answer"):
        read(path)


def test_flat_squad_marks_the_sentence_only_where_it_is_certain(write_rows: Write) -> None:
    rows = [
        {"id": "a", "context": TEXT, "question": "Who?", "answers": ["England"]},
        {"id": "b", "context": TEXT + " England.", "question": "Who?", "answers": ["England"]},
        {"id": "c", "context": TEXT, "question": "No?", "answers": [], "impossible": True},
        {
            "id": "d",
            "context": TEXT,
            "question": "When?",
            "answers": {"text": ["1066"], "answer_start": [58]},
        },
    ]
    found = read(write_rows("s.jsonl", rows))
    first, second, third, fourth = found.contexts
    assert quotes(first) == ["Its dukes took England in 1066."]
    assert quotes(second) == [TEXT + " England."]
    assert quotes(third) == []
    assert quotes(fourth) == ["Its dukes took England in 1066."]
    assert first.passages[0] is third.passages[0]
    assert first.passages[0].id != second.passages[0].id
    assert not found.distractors


def test_flat_squad_rows_that_cannot_be_used(write_rows: Write) -> None:
    good = {"id": "a", "context": TEXT, "question": "Who?", "answers": ["England"]}
    for row, reason in (
        (good, "question id 'a' occurs twice"),
        ({**good, "id": "b", "answers": ["Spain"]}, "none of the answers"),
        ({**good, "id": "b", "answers": "England"}, "expected a list of strings"),
        ({**good, "id": "b", "context": " "}, "field 'context' is empty"),
        ({"id": "b", "context": TEXT, "answers": []}, "no field 'question'"),
        ({**good, "id": ["b"]}, "expected text or a whole number"),
        ({**good, "id": "b", "answers": {"text": ["a"]}}, "not of the expected form"),
    ):
        with pytest.raises(InputError, match=rf"line 2: .*{reason}"):
            read(write_rows("s.jsonl", [good, row]))


def test_nq_keeps_the_answers_that_stand_as_words(write_rows: Write) -> None:
    row = {"question": "Who?", "answers": ["1066", "AD 1066", "ow"], "title": "T", "text": TEXT}
    (context,) = read(write_rows("nq.jsonl", [row])).contexts
    assert context.answers == ("1066",)
    assert quotes(context) == ["Its dukes took England in 1066."]
    assert context.id == "1"


def test_clapnq_marks_selected_sentences(write_rows: Write) -> None:
    text = "One is here . Two  is here . Three is here ."
    row = {
        "id": "c",
        "input": "Which?",
        "passages": [
            {
                "title": "T",
                "text": text,
                "sentences": ["One is here .", "Two  is here .", "Three is here ."],
            }
        ],
        "output": [
            {"answer": "Nobody wrote this", "selected_sentences": ["Three is here ."]},
            {"answer": "Two  is here", "selected_sentences": ["One is here ."]},
        ],
    }
    (context,) = read(write_rows("c.jsonl", [row])).contexts
    assert quotes(context) == ["One is here .", "Three is here ."]
    assert context.answers == ("Two  is here",)
    row["output"] = [{"answer": "", "selected_sentences": []}]
    (context,) = read(write_rows("c.jsonl", [row])).contexts
    assert (context.answers, context.evidence) == ((), ())
    row["output"] = [{"answer": "", "selected_sentences": ["Four is not here ."]}]
    with pytest.raises(InputError, match="line 1: selected sentence 'Four"):
        read(write_rows("c.jsonl", [row]))


def test_pubmedqa_in_both_forms(tmp_path: Path, write_rows: Write) -> None:
    row = {"QUESTION": "Does it?", "CONTEXTS": ["Part one.", "Part two."], "final_decision": "yes"}
    (context,) = read(write_rows("p.jsonl", [{"pmid": "17", **row}])).contexts
    assert context.id == "17"
    assert context.answers == ()
    assert quotes(context) == ["Part one.", "Part two."]
    path = tmp_path / "ori_pqal.json"
    path.write_text(json.dumps({"17": row}))
    assert read(path).contexts == (context,)


@pytest.mark.parametrize("style", ["list", "lines", "columns"])
def test_hotpotqa_in_every_style(tmp_path: Path, write_rows: Write, style: str) -> None:
    row = dict(HOTPOT)
    if style == "columns":
        row["id"] = row.pop("_id")
        row["context"] = {
            "title": [title for title, _ in HOTPOT["context"]],
            "sentences": [sentences for _, sentences in HOTPOT["context"]],
        }
        row["supporting_facts"] = {"title": ["One", "Two"], "sent_id": [1, 1]}
    if style == "list":
        path = tmp_path / "h.json"
        path.write_text(json.dumps([row]))
    else:
        path = write_rows("h.jsonl", [row])
    found = read(path)
    (context,) = found.contexts
    assert found.distractors
    assert context.id == "h1"
    assert quotes(context) == ["It was Ada Lovelace.", "No blank before this."]
    assert [chunk.text for chunk in context.passages] == [
        "First sentence. It was Ada Lovelace. Third.",
        "Other text. No blank before this.",
        "A distractor on Ada Lovelace.",
    ]
    assert context.answers == ("Ada Lovelace",)


@given(
    sentences=st.lists(st.text(alphabet=" ab.\n\t", min_size=0, max_size=6), min_size=1, max_size=6)
)
@settings(max_examples=60, deadline=None)
def test_hotpotqa_offsets_round_trip(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[str]
) -> None:
    solid = [place for place, sentence in enumerate(sentences) if sentence.strip()]
    if not solid:
        return
    facts = [["T", place] for place in range(len(sentences))]
    row = {**HOTPOT, "context": [["T", sentences]], "supporting_facts": facts}
    path = tmp_path_factory.mktemp("h") / "h.jsonl"
    path.write_text(json.dumps(row))
    (context,) = read(path).contexts
    assert quotes(context) == [sentences[place].strip() for place in solid]


def test_hotpotqa_verdicts_are_no_answers_in_the_text(write_rows: Write) -> None:
    row = {**HOTPOT, "answer": "no", "context": [["One", ["No, no blank."]], ["Two", ["x", "y"]]]}
    row["supporting_facts"] = [["One", 0], ["Two", 9]]
    (context,) = read(write_rows("h.jsonl", [row])).contexts
    assert context.answers == ()
    assert quotes(context) == ["No, no blank."]


def test_hotpotqa_facts_that_lead_nowhere(write_rows: Write) -> None:
    for facts, reason in (
        ([["Four", 0]], "supporting passage 'Four' is not with the question"),
        ([["One", 9]], "no supporting fact is a sentence"),
        ([["One", "x"]], "expected a whole number"),
        ([["One"]], "not of the expected form"),
    ):
        with pytest.raises(InputError, match=rf"line 1: .*{reason}"):
            read(write_rows("h.jsonl", [{**HOTPOT, "supporting_facts": facts}]))


def test_musique(write_rows: Write) -> None:
    row = {
        "id": "2hop__1",
        "question": "Who?",
        "answer": "G. Stanley Hall",
        "answer_aliases": ["Stanley Hall", "Hall the First"],
        "answerable": True,
        "paragraphs": [
            {"idx": 0, "title": "A", "paragraph_text": "Stanley Hall.", "is_supporting": False},
            {"idx": 1, "title": "B", "paragraph_text": " G. Stanley Hall. ", "is_supporting": True},
        ],
    }
    found = read(write_rows("m.jsonl", [row]))
    (context,) = found.contexts
    assert found.distractors
    assert context.answers == ("G. Stanley Hall", "Stanley Hall")
    assert quotes(context) == ["G. Stanley Hall."]
    (context,) = read(write_rows("m.jsonl", [{**row, "answerable": False}])).contexts
    assert (context.answers, context.evidence) == ((), ())
    del row["paragraphs"][1]
    with pytest.raises(InputError, match="is_supporting"):
        read(write_rows("m.jsonl", [row]))


def test_a_folder_of_long_documents(tmp_path: Path, write_rows: Write) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    text = "\n\n".join(f"Paragraph {number}. " + "Words follow. " * 30 for number in range(9))
    (folder / "doc.md").write_text(text)
    start = text.index("Paragraph 4") - 20
    reference = {"content": text[start : start + 60], "start_index": start, "end_index": start + 60}
    row = {"question": "Where?", "corpus_id": "doc", "references": [reference]}
    write_rows("set/questions.jsonl", [row, {**row, "references": json.dumps([reference])}])
    found = read(folder)
    first, second = found.contexts
    assert first.evidence == second.evidence
    assert len(first.passages) > 4
    joined = " ".join(quotes(first))
    assert len(quotes(first)) == 2
    assert joined.split() == reference["content"].split()
    for chunk in first.passages:
        assert text[chunk.start : chunk.end] == chunk.text
    write_rows("set/questions.jsonl", [{**row, "references": [{**reference, "end_index": 9999}]}])
    with pytest.raises(InputError, match=r"line 1: reference .* does not stand at"):
        read(folder)
    write_rows("set/questions.jsonl", [{**row, "corpus_id": "other"}])
    with pytest.raises(InputError, match="expected one of \\['doc'\\]"):
        read(folder)


def test_qmsum(write_rows: Write) -> None:
    turns = [{"speaker": f"P{number}", "content": "word " * 60} for number in range(9)]
    turns[4]["content"] = " "
    query = {"query": "What?", "answer": "A summary.", "relevant_text_span": [["3", "5"]]}
    row = {
        "meeting_transcripts": turns,
        "specific_query_list": [query],
        "general_query_list": [{"query": "All?", "answer": "Everything."}],
    }
    (context,) = read(write_rows("q.jsonl", [row])).contexts
    assert quotes(context) == [f"P{number}: " + ("word " * 60).strip() for number in (3, 5)]
    whole = "\n".join(chunk.text for chunk in context.passages)
    assert whole == "\n".join(f"{turn['speaker']}: {turn['content']}" for turn in turns)
    assert all(len(chunk.text) <= 800 for chunk in context.passages)
    for chunk in context.passages:
        assert whole[chunk.start : chunk.end] == chunk.text
    query["relevant_text_span"] = [["3", "9"]]
    with pytest.raises(InputError, match="3-9 of 9 turns"):
        read(write_rows("q.jsonl", [row]))


@pytest.mark.parametrize(
    ("text", "word", "sentence"),
    [
        ("One. Two three. Four.", "three", "Two three."),
        ("Dr. Smith of the U.S. Army came. He left.", "Army", "Dr. Smith of the U.S. Army came."),
        ('He said "Go." Then he left.', "left", "Then he left."),
        ("It was No. 5 of ten. Next.", "ten", "It was No. 5 of ten."),
        ("no stop at all", "stop", "no stop at all"),
        ("Title\n\nBody text here", "Body", "Body text here"),
        ("Costs 3.5 dollars. Cheap.", "dollars", "Costs 3.5 dollars."),
        ("One.  ", "One", "One."),
    ],
)
def test_the_sentence_around_a_word(text: str, word: str, sentence: str) -> None:
    start, end = sentence_around(text, text.index(word))
    assert text[start:end] == sentence


def test_answers_stand_as_whole_words_only() -> None:
    assert occurrences("Notable no, not No.", "no") == [8]
    assert occurrences("a (b) c", "(b)") == [2]
    assert occurrences("anything", " ") == []
