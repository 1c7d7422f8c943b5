"""``ragopt diff`` and ``ragopt report``: exit statuses, what is printed, what is written."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_places import TERMINAL, Said

from ragopt.benchmarks.diff import read_run
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.cli.app import run

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "benchmarks" / "results" / "demo.json"
Run = Callable[..., Said]


def result(pages: float = 4.0, recall: float = 0.96, **about: Any) -> BenchResult:
    rows = (
        Row.of("made/tiered/recall_at_10", recall),
        Row.of("made/tiered/pages_per_query", pages),
        Row.of("made/tiered/p99_cold_ms", 2.0),
        Row.of("made/flat/recall_at_10", 1.0),
    )
    return BenchResult(bench="made", rows=rows, about={"dataset": "embedded", "seed": 0, **about})


@pytest.fixture
def ragopt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    for name in TERMINAL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    result().write("base.json")

    def said(*arguments: str) -> Said:
        status = run(arguments)
        return Said(status, *capsys.readouterr())

    return said


def test_nothing_changed_is_fine(ragopt: Run) -> None:
    said = ragopt("diff", "base.json", "base.json", "--max-increase", "0", "--min-quality", "0.9")
    assert said.status == 0
    assert said.out.startswith("ragopt diff, made bench: no failure; nothing changed\n")
    assert not said.err


def test_a_cost_past_its_limit_fails(ragopt: Run) -> None:
    result(pages=5.0).write("head.json")
    assert ragopt("diff", "base.json", "head.json").status == 0
    assert ragopt("diff", "base.json", "head.json", "--max-increase", "25").status == 0
    said = ragopt("diff", "base.json", "head.json", "--max-increase", "24.9")
    assert said.status == 1
    assert "fails: made/tiered/pages_per_query: 4.0 pages" in said.out


@pytest.mark.parametrize(
    ("least", "status"), [("-0.05", 0), ("-0.01", 1), ("0.9", 0), ("0.95", 1), ("0", 1)]
)
def test_quality_below_its_limit_fails(ragopt: Run, least: str, status: int) -> None:
    result(recall=0.94).write("head.json")
    assert ragopt("diff", "base.json", "head.json", "--min-quality", least).status == status
    assert ragopt("diff", "base.json", "head.json", f"--min-quality={least}").status == status


def test_a_candidate_that_crashed_fails_unless_it_may_be_missing(ragopt: Run) -> None:
    base = result()
    rows = (*base.rows[:3], Row.missing("made/flat", "crashed: signal 11"))
    replace(base, rows=rows).write("head.json")
    said = ragopt("diff", "base.json", "head.json")
    assert said.status == 1
    assert "fails: made/flat: gone: crashed: signal 11" in said.out
    assert ragopt("diff", "base.json", "head.json", "--allow-missing").status == 0
    assert ragopt("diff", "base.json", "head.json", "--rows", "made/tiered/*").status == 0


def test_runs_of_other_data_are_refused_unless_forced(ragopt: Run) -> None:
    result(data_hash="f00").write("head.json")
    said = ragopt("diff", "base.json", "head.json")
    assert said.status == 2
    assert "data_hash unknown against 'f00'" in said.error
    forced = ragopt("diff", "base.json", "head.json", "--anyway")
    assert forced.status == 0
    assert "note: not the same measurement: data_hash" in forced.out


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "not JSON"),
        ('{"kind": "ragopt diff"}', "without rows of figures"),
        ("null", "got a NoneType, expected an object"),
        (None, "No such file or directory"),
    ],
)
@pytest.mark.parametrize("place", [1, 2])
def test_what_is_no_result_is_refused(
    ragopt: Run, content: str | None, expected: str, place: int
) -> None:
    if content is not None:
        Path("bad.json").write_text(content)
    files = ["base.json", "base.json"]
    files[place - 1] = "bad.json"
    said = ragopt("diff", *files)
    assert said.status == 2
    assert said.error.startswith("bad.json: ")
    assert expected in said.error


def test_a_result_that_was_edited_is_refused(ragopt: Run) -> None:
    Path("head.json").write_text(Path("base.json").read_text().replace("0.96", "0.99"))
    for command in (("diff", "base.json", "head.json"), ("report", "head.json")):
        said = ragopt(*command)
        assert said.status == 2
        assert "head.json: the figures are not those that were measured" in said.error


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--min-quality", "95", "level above 0 and up to 1 (0.95"),
        ("--min-quality", "-2", "a change from -1 to 0 (-0.02"),
        ("--min-quality", "nan", "level above 0"),
        ("--max-increase", "-5", "expected percent from 0 up"),
        ("--rows", "nobody/*", "no row of either result matches"),
        ("--json", "base.json", "another option names this file"),
        ("--json", ".", "is a folder"),
    ],
)
def test_a_senseless_option_is_refused(ragopt: Run, option: str, value: str, expected: str) -> None:
    before = Path("base.json").read_bytes()
    said = ragopt("diff", "base.json", "base.json", option, value)
    assert said.status == 2
    assert expected in said.error
    assert Path("base.json").read_bytes() == before


def test_markdown_goes_to_a_pull_request_whole(ragopt: Run) -> None:
    result(pages=5.0).write("head.json")
    said = ragopt("diff", "base.json", "head.json", "--markdown", "--max-increase", "5")
    assert said.status == 1
    lines = said.out.splitlines()
    assert lines[0] == "### ❌ ragopt made: 1 failure; 1 worse"
    assert "| `made/tiered/pages_per_query` | 4.0 pages | 5.0 pages | +25% | worse |" in lines
    assert "<details>" in said.out
    assert "\x1b" not in said.out


def test_markdown_without_utf_8_is_spelled_out(
    ragopt: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    result(pages=5.0).write("head.json")
    monkeypatch.setattr(sys.stdout, "_encoding", "ascii", raising=False)
    from rich.console import Console

    monkeypatch.setattr(Console, "encoding", property(lambda _: "ascii"))
    said = ragopt("diff", "base.json", "head.json", "--markdown", "--max-increase", "5")
    assert said.out.isascii()
    assert "4.0 pages -> 5.0 pages" in said.out


def test_json_holds_every_row_and_is_written_also_where_it_fails(ragopt: Run) -> None:
    result(pages=5.0).write("head.json")
    said = ragopt("diff", "base.json", "head.json", "--max-increase", "5", "--json", "diff.json")
    assert said.status == 1
    found = json.loads(Path("diff.json").read_text("utf-8"))
    assert found["kind"] == "ragopt diff"
    assert found["failed"] is True
    assert [alarm["rule"] for alarm in found["alarms"]] == ["max-increase"]
    assert len(found["changes"]) == 4
    assert found["options"]["max_increase"] == 5.0


def test_all_unfolds(ragopt: Run) -> None:
    assert "flat/recall_at_10" not in ragopt("diff", "base.json", "base.json").out
    said = ragopt("diff", "base.json", "base.json", "--all")
    assert "flat/recall_at_10" in said.out
    assert "tiered/p99_cold_ms" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_the_recorded_demo_compares_with_itself(ragopt: Run) -> None:
    limits = ("--max-increase", "0", "--min-quality", "-0.02")
    assert ragopt("diff", str(DEMO), str(DEMO), *limits).status == 0


@pytest.mark.parametrize("command", ["diff", "report"])
def test_the_help_fits_80_columns_with_whole_names(
    ragopt: Run, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = ragopt(command, "--help")
    assert said.status == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert "…" not in said.out


# Report -----------------------------------------------------------------------------------


def test_a_stored_result_is_shown_again(ragopt: Run) -> None:
    said = ragopt("report", "base.json", "--html", "page.html", "--github-benchmark", "charts")
    assert said.status == 0
    assert "tiered" in said.out
    assert "Written to page.html" in said.out
    assert Path("page.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in Path("charts").iterdir()) == [
        "bigger-is-better.json",
        "smaller-is-better.json",
    ]


def test_a_savings_run_is_shown_on_its_own_page(ragopt: Run) -> None:
    said = ragopt("report", str(DEMO), "--html", "page.html")
    assert said.status == 0, said
    ratio = read_run(DEMO).value("savings/combined/usd_ratio")
    assert ratio is not None
    assert f"The bill falls by {1 - ratio:.0%}" in said.out
    page = Path("page.html").read_text("utf-8")
    assert "Where the money goes" in page
    assert "Lever by lever" in page


def test_timings_are_in_the_charts_on_demand(ragopt: Run) -> None:
    charts = Path("charts") / "smaller-is-better.json"
    ragopt("report", "base.json", "--github-benchmark", "charts")
    assert "p99_cold_ms" not in charts.read_text()
    ragopt("report", "base.json", "--github-benchmark", "charts", "--timings")
    assert "p99_cold_ms" in charts.read_text()


def test_a_report_does_not_write_over_what_it_reads(ragopt: Run) -> None:
    said = ragopt("report", "base.json", "--html", "base.json")
    assert said.status == 2
    assert "another option names this file" in said.error


def test_a_result_that_does_not_fit_its_own_figures_is_not_shown(ragopt: Run) -> None:
    content = json.loads(DEMO.read_text("utf-8"))
    content["rows"][0]["value"] = 0.1
    Path("bent.json").write_text(json.dumps(content))
    said = ragopt("report", "bent.json", "--html", "page.html")
    assert said.status == 2
    assert "bent.json does not fit its own figures: savings/index/usd_ratio" in said.error
    assert not Path("page.html").exists()


# Documentation ----------------------------------------------------------------------------


def test_what_the_documentation_runs_exists(ragopt: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    workflow = (ROOT / "docs" / "ci" / "ragopt.yml").read_text("utf-8")
    told = workflow + (ROOT / "docs" / "ci.md").read_text("utf-8")
    commands = re.findall(r"ragopt (diff|report|savings) ([^`\n]*(?:\\\n[^`\n]*)*)", told)
    assert {name for name, _ in commands} == {"diff", "report", "savings"}
    for name, rest in commands:
        known = ragopt(name, "--help").out
        for option in re.findall(r"--[a-z-]+", rest):
            assert f"{option} " in known, (name, option)


def test_the_workflow_is_yaml() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    workflow = yaml.safe_load((ROOT / "docs" / "ci" / "ragopt.yml").read_text("utf-8"))
    assert set(workflow["jobs"]) == {"diff", "history"}
