"""A savings report on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragopt.report.figures import (
    DASH,
    change,
    clean,
    count,
    dollar_column,
    dollars,
    percent,
    points,
    share,
)
from ragopt.report.savings_words import (
    QUALITIES,
    headline,
    lever_title,
    load_words,
    of_baseline,
    reason,
    status,
    tone,
    traps_sentence,
    without_cache_sentence,
)
from ragopt.report.terminal import said, utf

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from ragopt.benchmarks.road.savings_report import LeverResult, SavingsReport

__all__ = ["print_savings"]

_WITH_ANSWER, _WITH_HITS = 76, 88
_RULED = "    \n    \n -- \n    \n -- \n    \n    \n    \n"  # rules below the head and the levers


def print_savings(report: SavingsReport, console: Console) -> None:
    """Print headline, table of levers and what they rest on.

    Fits 100 columns with every column, and leaves some out where there are fewer; the lines below
    the table hold the rest. What the console's encoding lacks is spelled in ASCII.
    """
    from rich.text import Text

    lead, rest = headline(report)
    style = {"good": "bold green", "bad": "bold yellow", "even": "bold"}[tone(report)]
    title = Text.assemble((said(lead, console), style), said(f": {rest}", console))
    console.print(title)
    console.print()
    console.print(_table(report, console))
    console.print()
    console.print(_lines(report, console))


@dataclass(frozen=True, slots=True)
class _Column:
    head: str
    cells: Sequence[str]
    needs: int = 0
    left: bool = False


def _table(report: SavingsReport, console: Console) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = (report.baseline, *report.levers, report.combined)
    columns = [column for column in _columns(report, rows) if console.width >= column.needs]
    rule = "─" if utf(console) else "-"
    table = Table(
        box=box.Box(_RULED.replace("-", rule), ascii=not utf(console)),
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        header_style="",
    )
    for column in columns:
        table.add_column(
            Text(said(column.head, console)),
            justify="left" if column.left else "right",
            vertical="bottom" if not column.left else "top",
            overflow="fold",
        )
    for place, lever in enumerate(rows):
        if lever is report.combined:
            table.add_section()
        style = "bold" if lever is report.combined else "dim" if not lever.on else ""
        table.add_row(
            *(Text(said(column.cells[place], console)) for column in columns), style=style
        )
    return table


def _columns(report: SavingsReport, rows: Sequence[LeverResult]) -> list[_Column]:
    moved = [
        change(report.ratio(lever, "usd_per_1000")) if lever.differences else "" for lever in rows
    ]
    return [
        _Column("", [lever_title(lever.name) for lever in rows], left=True),
        _Column("", [status(lever) if lever.differences else "" for lever in rows], left=True),
        _Column("$ per\n1,000", dollar_column([lever.usd_per_1000 for lever in rows])),
        _Column("bill", moved),
        _Column("input\ntokens", [count(lever.input_tokens) for lever in rows]),
        *(
            _Column(f"{label}\n(at least)", [_quality(lever, name) for lever in rows], needs)
            for (name, label), needs in zip(QUALITIES.items(), (0, _WITH_ANSWER), strict=True)
        ),
        _Column("cache\nhits", [_hits(lever) for lever in rows], _WITH_HITS),
        _Column("ms", [count(lever.ms) for lever in rows], _WITH_HITS),
    ]


def _quality(lever: LeverResult, name: str) -> str:
    found = lever.differences.get(name)
    if found is not None:
        return f"{points(found.mean)} ({points(found.lower)})"
    value = lever.evidence_recall if name == "evidence" else lever.answer_kept
    return share(value)


def _hits(lever: LeverResult) -> str:
    return percent(lever.hit_ratio) if lever.hit_ratio else DASH


def _lines(report: SavingsReport, console: Console) -> RenderableType:
    """What the table has no room for, a label and a sentence each."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, words in _told(report):
        grid.add_row(Text(label, style="dim"), Text(said(words, console)))
    return grid


def _told(report: SavingsReport) -> list[tuple[str, str]]:
    before, after = report.baseline, report.combined
    lines = [
        ("no cache", without_cache_sentence(report)),
        ("tokens", f"{dollars(before.bill.tokens)} → {dollars(after.bill.tokens)} a month"),
        ("infrastructure", _infrastructure(report)),
        ("RAM", _bytes(report, "ram_bytes_per_vector")),
        ("disk", _bytes(report, "disk_bytes_per_vector")),
        ("wrong hits", _wrong_hits(report)),
        ("look-alikes", traps_sentence(report.traps)),
    ]
    lines += [
        ("off", f"{lever_title(lever.name)}: {reason(lever) or 'no reason given'}")
        for lever in report.levers
        if not lever.on
    ]
    lines += [
        ("certificate", clean(lever.certificate)) for lever in report.levers if lever.certificate
    ]
    lines += [
        ("traffic", clean(report.traffic)),
        ("load", load_words(report)),
    ]
    model, price = report.about.get("model"), report.about.get("price")
    if model:
        lines.append(("model", clean(model) + (f", price {clean(price)}" if price else "")))
    lines.append(("seed", str(report.options.seed)))
    return lines


def _wrong_hits(report: SavingsReport) -> str:
    hits = report.combined.hits
    if not hits:
        return "none, as no answer came from a cache"
    return f"{report.combined.wrong_hits:,} of {hits:,} answers from a cache"


def _infrastructure(report: SavingsReport) -> str:
    before, after = report.baseline.bill, report.combined.bill
    return (
        f"{dollars(before.infrastructure)} → {dollars(after.infrastructure)} a month at marginal "
        f"prices; as whole instances {dollars(before.instances)} ({clean(before.instance)}) → "
        f"{dollars(after.instances)} ({clean(after.instance)})"
    )


def _bytes(report: SavingsReport, name: str) -> str:
    before, after = getattr(report.baseline, name), getattr(report.combined, name)
    factor = of_baseline(report, report.combined, name)
    told = f" ({factor})" if factor else ""
    return f"{count(before)} → {count(after)} bytes a vector{told}"
