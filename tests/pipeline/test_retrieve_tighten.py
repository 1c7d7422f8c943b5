"""Tightening as a stage of retrieval: accounted for, refused for other scores, never fatal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ragopt.cache import CachedRetriever
from ragopt.chunk import Chunk, Hit
from ragopt.compress import Extractive
from ragopt.embed import CallableEmbedder
from ragopt.errors import InputError
from ragopt.indexes import build
from ragopt.llm import Message
from ragopt.pipeline import Pipeline
from ragopt.rerank import (
    BM25Reranker,
    ConformalFloor,
    Evidence,
    LabelledQuery,
    ScoreCalibration,
    Tighten,
    TightenOptions,
)
from ragopt.retrieve import Retriever

TOPICS = ("river", "bread", "engine", "violin")
LONG = "It is worth a long visit in spring. Many people write about it. Some never come back. "


def chunks() -> list[Chunk]:
    return [
        Chunk(
            id=f"{topic}-{part}",
            text=f"The {topic} number {part} has {topic} part {part * 7}. {LONG}",
            source=topic,
            start=part * 200,
        )
        for topic in TOPICS
        for part in range(5)
    ]


def embed(texts: Sequence[str]) -> np.ndarray:
    rows = [[text.count(topic) + 0.1 for topic in TOPICS] for text in texts]
    return np.array(rows, dtype=np.float32)


def retriever(**options: object) -> Retriever:
    embedder = CallableEmbedder(embed, id="topics")
    found = chunks()
    index = build("flat", embedder.embed([chunk.text for chunk in found]))
    settings = {"k": 5, "candidates": 12, "reranker": BM25Reranker(), **options}
    return Retriever(chunks=found, embedder=embedder, index=index, **settings)  # type: ignore[arg-type]


def fitted(whose: Retriever, **options: object) -> Tighten:
    labelled = [
        LabelledQuery(
            query=f"{topic} part {part * 7}",
            hits=tuple(whose.ranked(f"{topic} part {part * 7}")),
            gold=frozenset({f"{topic}-{part}"}),
        )
        for topic in TOPICS
        for part in range(5)
    ]
    return Tighten.fit_scored(
        labelled,
        scorer_id=whose.scorer_id,
        alpha=0.1,
        options=TightenOptions(**options),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("settings", [{}, {"prior_weight": 0.5}, {"reranker": None}])
def test_what_was_fitted_on_a_retriever_fits_into_it(settings: dict[str, object]) -> None:
    made = fitted(retriever(**settings))
    found = retriever(**settings, cut=made).retrieve("river part 14")
    assert found.tightened is not None
    assert "river-2" in {hit.chunk.id for hit in found.hits}
    assert found.hits == found.tightened.hits
    assert [stage.name for stage in found.stages][-1] == "tighten"
    stage = found.stages[-1]
    assert (stage.tokens_before, stage.tokens_after) == (
        found.tightened.tokens_before,
        found.tightened.tokens_after,
    )
    assert 0 < stage.tokens_after <= stage.tokens_before
    assert "chunks kept" in stage.note
    assert len(found.plain) == 5


def test_a_retriever_of_other_scores_refuses_it() -> None:
    made = fitted(retriever())
    for settings in ({"prior_weight": 0.5}, {"reranker": None}, {"reranker": BM25Reranker(b=0.5)}):
        with pytest.raises(InputError, match="cut was fitted with scores of 'bm25"):
            retriever(**settings, cut=made)


def test_uncalibrated_it_takes_any_scores() -> None:
    found = retriever(cut=Tighten()).retrieve("river part 14")
    assert found.tightened is not None
    assert found.tightened.guarantee == "none"


class Broken(BM25Reranker):
    def score(self, query: str, chunks: Sequence[Chunk]) -> np.ndarray:
        raise RuntimeError("no model today")


def test_scores_of_the_search_are_not_taken_for_those_of_a_reranker_that_failed() -> None:
    made = fitted(retriever())
    found = retriever(reranker=Broken(), cut=made).retrieve("river part 14")
    names = {stage.name: stage for stage in found.stages}
    assert names["rerank"].failed
    assert names["tighten"].failed
    assert "cannot be read with the calibration of" in names["tighten"].note
    assert found.tightened is None
    assert found.hits == found.plain


def test_the_pipeline_gives_the_model_what_was_packed() -> None:
    seen: list[str] = []

    def llm(messages: Sequence[Message]) -> str:
        seen.append("\n".join(message.content for message in messages))
        return "14"

    scale = ScoreCalibration(scorer_id=retriever().scorer_id, location=0, temperature=1)
    everything = ConformalFloor.fit([Evidence((0.5,), 1)] * 40, alpha=0.1)
    options = TightenOptions(max_tokens=200)
    made = Tighten(scale, everything, options=options, compressor=Extractive())
    answer = Pipeline(retriever(cut=made), llm).ask("river part 14")
    assert answer.context is not None
    shortened = [one for one in answer.context.chunks if one.text != one.chunk.text]
    assert shortened
    assert all(one.text.strip() in seen[0] for one in answer.context.chunks)
    assert answer.context.tokens_after < answer.context.tokens_before
    for one in answer.context.chunks:
        for span in one.spans:
            assert one.chunk.text[span.start : span.end] in one.text
    stages = {stage.name: stage for stage in answer.stages}
    assert stages["tighten"].tokens_after <= 200
    # Shortened once is enough; whole chunks go through the pipeline's own compressor.
    again = Pipeline(retriever(cut=made), llm, compressor=Extractive()).ask("river part 14")
    assert "compress" not in {stage.name for stage in again.stages}
    plain = Pipeline(retriever(cut=Tighten()), llm, compressor=Extractive()).ask("river part 14")
    assert "compress" in {stage.name for stage in plain.stages}


def test_a_compressor_that_fails_does_not_fail_the_question() -> None:
    class Failing:
        def compress(
            self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
        ) -> object:
            raise RuntimeError("out of order")

    scale = ScoreCalibration(scorer_id=retriever().scorer_id, location=0, temperature=1)
    everything = ConformalFloor.fit([Evidence((0.5,), 1)] * 40, alpha=0.1)
    made = Tighten(
        scale,
        everything,
        options=TightenOptions(max_tokens=40),
        compressor=Failing(),  # type: ignore[arg-type]
    )
    found = retriever(cut=made).retrieve("river part 14")
    assert found.stages[-1].failed
    assert len(found.hits) == 5


def test_a_retrieval_cache_keeps_whole_chunks_and_tells_fits_apart(tmp_path: Path) -> None:
    made = fitted(retriever())
    with CachedRetriever(
        retriever(cut=made), path=tmp_path / "found.db", corpus_version="1"
    ) as cached:
        first, second = (cached.retrieve("river part 14") for _ in range(2))
        assert second.hits == first.hits
        assert second.stages[0].cached
    other = fitted(retriever(), k_min=4)
    with CachedRetriever(
        retriever(cut=other), path=tmp_path / "found.db", corpus_version="1"
    ) as cached:
        assert not cached.retrieve("river part 14").stages[0].cached


def test_a_retrieval_cache_does_not_keep_what_was_shortened(tmp_path: Path) -> None:
    scale = ScoreCalibration(scorer_id=retriever().scorer_id, location=0, temperature=1)
    everything = ConformalFloor.fit([Evidence((0.5,), 1)] * 40, alpha=0.1)
    options = TightenOptions(max_tokens=200)
    made = Tighten(scale, everything, options=options, compressor=Extractive())
    with CachedRetriever(
        retriever(cut=made), path=tmp_path / "found.db", corpus_version="1"
    ) as cached:
        found = [cached.retrieve("river part 14") for _ in range(2)]
        assert all(each.tightened is not None for each in found)
        assert len(cached) == 0
