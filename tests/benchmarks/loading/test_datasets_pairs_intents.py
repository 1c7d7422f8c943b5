"""Labelled pairs and intents."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ragopt.benchmarks.datasets import IntentSet, LabelledPair, PairSet, load
from ragopt.benchmarks.datasets.pairs import read_pair_rows
from ragopt.benchmarks.datasets.source import Source
from ragopt.errors import InputError

Write = Callable[..., Path]
A = {"text_a": "How do I?", "text_b": "How to?", "label": 1}
B = {"text_a": "How do I?", "text_b": 'What "is" it?', "label": 0}


def pairs(path: Path) -> tuple[LabelledPair, ...]:
    found = load(path)
    assert isinstance(found, PairSet)
    return found.pairs


def intents(path: Path) -> IntentSet:
    found = load(path)
    assert isinstance(found, IntentSet)
    return found


EXPECTED = (
    LabelledPair("How do I?", "How to?", True),
    LabelledPair("How do I?", 'What "is" it?', False),
)


def test_pairs_of_every_format(tmp_path: Path, write_rows: Write) -> None:
    assert pairs(write_rows("a.jsonl", [A, B])) == EXPECTED
    (tmp_path / "a.json").write_text(json.dumps([A, B]))
    assert pairs(tmp_path / "a.json") == EXPECTED
    csv = (
        "id,question1,question2,is_duplicate\n1,How do I?,How to?,1\n"
        '2,How do I?,"What ""is"" it?",0\n'
    )
    (tmp_path / "quora.csv").write_text(csv)
    assert pairs(tmp_path / "quora.csv") == EXPECTED
    (tmp_path / "quora.tsv").write_text(csv.replace(",", "\t"))
    assert pairs(tmp_path / "quora.tsv") == EXPECTED


def test_mrpc_quotes_are_characters_and_the_mark_is_dropped(tmp_path: Path) -> None:
    lines = [
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "1\t1\t2\tHow do I?\tHow to?",
        '0\t3\t4\tHow do I?\tWhat "is" it?',
        '0\t5\t6\t"An open quotation\tends in "another" cell',
    ]
    path = tmp_path / "mrpc.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert pairs(path)[:2] == EXPECTED
    assert pairs(path)[2] == LabelledPair('"An open quotation', 'ends in "another" cell', False)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**A, "label": 2}, "expected 0 or 1, got 2"),
        ({**A, "label": 0}, "stood before with the other label"),
        ({"text_a": "How to?", "text_b": "How do I?", "label": 0}, "with the other label"),
        ({**A, "text_b": " "}, "field 'text_b': expected text"),
        ({**A, "text_b": None}, "field 'text_b': expected text"),
        ({"text_a": "x"}, "expected text_a, text_b and label"),
    ],
)
def test_pairs_that_cannot_be_used(write_rows: Write, row: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=rf"a\.jsonl, line 2: .*{reason}"):
        pairs(write_rows("a.jsonl", [A, row]))


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    head = "question1,question2,is_duplicate\n"
    for text, reason in (
        (head, "no pair"),
        (head + "a,b\n", "line 2: 2 cells, the header has 3"),
        (head + 'a,"b,1\n', "line 2: .*expected cells parted by ','"),
        ("one,two\na,b\n", "no known form"),
        ("", "no known form|is empty"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=reason):
            load(path)
    path.write_bytes(head.encode() + b"a,\xff,1\n")
    with pytest.raises(InputError, match="not UTF-8: byte 0xFF in line 2"):
        load(path)


def test_vectors_of_pairs(tmp_path: Path, write_rows: Write) -> None:
    path = write_rows("a.jsonl", [A, B])
    texts = tmp_path / "texts.json.gz"
    texts.write_bytes(gzip.compress(json.dumps(["How to?", "How do I?", 'What "is" it?']).encode()))
    vectors = tmp_path / "v.npy"
    np.save(vectors, np.eye(3, dtype=np.float16))
    found = read_pair_rows(path, Source("x"), vectors=vectors, texts=texts)
    assert found.vectors is not None
    assert found.vectors[0] == {"How to?": 0, "How do I?": 1, 'What "is" it?': 2}
    assert found.vectors[1].shape == (3, 3)
    absent = read_pair_rows(path, Source("x"), vectors=tmp_path / "no.npy", texts=texts)
    assert absent.vectors is None
    texts.write_bytes(gzip.compress(json.dumps(["How to?", "How do I?", "Else"]).encode()))
    with pytest.raises(InputError, match="no vector of 'What"):
        read_pair_rows(path, Source("x"), vectors=vectors, texts=texts)
    texts.write_bytes(gzip.compress(json.dumps(["How to?"]).encode()))
    with pytest.raises(InputError, match="1 texts of 3 vectors"):
        read_pair_rows(path, Source("x"), vectors=vectors, texts=texts)
    texts.write_bytes(texts.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged gzip"):
        read_pair_rows(path, Source("x"), vectors=vectors, texts=texts)


def test_clinc_leaves_out_what_is_out_of_scope(tmp_path: Path) -> None:
    path = tmp_path / "clinc.json"
    content = {
        "train": [["hello there", "greet"], ["bye", "part"]],
        "oos_val": [["what?", "oos"]],
        "val": [[" hi ", "greet"]],
    }
    path.write_text(json.dumps(content))
    found = intents(path)
    assert found.texts == ("hello there", "bye", "hi")
    assert found.intents == ("greet", "part", "greet")
    content["val"] = [["hi"]]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="'val', item 0: expected \\[text, intent\\]"):
        intents(path)


def test_intents_of_tables_and_rows(tmp_path: Path, write_rows: Write) -> None:
    path = tmp_path / "bank.csv"
    path.write_text('text,category\n"a\nquestion?\n",card\nother,loan\n')
    assert intents(path).texts == ("a\nquestion?", "other")
    rows = [{"text": "a", "intent": "x"}, {"text": "b", "intent": "y"}]
    assert intents(write_rows("i.jsonl", rows)).intents == ("x", "y")
    with pytest.raises(InputError, match="fewer than two intents"):
        intents(write_rows("i.jsonl", rows[:1]))
    path.write_text("text,category\na,x\nb\n")
    with pytest.raises(InputError, match="line 3: 1 cells"):
        intents(path)
    path.write_text("text,category\na,x\n ,y\n")
    with pytest.raises(InputError, match="utterance 1"):
        intents(path)
