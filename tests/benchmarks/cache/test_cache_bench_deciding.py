"""Policies that are certified or learn, in the stream: with what they may know, and no more."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from cache_bench_made import SMALL, paired

from ragopt.benchmarks.cache import bench_cache, recheck
from ragopt.benchmarks.cache.certifying import nearest_pairs
from ragopt.benchmarks.cache.figures import pack, unpack
from ragopt.benchmarks.cache.honesty import Tokens
from ragopt.benchmarks.cache.material import prepare
from ragopt.benchmarks.cache.stream import ASKED, MISS, Stream, counted, judge_of, words_of
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.benchmarks.datasets.types import IntentSet, LabelledPair, PairSet, QueryLog
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.cache import normalise
from ragopt.errors import InputError
from ragopt.report.bench_curves import curves_of

NAMES = ("certified", "online")


def _letters(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def worded(groups: int, each: int, *, seed: int = 0) -> PairSet:
    """Groups of questions far from each other; within one they are alike for every guard."""
    rng = np.random.default_rng(seed)
    texts, rows, pairs = [], [], []
    for group in range(groups):
        base = rng.standard_normal(48)
        mine = [f"question of group {_letters(group)}" + " " + "please " * n for n in range(each)]
        texts += mine
        rows += [base + 0.1 * rng.standard_normal(48) for _ in mine]
        pairs += [LabelledPair(mine[0], other, True) for other in mine[1:]]
    near = rng.permutation(groups)
    pairs += [
        LabelledPair(texts[each * one], texts[each * other], False)
        for one, other in zip(near[::2], near[1::2], strict=False)
    ]
    places = {text: row for row, text in enumerate(texts)}
    return PairSet(
        name="worded",
        pairs=tuple(pairs),
        vectors=(places, np.stack(rows).astype(np.float32)),
        data_hash="worded",
    )


@pytest.fixture(scope="module")
def result() -> BenchResult:
    options = dataclasses.replace(
        SMALL, pairs=None, only=("static", *NAMES), protocols=("stream",), requests=300
    )
    return bench_cache(worded(60, 12), options=options)


def _row(result: BenchResult, name: str) -> Row:
    return next(row for row in result.rows if row.name == name)


def test_errors_of_five_and_ten_per_cent_have_rows(result: BenchResult) -> None:
    metrics = ["hit_rate", "wrong_per_hit", "wrong_per_request", "net_usd_per_1000"]
    asking = [*metrics[:3], "asked_per_request", metrics[3]]
    expected = {"certified": metrics, "online": asking}
    for name in NAMES:
        assert [row.name for row in result.rows if row.name.startswith(f"cache/{name}/")] == [
            f"cache/{name}/stream/error_{error}/{metric}"
            for error in (5, 10)
            for metric in expected[name]
        ]


def test_what_is_certified_serves_and_says_what_it_rests_on(result: BenchResult) -> None:
    row = _row(result, "cache/certified/stream/error_10/hit_rate")
    assert row.value
    assert row.range[0] <= row.value <= row.range[1]  # type: ignore[index]
    assert row.extra["max_error"] == 0.1
    assert row.extra["policy"].startswith("serves from a similarity of")
    assert list(row.extra["at"]) == ["0.05", "0.1", "0.2"]


def test_one_that_learns_asks_first_and_then_serves(result: BenchResult) -> None:
    asked = _row(result, "cache/online/stream/error_10/asked_per_request")
    hits = _row(result, "cache/online/stream/error_10/hit_rate")
    assert asked.value
    assert hits.value
    assert asked.extra["asked"] + hits.extra["hits"] <= hits.extra["n"]
    assert "answers compared" in hits.extra["policy"]
    log = unpack(result.details["decisions"]["policies"]["online"]["streams"]["0.1"])
    assert np.flatnonzero(log == ASKED)[0] < np.flatnonzero(log >= 0)[0]
    assert int((log == ASKED).sum()) == asked.extra["asked"]


def test_a_judge_is_asked_of_every_request_that_was_to_be_compared(result: BenchResult) -> None:
    said = _row(result, "cache/online/stream/error_5/hit_rate").extra["policy"]
    asked = _row(result, "cache/online/stream/error_5/asked_per_request").extra["asked"]
    assert f"{asked:,} answers compared" in said


def test_no_question_of_the_stream_certifies_anything() -> None:
    for dataset in (worded(60, 4), _intents()):
        material = prepare(dataset, dataclasses.replace(SMALL, pairs=None), None)
        asked = {normalise(text) for text in material.stream.texts}
        certifying = {normalise(t) for p in material.certifying for t in (p.text_a, p.text_b)}
        assert material.certifying
        assert not asked & certifying


def _intents() -> IntentSet:
    words = "open close lock move send read copy save".split()
    texts = tuple(f"please {word} account {_letters(n)}" for word in words for n in range(60))
    return IntentSet(
        name="made", texts=texts, intents=tuple(word for word in words for _ in range(60))
    )


def test_utterances_meet_the_most_similar_stored_one() -> None:
    rows = np.array([[1, 0], [0, 1], [0.9, 0.1], [0.1, 0.9], [0.6, 0.8]], dtype=np.float32)
    texts = ["north", "east", "nearly north", "nearly east", "north east"]
    table = VectorTable({text: n for n, text in enumerate(texts)}, rows, id="made")
    labelled = [("north", "n"), ("East", "x"), ("east", "e"), ("nearly north", "n")]
    labelled += [("nearly east", "e"), ("nearly east", "n")]
    pairs = nearest_pairs(labelled, ["east", "north east"], table)
    assert pairs == (
        LabelledPair("north", "nearly north", True),
        LabelledPair("north", "nearly east", False),
    )


def test_the_judge_is_the_truth_of_the_data() -> None:
    stream = Stream(texts=("a", "b", "c"), groups=np.array([0, 1, 0], np.int32), about="made")
    tokens = Tokens()
    answers = [tokens.new(text, place) for place, text in enumerate(stream.texts)]
    judge = judge_of(stream, tokens)
    assert judge is not None
    assert judge("c", answers[0], answers[2])
    assert not judge("b", answers[0], answers[1])
    with pytest.raises(Exception, match="invented"):
        judge("b", "an answer of nobody", answers[1])
    assert judge_of(dataclasses.replace(stream, groups=None), tokens) is None


def test_hits_are_told_by_tier_and_what_was_asked_is_none() -> None:
    words = words_of(["Rotate a key?", "rotate a key", "turn a key", "turn a lock"])
    assert words.tolist() == [0, 0, 1, 2]
    log = np.array([MISS, 0, 0, ASKED], dtype=np.int32)
    counts = counted(log, np.array([0, 0, 0, 1], np.int32), words)
    assert (counts.hits, counts.wrong, counts.asked, counts.same_text) == (2, 0, 1, 1)
    assert counts.to_dict()["by_tier"] == {"same_text": 1, "other_words": 1}
    assert counts.asked_per_request == 0.25


def test_the_rows_follow_from_the_decisions_and_others_do_not(result: BenchResult) -> None:
    assert recheck(result) == []
    assert recheck(BenchResult.from_dict(json.loads(json.dumps(result.to_dict())))) == []
    for place, row in enumerate(result.rows):
        better = dataclasses.replace(row, value=(row.value or 0) + 0.01, extra={})
        rows = (*result.rows[:place], better, *result.rows[place + 1 :])
        (problem,) = recheck(dataclasses.replace(result, rows=rows))
        assert problem.startswith(f"{row.name}: the row says")


def test_what_was_asked_counted_as_missed_is_found(result: BenchResult) -> None:
    changed = BenchResult.from_dict(json.loads(json.dumps(result.to_dict())))
    streams = changed.details["decisions"]["policies"]["online"]["streams"]
    log = unpack(streams["0.05"])
    streams["0.05"] = pack(np.where(log == ASKED, MISS, log))
    problems = recheck(changed)
    assert any("error_5/asked_per_request" in each for each in problems)
    assert all("/error_5/" in each for each in problems)


def test_the_same_seed_learns_the_same() -> None:
    options = dataclasses.replace(
        SMALL, pairs=None, only=("online",), protocols=("stream",), requests=120, errors=(0.1,)
    )
    one, again = (bench_cache(worded(30, 8), options=options) for _ in range(2))
    assert one.rows == again.rows
    assert one.details["decisions"] == again.details["decisions"]


def test_policies_stand_in_the_curve_by_the_error_they_may_make(result: BenchResult) -> None:
    (curve,) = [each for each in curves_of(result) if each.title.startswith("Stream")]
    lines = {line.name: line for line in curve.lines}
    assert set(lines) == {"static", *NAMES}
    assert {point.label for point in lines["certified"].points} <= {
        f"at most {error} wrong" for error in ("5%", "10%", "20%")
    }


def test_a_log_has_nothing_to_certify_or_to_learn_from() -> None:
    log = QueryLog(name="log", queries=tuple(f"query {n % 60} of {n % 7}" for n in range(300)))
    result = bench_cache(log, options=dataclasses.replace(SMALL, only=NAMES))
    reasons = {row.name: row.reason for row in result.rows}
    assert reasons == {
        "cache/certified": "no labelled pairs to certify a threshold on",
        "cache/online": "nobody says which answers are right, so that nothing can be learnt",
    }


def test_a_log_says_how_little_repeats_and_at_which_threshold() -> None:
    queries = tuple(f"weather in {city}" for city in ("rome", "oslo", "rome", "bonn")) * 15
    options = dataclasses.replace(SMALL, only=("exact", "static"))
    result = bench_cache(QueryLog(name="log", queries=queries), options=options)
    told = "\n".join(result.details["notes"])
    share = result.details["stream"]["repeats"]["exact"]
    assert f"{share:.2%} of the queries repeat an earlier one word for word\n" in told
    assert "static serves from 0.9 on" in told
    assert "paid for all the same, and how many hits are wrong nobody knows" in told
    row = _row(result, "cache/static/stream/hit_rate")
    assert (
        row.extra["by_tier"]["same_text"] + row.extra["by_tier"]["other_words"]
        == (row.extra["hits"])
    )
    assert "wrong" not in json.dumps(row.extra)
    (curve,) = curves_of(result)
    assert curve.title == "Query log: hit rate by threshold"
    assert recheck(result) == []


def test_a_list_without_repeats_is_said_to_show_none() -> None:
    words = "red green blue white black brown grey pink gold teal".split()
    queries = tuple(f"{one} {two} paint" for one in words for two in words)
    options = dataclasses.replace(SMALL, only=("exact",))
    result = bench_cache(QueryLog(name="log", queries=queries), options=options)
    assert any(
        "published without repeats can show none" in note for note in result.details["notes"]
    )


def test_intents_certify_on_utterances_that_are_not_asked() -> None:
    options = dataclasses.replace(SMALL, only=("certified", "online"), requests=60)
    result = bench_cache(_intents(), options=options)
    assert recheck(result) == []
    assert result.details["material"]["certifying_pairs"] > 50
    assert result.value("cache/online/stream/error_5/asked_per_request") is not None
    assert result.value("cache/certified/stream/error_5/hit_rate") is not None


def test_errors_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"errors: 0\.5"):
        dataclasses.replace(SMALL, errors=(0.05, 0.5))


def test_trees_that_cannot_be_fitted_are_a_reason() -> None:
    options = dataclasses.replace(SMALL, only=("certified-trees",), protocols=("stream",))
    (row,) = bench_cache(paired(20), options=options).rows
    assert row.name == "cache/certified-trees"
    assert row.reason.startswith("no threshold could be certified: ")
