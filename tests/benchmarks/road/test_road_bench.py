"""The savings bench: its rows, what they rest on, what cannot be measured, what is recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from road_made import LOAD, QUESTIONS, contexts, judged, options

from ragopt.benchmarks.diff.read import rechecked
from ragopt.benchmarks.road import SavingsBenchOptions, bench_savings, savings_report
from ragopt.benchmarks.road.savings_report import LEVERS
from ragopt.benchmarks.road.tuner import Tuner
from ragopt.benchmarks.rows import METRICS, BenchResult, Row, metric_of
from ragopt.errors import InputError
from ragopt.pipeline import Billing
from ragopt.report.bench_curves import curves_of

if TYPE_CHECKING:
    from conftest import SmallCorpus

ROWS = (*LEVERS, "combined", "combined_without_cache")
FIGURES = ("usd_ratio", "input_tokens_ratio", "ram_ratio", "quality_diff", "quality_diff_lower")


def bench(dataset: Any, billing: Billing | None = None, **changes: Any) -> BenchResult:
    return bench_savings(
        dataset, options=options(**changes), billing=billing or Billing("gpt-5-mini")
    )


def by_name(result: BenchResult) -> dict[str, Row]:
    return {row.name: row for row in result.rows}


@pytest.fixture(scope="module")
def result(small: SmallCorpus) -> BenchResult:
    return bench(contexts(small))


def test_there_is_one_row_a_lever_and_figure_in_its_metrics_unit(result: BenchResult) -> None:
    assert [row.name for row in result.rows] == [
        f"savings/{lever}/{figure}" for lever in ROWS for figure in FIGURES
    ]
    for row in result.rows:
        assert row.value is not None
        assert row.unit == metric_of(row.name).unit
        assert (row.range is not None) == row.name.endswith("quality_diff")
    assert set(FIGURES) <= set(METRICS)


def test_on_this_dataset_levers_save_and_hold(result: BenchResult) -> None:
    """Or the tests below would say little."""
    rows = by_name(result)
    for lever in ("index", "rerank", "compress", "exact_cache", "combined"):
        extra = rows[f"savings/{lever}/usd_ratio"].extra
        assert (extra["on"], extra["held"]) == (True, True)
    assert result.value("savings/index/ram_ratio") < 0.6
    assert result.value("savings/combined/usd_ratio") < 0.6


def test_about_says_what_was_measured(result: BenchResult) -> None:
    about = result.about
    assert (about["bench"], about["dataset"], about["dataset_hash"]) == (
        "savings",
        "buckets",
        "made",
    )
    assert about["questions"] == {"tuning": 24, "report": 24}
    assert about["part"].startswith(f"{QUESTIONS} of {QUESTIONS} questions")
    assert about["prices"]["id"] == about["price"] == Billing("gpt-5-mini").price.price_id
    assert len(about["prices"]["hash"]) == 16
    assert (about["seed"], about["quick"], about["model"]) == (3, False, "gpt-5-mini")
    assert about["options"]["traffic"] == "zipf"
    assert about["environment"]


def test_what_was_written_reads_back_prints_and_makes_the_page(
    result: BenchResult, tmp_path: Path
) -> None:
    result.write(tmp_path / "run.json")
    again = BenchResult.read(tmp_path / "run.json")
    report = savings_report(again)
    assert json.dumps(report.to_dict()["rows"]) == json.dumps([_plain(r) for r in result.rows])
    assert report.to_dict()["levers"] == result.details["levers"]
    assert "Combined" in report.to_html()
    assert report.traffic in report.to_html()
    assert rechecked(again) == []


def _plain(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "unit": row.unit,
        "value": row.value,
        "range": list(row.range) if row.range else None,
        "extra": dict(row.extra),
    }


def test_figures_bent_after_the_run_are_noticed(result: BenchResult) -> None:
    first = replace(result.rows[0], value=result.rows[0].value * 0.9)
    bent = replace(result, rows=(first, *result.rows[1:]))
    assert any(first.name in problem for problem in rechecked(bent))


@pytest.mark.parametrize("damage", ["levers", "options", "bill", "bench"])
def test_a_report_that_lacks_a_part_is_refused(result: BenchResult, damage: str) -> None:
    details = json.loads(json.dumps(result.to_dict()["details"]))
    if damage == "bill":
        del details["baseline"]["bill"]["tokens"]
    elif damage != "bench":
        del details[damage]
    bent = replace(result, details=details, bench="cache" if damage == "bench" else "savings")
    with pytest.raises(InputError, match="expected"):
        savings_report(bent)


def test_the_curves_are_those_of_the_tuning_and_of_the_levers(result: BenchResult) -> None:
    tuning, levers = curves_of(result)
    tried = [point for line in tuning.lines for point in line.points]
    assert len(tried) == len(result.details["tuning"])
    assert {line.name for line in tuning.lines} == {"baseline", "rerank", "compress", "combined"}
    for line in tuning.lines:
        assert [point.x for point in line.points] == sorted(point.x for point in line.points)
    assert all(point.low <= point.y <= point.high for point in tried)
    assert sum(point.chosen for point in tried) >= 2
    assert [line.name for line in levers.lines] == list(ROWS)


# ---------------------------------------------------------------------------- only some levers


def test_only_the_levers_named_are_measured_and_combined(
    small: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tuner, "compress", lambda _: pytest.fail("nobody asked for it"))
    found = bench(contexts(small), only=("combined", "rerank", "exact_cache"))
    assert [row.name for row in found.rows[::5]] == [
        "savings/rerank/usd_ratio",
        "savings/exact_cache/usd_ratio",
        "savings/combined/usd_ratio",
    ]
    assert [lever["name"] for lever in found.details["levers"]] == ["rerank", "exact_cache"]
    setting = found.details["combined"]["setting"]
    assert "rerank" in setting
    assert "exact cache" in setting
    assert not any(word in setting for word in ("rabitq", "sentences", "semantic"))
    assert set(found.details["traps"]["served_wrong"]) == {"exact"}


def test_the_combination_alone_is_made_of_all_levers(
    small: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragopt.benchmarks.road.bench.QUICK_QUESTIONS", 16)
    found = bench(contexts(small), only=("combined",), quick=True, requests=1)
    assert [row.name for row in found.rows] == [f"savings/combined/{each}" for each in FIGURES]
    assert len(found.details["levers"]) == len(LEVERS)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="--only gpu: expected some of index, rerank"):
        SavingsBenchOptions(only=("gpu",))


# ------------------------------------------------------------------- what cannot be measured


def test_without_answers_compression_is_not_judged_and_the_rest_is(small: SmallCorpus) -> None:
    found = bench(judged(small))
    rows = by_name(found)
    for figure in FIGURES:
        row = rows[f"savings/compress/{figure}"]
        assert row.value is None
        assert "quote no answers" in row.reason
    others = [row for row in found.rows if "/compress/" not in row.name]
    assert all(row.value is not None for row in others)
    assert len(others) == 5 * (len(ROWS) - 1)
    assert "sentences" not in found.details["combined"]["setting"]
    assert set(found.details["combined"]["differences"]) == {"evidence"}
    report = savings_report(found)
    assert report.levers[2].error == rows["savings/compress/usd_ratio"].reason
    assert "quote no answers" in report.to_html()


def test_questions_answered_by_yes_or_no_are_judged_by_their_passages(small: SmallCorpus) -> None:
    made = contexts(small)
    unquoted = [
        replace(each, answers=("yes",), evidence=((each.passages[0].id, 0, len(own.text)),))
        for each in made.contexts
        for own in each.passages[:1]
    ]
    found = bench(replace(made, contexts=tuple(unquoted)), only=("rerank", "compress"))
    rows = by_name(found)
    assert rows["savings/rerank/usd_ratio"].value < 0.8
    assert "quote no answers" in rows["savings/compress/usd_ratio"].reason


def test_a_lever_that_crashes_is_a_row_with_its_reason(
    small: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: Tuner) -> None:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(Tuner, "rerank", crash)
    found = bench(contexts(small), only=("rerank", "exact_cache", "combined"))
    rows = by_name(found)
    assert rows["savings/rerank/usd_ratio"].reason == "ZeroDivisionError: by design"
    assert rows["savings/exact_cache/usd_ratio"].extra["held"]
    assert rows["savings/combined/usd_ratio"].value < 1
    assert "rerank" not in found.details["combined"]["setting"]


# ------------------------------------------------------------------------ prices apart from usage


def test_a_dearer_model_moves_prices_and_no_usage(small: SmallCorpus) -> None:
    dear = Billing("gpt-5-mini")
    dear.price = replace(dear.price, input=2 * dear.price.input, output=2 * dear.price.output)
    cheap, doubled = (
        bench(contexts(small), billing, only=("exact_cache", "combined"))
        for billing in (None, dear)
    )
    assert cheap.about["prices"]["hash"] != doubled.about["prices"]["hash"]
    for name, row in by_name(cheap).items():
        if name.endswith("usd_ratio"):
            other = by_name(doubled)[name]
            assert _timeless(row.extra["usage"]) == _timeless(other.extra["usage"])
            before, after = (each.extra["usd_per_1000"]["tokens"] for each in (row, other))
            assert after == pytest.approx(2 * before)


def _timeless(usage: dict[str, float]) -> dict[str, float]:
    assert usage["ms"] > 0
    return {kind: amount for kind, amount in usage.items() if kind != "ms"}


# ------------------------------------------------------------------------------ recorded traffic


def test_where_nobody_repeats_no_cache_saves_anything(small: SmallCorpus) -> None:
    found = bench(contexts(small), traffic="once", only=("exact_cache", "semantic_cache"))
    rows = by_name(found)
    assert rows["savings/exact_cache/input_tokens_ratio"].value == 1
    assert not rows["savings/exact_cache/usd_ratio"].extra["on"]
    reasons = {lever["name"]: lever["reason"] for lever in found.details["levers"]}
    assert reasons["exact_cache"].startswith("served nothing")
    assert "every wording once" in found.details["traffic"]


def test_repetition_and_arrivals_may_be_those_of_recorded_traffic(
    small: SmallCorpus, tmp_path: Path
) -> None:
    log, trace = tmp_path / "log.txt", tmp_path / "trace.csv"
    log.write_text("\n".join(["refund", "opening hours", "refund", "Refund ", "jobs"] * 30))
    lines = [f"2023-11-16 18:{m:02}:{s:02}.0,100,{30 + s}" for m in range(4) for s in range(60)]
    lines += [f"2023-11-16 18:02:{s:02}.5,100,30" for s in range(60)]
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]))
    names = {"traffic": str(log), "arrivals": str(trace)}
    found = bench(contexts(small), only=("exact_cache",), **names)
    even = bench(contexts(small), only=("exact_cache",), traffic=str(log))
    assert found.details["traffic"].startswith("150 requests, repeated as in")
    assert found.details["levers"][0]["hits"] == 147
    load = savings_report(found).options.load
    assert load.peak_factor == pytest.approx(1.6, abs=0.05)
    assert load.answer_tokens == round((59.5 * 240 + 30 * 60) / 300)
    assert (load.questions_per_month, load.vectors) == (LOAD.questions_per_month, LOAD.vectors)
    baseline = found.details["baseline"]
    assert baseline["output_tokens"] == load.answer_tokens
    assert even.details["baseline"]["output_tokens"] < load.answer_tokens
    assert baseline["bill"]["vcpu"] / baseline["ms"] == pytest.approx(
        load.peak_factor * even.details["baseline"]["bill"]["vcpu"] / even.details["baseline"]["ms"]
    )
    assert "busiest minute" in savings_report(found).to_html()


@pytest.mark.parametrize("which", ["traffic", "arrivals"])
def test_recorded_traffic_of_another_kind_is_refused(
    small: SmallCorpus, tmp_path: Path, which: str
) -> None:
    log, trace = tmp_path / "log.txt", tmp_path / "trace.csv"
    log.write_text("one\ntwo\n")
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,10,20\n")
    wrong = {"traffic": trace, "arrivals": log}[which]
    with pytest.raises(InputError, match=f"{which}=.* expected"):
        bench(contexts(small), **{which: str(wrong)})


# ------------------------------------------------------------------------------------- quick


def test_a_quick_run_says_what_part_it_took_and_tries_fewer_settings(
    result: BenchResult, small: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragopt.benchmarks.road.bench.QUICK_QUESTIONS", 30)
    monkeypatch.setattr("ragopt.benchmarks.road.bench.QUICK_CHUNKS", 60)
    quick = bench(contexts(small), quick=True)
    assert quick.about["quick"]
    assert quick.about["part"].startswith("30 of 48 questions, 60 of ")
    assert quick.about["questions"] == {"tuning": 15, "report": 15}
    assert len(quick.details["tuning"]) < len(result.details["tuning"])
    assert quick.about["data_hash"] != result.about["data_hash"]


@pytest.mark.parametrize("changes", [{"questions": 3}, {"confidence": 1.0}, {"traffic": ""}])
def test_options_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        options(**changes)
