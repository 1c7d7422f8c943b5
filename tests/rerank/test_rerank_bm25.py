"""BM25 against its formula; the corpus's word statistics against counting."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragopt.chunk import Chunk
from ragopt.errors import IndexCorrupt, InputError
from ragopt.rerank import BM25Reranker, CorpusStatistics, Reranker
from ragopt.rerank.base import passage
from ragopt.storage import write_folder
from ragopt.text import terms

WORDS = "river lake os.path.join ThreadPool bread the oven 42 naïve".split()
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
CORPORA = st.lists(TEXTS, min_size=1, max_size=8)


def chunks(texts: Sequence[str]) -> list[Chunk]:
    return [Chunk(str(number), text) for number, text in enumerate(texts)]


def idf(frequency: int, documents: int) -> float:
    return math.log(1 + (documents - frequency + 0.5) / (frequency + 0.5))


def reference(
    query: str,
    texts: Sequence[str],
    corpus: Sequence[str] | None = None,
    k1: float = 1.2,
    b: float = 0.75,
) -> list[float]:
    """Robertson and Zaragoza (2009), equation 3.15, with Lucene's idf."""
    background = [terms(text) for text in (texts if corpus is None else corpus)]
    mean_length = sum(map(len, background)) / len(background)
    if corpus is not None:
        mean_length = max(1.0, mean_length)
    scores = []
    for text in texts:
        words = terms(text)
        counts = Counter(words)
        score = 0.0
        for word in terms(query):
            if counts[word]:
                frequency = sum(word in other for other in background)
                norm = k1 * (1 - b + b * len(words) / mean_length)
                weight = counts[word] * (k1 + 1) / (counts[word] + norm)
                score += idf(frequency, len(background)) * weight
        scores.append(score)
    return scores


@given(TEXTS, CORPORA, st.sampled_from([0.3, 1.2, 2.0]), st.sampled_from([0.0, 0.75, 1.0]))
@example("river", ["river", ""], 1.2, 1.0)  # an empty chunk, and nothing but its length counts
@example("river", ["the", "of"], 1.2, 0.75)
def test_scores_are_those_of_the_formula(query: str, texts: list[str], k1: float, b: float) -> None:
    found = BM25Reranker(k1=k1, b=b).score(query, chunks(texts))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(query, texts, None, k1, b), rtol=1e-5, atol=1e-6)


@given(TEXTS, CORPORA, CORPORA)
@example("river river unheard", ["river unheard", "lake"], ["lake"])
def test_with_statistics_frequencies_are_those_of_the_corpus(
    query: str, texts: list[str], corpus: list[str]
) -> None:
    statistics = CorpusStatistics.fit(chunks(corpus))
    found = BM25Reranker(statistics).score(query, chunks(texts))
    np.testing.assert_allclose(found, reference(query, texts, corpus), rtol=1e-4, atol=1e-5)


def test_the_corpus_knows_which_word_matters() -> None:
    """Every candidate holds "river" and one "delta"; only the corpus tells which is rare."""
    candidates = chunks(["river delta", "river lake", "river lake"])
    corpus = chunks(["river"] * 5 + ["lake"] + ["delta"] * 90)
    apart = BM25Reranker().score("lake delta", candidates)
    known = BM25Reranker(CorpusStatistics.fit(corpus)).score("lake delta", candidates)
    assert apart[0] > apart[1]
    assert known[0] < known[1]


def test_the_title_counts() -> None:
    scores = BM25Reranker().score(
        "river", [Chunk("a", "water", title="River"), Chunk("b", "water")]
    )
    assert scores[0] > 0 == scores[1]


@given(CORPORA)
def test_a_chunk_that_comes_back_scores_as_before(texts: list[str]) -> None:
    scorer = BM25Reranker()
    first = scorer.score("river lake", chunks(texts))
    scorer.score("bread", chunks(texts[::-1]))
    np.testing.assert_array_equal(scorer.score("river lake", chunks(texts)), first)


def test_an_id_that_stands_for_another_text_now_is_read_again() -> None:
    scorer = BM25Reranker()
    scorer.score("river", [Chunk("a", "river"), Chunk("b", "bread")])
    scores = scorer.score("river", [Chunk("a", "bread"), Chunk("b", "river")])
    assert scores[0] == 0 < scores[1]


def test_only_so_many_chunks_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragopt.rerank.bm25._REMEMBERED_CHUNKS", 3)
    scorer = BM25Reranker()
    texts = [f"river {number}" for number in range(10)]
    for _ in range(2):
        np.testing.assert_allclose(
            scorer.score("river 7", chunks(texts)), reference("river 7", texts), rtol=1e-5
        )
    assert len(scorer._words) == 3


@pytest.mark.parametrize(
    ("query", "texts"),
    [("river", []), ("", ["river"]), ("the of", ["river"]), ("river", ["", "the"])],
)
def test_nothing_to_compare_scores_zero(query: str, texts: list[str]) -> None:
    scores = BM25Reranker().score(query, chunks(texts))
    assert scores.tolist() == [0.0] * len(texts)
    assert isinstance(BM25Reranker(), Reranker)


@pytest.mark.parametrize(
    "options",
    [{"k1": 0.0}, {"k1": -1.0}, {"k1": math.nan}, {"k1": math.inf}, {"b": -0.1}, {"b": 1.1}],
)
def test_parameters_out_of_range_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="k1 > 0 and b from 0 to 1"):
        BM25Reranker(**options)


# ----------------------------------------------------------------------------------- statistics


@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_statistics_are_what_one_counts(texts: list[str]) -> None:
    titled = [Chunk(str(number), text, title="lake") for number, text in enumerate(texts)]
    words = [terms(passage(chunk)) for chunk in titled]
    statistics = CorpusStatistics.fit(iter(titled))
    vocabulary = {word for text in words for word in text}
    expected = {word: idf(sum(word in text for text in words), len(texts)) for word in vocabulary}
    assert statistics.idf(vocabulary) == pytest.approx(expected, rel=1e-6)
    assert statistics.idf(["unheard"]) == {"unheard": pytest.approx(idf(0, len(texts)))}
    assert statistics.mean_length == pytest.approx(sum(map(len, words)) / len(words))
    assert statistics.ram_bytes == 8 * len(vocabulary)


def test_every_term_is_found_by_its_hash_and_no_other() -> None:
    """First, last and in between; and what would sort before and behind all of them."""
    known = [f"word{number}" for number in range(500)]
    statistics = CorpusStatistics.fit([Chunk("a", " ".join(known)), Chunk("b", "lake")])
    found = statistics.idf([*known, *(f"other{number}" for number in range(500))])
    assert sum(value == statistics.unknown_idf for value in found.values()) == 500
    assert all(found[word] != statistics.unknown_idf for word in known)
    assert statistics.idf([]) == {}


def test_colliding_terms_share_a_frequency_that_stays_possible() -> None:
    """CRC-32 takes "plumless" and "buckeroo" for one word; a chunk with both counts once."""
    statistics = CorpusStatistics.fit([Chunk("a", "plumless buckeroo"), Chunk("b", "lake")])
    found = statistics.idf(["plumless", "buckeroo", "lake"])
    assert found["plumless"] == found["buckeroo"] == found["lake"] == pytest.approx(idf(1, 2))


def test_chunks_without_a_word_have_statistics_too() -> None:
    statistics = CorpusStatistics.fit([Chunk("a", "the")])
    assert statistics.mean_length == 1.0
    assert BM25Reranker(statistics).score("river", [Chunk("b", "river")])[0] > 0


def test_statistics_of_no_chunk_are_rejected() -> None:
    with pytest.raises(InputError, match="no chunk"):
        CorpusStatistics.fit([])


def test_statistics_survive_their_files(tmp_path: Path) -> None:
    texts = ["river lake", "river bread 漢字", "naïve ThreadPool river"]
    statistics = CorpusStatistics.fit(chunks(texts))
    statistics.save(tmp_path / "statistics")
    loaded = CorpusStatistics.load(str(tmp_path / "statistics"))
    words = [*terms(" ".join(texts)), "unheard"]
    assert loaded.idf(words) == statistics.idf(words)
    assert (loaded.mean_length, loaded.unknown_idf) == (
        statistics.mean_length,
        statistics.unknown_idf,
    )
    assert repr(loaded) == repr(statistics) == "CorpusStatistics(terms=8, mean_length=3.3)"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["hashes-*.bin", "idf-*.bin"])
def test_damaged_statistics_are_not_loaded(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    CorpusStatistics.fit(chunks(["river lake", "bread"])).save(tmp_path)
    (path,) = tmp_path.glob(name)
    damage(path)
    with pytest.raises(IndexCorrupt, match=path.name):
        CorpusStatistics.load(tmp_path)


def test_another_kind_of_folder_is_not_loaded(tmp_path: Path) -> None:
    write_folder(tmp_path, kind="something-else", version=1, about={}, parts={})
    with pytest.raises(InputError, match="something-else"):
        CorpusStatistics.load(tmp_path)
    with pytest.raises(InputError, match="nothing was saved"):
        CorpusStatistics.load(tmp_path / "missing")
