"""The compress bench: equal budgets, honest figures, and what it does to those that cheat."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from context_bench_made import Everything, Fails, Liar, Says, Spy, made_contexts

from ragopt.benchmarks.context import CompressBenchOptions, bench_compress, recheck
from ragopt.benchmarks.context.cases import half_of, prepare, timing_contexts
from ragopt.benchmarks.context.methods import Method
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.errors import InputError

OWN = ("extractive", "truncate", "random", "lead", "bm25")
QUICK = CompressBenchOptions(quick=True, calls=3, counter="estimate")


def _count(text: str) -> int:
    return len(text.split())


def _run(compressor: Any, *, questions: int = 24) -> dict[str, Row]:
    result = bench_compress(
        made_contexts(questions=questions),
        options=CompressBenchOptions(only=("guest",), ratios=(2, 4), counter="estimate", calls=2),
        methods={"guest": Method(make=lambda: compressor)},
    )
    assert recheck(result) == []
    return {row.name.removeprefix("compress/guest/made"): row for row in result.rows}


@pytest.fixture(scope="module")
def result() -> BenchResult:
    return bench_compress(made_contexts(), options=QUICK)


# ---------------------------------------------------------------------------------- figures


def test_every_figure_of_every_method_is_there(result: BenchResult) -> None:
    figures = [
        f"{what}_at_{ratio}x" for what in ("evidence_recall", "answer_kept") for ratio in (2, 4, 10)
    ]
    wanted = {f"compress/{name}/made/{one}" for name in OWN for one in [*figures, "ms_per_query"]}
    measured = {row.name for row in result.rows if row.value is not None}
    assert wanted <= measured | {row.name for row in result.rows if "over_budget" in row.extra}
    assert result.about["token_counter"] == "estimate"


def test_intervals_hold_their_value(result: BenchResult) -> None:
    for row in result.rows:
        if row.value is not None:
            assert row.range is not None
            assert row.range[0] - 1e-12 <= row.value <= row.range[1] + 1e-12, row


def test_what_reads_the_question_beats_what_does_not(result: BenchResult) -> None:
    best = result.value("compress/extractive/made/evidence_recall_at_2x")
    assert best == 1.0
    row = next(
        one for one in result.rows if one.name.endswith("extractive/made/evidence_recall_at_2x")
    )
    assert row.extra["against_truncate"]["lower"] > 0


def test_models_that_are_not_there_are_listed_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAGOPT_LLMLINGUA_MODEL", raising=False)
    only = CompressBenchOptions(only=("llmlingua",), quick=True, calls=1, counter="estimate")
    (row,) = bench_compress(made_contexts(), options=only).rows
    assert row.name == "compress/llmlingua/made"
    assert "RAGOPT_LLMLINGUA_MODEL" in row.reason


def test_the_same_seed_gives_the_same_figures() -> None:
    options = CompressBenchOptions(only=("random",), quick=True, calls=1, seed=3)
    runs = [bench_compress(made_contexts(), options=options).rows for _ in range(2)]
    first, second = ([row for row in run if "ms_per" not in row.name] for run in runs)
    assert first == second


def test_curves_are_drawn_from_the_rows(result: BenchResult) -> None:
    titles = [curve["title"] for curve in result.details["curves"]]
    assert titles == ["Compression: evidence recall", "Compression: answer kept"]
    line = next(one for one in result.details["curves"][0]["lines"] if one["name"] == "extractive")
    assert line["points"][0]["y"] == result.value("compress/extractive/made/evidence_recall_at_2x")


def test_unanswerable_sets_are_refused() -> None:
    empty = made_contexts(questions=0)
    with pytest.raises(InputError, match="nothing to keep"):
        bench_compress(empty, options=QUICK)


# ------------------------------------------------------------------------------ those that cheat


def test_spans_and_token_counts_that_lie_count_for_nothing() -> None:
    rows = _run(Liar())
    assert rows["/evidence_recall_at_2x"].value == 0.0
    assert rows["/answer_kept_at_2x"].value == 0.0


def test_what_exceeds_its_budget_has_no_figure() -> None:
    row = _run(Everything())["/evidence_recall_at_4x"]
    assert row.value is None
    assert "over the budget on 24 of 24 questions: 1.00x instead of 4x" in row.reason


def test_one_output_over_the_budget_counts_as_nothing_kept() -> None:
    class Once(Everything):
        def compress(self, query: str, hits: Any, *, max_tokens: int | None = None) -> Any:
            whole = super().compress(query, hits, max_tokens=max_tokens)
            if "Oak" in query:
                return whole
            return Says("").compress(query, hits, max_tokens=max_tokens)

    row = _run(Once())["/evidence_recall_at_2x"]
    assert row.value == 0.0
    assert row.extra["over_budget"] == 1


def test_an_answer_from_nowhere_counts_for_nothing_and_is_flagged() -> None:
    made = made_contexts()
    elsewhere = tuple(replace(one, answers=("9999 days",)) for one in made.contexts)
    result = bench_compress(
        replace(made, contexts=elsewhere),
        options=CompressBenchOptions(only=("guest",), ratios=(2,), counter="estimate", calls=1),
        methods={"guest": Method(make=lambda: Says("Surely 9999 days."))},
    )
    rows = {row.name.rsplit("/", 1)[1]: row for row in result.rows}
    assert rows["answer_kept_at_2x"].value is None
    assert "no question of made can be judged" in rows["answer_kept_at_2x"].reason
    assert rows["evidence_recall_at_2x"].value == 0.0
    assert rows["evidence_recall_at_2x"].extra["foreign_words"] > 0.5


def test_what_always_fails_is_missing_with_its_reason() -> None:
    (row,) = _run(Fails()).values()
    assert row.value is None
    assert "RuntimeError: out of cheese" in row.reason


def test_what_fails_now_and_then_loses_those_questions() -> None:
    row = _run(Fails("Oak"))["/evidence_recall_at_2x"]
    assert (row.value, row.extra["failed"]) == (0.0, 1)


def test_what_fails_too_often_has_no_figure() -> None:
    row = _run(Fails("Ch"))["/evidence_recall_at_2x"]
    assert "failed on 2 of 24 questions" in row.reason


def test_what_cannot_be_made_stops_nobody() -> None:
    def broken() -> Any:
        raise MemoryError("too large")

    result = bench_compress(
        made_contexts(),
        options=CompressBenchOptions(only=("truncate", "guest"), quick=True, calls=1),
        methods={"guest": Method(make=broken)},
    )
    assert result.value("compress/truncate/made/answer_kept_at_2x") is not None
    assert "MemoryError: too large" in result.rows[-1].reason


def test_nobody_is_told_which_passage_is_right() -> None:
    spy = Spy()
    _run(spy)
    assert spy.seen
    assert all(chunk.id.isdigit() and not chunk.metadata for chunk in spy.seen)


# ------------------------------------------------------------------------------------ questions


def test_a_question_is_in_one_half_however_it_is_written() -> None:
    questions = [one.question for one in made_contexts().contexts]
    found = {half_of(question, seed=5) for question in questions}
    assert found == {"fit", "report"}
    for question in questions:
        assert half_of(f"  {question} ", seed=5) == half_of(question, seed=5)


def test_no_limit_brings_a_question_into_the_other_half() -> None:
    fit = prepare(made_contexts(), _count, half="fit", limit=3, seed=1)
    report = prepare(made_contexts(), _count, half="report", seed=1)
    assert len(fit) <= 3
    assert not {case.key for case in fit} & {case.key for case in report}


def test_the_halves_of_a_run_are_the_two_parts_of_its_questions() -> None:
    parts = [prepare(made_contexts(), _count, half=half, seed=1) for half in ("fit", "report")]
    assert {case.id for case in parts[0]}.isdisjoint({case.id for case in parts[1]})
    assert len(parts[0]) + len(parts[1]) == 24


def test_sets_without_distractors_are_filled_with_passages_that_do_not_answer() -> None:
    cases = prepare(made_contexts(distractors=False), _count, passages=6)
    for case in cases:
        assert len(case.hits) == 6
        holding = [hit for hit in case.hits if case.answers[0] in hit.chunk.text]
        assert len(holding) == 1
    assert (
        len(
            {
                case.hits.index(next(h for h in case.hits if case.answers[0] in h.chunk.text))
                for case in cases
            }
        )
        > 1
    )


def test_timed_contexts_are_ten_chunks_of_some_200_tokens() -> None:
    def count(text: str) -> int:
        return 2 * len(text.split())

    timed = timing_contexts(prepare(made_contexts(), count), count, calls=2)
    sizes = [count(hit.chunk.text) for _, hits in timed for hit in hits]
    assert len(timed[0][1]) == 10
    assert 120 < sum(sizes) / len(sizes) < 280


# --------------------------------------------------------------------------------------- recheck


def _changed(result: BenchResult, change: Any) -> BenchResult:
    content = json.loads(json.dumps(result.to_dict()))
    change(content)
    return BenchResult(
        bench=result.bench,
        rows=tuple(Row.from_dict(row) for row in content["rows"]),
        about=content["about"],
        details=content["details"],
    )


def test_a_written_result_is_confirmed(result: BenchResult) -> None:
    assert recheck(BenchResult.from_dict(json.loads(json.dumps(result.to_dict())))) == []


def test_a_prettier_row_is_found_out(result: BenchResult) -> None:
    def prettier(content: dict[str, Any]) -> None:
        row = next(
            one
            for one in content["rows"]
            if one["name"].endswith("random/made/evidence_recall_at_4x")
        )
        row["value"] = 0.99

    assert any(
        "random/made/evidence_recall_at_4x: 0.99 was" in each
        for each in recheck(_changed(result, prettier))
    )


def test_a_row_left_out_is_found_out(result: BenchResult) -> None:
    assert any(
        "do not name the same figures" in each
        for each in recheck(_changed(result, lambda content: content["rows"].pop()))
    )


def test_records_that_do_not_fit_together_are_found_out(result: BenchResult) -> None:
    def shorter(content: dict[str, Any]) -> None:
        record = content["details"]["methods"]["lead"]["budgets"]["2"]
        record["evidence"] = record["evidence"].rsplit(" ", 1)[0]

    assert any("different lengths" in each for each in recheck(_changed(result, shorter)))


def test_other_benches_are_not_rechecked_here() -> None:
    assert any(
        "expected one of" in each for each in recheck(BenchResult(bench="index", rows=(), about={}))
    )


# --------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "wrong",
    [
        {"ratios": ()},
        {"ratios": (1,)},
        {"limit": 0},
        {"calls": True},
        {"half": "both"},
        {"counter": "words"},
        {"models": {"gpt": "x"}},
    ],
)
def test_options_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        CompressBenchOptions(**wrong)


def test_an_unknown_candidate_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(InputError, match="expected some of extractive, truncate"):
        bench_compress(made_contexts(), options=CompressBenchOptions(only=("extracted",)))
