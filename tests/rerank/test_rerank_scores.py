"""What a call tells, near-duplicates, marginal relevance, windows, weights, and what pays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_made import ByNumber, Priced, chunks_of, order_of, sheet_of

from ragopt.chunk import Chunk, Hit
from ragopt.embed import CallableEmbedder
from ragopt.errors import IndexCorrupt, InputError
from ragopt.rerank import (
    BM25Reranker,
    ConvexReranker,
    ConvexWeights,
    CosineReranker,
    Deduplicated,
    FusionReranker,
    GradedQuery,
    MMRReranker,
    WhenItPays,
    Windowed,
    fit_convex,
    near_duplicates,
    pays,
    reranked,
)
from ragopt.rerank.scores import quote_of, scores_of

SENTENCE = "the key of a bucket is rotated every month by the operator on call who signs the log"

# ------------------------------------------------------------------------------------ what is told


def test_a_scorer_that_tells_nothing_tells_its_scores() -> None:
    found = scores_of(ByNumber(), "q", chunks_of("a 1", "b 2"))
    assert found.values.tolist() == [1, 2]
    assert (found.usd, found.calls, found.read_in_part) == (0, 0, ())


def test_fusions_tell_what_their_parts_did() -> None:
    for fusion in (FusionReranker, ConvexReranker):
        scorer = fusion([Priced(), BM25Reranker(), Priced(fail="busy")])
        found = scorer.scored("q", chunks_of("a 1", "b 2"))
        assert (found.usd, found.calls) == (Decimal("0.04"), 2)
        assert found.read_in_part == (0,)
        assert found.notes == ("failed: busy",)
        assert quote_of(scorer, "q", chunks_of("a 1")) == Decimal("0.02")


def test_hits_of_a_failed_call_stay_as_they_arrived() -> None:
    hits = [Hit(chunk, 0.3) for chunk in chunks_of("a 1", "b 2")]
    found = reranked(Priced(fail="busy"), "q", hits)
    assert list(found.hits) == hits
    assert found.scores.failed == "busy"
    turned = reranked(Priced(), "q", hits)
    assert [hit.chunk.text for hit in turned.hits] == ["b 2", "a 1"]
    assert str(turned.scores) == "2 scored, 1 read in part, 1 calls, $0.02"


@pytest.mark.parametrize("values", [[1.0], [1.0, float("nan")]])
def test_scores_that_are_none_are_refused_from_telling_scorers_too(values: list[float]) -> None:
    class Wrong(Priced):
        def scored(self, query: str, chunks: Sequence[Chunk]) -> Any:
            return replace(super().scored(query, chunks), values=np.array(values, np.float32))

    with pytest.raises(InputError, match="2 chunks, expected a number each"):
        scores_of(Wrong(), "q", chunks_of("a 1", "b 2"))


# --------------------------------------------------------------------------------- near-duplicates


def test_copies_and_contained_texts_are_found() -> None:
    longer = f"{SENTENCE} and then goes home"
    assert near_duplicates([SENTENCE, "another text", SENTENCE.upper()]) == {2: 0}
    assert near_duplicates([SENTENCE, longer]) == {0: 1}
    assert near_duplicates(["", "", "one"]) == {}


@pytest.mark.parametrize(
    ("word", "other"), [("month", "week"), ("bucket", "tenant"), ("is rotated", "is not rotated")]
)
def test_one_word_of_difference_is_another_statement(word: str, other: str) -> None:
    filler = " ".join(f"filler{number}" for number in range(80))
    first, second = f"{filler} {SENTENCE}", f"{filler} {SENTENCE.replace(word, other)}"
    assert not {0, 1} <= {*near_duplicates([first, second]), 2}
    assert 1 not in near_duplicates([first, second])


def test_less_containment_than_asked_is_no_duplicate() -> None:
    words = SENTENCE.split()
    turned = " ".join([*words[9:], *words[:9]])  # the same words; two of sixteen shingles are new
    shared = 1 - 2 / (len(words) - 2)
    assert near_duplicates([SENTENCE, turned], containment=shared - 0.01) == {1: 0}
    assert near_duplicates([SENTENCE, turned], containment=shared + 0.01) == {}


@given(st.lists(st.sampled_from([SENTENCE, "a b c d", "a b c", "x y z", ""]), max_size=8))
def test_what_is_repeated_is_kept_itself(texts: list[str]) -> None:
    copies = near_duplicates(texts)
    assert not set(copies) & set(copies.values())
    kept = [text for place, text in enumerate(texts) if place not in copies and text]
    assert len(kept) == len(set(kept))


def test_only_one_of_several_copies_is_paid_for() -> None:
    scorer = Priced()
    found = Deduplicated(scorer).scored("q", chunks_of(SENTENCE, SENTENCE, "b b b", SENTENCE))
    assert scorer.seen == [2]
    assert found.usd == Decimal("0.02")
    assert found.duplicates == ((1, 0), (3, 0))
    assert order_of(found.values) == [2, 0, 1, 3]
    assert Deduplicated(scorer).quote("q", chunks_of(SENTENCE, SENTENCE)) == Decimal("0.01")
    assert Deduplicated(scorer).score("q", []).shape == (0,)


@pytest.mark.parametrize("containment", [0, 1.1, -1])
def test_a_containment_that_says_nothing_is_rejected(containment: float) -> None:
    with pytest.raises(InputError, match="containment"):
        Deduplicated(Priced(), containment=containment)


# ------------------------------------------------------------------------------------------- MMR

VECTORS = {"q": [1, 0, 0], "a": [1, 0.1, 0], "b": [1, 0.11, 0], "c": [0.6, 0, 1], "d": [0, 1, 0]}
EMBEDDER = CallableEmbedder(lambda texts: [VECTORS[text] for text in texts], id="made", dim=3)


def mmr_by_the_paper(relevance: Any, likeness: Any, trade_off: float) -> list[int]:
    """Carbonell and Goldstein (1998), section 2, one choice after the other."""
    chosen: list[int] = []
    while len(chosen) < len(relevance):
        rest = [place for place in range(len(relevance)) if place not in chosen]
        chosen.append(
            max(
                rest,
                key=lambda place: (
                    trade_off * relevance[place]
                    - (1 - trade_off) * max((likeness[place, one] for one in chosen), default=0)
                ),
            )
        )
    return chosen


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_marginal_relevance_is_the_paper_s(trade_off: float) -> None:
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(13, 5)).astype(np.float32)
    table = {str(place): row.tolist() for place, row in enumerate(vectors)}
    embedder = CallableEmbedder(lambda texts: [table[text] for text in texts], id="r", dim=5)
    unit = embedder.embed([str(place) for place in range(13)])
    expected = mmr_by_the_paper(unit[1:] @ unit[0], unit[1:] @ unit[1:].T, trade_off)
    scorer = MMRReranker(embedder, trade_off=trade_off)
    chunks = chunks_of(*[str(place) for place in range(1, 13)])
    assert order_of(scorer.score("0", chunks)) == expected


def test_what_repeats_the_first_one_comes_later() -> None:
    chunks = chunks_of("a", "b", "c", "d")
    assert order_of(CosineReranker(EMBEDDER).score("q", chunks)) == [0, 1, 2, 3]
    assert order_of(MMRReranker(EMBEDDER, trade_off=0.4).score("q", chunks))[:2] == [0, 3]
    with_scorer = MMRReranker(EMBEDDER, reranker=Priced(), trade_off=1.0)
    assert order_of(with_scorer.score("q", chunks)) == [3, 2, 1, 0]
    assert with_scorer.scored("q", chunks).usd == Decimal("0.04")
    with pytest.raises(InputError, match="trade_off"):
        MMRReranker(EMBEDDER, trade_off=1.1)


# --------------------------------------------------------------------------------------- windows


def test_a_chunk_scores_as_its_best_window() -> None:
    scorer = ByNumber()
    windowed = Windowed(scorer, words=3, overlap=1)
    found = windowed.scored("q", chunks_of("a b 1 c 9 d 2", "x 5"))
    assert scorer.seen == [["a b 1", "1 c 9", "9 d 2", "x 5"]]
    assert found.values.tolist() == [9, 5]


def test_windows_are_slices_of_the_chunk_and_cover_it() -> None:
    text = " ".join(f"w{number}" for number in range(23))
    for words, overlap in [(5, 0), (5, 4), (22, 3), (23, 1)]:
        parts = Windowed(ByNumber(), words=words, overlap=overlap)._windows(
            Chunk("c", text, start=100)
        )
        for part in parts:
            begin = part.start - 100
            assert text[begin : begin + len(part.text)] == part.text
            assert len(part.text.split()) <= words
        assert {word for part in parts for word in part.text.split()} == set(text.split())


def test_only_chunks_whose_windows_are_cut_are_read_in_part() -> None:
    found = Windowed(Priced(), words=2, overlap=0).scored("q", chunks_of("a b c d", "e"))
    assert found.read_in_part == (0,)
    assert found.usd == Decimal("0.03")
    assert found.notes == ("3 windows of 2 chunks",)
    assert Windowed(Priced()).score("q", []).shape == (0,)


@pytest.mark.parametrize("options", [{"words": 0}, {"words": 5, "overlap": 5}, {"overlap": -1}])
def test_windows_that_do_not_move_are_rejected(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="overlap < words"):
        Windowed(ByNumber(), **options)


# --------------------------------------------------------------------------------------- weights


class Noise:
    """Knows nothing."""

    def score(self, query: str, chunks: Sequence[Chunk]) -> Any:
        rng = np.random.default_rng(len(query))
        return rng.random(len(chunks)).astype(np.float32)


def labelled(count: int = 12) -> list[GradedQuery]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        grades = tuple(float(grade) for grade in rng.permutation(12))
        chunks = chunks_of(*[f"text {grade:.0f}" for grade in grades])
        found.append(GradedQuery("q" * (number + 1), tuple(chunks), grades))
    return found


def test_the_scorer_that_knows_gets_the_weight() -> None:
    weights = fit_convex({"good": ByNumber(), "noise": Noise()}, labelled())
    assert weights.weights["good"] >= 0.9
    assert weights.held_out == pytest.approx(weights.alone["good"], abs=0.05)
    assert weights.alone["good"] == pytest.approx(1.0)
    assert weights.alone["noise"] < weights.equal < 1
    assert (weights.n_fitted, weights.n_held_out) == (6, 6)


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    weights = fit_convex({"good": ByNumber(), "noise": Noise()}, labelled(), step=0.25)
    weights.save(tmp_path / "weights.json")
    assert ConvexWeights.load(tmp_path / "weights.json") == weights
    scorer = weights.reranker({"noise": Noise(), "good": ByNumber()})
    assert order_of(scorer.score("q", chunks_of("a 1", "b 9", "c 5")))[0] == 1
    with pytest.raises(InputError, match="fitted for"):
        weights.reranker({"good": ByNumber(), "other": Noise()})


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    fit_convex({"a": ByNumber(), "b": Noise()}, labelled()).save(path)
    content = json.loads(path.read_text())
    damaged = ["", "[]", "{}", path.read_text()[:-40], json.dumps({**content, "format": "other"})]
    damaged += [
        json.dumps({**content, "weights": {"a": 2, "b": -1}}),
        json.dumps({**content, "x": 1}),
    ]
    for text in damaged:
        path.write_text(text)
        with pytest.raises(IndexCorrupt, match=r"weights\.json"):
            ConvexWeights.load(path)
    path.write_text(json.dumps({**content, "version": 9}))
    with pytest.raises(InputError, match="update ragopt"):
        ConvexWeights.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        ConvexWeights.load(tmp_path / "absent.json")


def test_what_cannot_be_fitted_is_named() -> None:
    two = {"a": ByNumber(), "b": Noise()}
    with pytest.raises(InputError, match="at least 2"):
        fit_convex({"a": ByNumber()}, labelled())
    with pytest.raises(InputError, match="at least 4"):
        fit_convex(two, labelled(3))
    with pytest.raises(InputError, match=r"step=0\.3"):
        fit_convex(two, labelled(), step=0.3)
    with pytest.raises(InputError, match="1 grades for"):
        fit_convex(two, [replace(one, grades=(1.0,)) for one in labelled()])


# ----------------------------------------------------------------------------------- what pays

PRICE = sheet_of({"name": "m", "mode": "chat", "input": Decimal("0.000001")}).model("m")


def test_what_reranking_costs_against_what_it_saves() -> None:
    found = pays(Decimal("0.002"), PRICE, tokens_saved=1_500)
    assert (found.saved_usd, found.net_usd) == (Decimal("0.0015"), Decimal("-0.0005"))
    assert (found.pays, found.tokens_needed) == (False, 2_000)
    assert pays(Decimal("0.002"), PRICE, tokens_saved=2_000).pays
    assert str(found) == "costs $0.002, saves $0.001500 (1,500 tokens; 2,000 would pay for it)"


def test_a_cost_that_nobody_knows_does_not_pay() -> None:
    found = pays(None, PRICE, tokens_saved=10**9)
    assert not found.pays
    assert found.net_usd is None
    assert "unknown" in str(found)


def test_local_scorers_pay_and_dear_ones_by_their_quote() -> None:
    when = WhenItPays(price=PRICE, tokens_saved=15_000)
    assert when.decide(BM25Reranker(), "q", chunks_of("a", "b")).pays
    assert when.decide(Priced(), "q", chunks_of("a")).pays
    assert not when.decide(Priced(), "q", chunks_of("a", "b")).pays
    assert not when.decide(Deduplicated(Priced()), "q", chunks_of("a", "b")).pays
    with pytest.raises(InputError, match="tokens_saved"):
        WhenItPays(price=PRICE, tokens_saved=-1)


# ----------------------------------------------------------------------------- in the retriever


class FewVectors:
    """An index over as many vectors as there are texts."""

    dim, metric = 2, "cosine"

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def search(self, queries: Any, k: int, *, where: Any = None, **knobs: int) -> Any:
        from ragopt.indexes.base import SearchResult, SearchStats

        ids = np.arange(min(k, self.count), dtype=np.int64)[None]
        return SearchResult(ids, (1 - ids / 10).astype(np.float32), SearchStats())


def retriever(**options: Any) -> Any:
    from ragopt.retrieve import Retriever

    chunks = chunks_of(*[f"text {number}" for number in range(6)])
    embedder = CallableEmbedder(lambda texts: [[1.0, 0.0] for _ in texts], id="made", dim=2)
    return Retriever(chunks=chunks, embedder=embedder, index=FewVectors(6), k=2, **options)


def stage_of(found: Any) -> Any:
    return next(stage for stage in found.stages if stage.name == "rerank")


def test_a_retriever_tells_what_reranking_cost() -> None:
    found = retriever(reranker=Priced()).retrieve("q")
    assert [hit.chunk.id for hit in found.hits] == ["5", "4"]
    stage = stage_of(found)
    assert (stage.usd, stage.failed) == (Decimal("0.06"), False)
    assert stage.note == "6 scored, 1 read in part, 1 calls, $0.06"


def test_a_retriever_leaves_out_what_does_not_pay_and_says_so() -> None:
    scorer = Priced()
    when = WhenItPays(price=PRICE, tokens_saved=59_000)
    found = retriever(reranker=scorer, pays=when, cut=None).retrieve("q")
    assert scorer.seen == []
    assert [hit.chunk.id for hit in found.hits] == ["0", "1"]
    assert stage_of(found).note.startswith("left out: costs $0.06, saves $0.059000")
    assert retriever(reranker=scorer, pays=replace(when, tokens_saved=60_000)).retrieve("q")
    assert scorer.seen == [6]


def test_a_reranker_that_reports_its_failure_is_a_failed_stage() -> None:
    found = retriever(reranker=Priced(fail="busy")).retrieve("q")
    assert [hit.chunk.id for hit in found.hits] == ["0", "1"]
    stage = stage_of(found)
    assert (stage.failed, stage.note, stage.usd) == (True, "busy", Decimal("0.06"))
