from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cache_bench_made import Plain

from ragopt.benchmarks.cache.latency import _SUFFIX, _timed, make_pool, measure
from ragopt.benchmarks.cache.policies import Opening
from ragopt.benchmarks.cache.services import Services
from ragopt.benchmarks.cache.stream import MISS, Stream, counted, repeats, run_stream
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.benchmarks.common import silent
from ragopt.cache import DEFAULT_GUARDS, normalise
from ragopt.embed import LSAEmbedder
from ragopt.errors import InputError


def _table(rows: list[list[float]]) -> VectorTable:
    texts = [f"text {chr(97 + n)}" for n in range(len(rows))]
    return VectorTable({text: n for n, text in enumerate(texts)}, np.array(rows), id="made")


def _plain(table: VectorTable, threshold: float, services: Services) -> Plain:
    return Plain(Opening(table=table, threshold=threshold, folder=Path(), services=services))


def test_a_stream_stores_on_a_miss_and_is_judged_by_what_came_back(services: Services) -> None:
    table = _table([[1, 0], [0.99, 0.1], [0, 1], [0.1, 0.99]])
    stream = Stream(
        texts=("text a", "text b", "text c", "text d", "text a"),
        groups=np.array([0, 0, 1, 0, 0], dtype=np.int32),
        about="made",
    )
    log = run_stream(_plain(table, 0.95, services), stream, lambda _: None)
    assert log.tolist() == [MISS, 0, MISS, 2, 0]
    counts = counted(log, stream.groups)
    assert (counts.n, counts.hits, counts.wrong) == (5, 3, 1)


def test_repeats_are_those_of_comparing_all() -> None:
    rng = np.random.default_rng(0)
    table = _table(rng.standard_normal((20, 3)).tolist())
    texts = tuple(table.texts[n] for n in rng.integers(20, size=60))
    stream = Stream(texts=texts, groups=None, about="made")
    found = repeats(stream, table, (0.8, 0.95))
    best = [
        max((table.cosine(texts[n], other) for other in texts[:n]), default=-1)
        for n in range(len(texts))
    ]
    for threshold in (0.8, 0.95):
        share = np.mean([cosine >= threshold - 1e-6 for cosine in best])
        assert found[f"near_{threshold:g}"] == pytest.approx(share)
    seen = [text in texts[:n] for n, text in enumerate(texts)]
    assert found["exact"] == pytest.approx(np.mean(seen))


def test_a_table_gives_the_vectors_it_was_given_and_refuses_other_texts() -> None:
    table = _table([[3, 4], [0, 0]])
    assert table.embed(["text a"]).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert not table.known("text b")
    with pytest.raises(InputError, match="'text z' has no stored vector"):
        table.embed(["text z"])


def test_a_table_asks_its_fallback_once() -> None:
    fallback = LSAEmbedder.fit(["red apple", "green apple", "green pear", "red pear"] * 3, dim=2)
    table = VectorTable({"x": 0}, np.ones((1, fallback.dim)), id="made", fallback=fallback)
    again = table.row("green apple")
    assert np.allclose(again, fallback.embed(["green apple"])[0])
    assert table.row("green apple") is again


def test_a_table_refuses_a_fallback_of_another_model() -> None:
    fallback = LSAEmbedder.fit(["red apple", "green apple", "green pear"] * 3, dim=2)
    with pytest.raises(InputError, match="the model that the stored vectors are from"):
        VectorTable({}, np.ones((1, 9)), id="made", fallback=fallback)


def test_the_embedders_time_is_not_the_policys() -> None:
    table = _table([[1, 0]])

    def call() -> str:
        table.seconds += 1000
        return "answer"

    value, seconds = _timed(table, call)
    assert value == "answer"
    assert seconds < -900


def test_look_ups_are_of_three_kinds_and_inserts_of_new_questions(
    tmp_path: Path, services: Services
) -> None:
    rng = np.random.default_rng(0)
    table = _table(rng.standard_normal((26, 16)).tolist())
    pool = make_pool(table, (10, 40), 5, tmp_path, silent, seed=0)
    assert pool.grown.startswith("21 real vectors grown to 50")
    assert len(set(pool.entries)) == 50
    assert not set(pool.unseen) & set(pool.entries)
    for place, text in pool.similar.items():
        assert pool.table.cosine(text, pool.entries[place]) == pytest.approx(0.97, abs=1e-3)
    policy = _plain(pool.table, 0.95, services)
    small, large = measure(policy, pool, (10, 40), 5, lambda _: None, seed=0)
    assert len(policy.stored) == 45
    assert (small["entries"], large["entries"]) == (10, 40)
    for each in (small, large):
        assert each["same_text"]["served"] == each["similar"]["served"] == 5
        assert each["insert"]["n"] == 5


def test_a_similar_question_is_one_for_the_guards_and_for_the_text_tier() -> None:
    question = "How do I write 3 poems in Paris without rhyme?"
    other = question + _SUFFIX
    assert normalise(other) != normalise(question)
    assert all(guard.agrees(other, question) for guard in DEFAULT_GUARDS)


def test_too_few_texts_to_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too few"):
        make_pool(_table([[1, 0], [0, 1]]), (10,), 5, tmp_path, silent, seed=0)
