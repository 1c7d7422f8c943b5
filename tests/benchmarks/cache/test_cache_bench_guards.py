"""What guards stop and what they lose, as rows that can be counted again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cache_bench_made import SMALL

from ragopt.benchmarks.cache import bench_cache, recheck
from ragopt.benchmarks.cache.figures import interval, pack, unpack
from ragopt.benchmarks.cache.guarding import guard_rows
from ragopt.benchmarks.cache.traps import KINDS, traps_of
from ragopt.benchmarks.datasets.types import IntentSet, LabelledPair, PairSet
from ragopt.benchmarks.readme_figures import filled
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.cache import DEFAULT_GUARDS, SAFETY_GUARDS
from ragopt.errors import InputError

SETS = {"guards": DEFAULT_GUARDS, "safety-guards": SAFETY_GUARDS}
CITIES = "Vienna Rome Milan Oslo Bonn Paris Athens Lisbon Madrid Warsaw Prague Dublin".split()


def questions() -> PairSet:
    """Questions with something to change, each with a near duplicate and one that is another."""
    rng = np.random.default_rng(0)
    texts, rows, pairs = [], [], []
    for number, city in enumerate(CITIES * 3):
        other = CITIES[(number + 1) % len(CITIES)]
        one = f"How far is the way from {city} to {other} in {number + 3} days?"
        again = f"How long is the way from {city} to {other} in {number + 3} days?"
        changed = f"How far is the way from {city} to {other} in {number + 4} days?"
        base = rng.standard_normal(24)
        texts += [one, again, changed]
        rows += [base, base + 0.1 * rng.standard_normal(24), base + 0.1 * rng.standard_normal(24)]
        pairs += [LabelledPair(one, again, True), LabelledPair(one, changed, False)]
    places: dict[str, int] = {}
    for row, text in enumerate(texts):
        places.setdefault(text, row)
    return PairSet(
        name="asked",
        pairs=tuple(dict.fromkeys(pairs)),
        vectors=(places, np.stack(rows).astype(np.float32)),
        data_hash="asked",
    )


@pytest.fixture(scope="module")
def result() -> BenchResult:
    options = dataclasses.replace(SMALL, only=("guards",), protocols=("guards",), traps=15)
    return bench_cache(questions(), options=options)


def _row(result: BenchResult, name: str) -> Row:
    return next(row for row in result.rows if row.name == name)


def test_every_set_of_guards_has_a_row_a_kind_and_two_of_duplicates(result: BenchResult) -> None:
    metrics = [f"{kind}_stopped" for kind in KINDS]
    metrics += ["duplicates_lost_at_90", "duplicates_lost_at_95"]
    assert [row.name for row in result.rows] == [
        f"cache/{name}/{metric}" for name in SETS for metric in metrics
    ]


@pytest.mark.parametrize("name", SETS)
def test_what_is_stopped_is_what_the_guards_refuse(result: BenchResult, name: str) -> None:
    dataset = questions()
    everything = dict.fromkeys(t for p in dataset.pairs for t in (p.text_a, p.text_b))
    for kind in ("number", "entity", "reversal"):
        row = _row(result, f"cache/{name}/{kind}_stopped")
        assert row.value == row.extra["refused"] / row.extra["n"]
        assert row.range == interval(row.extra["refused"], row.extra["n"])
        assert 5 <= row.extra["n"] <= 15
        traps = traps_of(everything, seed=0, kinds=(kind,))
        stopped = [not all(g.agrees(t.changed, t.question) for g in SETS[name]) for t in traps]
        assert row.value == pytest.approx(np.mean(stopped), abs=0.1)


def test_what_is_lost_is_what_the_guards_refuse_of_duplicates(result: BenchResult) -> None:
    dataset = questions()
    same = [pair for pair in dataset.pairs if pair.same]
    for name, guards in SETS.items():
        row = _row(result, f"cache/{name}/duplicates_lost_at_90")
        assert 5 <= row.extra["n"] <= len(same)
        lost = [not all(g.agrees(p.text_b, p.text_a) for g in guards) for p in same]
        assert row.value == pytest.approx(np.mean(lost), abs=0.1)


def test_a_kind_that_cannot_be_made_is_a_reason(result: BenchResult) -> None:
    row = _row(result, "cache/guards/unit_stopped")
    others = {each.name for each in result.rows if each.value is None}
    assert "cache/guards/polarity_stopped" in others
    assert row.value is not None  # days become weeks
    assert "have a polarity to change" in _row(result, "cache/guards/polarity_stopped").reason


def test_without_labelled_pairs_no_duplicate_is_lost() -> None:
    texts = tuple(f"please open account {chr(97 + n)} of {CITIES[n % 12]}" for n in range(60))
    options = dataclasses.replace(SMALL, only=("guards",), protocols=("guards",), traps=5)
    intents = IntentSet(name="made", texts=texts, intents=("open", "close") * 30)
    result = bench_cache(intents, options=options)
    assert _row(result, "cache/guards/entity_stopped").value is not None
    assert "labelled duplicates" in _row(result, "cache/guards/duplicates_lost_at_95").reason


def test_guards_are_measured_with_others_and_only_where_they_are_wanted() -> None:
    options = dataclasses.replace(SMALL, protocols=("stream", "guards"), traps=5)
    both = bench_cache(questions(), options=dataclasses.replace(options, only=("exact", "guards")))
    alone = bench_cache(questions(), options=dataclasses.replace(options, only=("exact",)))
    assert {row.name.split("/")[1] for row in both.rows} == {"exact", *SETS}
    assert {row.name.split("/")[1] for row in alone.rows} == {"exact"}


def test_the_rows_follow_from_what_was_refused(result: BenchResult) -> None:
    assert recheck(result) == []
    decisions = result.details["decisions"]["guards"]
    assert guard_rows(decisions) == list(result.rows)
    for name in SETS:
        for kind in ("number", "entity"):
            original = decisions["traps"][kind][name]
            decisions["traps"][kind][name] = pack(1 - unpack(original))
            assert any(f"cache/{name}/{kind}_stopped" in each for each in recheck(result))
            decisions["traps"][kind][name] = original
    assert recheck(result) == []


def test_the_table_of_the_docs_is_made_from_the_rows(result: BenchResult, tmp_path: object) -> None:
    result.write(tmp_path / "cache_qqp.json")  # type: ignore[operator]
    text = filled("<!-- table cache_guards -->\nold\n<!-- end -->", tmp_path)  # type: ignore[arg-type]
    row = _row(result, "cache/guards/number_stopped")
    low, high = row.range  # type: ignore[misc]
    assert f"| number changed: stopped | {row.extra['n']} | {row.value:.1%} ({low:.1%} to " in text
    assert f"{high:.1%})" in text
    assert "labelled duplicates from cosine .95 on: lost" in text
    assert "old" not in text


def test_the_table_of_the_stream_is_made_from_the_rows(tmp_path: object) -> None:
    options = dataclasses.replace(SMALL, only=("static", "online"), protocols=("stream",))
    result = bench_cache(questions(), options=options)
    result.write(tmp_path / "cache_qqp.json")  # type: ignore[operator]
    text = filled("<!-- table cache_stream -->\n<!-- end -->", tmp_path)  # type: ignore[arg-type]
    row = _row(result, "cache/online/stream/error_10/asked_per_request")
    (line,) = [
        each for each in text.splitlines() if each.startswith("| online, at most 10 % wrong |")
    ]
    assert f"{row.value:.1%}" in line
    assert f"{_row(result, 'cache/online/stream/error_10/net_usd_per_1000').value:.4f}" in line


def test_no_trap_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="traps=0"):
        dataclasses.replace(SMALL, traps=0)
