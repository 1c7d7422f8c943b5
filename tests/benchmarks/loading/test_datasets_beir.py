"""BEIR folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ragopt.benchmarks.datasets import RetrievalSet, load
from ragopt.benchmarks.datasets.beir import read_beir
from ragopt.benchmarks.datasets.source import Source
from ragopt.errors import InputError

CORPUS = [
    {"_id": "d1", "title": "One", "text": "Text of one."},
    {"_id": "d2", "title": "", "text": 'A "quoted" text.'},
    {"_id": "d3", "text": ""},
]
QUERIES = [{"_id": "q1", "text": "What is one?"}, {"_id": "q2", "text": "Nobody judged this."}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq1\td3\t-1\n"


@pytest.fixture
def folder(tmp_path: Path, write_rows: Callable[..., Path]) -> Path:
    write_rows("set/corpus.jsonl", CORPUS)
    write_rows("set/queries.jsonl", QUERIES)
    (tmp_path / "set/qrels.tsv").write_text(QRELS)
    return tmp_path / "set"


def read(folder: Path) -> RetrievalSet:
    found = load(folder)
    assert isinstance(found, RetrievalSet)
    return found


def test_a_folder_and_its_unjudged_query(folder: Path) -> None:
    found = read(folder)
    assert [(chunk.id, chunk.title, chunk.text) for chunk in found.chunks] == [
        ("d1", "One", "Text of one."),
        ("d2", "", 'A "quoted" text.'),
        ("d3", "", ""),
    ]
    assert found.queries == {"q1": "What is one?"}
    assert found.qrels == {"q1": {"d1": 2, "d2": 0, "d3": 0}}
    assert found.runs == {}
    assert found.name == str(folder)


def test_qrels_of_the_test_split_in_a_folder(folder: Path) -> None:
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels/test.tsv")
    assert read(folder).qrels["q1"]["d1"] == 2
    (folder / "qrels/test.tsv").unlink()
    with pytest.raises(InputError, match=r"qrels\.tsv or qrels/test\.tsv"):
        read(folder)


def test_qrels_without_header_keep_their_first_line(folder: Path) -> None:
    (folder / "qrels.tsv").write_text("q1\td1\t1\n")
    assert read(folder).qrels == {"q1": {"d1": 1}}


def test_runs_are_ordered_by_rank(folder: Path) -> None:
    (folder / "runs").mkdir()
    (folder / "runs/BM25.tsv").write_text("q1\td2\t2\t1.0\nq1\td1\t1\t3.0\nq2\td1\t1\t1\n")
    (folder / "runs/trec.tsv").write_text("q1\tQ0\td3\t1\t9.5\ttag\n")
    assert read(folder).runs == {"BM25": {"q1": ("d1", "d2")}, "trec": {"q1": ("d3",)}}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q1\tnope\t1\t1.0", "document 'nope' is not in the corpus"),
        ("nope\td1\t1\t1.0", "query 'nope'"),
        ("q1\td1\t1\t1.0\nq1\td1\t2\t0.5", "line 2: document 'd1' occurs twice"),
        ("q1\td1\tfirst\t1.0", "rank: expected a whole number"),
        ("q1\td1", "2 cells"),
    ],
)
def test_runs_that_cannot_be_used(folder: Path, line: str, reason: str) -> None:
    (folder / "runs").mkdir()
    (folder / "runs/BM25.tsv").write_text(line + "\n")
    with pytest.raises(InputError, match=reason):
        read(folder)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q1\td1", r"qrels\.tsv, line 5: 2 cells"),
        ("q9\td1\t1", "line 5: query 'q9' is not among the queries"),
        ("q1\td9\t1", "line 5: document 'd9' is judged relevant and is not in the corpus"),
        ("q1\td1\t1", "line 5: document 'd1' is judged 2 and 1"),
        ("q1\td1\thigh", "line 5: score: expected a whole number"),
    ],
)
def test_judgements_that_cannot_be_used(folder: Path, line: str, reason: str) -> None:
    (folder / "qrels.tsv").write_text(QRELS + line + "\n")
    with pytest.raises(InputError, match=reason):
        read(folder)


def test_a_judgement_that_nothing_was_found_wrong_with_may_name_an_absent_document(
    folder: Path,
) -> None:
    (folder / "qrels.tsv").write_text(QRELS + "q1\td9\t0\n")
    assert read(folder).qrels["q1"]["d9"] == 0


@pytest.mark.parametrize(
    ("file", "row", "reason"),
    [
        ("corpus.jsonl", {"_id": "d1", "text": "again"}, "line 4: id 'd1' occurs twice"),
        ("corpus.jsonl", {"text": "no id"}, "line 4: no field '_id' or 'id'"),
        ("corpus.jsonl", {"_id": "d4", "text": 5}, "line 4: field 'text': expected a string"),
        ("queries.jsonl", {"_id": "q1", "text": "again"}, "line 3: id 'q1' occurs twice"),
        ("queries.jsonl", {"_id": "q3", "text": " "}, "line 3: field 'text' is empty"),
    ],
)
def test_rows_that_cannot_be_used(
    folder: Path, file: str, row: dict[str, object], reason: str
) -> None:
    with (folder / file).open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=reason):
        read(folder)


def test_a_bad_json_line_is_named(folder: Path) -> None:
    with (folder / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "d4", "text": \n')
    with pytest.raises(InputError, match=r"corpus\.jsonl, line 4: not JSON"):
        read(folder)


def test_vectors_in_file_order(folder: Path) -> None:
    np.save(folder / "v.npy", np.eye(3, dtype=np.float32))
    np.save(folder / "q.npy", np.eye(2, 3, dtype=np.float32))
    found = read_beir(folder, Source("x"), vectors=folder / "v.npy", query_vectors=folder / "q.npy")
    assert found.vectors is not None
    assert found.vectors.shape == (3, 3)
    assert found.query_vectors is not None
    assert list(found.query_vectors) == ["q1"]
    assert found.query_vectors["q1"].tolist() == [1, 0, 0]
    np.save(folder / "v.npy", np.eye(4, dtype=np.float32))
    with pytest.raises(InputError, match="4 vectors of 3 documents"):
        read_beir(folder, Source("x"), vectors=folder / "v.npy")
