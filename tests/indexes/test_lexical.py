"""Lexical search, against the formula written down once more."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.errors import IndexCorrupt, InputError, StorageError
from ragopt.indexes import build
from ragopt.indexes import open as open_index
from ragopt.indexes.lexical import LexicalIndex
from ragopt.text import terms

TEXTS = [
    "The cache keeps answers; a cache that forgets is no cache.",
    "Vectors are compared by their cosine.",
    "",
    "os.path.getsize returns the size of a file in bytes",
    "ThreadPoolExecutor runs calls in threads",
    "of the and",
    "Bytes, bytes, bytes: a file is bytes.",
    "Die Größe der Datei; 漢字 und Käse",
    "cosine cosine cosine cosine cosine cosine cosine cosine cosine cosine",
]


def reference(texts: list[str], query: str, k1: float, b: float) -> list[float]:
    """BM25 as Lucene computes it (Kamphuis et al., 2020, table 1, 'Lucene (accurate)')."""
    bags = [Counter(terms(text)) for text in texts]
    lengths = [bag.total() for bag in bags]
    mean = sum(lengths) / len(lengths)
    scores = [0.0] * len(texts)
    for term in terms(query):
        holders = sum(term in bag for bag in bags)
        idf = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
        for place, bag in enumerate(bags):
            if bag[term]:
                length_norm = 1 - b + b * lengths[place] / mean
                scores[place] += idf * bag[term] / (bag[term] + k1 * length_norm)
    return scores


def check(index: LexicalIndex, texts: list[str], query: str, k1: float, b: float) -> None:
    scores = reference(texts, query, k1, b)
    found = index.search(query, len(texts))
    holding = sum(score > 0 for score in scores)
    assert found.ids.shape == found.scores.shape == (1, len(texts))
    ids, values = found.ids[0].tolist(), found.scores[0].tolist()
    assert set(ids[:holding]) == {place for place, score in enumerate(scores) if score > 0}
    assert values[:holding] == pytest.approx([scores[place] for place in ids[:holding]], rel=1e-5)
    assert values == sorted(values, reverse=True)
    assert set(ids[holding:]) <= {-1}
    assert all(value == -math.inf for value in values[holding:])


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.75), (2.0, 0.0), (0.9, 1.0)])
@pytest.mark.parametrize(
    "query",
    [
        "cache",
        "cosine of vectors",
        "bytes bytes file",
        "getsize",
        "thread pool",
        "Größe 漢字",
        "CACHED",
    ],
)
def test_scores_are_those_of_the_formula(query: str, k1: float, b: float) -> None:
    check(LexicalIndex.build(TEXTS, k1=k1, b=b), TEXTS, query, k1, b)


WORDS = st.sampled_from("ant bee cat dog elk fox gnu hen".split())
TEXT = st.lists(WORDS, max_size=12).map(" ".join)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(texts=st.lists(TEXT, min_size=1, max_size=12), query=TEXT)
def test_any_texts(texts: list[str], query: str) -> None:
    if not any(texts):
        with pytest.raises(InputError, match="no text"):
            LexicalIndex.build(texts)
        return
    check(LexicalIndex.build(texts), texts, query, 1.2, 0.75)


def test_equal_texts_come_in_their_order() -> None:
    index = LexicalIndex.build(["other words here", *["same text"] * 30])
    assert index.search("same", 4).ids.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("query", ["", "the of and", "zebra", "?!", "\x00", " \n"])
def test_no_known_word_finds_nothing(query: str) -> None:
    found = LexicalIndex.build(TEXTS).search(query, 3)
    assert found.ids.tolist() == [[-1, -1, -1]]
    assert np.isneginf(found.scores).all()
    assert found.stats.codes_scanned == 0


def test_unknown_words_do_not_disturb_known_ones() -> None:
    index = LexicalIndex.build(TEXTS)
    assert index.search("zebra cache", 3).ids.tolist() == index.search("cache", 3).ids.tolist()


def test_work_is_reported() -> None:
    index = LexicalIndex.build(TEXTS)
    assert len(index) == len(TEXTS)
    assert index.search("bytes cosine", 2).stats.codes_scanned == 4
    assert "9 texts" in repr(index)


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "3", None])
def test_bad_k(k: Any) -> None:
    with pytest.raises(InputError, match="integer of at least 1"):
        LexicalIndex.build(TEXTS).search("cache", k)


@pytest.mark.parametrize("texts", [[], [""], ["the", "of", "?!"]])
def test_nothing_to_index(texts: list[str]) -> None:
    with pytest.raises(InputError, match="single word"):
        LexicalIndex.build(texts)


def test_one_string_is_not_a_corpus() -> None:
    with pytest.raises(InputError, match="one string"):
        LexicalIndex.build("a text of letters")


@pytest.mark.parametrize(
    "wrong", [{"k1": -0.1}, {"k1": math.nan}, {"k1": math.inf}, {"b": 1.1}, {"b": -0.1}]
)
def test_bad_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected k1"):
        LexicalIndex.build(TEXTS, **wrong)


def test_texts_may_come_from_a_generator() -> None:
    assert len(LexicalIndex.build(text for text in TEXTS)) == len(TEXTS)


# Saving ------------------------------------------------------------------------------------

PARTS = ["data", "indices", "indptr", "vocabulary"]


def test_saving_and_opening_changes_no_result(tmp_path: Path) -> None:
    index = LexicalIndex.build(TEXTS)
    index.save(tmp_path / "words")
    opened = LexicalIndex.open(tmp_path / "words")
    for query in ("cache", "bytes of a file", "Käse", "zebra"):
        check(opened, TEXTS, query, 1.2, 0.75)
    opened.save(tmp_path / "words")  # over the files that it has mapped
    opened.save(tmp_path / "copy")
    check(LexicalIndex.open(tmp_path / "words"), TEXTS, "cache", 1.2, 0.75)
    check(LexicalIndex.open(tmp_path / "copy"), TEXTS, "cache", 1.2, 0.75)


def test_replacing_a_saved_index(tmp_path: Path) -> None:
    old = LexicalIndex.build(TEXTS)
    old.save(tmp_path)
    opened = LexicalIndex.open(tmp_path)
    LexicalIndex.build(["only one text"]).save(tmp_path)
    assert len(LexicalIndex.open(tmp_path)) == 1
    check(opened, TEXTS, "cache", 1.2, 0.75)
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == [
        "LOCK",
        "MANIFEST.json",
        *PARTS,
    ]


def test_footprints(tmp_path: Path) -> None:
    index = LexicalIndex.build(TEXTS)
    index.save(tmp_path)
    in_ram, mapped = index.footprint(), LexicalIndex.open(tmp_path).footprint()
    assert in_ram.disk_bytes == 0
    assert mapped.ram_bytes == in_ram.by_part["vocabulary"]
    assert mapped.disk_bytes == in_ram.ram_bytes - mapped.ram_bytes > 0


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["truncated", "altered", "deleted"])
def test_damaged_files_are_named(part: str, damage: str, tmp_path: Path) -> None:
    LexicalIndex.build(TEXTS).save(tmp_path)
    (path,) = tmp_path.glob(f"{part}-*.bin")
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "altered":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
    with pytest.raises(IndexCorrupt, match=path.name):
        LexicalIndex.open(tmp_path)


def test_what_is_no_lexical_index(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was saved here"):
        LexicalIndex.open(tmp_path / "nowhere")
    build("flat", np.eye(3), path=tmp_path)
    with pytest.raises(InputError, match="holds a 'vector-index', expected a 'lexical-index'"):
        LexicalIndex.open(tmp_path)
    LexicalIndex.build(TEXTS).save(tmp_path)
    with pytest.raises(InputError, match="holds a 'lexical-index', expected a 'vector-index'"):
        open_index(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        LexicalIndex.build(TEXTS).save(tmp_path / "file" / "words")


def test_importing_bm25s_leaves_logging_alone(run_script: Callable[..., str]) -> None:
    printed = run_script(
        "import logging; from ragopt.indexes.lexical import LexicalIndex; "
        "index = LexicalIndex.build(['one text', 'two texts']); index.search('text', 1); "
        "print(logging.getLogger().level, logging.getLogger().handlers)"
    )
    assert printed == "30 []"
