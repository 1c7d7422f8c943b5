"""Conformal floors as cuts of the rerank bench."""

from __future__ import annotations

import numpy as np
import pytest

from ragopt.benchmarks.context.floors import CUT_NAMES, FloorTable, table_of
from ragopt.benchmarks.context.tightening import CUTS, Ranked
from ragopt.chunk import Chunk, Hit
from ragopt.rerank import ConformalFloor, Evidence


def ranked(scores: list[float], gold: list[int]) -> Ranked:
    hits = tuple(Hit(Chunk(id=str(place), text="a"), score) for place, score in enumerate(scores))
    return Ranked(
        hits=hits,
        tokens=np.arange(len(scores) + 1) * 10,
        gold=np.concatenate([[0], np.cumsum(gold)]),
        first_tokens=0,
        first_gold=0,
        owed=sum(gold),
    )


def drawn(count: int, seed: int) -> list[Ranked]:
    """Six candidates each; evidence scores higher on average."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        gold = (rng.random(6) < 0.3).astype(int)
        scores = rng.normal(size=6) + 2 * gold
        order = np.argsort(-scores)
        found.append(ranked(scores[order].tolist(), gold[order].tolist()))
    return found


def test_the_threshold_is_the_one_of_the_library() -> None:
    queries = drawn(60, seed=1)
    keys = [str(place) for place in range(60)]
    table = FloorTable(queries, keys, None)
    tuned = table.tune(range(40), 0.9)
    # scores, made probabilities by a curve that rises: the floor looks at their order alone
    evidence = [
        [hit.score for hit, kept in zip(one.hits, np.diff(one.gold), strict=True) if kept]
        for one in queries[:40]
    ]
    fitted = ConformalFloor.fit(
        [Evidence(tuple(1 / (1 + np.exp(-np.array(one)))), len(one)) for one in evidence if one],
        alpha=0.1,
        promise="mean recall",
        of="found",
    )
    threshold = np.log(fitted.threshold / (1 - fitted.threshold))
    assert 0 < fitted.threshold < 1
    assert table.cuts[tuned.place].keep(queries[50].hits) == sum(
        hit.score >= threshold - 1e-9 for hit in queries[50].hits
    )
    assert tuned.reached
    tokens, gold = table.report(tuned, range(40, 60))
    assert 0 < sum(tokens) < 20 * 60
    assert sum(gold) > 0


def test_too_few_queries_keep_all_and_say_so() -> None:
    table = FloorTable(drawn(8, seed=2), [str(place) for place in range(8)], 0.95)
    tuned = table.tune(range(4), 0.95)
    assert str(table.cuts[tuned.place]) == "all"
    assert table.tokens[tuned.place].tolist() == [60.0] * 8


def test_a_promise_about_this_calibration_keeps_no_less() -> None:
    queries = drawn(200, seed=3)
    keys = [str(place) for place in range(200)]
    tokens = [
        FloorTable(queries, keys, confidence).tune(range(150), 0.9).place
        for confidence in (None, 0.95)
    ]
    assert tokens[0] >= tokens[1]


def test_resplits_hold_the_mean() -> None:
    table = FloorTable(drawn(200, seed=4), [str(place) for place in range(200)], None)
    assert table.resplits(0.9, seed=0)["evidence_recall_mean"] >= 0.9 - 0.005


def test_without_evidence_nothing_can_be_lost() -> None:
    table = FloorTable([ranked([2, 1], [0, 0])] * 2, ["a", "b"], None)
    tuned = table.tune([0], 0.9)
    assert (tuned.place, tuned.reached) == (0, True)


@pytest.mark.parametrize("name", CUT_NAMES)
def test_every_name_has_its_settings(name: str) -> None:
    table = table_of(name, drawn(6, seed=5), list("abcdef"))
    assert isinstance(table, FloorTable) == (name not in CUTS)
    assert len(table.cuts) > 1
