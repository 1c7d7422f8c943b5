"""The terminal report, as printed."""

# ruff: noqa: RUF001  (typographic signs are the output under test)
from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from rich.console import Console

from ragopt.benchmarks.road.savings_report import SavingsReport
from ragopt.report.savings_table import print_savings

Bent = Mapping[str, Callable[[SavingsReport], SavingsReport]]


def printed(report: SavingsReport, width: int, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding=encoding, newline="\n"), width=width)
    print_savings(report, console)
    console.file.flush()
    return raw.getvalue().decode(encoding)


def on_one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_key_figures_are_printed_at_every_width(report: SavingsReport, width: int) -> None:
    text = printed(report, width)
    assert max(map(len, text.splitlines())) <= width
    flat = on_one_line(text)
    for words in (
        (
            "The bill falls by 71%: from $1.23 to $0.36 per 1,000 questions, quality held "
            "(answer kept +3.2 points, at least +0.8)"
        ),
        "Combined held $0.36 -71% 903 +3.6 (+1.1)",
        "Compression off $0.78 -36% 2,207 -4.5 (-7.1)",
        "no cache The bill falls by 46%: from $1.23 to $0.66",
        "tokens $1,226 → $356 a month",
        (
            "infrastructure $4.30 → $0.58 a month at marginal prices; as whole instances $39.09 "
            "(1 x r7g.medium) → $26.46 (1 x c7g.medium)"
        ),
        "RAM 2,194 → 93.6 bytes a vector (0.043×)",
        "disk 0 → 1,024 bytes a vector",
        "wrong hits 3 of 462 answers from a cache",
        "the semantic cache answered 1 of 340 wrongly",
        "off Compression: quality not held (-4.5 points, at least -7.1)",
        "load 1,000,000 questions a month over 2,000,000 vectors",
        "seed 0",
    ):
        assert words in flat


def test_a_hundred_columns_show_every_column_without_wrapping(report: SavingsReport) -> None:
    text = printed(report, 100)
    for words in ("answer kept", "hits", "ms"):
        assert words in text
    lines = [line.split() for line in text.splitlines()]
    row = next(line for line in lines if line[:1] == ["Combined"])
    assert row == [
        "Combined",
        "held",
        "$0.36",
        "-71%",
        "903",
        *"+3.6 (+1.1) +3.2 (+0.8)".split(),
        "46%",
        "6.2",
    ]


def test_a_pipe_gets_no_colours(report: SavingsReport) -> None:
    assert "\x1b" not in printed(report, 80)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_encoding_without_our_signs_gets_plain_ones(
    report: SavingsReport, encoding: str
) -> None:
    traffic = replace(report, traffic="Zipf 0.8 — 日本語")
    text = printed(traffic, 80, encoding)
    assert "tokens          $1,226 -> $356 a month" in text
    assert "(0.043x)" in text
    assert "-----" in text


def test_report_text_is_neither_markup_nor_terminal_control(report: SavingsReport) -> None:
    evil = "[red]quality[/red] [link=x]\x1b[2Jgone\x07\r\u202e"
    levers = tuple(replace(lever, reason=evil, on=False, setting=evil) for lever in report.levers)
    text = printed(replace(report, levers=levers, traffic=evil, about={"model": evil}), 100)
    assert "[red]quality[/red] [link=x] [2Jgone" in text
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_borders_are_printed(bent_report: SavingsReport, width: int) -> None:
    text = printed(bent_report, width)
    assert "The b" in text
    assert "nan" not in text.lower()


def test_no_lever_on_is_said_with_its_reasons(report: SavingsReport, bent: Bent) -> None:
    flat = on_one_line(printed(bent["no lever on"](report), 100))
    assert "The bill stays as it is: $1.23 per 1,000 questions" in flat
    assert flat.count("no reason given") == len(report.levers)
    assert "wrong hits none, as no answer came from a cache" in flat
