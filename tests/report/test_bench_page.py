"""A bench result as page, table, frame, figure and files: whole, self-contained, escaped."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bench_made import CURVE, EVIL, made, plus, rows_of, without
from rich.console import Console

from ragopt.benchmarks.diff.read import read_run
from ragopt.benchmarks.rows import METRICS, BenchResult, Row
from ragopt.errors import BackendMissing, InputError
from ragopt.report.bench_export import github_rows, write_github
from ragopt.report.bench_table import print_bench
from ragopt.report.bench_words import cell, figure, head, headline, not_measured, table_of

DEMO = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "demo.json"
VOID = {"meta", "br", "rect", "line", "circle", "polygon", "polyline", "path"}


class Page(HTMLParser):
    """What a reader sees; refuses what does not close."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def check(html: str) -> Page:
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "base", "form", "use"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {"src", "href", "srcset", "action", "xlink:href"} & names
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"url\(|@import|@font-face", html)
    assert set(re.findall(r"https?://[^\"' <]+", html)) <= {"http://www.w3.org/2000/svg"}
    for picture in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(picture)
    return page


def shown(result: BenchResult, *, width: int = 80, encoding: str = "utf-8") -> str:
    class Out(StringIO):
        @property
        def encoding(self) -> str:  # type: ignore[override]
            return encoding

    out = Out()
    print_bench(result, Console(file=out, width=width, color_system=None, emoji=False))
    return out.getvalue()


def hostile() -> BenchResult:
    rows = (
        *rows_of("index", {EVIL: {"recall_at_10": 0.9, "build_s": 1.0}}, setting=EVIL),
        Row.missing(f"index/{EVIL}2", EVIL),
        Row.missing(f"index/{EVIL}/p99_cold_ms", EVIL),
    )
    about = {
        "dataset": EVIL,
        "notes": [EVIL],
        "environment": {"cpu": EVIL, "packages": {EVIL: EVIL}},
    }
    curve = {**CURVE, "title": EVIL, "lines": [{"name": EVIL, "points": [{"x": 1, "y": 2}]}]}
    return BenchResult(bench=EVIL, rows=rows, about=about, details={"curves": [curve]})


# Page -------------------------------------------------------------------------------------


def test_the_page_is_one_document_without_anything_from_outside() -> None:
    html = made("index").to_html()
    page = check(html)
    assert html.startswith("<!DOCTYPE html>")
    assert page.tags.count("svg") == 2  # wide and narrow
    assert page.tags.count("table") == 2
    assert "prefers-color-scheme: dark" in html
    order = [
        "tiered needs the least RAM",
        "Recall against queries a second",
        "Quality and cost",
        "Speed",
        "Not measured",
        "diskannpy is not installed",
        "How it was measured",
        "7cbb3dbba2f4a41e",
    ]
    places = [page.text.index(words) for words in order]
    assert places == sorted(places)


def test_a_row_holds_the_candidates_figures_and_their_intervals() -> None:
    text = check(made("index").to_html()).text
    assert "tiered ef=64 96.2% [95.4%, 96.8%] 95.4% 61.0 4.0" in text
    assert "hnswlib ef=64 96.8% [96.0%, 97.4%] 95.9% 1,820 0" in text
    assert "hnswlib ef=64 5,400 –" in text  # noqa: RUF001
    assert "cold ms p99 of hnswlib nothing is read while searching" in text


def test_the_best_of_a_column_is_marked() -> None:
    html = made("index").to_html()
    assert '<td data-label="RAM B/vector" class="best"><span>61.0</span>' in html
    assert '<td data-label="QPS 1 thread" class="best"><span>5,400</span>' in html


def test_hostile_text_is_text() -> None:
    for html in (hostile().to_html(), hostile()._repr_html_()):
        page = check(html)
        assert "<script>alert(1)</script>" in page.text
        assert "\x00" not in html
        assert "\u202e" not in html


def test_the_fragment_has_its_own_style_and_no_document() -> None:
    html = made("index")._repr_html_()
    page = check(html)
    assert not {"html", "body", "head"} & set(page.tags)
    assert page.tags[0] == "style"


def test_curves_that_cannot_be_read_do_not_hide_the_figures() -> None:
    page = check(replace(made(), details={"curves": [3]}).to_html())
    assert "The curves could not be read: curves[0]: got a int" in page.text
    assert "96.2%" in page.text


@pytest.mark.parametrize(
    "result",
    [
        BenchResult(bench="cache", rows=(), about={}),
        BenchResult(bench="cache", rows=(Row.missing("cache/redis", "no server"),), about={}),
        BenchResult(bench="odd", rows=(Row.of("build_s", 3.0),), about={"environment": 3}),
        replace(made(), details={}, about={"quick": True, "notes": "one"}),
    ],
)
def test_results_at_the_border_are_shown(result: BenchResult) -> None:
    check(result.to_html())
    check(result._repr_html_())
    assert shown(result)
    assert repr(result).startswith("<BenchResult: ")


def test_the_older_savings_form_is_shown_too() -> None:
    result = read_run(DEMO)
    ratio = result.value("savings/combined/usd_ratio")
    assert f"The bill falls to {ratio:.2f}" in check(result.to_html()).text
    assert "combined_without_cache" in shown(result)


# Words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "short", "long"),
    [
        ("recall_at_10", 0.9623, "96.2%", "96.2%"),
        ("rss_anon_bytes_per_vector", 1820.2, "1,820", "1,820 B"),
        ("peak_build_rss_bytes", 3 * 2**30, "3.0 GiB", "3.0 GiB"),
        ("peak_build_rss_bytes", 0.0, "0 B", "0 B"),
        ("memory_limit_bytes", 1e30, None, None),
        ("qps_warm_1t", 12345.6, "12,346", "12,346/s"),
        ("p99_cold_ms", 2.5, "2.5", "2.5 ms"),
        ("lookup_p50_us", 81.0, "81.0", "81.0 µs"),
        ("ndcg_at_10", 0.4123, "0.412", "0.412"),
        ("usd_ratio", 0.316, "0.32×", "0.32×"),  # noqa: RUF001
        ("quality_diff", -0.014, "−1.4", "−1.4 points"),  # noqa: RUF001
        ("recall_at_10", None, "–", "–"),  # noqa: RUF001
        ("recall_at_10", math.nan, "–", "–"),  # noqa: RUF001
    ],
)
def test_figures_are_written_for_people(
    name: str, value: float | None, short: str | None, long: str | None
) -> None:
    row = f"index/hnswlib/{name}"
    if short is None:
        assert cell(row, value).endswith(" TiB")
    else:
        assert (cell(row, value), figure(row, value)) == (short, long)


def test_every_metric_has_a_short_head() -> None:
    for metric in METRICS:
        assert 1 <= len(head(metric)) <= 2
        assert max(map(len, head(metric))) <= 16, metric
    assert head("evidence_recall_at_8x") == ("evidence", "@8x")
    assert head("hit_rate_at_precision_99") == ("hits at", "precision .99")


def test_the_least_ram_counts_only_where_recall_holds() -> None:
    rows = rows_of(
        "index",
        {
            "nonsense": {"recall_lower_bound": 0.2, "rss_anon_bytes_per_vector": 1.0},
            "good": {"recall_lower_bound": 0.95, "rss_anon_bytes_per_vector": 90.0},
        },
    )
    lead, _ = headline(BenchResult(bench="index", rows=tuple(rows), about={}))
    assert lead == "good needs the least RAM"


@pytest.mark.parametrize(
    ("bench", "metric", "expected"),
    [
        ("cache", "hit_rate_at_precision_90", "b serves the most: 40.0% of requests at precision"),
        ("rerank", "ndcg_at_10", "b ranks best: nDCG@10 of 0.400"),
        ("compress", "evidence_recall_at_4x", "b keeps the most: 40.0% of the evidence at 4x"),
        ("savings", "usd_ratio", "Savings bench: 2 measured"),
    ],
)
def test_each_bench_has_its_claim(bench: str, metric: str, expected: str) -> None:
    rows = rows_of(bench, {"a": {metric: 0.3}, "b": {metric: 0.4}})
    result = BenchResult(bench=bench, rows=tuple(rows), about={})
    assert ": ".join(headline(result)).startswith(expected)


def test_several_data_sets_have_no_one_winner() -> None:
    rows = rows_of("rerank", {"bm25/cisi": {"ndcg_at_10": 0.2}, "bm25/npl": {"ndcg_at_10": 0.4}})
    result = BenchResult(bench="rerank", rows=tuple(rows), about={"dataset": "all"})
    assert headline(result) == ("Rerank bench", "2 measured on all")
    assert table_of(result).candidates == ("bm25/cisi", "bm25/npl")


def test_the_name_of_a_single_data_set_is_not_repeated() -> None:
    rows = rows_of("rerank", {f"{name}/cisi": {"ndcg_at_10": 0.2} for name in ("bm25", "cosine")})
    rows.append(Row.missing("rerank/flashrank/cisi", "no weights"))
    result = BenchResult(bench="rerank", rows=tuple(rows), about={"dataset": "cisi"})
    assert table_of(result).candidates == ("bm25", "cosine")
    assert not_measured(result) == [("flashrank", "no weights")]
    assert headline(result)[0] == "bm25 ranks best"


def test_reasons_are_told_once() -> None:
    gone = [Row.missing(f"index/c{n}/p99_cold_ms", "not allowed here") for n in range(9)]
    gone += [Row.missing(f"index/w{n}", "not installed") for n in range(2)]
    assert not_measured(BenchResult(bench="index", rows=tuple(gone), about={})) == [
        ("w0, w1", "not installed"),
        ("cold ms p99 of 9 candidates", "not allowed here"),
    ]


# Terminal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits_and_shows_every_figure(width: int, encoding: str) -> None:
    figures = {name: dict.fromkeys(METRICS, 0.5) for name in ("tiered", "faiss-ivfpq-refine")}
    result = plus(
        replace(made("index"), rows=tuple(rows_of("index", figures))),
        Row.missing("index/diskannpy", "not installed; run: pip install 'ragopt[diskann]'"),
    )
    text = shown(result, width=width, encoding=encoding)
    assert max(map(len, text.splitlines())) <= width
    text.encode(encoding)
    blocks = text.count("tiered")
    assert blocks >= 1
    table = text[: text.index("not measured")]
    shown_figures = r"\b50\.0%|\b0\.50(?:\u00d7|x)|\b0\.5\b|\+50\.0|0\.500|\b0 B|0\.5 B|\$0\.50"
    assert len(re.findall(shown_figures, table)) == 2 * len(METRICS)
    assert "not installed" in text


def test_a_wide_terminal_has_one_block_and_a_narrow_one_more() -> None:
    assert shown(made(), width=200).count("tiered") < shown(made(), width=46).count("tiered")


def test_the_text_of_a_result_is_its_table() -> None:
    assert "tiered" in str(made())
    assert "\x1b" not in str(made())
    assert repr(made("index")).startswith("<BenchResult: tiered needs the least RAM: 61.0 bytes")


def test_hostile_text_does_not_reach_the_terminal_s_controls() -> None:
    text = shown(hostile(), width=60)
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)


# Frame and figure -------------------------------------------------------------------------


def test_the_frame_holds_every_row() -> None:
    pytest.importorskip("pandas", reason="the extra plot is not installed")
    frame = made("index").to_pandas()
    assert len(frame) == len(made().rows)
    table = frame.dropna(subset=["value"]).pivot(
        index="candidate", columns="metric", values="value"
    )
    assert table.loc["tiered", "pages_per_query"] == 4.0
    first = frame.iloc[0]
    assert (first.low, first.high, first.setting, first.better) == (
        pytest.approx(0.954),
        pytest.approx(0.968),
        "ef=64",
        "bigger",
    )
    assert frame.set_index("name").loc["index/diskannpy", "reason"] == "diskannpy is not installed"
    assert bool(frame.set_index("name").loc["index/tiered/p99_cold_ms", "timed"])


def test_the_frame_of_nothing_has_its_columns() -> None:
    pytest.importorskip("pandas", reason="the extra plot is not installed")
    frame = BenchResult(bench="index", rows=(), about={}).to_pandas()
    assert list(frame.columns)[:3] == ["candidate", "metric", "value"]


def test_the_figure_has_a_line_a_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    drawn = made("index").plot()
    (axes,) = drawn.axes
    assert [line.get_label() for line in axes.get_lines()] == ["tiered", "hnswlib"]
    assert axes.get_yscale() == "log"
    drawn.savefig(tmp_path / "figure.png")
    only = made("index").plot(only=["hnswlib"])
    assert len(only.axes[0].get_lines()) == 1
    hostile().plot().savefig(tmp_path / "hostile.png")


def test_the_figure_refuses_what_it_cannot_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    with pytest.raises(InputError, match="expected some of tiered, hnswlib"):
        made().plot(only=["nobody"])
    with pytest.raises(InputError, match="expected a result with curves"):
        replace(made(), details={}).plot()


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_pandas"), ("matplotlib", "plot")])
def test_a_missing_package_says_how_to_get_it(
    package: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendMissing, match=rf"{package}.*pip install 'ragopt\[plot\]'"):
        getattr(made(), method)()


# Charts over time -------------------------------------------------------------------------


def test_rows_for_charts_are_split_by_direction_and_leave_timings_out() -> None:
    smaller, bigger = (github_rows(made("index"), better) for better in ("smaller", "bigger"))
    assert [row["name"].rpartition("/")[2] for row in smaller] == [
        "rss_anon_bytes_per_vector",
        "pages_per_query",
    ] * 2
    assert bigger[0] == {
        "name": "index/tiered/recall_at_10",
        "unit": "ratio",
        "value": 0.962,
        "range": "0.954 to 0.968",
        "extra": "setting: ef=64",
    }
    assert all(isinstance(row.get(key, ""), str) for row in bigger for key in ("range", "extra"))
    timed = github_rows(made("index"), "bigger", timings=True)
    assert len(timed) == len(bigger) + 2


def test_both_files_are_written(tmp_path: Path) -> None:
    written = write_github(made("index"), tmp_path / "charts")
    assert [path.name for path in written] == ["smaller-is-better.json", "bigger-is-better.json"]
    found: list[Any] = [json.loads(path.read_text("utf-8")) for path in written]
    assert [len(rows) for rows in found] == [4, 4]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "charts").write_text("mine")
    with pytest.raises(InputError, match="is a file; give the name of a folder"):
        write_github(without(made(), "x"), tmp_path / "charts")
    assert (tmp_path / "charts").read_text() == "mine"
