"""A savings report as one HTML page that needs nothing else, and as a fragment for notebooks.

No script, no network, nothing that a strict content policy would stop. All text of the report is
escaped: names, settings, reasons and questions may be anybody's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING

from ragopt.report.figures import (
    DASH,
    change,
    clean,
    count,
    dollar_column,
    percent,
    share,
    spread,
)
from ragopt.report.figures import points as in_points
from ragopt.report.savings_style import CLASS, FRAGMENT_STYLE, PAGE_STYLE
from ragopt.report.savings_words import (
    QUALITIES,
    headline,
    held_means,
    lever_title,
    measured_how,
    of_baseline,
    reason,
    road,
    served_wrong,
    status,
    tone,
    traps_sentence,
    without_cache_sentence,
)
from ragopt.report.svg import ParetoPoint, pareto, waterfall

if TYPE_CHECKING:
    from ragopt.benchmarks.road.savings_report import LeverResult, SavingsReport

__all__ = ["savings_fragment", "savings_page"]

_WIDE, _NARROW = 880, 372
_PAIRS_SHOWN = 20


def savings_page(report: SavingsReport) -> str:
    """The whole report as one HTML document.

    Readable on a phone and on paper, in light and dark. Some 40 KB.
    """
    lead, rest = _headline(report)
    sections = [
        f'<h1 class="headline">{lead}: {rest}</h1>',
        _facts(report),
        _waterfall(report),
        _table(report),
        _pareto(report),
        _without_cache(report),
        _traps(report),
        _measured(report),
        f"<h2>What “held” means</h2><p>{_text(held_means(report))}</p>",
        _footer(report),
    ]
    title = _text(headline(report)[0])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}, ragopt savings</title><style>{PAGE_STYLE}</style></head>\n"
        f'<body><main class="{CLASS}">{_joined(sections)}</main></body></html>\n'
    )


def savings_fragment(report: SavingsReport) -> str:
    """Headline, table and both pictures with their own scoped style, for notebooks."""
    lead, rest = _headline(report)
    sections = [
        f'<p class="headline">{lead}: {rest}</p>',
        _waterfall(report),
        _table(report),
        _pareto(report),
    ]
    return (
        f"<style>{FRAGMENT_STYLE}</style>\n"
        f'<div class="{CLASS}" style="padding:16px 20px">{_joined(sections)}</div>'
    )


def _headline(report: SavingsReport) -> tuple[str, str]:
    lead, rest = headline(report)
    return f'<b class="{tone(report)}">{_text(lead)}</b>', _text(rest)


def _facts(report: SavingsReport) -> str:
    """The four figures that a reader asks for first."""
    before, after = report.baseline, report.combined
    money = dollar_column([before.usd_per_1000, after.usd_per_1000])
    facts = [
        ("US$ per 1,000 questions", money, _change_of(report, "usd_per_1000")),
        (
            "Input tokens per question",
            [count(each.input_tokens) for each in (before, after)],
            _change_of(report, "input_tokens"),
        ),
        (
            "RAM bytes per vector",
            [count(each.ram_bytes_per_vector) for each in (before, after)],
            _change_of(report, "ram_bytes_per_vector"),
        ),
        (
            "Evidence recall",
            [share(each.evidence_recall) for each in (before, after)],
            _difference(after, "evidence"),
        ),
    ]
    cells = [
        f'<div><dt>{label}</dt><dd><span class="was">{was} →</span> {now}'
        f"<small>{_text(moved)}</small></dd></div>"
        for label, (was, now), moved in facts
    ]
    return f'<dl class="facts">{"".join(cells)}</dl>'


def _change_of(report: SavingsReport, name: str) -> str:
    if not getattr(report.baseline, name):
        return ""
    return change(report.ratio(report.combined, name))


def _difference(lever: LeverResult, quality: str) -> str:
    found = lever.differences.get(quality)
    return f"{spread(found)} points" if found else ""


# Pictures ---------------------------------------------------------------------------------


def _waterfall(report: SavingsReport) -> str:
    steps: list[tuple[str, Decimal]] = [
        (lever_title(lever.name), lever.usd_per_1000)
        for lever in (report.baseline, *report.steps, report.combined)
    ]
    title = "US dollars per 1,000 questions, lever by lever"
    drawn = [waterfall(steps, width=width, title=title) for width in (_WIDE, _NARROW)]
    return (
        "<h2>Where the money goes</h2>"
        '<p class="note">US$ per 1,000 questions, tokens and infrastructure at marginal prices; '
        "each bar is what one more lever changes.</p>" + _both(*drawn)
    )


def _pareto(report: SavingsReport) -> str:
    tried = [
        ParetoPoint(
            x=point.input_tokens,
            y=point.evidence_recall,
            label=road(point.setting),
            series=lever_title(point.lever),
            chosen=point.chosen,
            passed=point.passed,
        )
        for point in report.tuning
    ]
    by_name = [replace(point, label=point.series) for point in tried]
    floor, label = _floor(report)
    drawn = [
        pareto(points, floor, width=width, height=height, floor_label=label)
        for points, width, height in ((tried, _WIDE, 420), (by_name, _NARROW, 340))
    ]
    return (
        "<h2>What each setting sends, and what it keeps</h2>"
        '<p class="note">Every setting tried on the tuning questions. The line joins those that '
        "no other beats; hollow marks did not hold quality.</p>" + _both(*drawn)
    )


def _floor(report: SavingsReport) -> tuple[float | None, str]:
    """The floor on the tuning questions; known only where the baseline was measured on them."""
    from ragopt.benchmarks.road.savings_report import HELD_POINTS

    for point in report.tuning:
        if point.lever == "baseline":
            return point.evidence_recall + HELD_POINTS, f"baseline {in_points(HELD_POINTS)} points"
    return None, ""


def _both(wide: str, narrow: str) -> str:
    """One picture in two widths, of which the style shows one; without it the wide one."""
    return (
        f'<figure><div class="wide">{wide}</div><div class="narrow" hidden>{narrow}</div></figure>'
    )


# Table ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Column:
    group: str
    head: str
    label: str
    cells: list[tuple[str, str]]


def _table(report: SavingsReport) -> str:
    rows = (report.baseline, *report.levers, report.combined, report.without_cache)
    columns = _columns(report, rows)
    body = [
        f'<tr class="{_row_class(lever)}">{_row_head(lever)}'
        + "".join(_cell(column.label, *column.cells[place]) for column in columns)
        + "</tr>"
        for place, lever in enumerate(rows)
    ]
    load = report.options.load
    return (
        "<h2>Lever by lever</h2>"
        f'<p class="note">Each lever alone against the baseline, then all that are on together. '
        f"Monthly figures for {load.questions_per_month:,} questions over {load.vectors:,} "
        "vectors; differences of quality in percentage points, with the interval whose "
        f"ends hold at {report.options.confidence:.0%} confidence each.</p>"
        f'<div class="scroll"><table>{_thead(columns)}<tbody>{"".join(body)}</tbody></table></div>'
    )


def _columns(report: SavingsReport, rows: tuple[LeverResult, ...]) -> list[_Column]:
    month = "US$ a month"

    def compared(name: str, values: list[str]) -> list[tuple[str, str]]:
        return [
            (value, of_baseline(report, lever, name) if lever.differences else "")
            for lever, value in zip(rows, values, strict=True)
        ]

    def money(values: list[Decimal], under: list[str] | None = None) -> list[tuple[str, str]]:
        return list(zip(dollar_column(values), under or [""] * len(rows), strict=True))

    bill = [
        change(report.ratio(lever, "usd_per_1000")) if lever.differences else "" for lever in rows
    ]
    bytes_a_vector = {
        part: compared(name, [count(getattr(lever, name)) for lever in rows])
        for part, name in (("RAM", "ram_bytes_per_vector"), ("Disk", "disk_bytes_per_vector"))
    }
    return [
        _Column(
            "",
            "US$ per 1,000 questions",
            "US$ per 1,000 questions",
            money([lever.usd_per_1000 for lever in rows], bill),
        ),
        _Column(
            month, "Tokens", "Tokens, US$ a month", money([lever.bill.tokens for lever in rows])
        ),
        _Column(
            month,
            "Infra&shy;structure",
            "Infrastructure, marginal prices",
            money([lever.bill.infrastructure for lever in rows]),
        ),
        _Column(
            month,
            "as whole instances",
            "Infrastructure, whole instances",
            money(
                [lever.bill.instances for lever in rows], [lever.bill.instance for lever in rows]
            ),
        ),
        _Column(
            "",
            "Input tokens per question",
            "Input tokens per question",
            compared("input_tokens", [count(lever.input_tokens) for lever in rows]),
        ),
        *(
            _Column("Quality kept", label.capitalize(), label.capitalize(), _quality(rows, name))
            for name, label in QUALITIES.items()
        ),
        *(
            _Column("Bytes per vector", part, f"{part} bytes per vector", cells)
            for part, cells in bytes_a_vector.items()
        ),
        _Column("", "ms per question", "ms per question", [(count(r.ms), "") for r in rows]),
        _Column("", "Cache hits", "Cache hits", [_hits(lever) for lever in rows]),
    ]


def _quality(rows: tuple[LeverResult, ...], name: str) -> list[tuple[str, str]]:
    figure = {"evidence": "evidence_recall", "answer": "answer_kept"}[name]
    return [
        (
            share(getattr(lever, figure)),
            spread(lever.differences[name]) if name in lever.differences else "",
        )
        for lever in rows
    ]


def _hits(lever: LeverResult) -> tuple[str, str]:
    if not lever.hit_ratio:
        return DASH, ""
    return percent(lever.hit_ratio), f"{lever.wrong_hits:,} wrong"


def _thead(columns: list[_Column]) -> str:
    """Two rows: groups that span columns, then the columns."""
    upper, lower = ['<th rowspan="2" scope="col">Lever</th>'], []
    for place, column in enumerate(columns):
        if not column.group:
            upper.append(f'<th rowspan="2" scope="col">{column.head}</th>')
            continue
        lower.append(f'<th scope="col">{column.head}</th>')
        if place == 0 or columns[place - 1].group != column.group:
            span = sum(each.group == column.group for each in columns)
            upper.append(f'<th class="group" colspan="{span}" scope="colgroup">{column.group}</th>')
    return f"<thead><tr>{''.join(upper)}</tr><tr>{''.join(lower)}</tr></thead>"


def _row_head(lever: LeverResult) -> str:
    word = status(lever)
    chip = f'<span class="chip {word.replace(" ", "-")}">{word}</span>'
    notes = [lever.setting if lever.setting != status(lever) else "", reason(lever)]
    small = "".join(f"<small>{_text(note)}</small>" for note in notes if note)
    name = f'<span class="name">{_text(lever_title(lever.name))}</span>'
    return f'<th scope="row">{name}{chip if lever.differences else ""}{small}</th>'


def _row_class(lever: LeverResult) -> str:
    if lever.name == "combined":
        return "total"
    return "on" if lever.on else "off"


def _cell(label: str, value: str, under: str) -> str:
    return (
        f'<td data-label="{_text(label)}"><span>{_text(value)}</span>'
        f"<small>{_text(under)}</small></td>"
    )


# Words ------------------------------------------------------------------------------------


def _without_cache(report: SavingsReport) -> str:
    return (
        f"<h2>Without any cache</h2><p>{_text(without_cache_sentence(report))} "
        "This is what remains where no question is ever asked twice.</p>"
    )


def _traps(report: SavingsReport) -> str:
    pairs = [
        (kind, cached, asked)
        for kind, found in served_wrong(report.traps).items()
        for cached, asked in found
    ]
    listed = "".join(
        f"<li>{_text(kind)} cache: “{_text(asked)}” got the answer to “{_text(cached)}”</li>"
        for kind, cached, asked in pairs[:_PAIRS_SHOWN]
    )
    more = len(pairs) - _PAIRS_SHOWN
    if more > 0:
        listed += f"<li>and {more:,} more</li>"
    return f"<h2>Look-alike questions</h2><p>{_text(traps_sentence(report.traps))}</p>" + (
        f'<ul class="pairs">{listed}</ul>' if listed else ""
    )


def _measured(report: SavingsReport) -> str:
    lines = "".join(
        f"<dt>{_text(label)}</dt><dd>{_text(value)}</dd>" for label, value in measured_how(report)
    )
    return f"<details><summary>How it was measured</summary><dl>{lines}</dl></details>"


def _footer(report: SavingsReport) -> str:
    created = clean(report.about.get("created") or "")
    model = clean(report.about.get("model") or "")
    told = [part for part in ("Measured with ragopt", model, created) if part]
    return f"<footer>{_text(', '.join(told))}</footer>"


def _text(value: str) -> str:
    return escape(clean(value))


def _joined(sections: list[str]) -> str:
    return "\n".join(section for section in sections if section)
