"""Two runs compared: groups, limits, what is missing, prices apart, and what may be compared."""

# ruff: noqa: RUF001  (typographic signs are the output under test)
from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bench_made import ABOUT, EVIL, changed, made, plus, rows_of, without
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ragopt.benchmarks.diff import Change, Diff, DiffOptions, diff
from ragopt.benchmarks.diff import read as diff_read
from ragopt.benchmarks.diff.prices import price_changes, unit_prices
from ragopt.benchmarks.diff.read import read_run, rechecked, why_incomparable
from ragopt.benchmarks.rows import METRICS, BenchResult, Row
from ragopt.errors import InputError
from ragopt.report.bench_diff import diff_markdown, print_diff, summary

DEMO = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "demo.json"
BASE = made()


def compared(head: BenchResult, base: BenchResult = BASE, **options: Any) -> Diff:
    return diff(base, head, options=DiffOptions(**options))


def alarms(found: Diff) -> dict[str, str]:
    return {each.name: each.words for each in found.alarms}


def shown(
    found: Diff, *, width: int = 80, encoding: str = "utf-8", everything: bool = False
) -> str:
    class Out(StringIO):
        @property
        def encoding(self) -> str:  # type: ignore[override]
            return encoding

    out = Out()
    console = Console(file=out, width=width, color_system=None, emoji=False)
    print_diff(found, console, everything=everything)
    return out.getvalue()


def change(found: Diff, end: str) -> Change:
    (one,) = [each for each in found.changes if each.name.endswith(end)]
    return one


# Nothing changed --------------------------------------------------------------------------


def test_a_result_does_not_differ_from_itself() -> None:
    found = compared(BASE, max_increase=0, min_quality=0)
    assert {each.kind for each in found.changes} == {"same"}
    assert not found.failed
    assert (found.warnings, found.notes, found.prices) == ((), (), ())
    assert summary(found) == "no failure; nothing changed"


def test_only_rows_with_a_value_on_either_side_are_compared() -> None:
    names = [each.name for each in compared(BASE).changes]
    assert "made/diskannpy" not in names
    assert "made/hnswlib/p99_cold_ms" not in names
    assert len(names) == len(set(names)) == 11


# Usage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "fails"), [(4.2, False), (4.21, True), (3.0, False)])
def test_a_cost_may_rise_by_the_limit_and_not_beyond(head: float, *, fails: bool) -> None:
    found = compared(changed(BASE, {"tiered/pages_per_query": head}), max_increase=5)
    assert found.failed is fails
    if fails:
        assert alarms(found) == {
            "made/tiered/pages_per_query": "4.0 pages → 4.2 pages, +5.2%; at most +5%"
        }


def test_without_a_limit_nothing_is_too_dear() -> None:
    assert not compared(changed(BASE, {"tiered/pages_per_query": 400.0})).failed


def test_a_rise_from_zero_passes_no_limit() -> None:
    found = compared(changed(BASE, {"hnswlib/pages_per_query": 0.5}), max_increase=1e9)
    assert alarms(found) == {
        "made/hnswlib/pages_per_query": "0 pages → 0.5 pages, from nothing; at most +1e+09%"
    }
    assert "from 0" in shown(found)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["failed"] is True


def test_a_fall_to_zero_is_better() -> None:
    found = compared(changed(BASE, {"tiered/pages_per_query": 0.0}), max_increase=0)
    assert not found.failed
    assert change(found, "tiered/pages_per_query").kind == "better"


@pytest.mark.parametrize(
    ("head", "limit", "fails"),
    [(0.40, 11, True), (0.40, 12, False), (0.50, 0, False)],  # misses .538 to .600: +11.5 %
)
def test_a_hit_rate_counts_by_its_misses(head: float, limit: float, *, fails: bool) -> None:
    base = plus(BASE, Row.of("made/exact/hit_rate_at_precision_90", 0.462))
    found = compared(
        changed(base, {"exact/hit_rate_at_precision_90": head}), base, max_increase=limit
    )
    assert found.failed is fails
    assert change(found, "hit_rate_at_precision_90").group == "usage"


def test_a_cache_that_never_missed_and_now_does_passes_no_limit() -> None:
    base = plus(BASE, Row.of("made/exact/hit_rate", 1.0))
    assert compared(changed(base, {"exact/hit_rate": 0.9}), base, max_increase=500).failed


def test_quality_and_timings_are_no_costs() -> None:
    head = changed(BASE, {"recall_at_10": 0.1, "p99_cold_ms": 900.0, "qps_warm_1t": 1.0})
    found = compared(head, max_increase=0)
    assert not found.failed
    assert {each.rule for each in found.warnings} == {"timing"}


# Quality ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "failing"),
    [
        (
            -0.02,
            {"made/tiered/recall_lower_bound": "95.4% → 93.0%, worse by 2.4 points; at most 2"},
        ),
        (-0.024, {}),
        (0.93, {}),
        (
            0.95,
            {"made/tiered/recall_lower_bound": "0.93, least is 0.95"},
        ),
    ],
)
def test_quality_may_not_fall_below_the_limit(least: float, failing: dict[str, str]) -> None:
    head = changed(BASE, {"tiered/recall_lower_bound": 0.93})
    assert alarms(compared(head, min_quality=least)) == failing


def test_a_level_is_judged_by_the_worse_end_of_a_range() -> None:
    found = compared(BASE, min_quality=0.96)
    assert alarms(found)["made/tiered/recall_at_10"] == "at worst 0.954, least is 0.96"


@pytest.mark.parametrize(
    ("least", "fails"), [(0.99, False), (0.995, True), (-0.004, False), (-0.002, True)]
)
def test_an_error_rate_counts_by_what_is_left_of_one(least: float, *, fails: bool) -> None:
    base = BenchResult(bench="made", rows=(Row.of("made/exact/wrong_per_hit", 0.006),), about=ABOUT)
    head = changed(base, {"wrong_per_hit": 0.009})
    assert change(compared(head, base), "wrong_per_hit").kind == "worse"
    assert compared(head, base, min_quality=least).failed is fails


def test_a_difference_to_a_baseline_is_judged_by_itself() -> None:
    rows = rows_of("made", {"combined": {"quality_diff": 0.01, "quality_diff_lower": -0.015}})
    base = BenchResult(bench="made", rows=tuple(rows), about=ABOUT)
    assert not compared(base, base, min_quality=-0.02).failed
    assert not compared(base, base, min_quality=0.95).failed  # no level
    found = compared(changed(base, {"quality_diff_lower": -0.021}), base, min_quality=-0.02)
    assert alarms(found) == {"made/combined/quality_diff_lower": "−2.1 points, least is -0.02"}


def test_levers_that_are_off_do_not_count() -> None:
    rows = rows_of("made", {"compress": {"quality_diff_lower": -0.07}}, on=False)
    base = BenchResult(bench="made", rows=tuple(rows), about=ABOUT)
    assert not compared(base, base, min_quality=-0.02).failed


def test_a_new_row_has_a_level_and_no_change() -> None:
    head = plus(BASE, Row.of("made/flat/recall_at_10", 0.5))
    assert not compared(head, min_quality=0).failed
    assert list(alarms(compared(head, min_quality=0.9))) == ["made/flat/recall_at_10"]


@pytest.mark.parametrize("value", [1.01, 95, -1.5, math.nan, math.inf])
def test_a_senseless_least_quality_is_refused_with_both_meanings(value: float) -> None:
    with pytest.raises(InputError, match=r"level above 0 and up to 1 .* or a change from -1 to 0"):
        DiffOptions(min_quality=value)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_a_senseless_increase_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="expected percent from 0 up"):
        DiffOptions(max_increase=value)


def test_a_limit_that_judges_nothing_says_so() -> None:
    base = BenchResult(bench="made", rows=(Row.of("made/a/p99_cold_ms", 3.0),), about=ABOUT)
    found = compared(base, base, max_increase=5, min_quality=0.9)
    assert not found.failed
    assert {each.name: each.words for each in found.warnings} == {
        "--max-increase": "no cost was there to judge",
        "--min-quality": "no quality level was there to judge",
    }


# Timings ----------------------------------------------------------------------------------


def test_a_timing_warns_and_never_fails() -> None:
    found = compared(changed(BASE, {"p99_cold_ms": 25.0}), max_increase=0, min_quality=0)
    assert not found.failed
    assert [each.words for each in found.warnings] == ["2.5 ms → 25.0 ms, slower by 900%"]


@pytest.mark.parametrize("value", [2.9, 1.0])  # 16 % slower, and faster
def test_a_little_slower_is_noise(value: float) -> None:
    assert not compared(changed(BASE, {"p99_cold_ms": value})).warnings


def test_a_timing_within_the_spread_of_its_repetitions_is_noise() -> None:
    base = plus(BASE, Row.of("made/flat/build_s", 2.0, range=(1.0, 4.0)))
    head = plus(BASE, Row.of("made/flat/build_s", 3.0, range=(2.0, 5.0)))
    assert not compared(head, base).warnings
    far = plus(BASE, Row.of("made/flat/build_s", 9.0, range=(8.0, 9.5)))
    assert len(compared(far, base).warnings) == 1


def test_timings_of_another_machine_are_not_compared() -> None:
    head = replace(
        changed(BASE, {"p99_cold_ms": 25.0}), about={**ABOUT, "environment": {"cpu": "other"}}
    )
    found = compared(head)
    assert not found.warnings
    assert any("measured on other machines (AMD EPYC; other)" in note for note in found.notes)
    assert any("numpy 2.4.6 → none" in note for note in found.notes)


# Missing ----------------------------------------------------------------------------------


def test_a_candidate_that_crashed_fails_once_with_its_reason() -> None:
    head = plus(without(BASE, "tiered"), Row.missing("made/tiered", "crashed: signal 11"))
    found = compared(head)
    assert alarms(found) == {"made/tiered": "gone: crashed: signal 11"}
    assert [each.kind for each in found.changes].count("gone") == 6
    assert shown(found).count("tiered") == 1
    assert not compared(head, allow_missing=True).failed
    assert compared(head, allow_missing=True).warnings


def test_a_candidate_whose_every_figure_is_missing_is_gone_too() -> None:
    gone = [Row.missing(f"made/tiered/{name}", "timeout") for name in ("recall_at_10", "build_s")]
    assert alarms(compared(plus(without(BASE, "tiered"), *gone))) == {
        "made/tiered": "gone: timeout"
    }


def test_what_vanished_without_a_word_fails() -> None:
    found = compared(without(BASE, "tiered"))
    assert alarms(found) == {"made/tiered": "gone: HEAD has no such row and gives no reason"}


def test_one_figure_that_is_gone_fails_by_its_own_name() -> None:
    row = Row.missing("made/tiered/pages_per_query", "no /proc here")
    head = plus(without(BASE, "tiered/pages_per_query"), row)
    assert alarms(compared(head)) == {"made/tiered/pages_per_query": "gone: no /proc here"}


def test_a_timing_alone_that_is_gone_only_warns() -> None:
    found = compared(without(BASE, "tiered/p99_cold_ms"))
    assert not found.failed
    assert [each.name for each in found.warnings] == ["made/tiered/p99_cold_ms"]


def test_new_rows_are_listed() -> None:
    found = compared(
        plus(BASE, Row.of("made/flat/recall_at_10", 1.0), Row.missing("made/usearch", "no wheel"))
    )
    assert not found.failed
    assert change(found, "flat/recall_at_10").kind == "new"
    assert found.notes == ("made/usearch is new and was not measured: no wheel",)
    assert "100.0%     new" in shown(found)


def test_a_figure_that_comes_back_is_new() -> None:
    head = plus(without(BASE, "hnswlib/p99"), Row.of("made/hnswlib/p99_cold_ms", 1.0))
    assert change(compared(head), "hnswlib/p99_cold_ms").kind == "new"


# Which rows, which runs -------------------------------------------------------------------


def test_only_rows_of_the_pattern_are_judged() -> None:
    head = without(changed(BASE, {"hnswlib/rss_anon_bytes_per_vector": 9999.0}), "diskannpy")
    assert compared(head, max_increase=5).failed
    found = compared(head, max_increase=5, rows=("made/tiered/*",))
    assert not found.failed
    assert {each.name.split("/")[1] for each in found.changes} == {"tiered"}


def test_a_pattern_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="--rows nobody/\\*: no row of either result matches"):
        compared(BASE, rows=("nobody/*",))


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"dataset": "squad"}, "dataset 'embedded' against 'squad'"),
        ({"data_hash": "f00"}, "data_hash '7cbb3dbba2f4a41e' against 'f00'"),
        ({"seed": 1}, "seed 0 against 1"),
        ({"quick": True}, "a full run against a quick one"),
        ({"options": {"k": 20}}, "option k 10 against 20"),
        ({"model": "gpt-5"}, "model unknown against 'gpt-5'"),
    ],
)
def test_runs_of_other_things_are_refused_and_compared_anyway(
    about: dict[str, Any], reason: str
) -> None:
    base, head = made(options={"k": 10}), made(**{"options": {"k": 10}, **about})
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        diff(base, head)
    assert "--anyway" in str(caught.value)
    assert diff(base, head, anyway=True).notes[0] == f"not the same measurement: {reason}"


def test_runs_of_other_benches_are_refused() -> None:
    with pytest.raises(InputError, match="bench made against other"):
        diff(BASE, made("other"))


@pytest.mark.parametrize("name", ["only", "threads", "passes", "work"])
def test_options_that_change_no_figure_may_differ(name: str) -> None:
    assert not why_incomparable(made(options={"k": 10}), made(options={"k": 10, name: 3}))


def test_another_budget_is_another_measurement() -> None:
    one, other = ({"budget": {"report": n, "search_s": n}} for n in (300, 1000))
    assert why_incomparable(made(options=one), made(options=other)) == [
        "option budget.report 300 against 1000"
    ]


def test_an_option_that_an_older_release_did_not_have_is_no_reason() -> None:
    found = diff(made(options={"k": 10}), made(options={"k": 10, "load": {"peak_factor": 1.0}}))
    assert found.notes == ("options that only HEAD names: load.peak_factor",)


def test_another_unit_is_refused() -> None:
    rows = tuple(
        replace(row, unit="KiB") if row.name.endswith("rss_anon_bytes_per_vector") else row
        for row in BASE.rows
    )
    with pytest.raises(InputError, match="'B' in BASE, 'KiB' in HEAD"):
        compared(replace(BASE, rows=rows))


def test_a_metric_that_nobody_knows_is_refused() -> None:
    row = Row(name="made/tiered/charm", unit="", value=3.0)
    with pytest.raises(InputError, match="'charm' is no metric"):
        compared(plus(BASE, row))


# Reading ----------------------------------------------------------------------------------


def test_a_written_result_is_read_as_it_was(tmp_path: Path) -> None:
    BASE.write(tmp_path / "run.json")
    assert read_run(tmp_path / "run.json").to_dict() == BASE.to_dict()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "not JSON"),
        ("[1]", "got a list, expected an object"),
        ("{}", "without rows of figures"),
        ('{"kind": "ragopt bench index", "rows": [1]}', "without rows of figures"),
        ('{"kind": "ragopt bench index", "rows": [], "about": [1]}', "without rows of figures"),
        ('{"kind": "ragopt bench index", "rows": []}', "the digest does not fit"),
        ('{"kind": "ragopt savings", "rows": []}', "without rows, about and options"),
        ("[" * 100_000, "nested too deeply"),
        ('{"kind": "ragopt savings", "rows": [3], "about": {}, "options": {}}', "not a row"),
    ],
)
def test_what_is_no_result_is_refused_by_name(content: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=expected) as caught:
        read_run(path)
    assert str(path) in str(caught.value)
    assert "the file of --json" in str(caught.value)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_run(tmp_path / "none.json")


def test_a_result_that_was_edited_is_refused(tmp_path: Path) -> None:
    content = BASE.to_dict()
    content["rows"][0]["value"] = 0.999
    (tmp_path / "run.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match="the digest does not fit"):
        read_run(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return [f'{len(result.rows)} rows', *'abc']", r"13 rows; a; b \(and 1 more\)"),
        ("return result.details['points']", r"do not follow \(KeyError\('points'\)\)"),
        ("return []", None),
    ],
)
def test_a_room_rechecks_its_results(
    body: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"def recheck(result):\n    {body}\n"
    (tmp_path / "room_of_made.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "room_of_made", raising=False)
    monkeypatch.setitem(diff_read._ROOMS, "made", "room_of_made")
    if expected is None:
        assert not diff(BASE, BASE).failed
        return
    with pytest.raises(InputError, match=f"BASE does not fit its own figures: .*{expected}"):
        diff(BASE, BASE)


def test_a_bench_of_no_room_is_taken_as_it_is() -> None:
    assert BASE.bench == "made"
    assert rechecked(BASE) == []


# Savings and prices -----------------------------------------------------------------------


def demo(bend: Callable[[dict[str, Any]], None], tmp_path: Path) -> BenchResult:
    """The recorded run with other figures, its rows worked out anew."""
    content = json.loads(DEMO.read_text("utf-8"))
    bend(content)
    levers = {lever["name"]: lever for lever in levers_of(content)}
    for row in content["rows"]:
        _, name, metric = row["name"].split("/")
        figure = {"usd_ratio": "usd_per_1000", "input_tokens_ratio": "input_tokens"}.get(metric)
        if figure:
            row["value"] = levers[name][figure] / levers["baseline"][figure]
    path = tmp_path / "bent.json"
    path.write_text(json.dumps(content), "utf-8")
    return read_run(path)


def levers_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        content["baseline"],
        *content["levers"],
        content["combined"],
        content["without_cache"],
    ]


def billed(lever: dict[str, Any], **factors: float) -> None:
    """Work a bill out anew at prices times factors."""
    prices = unit_prices(read_run(DEMO))
    assert prices is not None
    tokens = ("input_tokens", "output_tokens")
    bill = lever["bill"]
    bill["tokens"] = sum(lever[name] * prices[name] * factors.get(name, 1.0) for name in tokens)
    bill["ram"] *= factors.get("ram", 1.0)
    whole = sum(bill[part] for part in ("tokens", "ram", "disk", "vcpu"))
    lever["usd_per_1000"] = whole / 1000


def dearer_input(content: dict[str, Any]) -> None:
    content["about"]["price"] = "sheet-2/gpt-5-mini@2027-01-01"
    for lever in levers_of(content):
        billed(lever, input_tokens=3.0)


def test_the_recorded_run_compares_with_itself() -> None:
    base = read_run(DEMO)
    found = diff(base, base, options=DiffOptions(max_increase=0, min_quality=-0.02))
    assert not found.failed
    assert not found.prices
    assert len(found.changes) == 35


def test_unit_prices_follow_from_the_bills() -> None:
    prices = unit_prices(read_run(DEMO))
    assert prices is not None
    # $0.25 and $2.00 a million tokens, a million questions a month
    assert prices["input_tokens"] == pytest.approx(0.25, rel=1e-9)
    assert prices["output_tokens"] == pytest.approx(2.0, rel=1e-9)


def test_new_prices_alone_fail_nothing(tmp_path: Path) -> None:
    base, head = read_run(DEMO), demo(dearer_input, tmp_path)
    found = diff(base, head, options=DiffOptions(max_increase=0))
    assert not found.failed
    assert found.prices == (
        "price litellm-1.109.1/gpt-5-mini@2026-11-22 → sheet-2/gpt-5-mini@2027-01-01",
        "input tokens +200.0%",
    )
    moved = change(found, "savings/combined/usd_ratio")
    assert moved.group == "price"
    assert moved.kind != "same"
    assert moved.at_base_prices == pytest.approx(moved.old, rel=1e-6)
    assert moved.cost_increase == pytest.approx(0, abs=1e-6)
    text = shown(found)
    assert "Prices changed" in text
    assert "at BASE's" in text


def test_usage_is_found_below_new_prices(tmp_path: Path) -> None:
    def bend(content: dict[str, Any]) -> None:
        content["combined"]["input_tokens"] *= 1.2
        dearer_input(content)

    found = diff(read_run(DEMO), demo(bend, tmp_path), options=DiffOptions(max_increase=5))
    assert set(alarms(found)) == {
        "savings/combined/usd_ratio",
        "savings/combined/input_tokens_ratio",
    }
    assert "at BASE's prices, +11." in alarms(found)["savings/combined/usd_ratio"]


def test_a_price_that_no_id_names_is_found_in_the_bills(tmp_path: Path) -> None:
    def bend(content: dict[str, Any]) -> None:
        for lever in levers_of(content):
            billed(lever, ram=1.1)

    assert price_changes(read_run(DEMO), demo(bend, tmp_path)) == ["RAM +10.0%"]


def test_other_prices_under_the_same_id_are_found_by_their_hash(tmp_path: Path) -> None:
    def hashed(digest: str) -> Callable[[dict[str, Any]], None]:
        return lambda content: content["about"].update(prices={"id": "p", "hash": digest})

    base, head = demo(hashed("aaaa"), tmp_path), demo(hashed("bbbb"), tmp_path)
    assert price_changes(base, head) == ["price hash aaaa → bbbb"]
    assert price_changes(base, base) == []


def test_dollars_that_cannot_be_split_are_shown_and_not_judged(tmp_path: Path) -> None:
    def bend(content: dict[str, Any]) -> None:
        dearer_input(content)
        content["combined"]["bill"]["tokens"] *= 1.5  # cached rates: no two prices fit
        content["combined"]["usd_per_1000"] *= 1.5

    found = diff(read_run(DEMO), demo(bend, tmp_path), options=DiffOptions(max_increase=5))
    assert not found.failed
    assert change(found, "savings/combined/usd_ratio").cost_increase is None
    assert "Dollars are not comparable" in " ".join(shown(found).split())
    assert "Dollars are not comparable" in diff_markdown(found)


def test_other_loads_do_not_look_like_other_prices(tmp_path: Path) -> None:
    def bend(content: dict[str, Any]) -> None:
        content["options"]["load"]["vectors"] = 10
        for lever in levers_of(content):
            lever["bill"]["ram"] *= 2

    assert price_changes(read_run(DEMO), demo(bend, tmp_path)) == []


def test_rows_that_do_not_follow_from_their_levers_are_refused(tmp_path: Path) -> None:
    content = json.loads(DEMO.read_text("utf-8"))
    content["rows"][0]["value"] = 0.5
    (tmp_path / "bent.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(
        InputError, match=r"savings/index/usd_ratio says 0\.5, its levers say 0\.98"
    ):
        diff(read_run(DEMO), read_run(tmp_path / "bent.json"))


def test_levers_without_figures_are_refused(tmp_path: Path) -> None:
    content = json.loads(DEMO.read_text("utf-8"))
    del content["combined"]["usd_per_1000"]
    (tmp_path / "bent.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match="levers without the figures"):
        diff(read_run(DEMO), read_run(tmp_path / "bent.json"))


# Markdown and terminal --------------------------------------------------------------------


def test_markdown_tells_failures_first_and_folds_the_rest() -> None:
    head = changed(without(BASE, "hnswlib"), {"tiered/pages_per_query": 9.0})
    text = diff_markdown(compared(head, max_increase=5))
    lines = text.splitlines()
    assert lines[0] == "### ❌ ragopt made: 2 failures; 1 worse, 4 gone"
    assert lines[2].startswith("- **fails** `made/hnswlib`: gone: ")
    assert lines[3].startswith("- **fails** `made/tiered/pages_per_query`: 4.0 pages → 9.0 pages")
    assert "| `made/tiered/pages_per_query` | 4.0 pages | 9.0 pages | +125% | worse |" in lines
    folded = text[text.index("<details>") : text.index("</details>")]
    assert "`made/tiered/recall_at_10`" in folded
    assert "`made/tiered/qps_warm_1t`" in folded
    assert "<details>" not in diff_markdown(compared(head), everything=True)


def columns(line: str) -> int:
    """Columns of a table row as GitHub splits it: a backslash takes the sign after it along."""
    return len(re.findall(r"\|", re.sub(r"\\.", "", line))) - 1


@pytest.mark.parametrize("name", [EVIL, "a|b", "a\\|b", "``", "@team", "a\nb", "<img src=x>"])
def test_hostile_names_stay_in_their_cell(name: str) -> None:
    base = plus(BASE, Row.of(f"made/{name}/pages_per_query", 1.0))
    head = plus(BASE, Row.missing(f"made/{name}", f"because of {name}"))
    twice = plus(BASE, Row.of(f"made/{name}/pages_per_query", 2.0))
    for found in (compared(head, base), compared(twice, base, max_increase=5)):
        assert found.failed
        text = diff_markdown(found, everything=True)
        for line in text.splitlines():
            if line.startswith("|"):
                assert columns(line) == 5, line
                assert line.count("`") in (0, 2)
            bare = re.sub(r"`[^`]*`", "", line)
            assert not re.search(r"(?<!\\)[<@]", bare), line
            assert "\x00" not in line
        shown(found)


def test_the_terminal_fits_80_columns_and_plain_ascii() -> None:
    head = plus(
        changed(BASE, {"tiered/pages_per_query": 9.0, "recall_at_10": 0.9621}),
        Row.of("made/a-candidate-with-a-name-that-goes-on-and-on/evidence_recall_at_4x", 0.5),
    )
    text = shown(compared(head, max_increase=5), encoding="ascii", everything=True)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert "4.0 pages -> 9.0 pages" in text
    assert "+0.0" not in text.replace("+0.01 points", "")


# Whatever the figures ---------------------------------------------------------------------

METRIC = st.sampled_from(sorted(METRICS))
VALUE = st.floats(0, 1e9) | st.floats(0, 1) | st.just(0.0)


@st.composite
def results(draw: st.DrawFn) -> BenchResult:
    found = draw(st.dictionaries(st.tuples(st.sampled_from("abc"), METRIC), VALUE, max_size=8))
    rows = tuple(Row.of(f"made/{name}/{metric}", value) for (name, metric), value in found.items())
    return BenchResult(bench="made", rows=rows, about=ABOUT)


@settings(deadline=None)
@given(results())
def test_nothing_differs_from_itself(result: BenchResult) -> None:
    found = compared(result, result, max_increase=0)
    assert not found.failed
    assert all(each.kind == "same" and each.delta == 0 for each in found.changes)


@settings(deadline=None)
@given(results(), results())
def test_swapping_the_two_turns_every_sign(one: BenchResult, other: BenchResult) -> None:
    turned = {"gone": "new", "new": "gone", "worse": "better", "better": "worse", "same": "same"}
    there = {each.name: each for each in compared(other, one).changes}
    back = {each.name: each for each in compared(one, other).changes}
    assert there.keys() == back.keys()
    for name, each in there.items():
        assert back[name].kind == turned[each.kind]
        if each.delta is not None:
            assert back[name].delta == -each.delta
        if each.kind == "worse" and each.cost_increase is not None:
            assert each.cost_increase > 0
        if each.kind == "better" and each.cost_increase is not None:
            assert each.cost_increase < 0


@settings(deadline=None)
@given(results(), results(), st.floats(0, 100), st.floats(-1, 1))
def test_every_comparison_can_be_told(
    one: BenchResult, other: BenchResult, most: float, least: float
) -> None:
    found = compared(other, one, max_increase=most, min_quality=least)
    assert found.failed == bool(found.alarms)
    assert diff_markdown(found).startswith("### ")
    assert "ragopt diff, made bench: " in shown(found)
    json.dumps(found.to_dict(), allow_nan=False)
