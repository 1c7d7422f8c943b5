"""Terms, BM25 against a slow transcription, and bridges between chunks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ragopt.chunk import Chunk, Hit
from ragopt.compress import Weights
from ragopt.compress.layout import Layout
from ragopt.compress.score import lexical_scores
from ragopt.compress.terms import query_terms, stem, terms
from ragopt.errors import InputError

NO_EXTRAS = Weights(chunk=0, lead=0, bridge=0)


def layout(*chunks: tuple[str, str]) -> Layout:
    return Layout(
        [
            Hit(Chunk(id=str(number), title=title, text=text), 0.0)
            for number, (title, text) in enumerate(chunks)
        ]
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("max_workers", "workers"),
        ("max_workers", "max_workers"),
        ("str.split", "split"),
        ("str.split", "str"),
        ("Cities", "city"),
        ("founded", "founding"),
        ("planned", "plans"),
        ("Café", "cafe"),
        ("3.14", "3.14"),
        ("1,273", "1,273"),
        ("数据库索引", "索引"),
        ("データベース", "ベース"),
    ],
)
def test_terms_meet(one: str, other: str) -> None:
    assert set(terms(one)) & set(terms(other))


@pytest.mark.parametrize(
    ("one", "other"), [("3.14", "14"), ("max_workers", "work"), ("safe", "not"), ("索引", "数据")]
)
def test_terms_do_not_meet(one: str, other: str) -> None:
    assert not set(terms(one)) & set(terms(other))


@pytest.mark.parametrize("word", ["bus", "this", "sing", "red", "use", "ring", "abc1s", "glass"])
def test_stem_leaves_a_word(word: str) -> None:
    assert len(stem(word)) >= 3


def test_identifiers_match_whole_before_part() -> None:
    found = layout(("", "Use str.split here. Use the split there."))
    scores = lexical_scores("str.split", found, NO_EXTRAS)
    assert scores is not None
    assert scores[0] > scores[1] > 0


def test_query_of_stop_words_has_no_terms() -> None:
    assert query_terms("What is it?") == []
    assert query_terms("not safe, not SAFE") == ["not", stem("safe")]


def slow_bm25(query: list[str], documents: list[list[str]], k1: float, b: float) -> list[float]:
    """Robertson and Zaragoza (2009), equation 3.15, with the idf kept positive."""
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for term in query:
            containing = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
            frequency = document.count(term)
            norm = k1 * (1 - b + b * len(document) / mean)
            score += idf * frequency * (k1 + 1) / (frequency + norm)
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (2.0, 0.0), (0.5, 1.0)])
def test_bm25_is_the_papers(k1: float, b: float) -> None:
    sentences = ["Cats chase mice and mice.", "Dogs sleep.", "A cat and a dog chase birds."]
    found = layout(("", " ".join(sentences)))
    weights = Weights(chunk=0, lead=0, bridge=0, k1=k1, b=b)
    scores = lexical_scores("Do cats chase mice?", found, weights)
    documents = [terms(sentence) for sentence in sentences]
    expected = np.array(slow_bm25(query_terms("Do cats chase mice?"), documents, k1, b))
    assert scores is not None
    np.testing.assert_allclose(scores, expected / expected.max(), rtol=1e-12)


def test_title_counts_for_every_sentence() -> None:
    found = layout(("Paris", "It is large. It is old."), ("Rome", "It is large. It is old."))
    scores = lexical_scores("Paris", found, NO_EXTRAS)
    assert scores is not None
    assert scores[0] == scores[1] > scores[2] == scores[3] == 0


def test_header_counts_for_its_rows() -> None:
    found = layout(("", "| city | revenue |\n|---|---|\n| Rome | 5 |\n\nOther text here."))
    scores = lexical_scores("revenue", found, NO_EXTRAS)
    assert scores is not None
    assert scores[1] > scores[2]


@pytest.mark.parametrize("query", ["", "the of", "zebra", "?!"])
def test_no_shared_word_gives_no_scores(query: str) -> None:
    assert lexical_scores(query, layout(("T", "One sentence. Two.")), Weights()) is None


def test_named_title_is_lent_the_score_of_the_sentence_naming_it() -> None:
    chunks = (
        ("Kate Ramsay", "Kate Ramsay is a role in the soap Neighbours."),
        ("Neighbours (TV series)", "The show was created by Reg Watson. It ran for long."),
        ("Home and Away", "The show was created by Alan Bateman. It ran for long."),
    )
    scores = lexical_scores("Who made the soap with Kate Ramsay?", layout(*chunks), Weights())
    plain = lexical_scores(
        "Who made the soap with Kate Ramsay?", layout(*chunks), Weights(bridge=0)
    )
    assert scores is not None
    assert plain is not None
    assert plain[1] == plain[3]
    assert scores[1] > scores[3]
    assert scores[1] > scores[2] > scores[4]


def test_rare_shared_name_bridges_without_titles() -> None:
    chunks = [("", f"Filler text about {word}. More filler.") for word in "abcdefgh"]
    chunks[0] = ("", "The prize went to Marie Skala for physics.")
    chunks[5] = ("", "In Wien lived Marie Skala with two cats.")
    scores = lexical_scores("Which prize for physics?", layout(*chunks), Weights(lead=0))
    assert scores is not None
    assert scores[int(np.argsort(-scores)[1])] > 0
    assert int(np.argsort(-scores)[1]) == len(layout(*chunks[:5]))


def test_chunks_of_one_title_do_not_bridge_to_each_other() -> None:
    chunks = (("Rome", "Rome is a city with prizes."), ("Rome", "Far away are hills."))
    with_bridges = lexical_scores("prizes", layout(*chunks), Weights(bridge_entity=0))
    without = lexical_scores("prizes", layout(*chunks), Weights(bridge=0))
    np.testing.assert_array_equal(with_bridges, without)


@pytest.mark.parametrize(
    ("name", "value"),
    [("k1", -1.0), ("b", 1.5), ("lead", math.nan), ("bridge", math.inf), ("entity_chunks", 2.0)],
)
def test_unusable_weights_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        Weights(**{name: value})
