"""All of the real data: row counts as its README states them, offsets, and what runs reach."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ragopt.benchmarks.datasets import (
    ContextSet,
    Dataset,
    IntentSet,
    PairSet,
    QueryLog,
    RetrievalSet,
    TraceSet,
    VectorSet,
    load,
    names,
)
from ragopt.benchmarks.datasets.catalogue import CATALOGUE
from ragopt.benchmarks.datasets.formats import format_of
from ragopt.benchmarks.datasets.source import Source

pytestmark = pytest.mark.data

# Rows of each; two figures where there are two kinds of rows.
ROWS: dict[str, tuple[int, ...]] = {
    "qqp_minilm_384": (68_622, 384),
    "msmarco_dl19_minilm_384": (14_581, 384),
    "bge_base_768": (7_597, 768),
    "dl19_queries_ada2": (43, 1_536),
    "dl19_queries_cohere": (43, 1_024),
    "dl19_queries_bge": (43, 768),
    "msmarco_dl19": (14_581, 43),
    "cranfield": (1_400, 225),
    "cisi": (1_460, 76),
    "npl_vaswani": (11_429, 93),
    "hotpotqa": (100,),
    "musique": (50,),
    "squad": (6_078,),
    "nq": (1_292,),
    "clapnq": (150,),
    "clapnq_unanswerable": (300,),
    "pubmedqa": (477,),
    "chunking_eval": (317,),
    "qmsum": (237,),  # questions, on 35 meetings
    "qqp": (40_324,),
    "mrpc": (3_576,),  # the README counts one fewer
    "clinc150": (18_000,),
    "banking77": (10_003,),
    "million_query": (10_000,),
    "nq_queries": (8_757,),
    "arena_hard": (245,),
    "rankllm_prompts": (387,),
    "azure2023_conv": (19_366,),
    "mooncake_conversation": (12_031,),
}
NDCG = {
    "BM25": 0.506,
    "OPEN_AI_ADA2": 0.704,
    "D_BERT_KD_TASB": 0.721,
    "SPLADE_P_P_ENSEMBLE_DISTIL": 0.731,
    "REP_LLAMA": 0.738,
}


_SIZES = {
    VectorSet: lambda found: found.vectors.shape,
    RetrievalSet: lambda found: (len(found.chunks), len(found.queries)),
    ContextSet: lambda found: (len(found.contexts),),
    PairSet: lambda found: (len(found.pairs),),
    IntentSet: lambda found: (len(found.texts),),
    QueryLog: lambda found: (len(found.queries),),
    TraceSet: lambda found: (len(found.seconds),),
}


def rows(dataset: Dataset) -> tuple[int, ...]:
    return _SIZES[type(dataset)](dataset)


@cache
def named(name: str, folder: Path) -> Dataset:
    return load(name, folder=folder)


def test_every_named_dataset_has_its_rows(data: Path) -> None:
    assert set(ROWS) == set(names()) - {"embedded"}
    for name, expected in ROWS.items():
        found = named(name, data)
        assert (name, rows(found)) == (name, expected)
        assert len(found.data_hash) == 16
        if isinstance(found, ContextSet):
            _check_contexts(found)


def _check_contexts(found: ContextSet) -> None:
    by_text: dict[str, tuple[str, str, str, int]] = {}
    for context in found.contexts:
        by_id = {chunk.id: chunk for chunk in context.passages}
        assert len(by_id) == len(context.passages)
        for chunk in context.passages:
            content = (chunk.text, chunk.title, chunk.source, chunk.start)
            assert by_text.setdefault(chunk.id, content) == content
        for passage, start, end in context.evidence:
            text = by_id[passage].text
            assert 0 <= start < end <= len(text)
            assert text[start:end] == text[start:end].strip()
        gold = {passage for passage, _, _ in context.evidence} or set(by_id)
        for answer in context.answers:
            assert any(answer in by_id[passage].text for passage in gold)


def test_the_files_are_known_without_their_names(data: Path) -> None:
    for name, entry in CATALOGUE.items():
        if len(entry.files) != 1:
            continue
        file = data / entry.files[0]
        path = file.parent if name == "chunking_eval" else file
        kind = "queries" if name == "nq_queries" else None
        assert format_of(path, Source(name), kind).kind == entry.kind, name
        if file.stat().st_size < 700_000:
            assert load(path, kind=kind).data_hash == named(name, data).data_hash


def test_hotpotqa_evidence_is_the_supporting_sentences(data: Path) -> None:
    found = named("hotpotqa", data)
    assert isinstance(found, ContextSet)
    contexts = {context.id: context for context in found.contexts}
    with (data / "qa/hotpotqa_train100.jsonl").open() as file:
        published = [json.loads(line) for line in file]
    for row in published:
        context = contexts[row["_id"]]
        by_id = {chunk.id: chunk for chunk in context.passages}
        sentences = dict(map(tuple, row["context"]))
        assert [by_id[one].text[start:end] for one, start, end in context.evidence] == [
            sentences[title][place].strip() for title, place in row["supporting_facts"]
        ]


def ndcg_at_10(found: tuple[str, ...], judged: Mapping[str, int]) -> float:
    discounts = [1 / math.log2(place + 2) for place in range(10)]
    got = sum(judged.get(one, 0) * d for one, d in zip(found, discounts, strict=False))
    ideal = sorted(judged.values(), reverse=True)
    return got / sum(grade * d for grade, d in zip(ideal, discounts, strict=False))


def test_the_runs_reach_their_published_ndcg(data: Path) -> None:
    found = named("msmarco_dl19", data)
    assert isinstance(found, RetrievalSet)
    assert len(found.runs) == 6
    for name, expected in NDCG.items():
        run = found.runs[name]
        reached = np.mean([ndcg_at_10(run[query], found.qrels[query]) for query in found.queries])
        # Judgements of passages outside this corpus are not in it: the ideal is a little lower.
        assert expected <= reached <= expected + 0.01, name


def test_vectors_belong_to_the_texts_in_their_order(data: Path) -> None:
    found = named("msmarco_dl19", data)
    assert isinstance(found, RetrievalSet)
    assert found.vectors is not None
    assert found.query_vectors is not None
    matrix = np.asarray(found.vectors, dtype=np.float32)
    places = {chunk.id: place for place, chunk in enumerate(found.chunks)}
    reached = []
    for query, vector in found.query_vectors.items():
        grades = found.qrels[query]
        best = [places[one] for one, grade in grades.items() if grade == max(grades.values())]
        scores = matrix @ np.asarray(vector)
        reached.append(scores[best].mean() - scores.mean())
    assert np.mean(reached) > 0.3
    pairs = named("qqp", data)
    assert isinstance(pairs, PairSet)
    assert pairs.vectors is not None
    rows_of, vectors = pairs.vectors
    cosines = {True: [], False: []}  # type: dict[bool, list[float]]
    for pair in pairs.pairs[:500]:
        first, second = (vectors[rows_of[text]] for text in (pair.text_a, pair.text_b))
        cosines[pair.same].append(float(first.astype(np.float32) @ second.astype(np.float32)))
    assert np.mean(cosines[True]) > np.mean(cosines[False]) + 0.05
    assert np.mean(cosines[True]) > 0.75


def test_real_logs_and_traces_repeat_only_what_they_repeat(data: Path) -> None:
    for name in ("million_query", "nq_queries"):
        found = named(name, data)
        assert isinstance(found, QueryLog)
        assert len(set(found.queries)) == len(found.queries)
    trace = named("mooncake_conversation", data)
    assert isinstance(trace, TraceSet)
    seen: set[int] = set()
    repeated = total = 0
    for blocks in trace.blocks:
        repeated += sum(block in seen for block in blocks)
        total += len(blocks)
        seen.update(blocks)
    assert repeated / total == pytest.approx(0.366, abs=0.001)
    assert (np.diff(trace.seconds) >= 0).all()
