"""Remembered question vectors: the same vectors, and nothing for nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import sleep
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.benchmarks.road.levers import Setting, Workbench
from ragopt.benchmarks.road.question_vectors import QuestionVectors
from ragopt.benchmarks.road.traffic import zipf_traffic
from ragopt.rerank import FixedK

if TYPE_CHECKING:
    from conftest import SmallCorpus


class Slow:
    """An embedder that takes its time and counts."""

    dim = 2
    id = "slow"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked.append(list(texts))
        sleep(0.002 * len(texts))
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


def test_a_text_is_embedded_once_and_owed_for_every_further_time() -> None:
    slow = Slow()
    vectors = QuestionVectors(slow)
    first = vectors.embed(["one"])
    assert vectors.owed_ms == 0  # it was paid for
    np.testing.assert_array_equal(first, vectors.embed(["one"]))
    once = vectors.owed_ms
    assert once >= 2
    vectors.embed(["one"])
    assert vectors.owed_ms == pytest.approx(2 * once)
    assert slow.asked == [["one"]]
    assert (vectors.dim, vectors.id) == (2, "slow")


def test_what_is_given_away_can_be_written_on() -> None:
    vectors = QuestionVectors(Slow())
    vectors.embed(["one"])[:] = 9
    np.testing.assert_array_equal(vectors.embed(["one"]), [[3.0, 1.0]])


def test_several_texts_go_straight_to_the_embedder() -> None:
    slow = Slow()
    vectors = QuestionVectors(slow)
    for _ in range(2):
        assert vectors.embed(["one", "three"]).tolist() == [[3, 1], [5, 1]]
        assert vectors.embed([]).size == 0
    assert slow.asked == [["one", "three"], []] * 2
    assert vectors.owed_ms == 0


def test_every_setting_pays_for_the_vectors_it_uses(
    small: SmallCorpus, make_bench: Callable[[], Workbench]
) -> None:
    calls: list[str] = []

    class Counted:
        dim, id = small.embedder.dim, small.embedder.id

        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            calls.extend(texts)
            sleep(0.02)
            return small.embedder.embed(texts)

    bench = make_bench()
    bench = Workbench(bench.chunks, Counted(), bench.indexes, bench.billing)
    items = {item.id: item for item in small.items[:4]}
    traffic = zipf_traffic([(item.id, item.wordings) for item in items.values()], 20, seed=1)
    settings = [Setting(), Setting(cut=FixedK(3)), Setting(index="compact"), Setting(cache="exact")]
    measured = [bench.run(setting, traffic, items) for setting in settings]
    assert sorted(calls) == sorted({request.text for request in traffic.requests})
    for each in measured:
        embedded = [not hit for hit in each.column("hit")]
        assert (each.column("ms")[embedded] >= 20).all()
    hits = measured[-1].column("hit") == 1
    assert hits.any()
    assert np.median(measured[-1].column("ms")[hits]) < 20  # served by its words
