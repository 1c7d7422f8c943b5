"""Search, fusion, reranking and the cut."""

from __future__ import annotations

import numpy as np
import pytest

from ragopt.chunk import Chunk
from ragopt.embed import CallableEmbedder
from ragopt.errors import InputError
from ragopt.indexes import build
from ragopt.indexes.lexical import LexicalIndex
from ragopt.rerank import BM25Reranker, FixedK, LargestGap
from ragopt.retrieve import Retriever

DIM = 16
NAMES = [f"chunk{number}" for number in range(40)]


def vector_of(text: str) -> np.ndarray:
    """A direction for every text; ``near chunkN`` lies beside that of ``chunkN``."""
    near = text.startswith("near ")
    name = text.removeprefix("near ").partition(" ")[0]
    seed = [ord(letter) for letter in name]
    row = np.random.default_rng(seed).standard_normal(DIM)
    return row / np.linalg.norm(row) + (0.05 if near else 0.0)


@pytest.fixture(scope="module")
def embedder() -> CallableEmbedder:
    return CallableEmbedder(lambda texts: [vector_of(text) for text in texts], id="d", dim=DIM)


@pytest.fixture(scope="module")
def chunks() -> list[Chunk]:
    texts = [f"{name} speaks of subject{number % 7}" for number, name in enumerate(NAMES)]
    texts[33] = "chunk33 tells of the xylophone"
    return [Chunk(name, text, "doc") for name, text in zip(NAMES, texts, strict=True)]


@pytest.fixture(scope="module")
def index(embedder, chunks):
    return build("flat", embedder.embed([chunk.text for chunk in chunks]))


@pytest.fixture
def parts(chunks, embedder, index):
    return {"chunks": chunks, "embedder": embedder, "index": index}


def ids(hits):
    return [hit.chunk.id for hit in hits]


class Reversed:
    """Scores that turn the order of arrival round."""

    def score(self, query, chunks):
        return np.arange(len(chunks), dtype=np.float32)


class Fails:
    def score(self, query, chunks):
        raise RuntimeError("no such device")


# Sizes and fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "candidates"),
    [(0, None), (-1, None), (5, 4), (5, 0), (True, None), (2.0, None), ("3", None), (3, 5.0)],
)
def test_unusable_sizes_are_refused(k, candidates, parts) -> None:
    with pytest.raises(InputError, match="1 <= k <= candidates"):
        Retriever(**parts, k=k, candidates=candidates)


@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf")])
def test_an_unusable_weight_is_refused(weight, parts) -> None:
    with pytest.raises(InputError, match="prior_weight"):
        Retriever(**parts, prior_weight=weight)


def test_the_embedder_must_be_the_indexs(parts) -> None:
    other = CallableEmbedder(lambda texts: np.ones((len(texts), 5)), id="short", dim=5)
    with pytest.raises(InputError, match=r"16 dimensions, the embedder 'short' 5"):
        Retriever(**{**parts, "embedder": other})


def test_every_vector_needs_its_chunk(parts, chunks) -> None:
    with pytest.raises(InputError, match="40 vectors, but there are 39 chunks"):
        Retriever(**{**parts, "chunks": chunks[:-1]})


def test_an_unknown_knob_is_refused(parts) -> None:
    with pytest.raises(InputError, match="ef_search"):
        Retriever(**parts, knobs={"ef_search": 10}).retrieve("chunk1")


def test_knobs_reach_the_index(parts, chunks, embedder) -> None:
    index = build("rabitq+rescore(f32)", embedder.embed([chunk.text for chunk in chunks]))
    pages = [
        Retriever(**{**parts, "index": index}, k=2, knobs={"candidates": width})
        .retrieve("chunk1")
        .stages[1]
        .pages_read
        for width in (2, 30)
    ]
    assert pages[0] <= pages[1]
    assert pages[1] > 0


# The search -------------------------------------------------------------------------------


def test_the_plain_road_is_the_indexs_own(parts, embedder, index) -> None:
    found = Retriever(**parts, k=5).retrieve("near chunk7")
    expected = index.search(embedder.embed(["near chunk7"]), 5)
    assert ids(found.hits) == [NAMES[place] for place in expected.ids[0]]
    assert [hit.score for hit in found.hits] == pytest.approx(expected.scores[0].tolist())
    assert found.hits == found.plain
    assert ids(found.hits)[0] == "chunk7"
    assert found.vector == pytest.approx(embedder.embed(["near chunk7"])[0])
    assert [stage.name for stage in found.stages] == ["embed", "search", "cut"]


def test_a_known_vector_is_not_embedded_again(parts, embedder) -> None:
    vector = embedder.embed(["near chunk7"])[0]
    found = Retriever(**parts, k=1).retrieve("chunk3", vector)
    assert ids(found.hits) == ["chunk7"]
    assert [stage.name for stage in found.stages] == ["search", "cut"]


def test_more_than_there_is_gives_what_there_is(parts) -> None:
    found = Retriever(**parts, k=100).retrieve("chunk1")
    assert sorted(ids(found.hits)) == sorted(NAMES)


def test_an_empty_index_finds_nothing(parts, embedder) -> None:
    empty = build("flat", np.zeros((0, DIM), np.float32))
    retriever = Retriever(**{**parts, "index": empty}, k=3, reranker=BM25Reranker())
    found = retriever.retrieve("chunk1")
    assert found.hits == found.plain == ()
    assert not any(stage.failed for stage in found.stages)


def test_deleted_chunks_are_not_found(parts, chunks, embedder) -> None:
    index = build("flat", embedder.embed([chunk.text for chunk in chunks]))
    index.delete([7])
    found = Retriever(**{**parts, "index": index}, k=39).retrieve("near chunk7")
    assert sorted(ids(found.hits)) == sorted(set(NAMES) - {"chunk7"})


@pytest.mark.parametrize(
    ("options", "width"),
    [
        ({}, "4 candidates"),
        ({"candidates": 9}, "9 candidates"),
        ({"reranker": BM25Reranker()}, "40 candidates"),
        ({"reranker": BM25Reranker(), "candidates": 6}, "6 candidates"),
    ],
)
def test_how_many_the_search_brings_in(options, width, parts) -> None:
    found = Retriever(**parts, k=4, **options).retrieve("chunk1")
    assert {stage.name: stage.note for stage in found.stages}["search"] == width
    assert len(found.hits) == len(found.plain) == 4


# Words beside vectors ---------------------------------------------------------------------


def test_words_bring_in_what_the_vectors_miss(parts, chunks) -> None:
    question = "chunk5 and the xylophone"
    without = Retriever(**parts, k=3).retrieve(question)
    assert "chunk33" not in ids(without.hits)
    lexical = LexicalIndex.build(chunk.text for chunk in chunks)
    found = Retriever(**parts, k=3, lexical=lexical).retrieve(question)
    assert {"chunk5", "chunk33"} <= set(ids(found.hits))
    assert ids(found.plain) == ids(found.hits)


def test_the_fused_order_is_that_of_the_reciprocal_ranks(parts, chunks, index, embedder) -> None:
    question = "chunk5 and the xylophone"
    lexical = LexicalIndex.build(chunk.text for chunk in chunks)
    found = Retriever(**parts, k=3, candidates=6, lexical=lexical).retrieve(question)
    lists = [index.search(embedder.embed([question]), 6).ids[0], lexical.search(question, 6).ids[0]]
    lists = [[int(place) for place in listed if place >= 0] for listed in lists]
    union = list(dict.fromkeys(lists[0] + lists[1]))

    def score(place):
        # Cormack, Clarke and Büttcher (2009); what a list does not hold shares its last rank.
        ranks = [
            listed.index(place) + 1 if place in listed else len(listed) + 1 for listed in lists
        ]
        return sum(1 / (60 + rank) for rank in ranks)

    expected = sorted(union, key=lambda place: -score(place))[:3]
    assert ids(found.hits) == [NAMES[place] for place in expected]
    assert [hit.score for hit in found.hits] == pytest.approx([score(place) for place in expected])


def test_words_that_nobody_holds_change_nothing(parts, chunks) -> None:
    lexical = LexicalIndex.build(chunk.text for chunk in chunks)
    question = "near chunk9 zzz"
    alone = Retriever(**parts, k=5).retrieve("near")
    both = Retriever(**parts, k=5, lexical=lexical).retrieve("near")
    assert ids(both.hits) == ids(alone.hits)
    assert "chunk9" in ids(Retriever(**parts, k=5, lexical=lexical).retrieve(question).hits)


# Reranking and the cut --------------------------------------------------------------------


def test_plain_is_the_searchs_own_top_k_whatever_the_reranker_says(parts) -> None:
    search = Retriever(**parts, k=4).retrieve("near chunk7")
    found = Retriever(**parts, k=4, candidates=10, reranker=Reversed()).retrieve("near chunk7")
    assert found.plain == search.hits
    ten = Retriever(**parts, k=10).retrieve("near chunk7")
    assert ids(found.hits) == ids(ten.hits)[::-1][:4]


def test_the_searchs_score_counts_by_its_weight(parts) -> None:
    question = "near chunk7"
    light = Retriever(**parts, k=3, candidates=10, reranker=Reversed(), prior_weight=0.001)
    heavy = Retriever(**parts, k=3, candidates=10, reranker=Reversed(), prior_weight=1000.0)
    search = Retriever(**parts, k=10).retrieve(question)
    assert ids(light.retrieve(question).hits) == ids(search.hits)[::-1][:3]
    assert ids(heavy.retrieve(question).hits) == ids(search.hits)[:3]


@pytest.mark.parametrize(("cut", "kept"), [(FixedK(2), 2), (FixedK(25), 10), (None, 4)])
def test_the_cut_decides_how_many_go_on(cut, kept, parts) -> None:
    retriever = Retriever(**parts, k=4, candidates=10, reranker=Reversed(), cut=cut)
    found = retriever.retrieve("chunk1")
    assert len(found.hits) == kept
    assert len(found.plain) == 4
    assert found.stages[-1].note == f"{kept} of 10 kept"


def test_a_cut_sees_the_rerankers_scores(parts) -> None:
    class Gap:
        def score(self, query, chunks):
            return np.array([9.0, 8.0, 7.0] + [0.1] * (len(chunks) - 3), dtype=np.float32)

    retriever = Retriever(**parts, k=5, reranker=Gap(), cut=LargestGap(k_min=1, k_max=9))
    assert len(retriever.retrieve("chunk1").hits) == 3


@pytest.mark.parametrize(("says", "kept"), [(-3, 0), (0, 0), (7, 7), (10**9, 10)])
def test_a_cut_out_of_range_is_brought_into_it(says, kept, parts) -> None:
    class Cut:
        def keep(self, hits):
            return says

    found = Retriever(**parts, k=5, candidates=10, cut=Cut()).retrieve("chunk1")
    assert len(found.hits) == kept


def test_a_raising_reranker_leaves_the_order_of_the_search(parts) -> None:
    search = Retriever(**parts, k=4).retrieve("near chunk7")
    found = Retriever(**parts, k=4, candidates=10, reranker=Fails()).retrieve("near chunk7")
    assert found.hits == found.plain == search.hits
    [stage] = [stage for stage in found.stages if stage.failed]
    assert stage.name == "rerank"
    assert "no such device" in stage.note


@pytest.mark.parametrize(
    "scores", [[1.0], [[1.0] * 10], [float("nan")] * 10, ["a"] * 10, None, "text"]
)
def test_scores_that_make_no_sense_leave_the_order_of_the_search(scores, parts) -> None:
    class Odd:
        def score(self, query, chunks):
            return scores

    found = Retriever(**parts, k=4, candidates=10, reranker=Odd()).retrieve("near chunk7")
    assert found.hits == found.plain
    assert [stage.name for stage in found.stages if stage.failed] == ["rerank"]


def test_a_raising_cut_keeps_k(parts) -> None:
    class Cut:
        def keep(self, hits):
            raise ZeroDivisionError

    found = Retriever(**parts, k=3, candidates=10, cut=Cut()).retrieve("chunk1")
    assert len(found.hits) == 3
    assert [stage.name for stage in found.stages if stage.failed] == ["cut"]


def test_an_interrupt_is_no_fault_to_be_skipped(parts) -> None:
    class Interrupted:
        def score(self, query, chunks):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Retriever(**parts, reranker=Interrupted()).retrieve("chunk1")


def test_a_retriever_does_not_show_its_texts(parts) -> None:
    assert "xylophone" not in repr(Retriever(**parts))
