"""A bench result as one HTML page that needs nothing else, and as a fragment for notebooks.

No script, no network, nothing that a strict content policy would stop. All text of the result is
escaped: candidates, settings and reasons may be anybody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ragopt.benchmarks.rows import metric_of
from ragopt.errors import InputError
from ragopt.report.bench_curves import Curve, curves_of
from ragopt.report.bench_equal import NOTE, TITLE, equal_recall
from ragopt.report.bench_svg import lines
from ragopt.report.bench_words import (
    Table,
    best_of,
    cell,
    head,
    headline,
    hints,
    interval,
    measured_on,
    not_measured,
    setting_of,
    table_of,
)
from ragopt.report.figures import clean
from ragopt.report.savings_style import CLASS, FRAGMENT_STYLE, PAGE_STYLE

if TYPE_CHECKING:
    from ragopt.benchmarks.rows import BenchResult

__all__ = ["bench_fragment", "bench_page"]

_WIDE, _NARROW = 880, 372
_OWN = f"""
.{CLASS}.{CLASS} table td.best {{ font-weight:650; }}
.{CLASS}.{CLASS} table td.best small {{ font-weight:400; }}
.{CLASS}.{CLASS} table thead th {{ white-space:nowrap; }}
.{CLASS}.{CLASS} dl.reasons {{ margin:6px 0;font-size:13.5px; }}
.{CLASS}.{CLASS} dl.reasons dt {{ font-weight:600;margin-top:8px;overflow-wrap:anywhere; }}
.{CLASS}.{CLASS} dl.reasons dd {{ margin:0;color:var(--rs-muted);overflow-wrap:anywhere; }}
"""


def bench_page(result: BenchResult) -> str:
    """The whole result as one HTML document: claim, pictures, tables, what is missing and why.

    Readable on a phone and on paper, in light and dark.
    """
    lead, _ = headline(result)
    sections = [_head(result, "h1"), _notes(result), *_body(result), _measured(result)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_text(lead)}, ragopt bench {_text(result.bench)}</title>"
        f"<style>{PAGE_STYLE}{_OWN}</style></head>\n"
        f'<body><main class="{CLASS}">{_joined(sections)}</main></body></html>\n'
    )


def bench_fragment(result: BenchResult) -> str:
    """The same without its footer, with its own scoped style, for notebooks."""
    sections = [_head(result, "p"), _notes(result), *_body(result)]
    return (
        f"<style>{FRAGMENT_STYLE}{_OWN}</style>\n"
        f'<div class="{CLASS}" style="padding:16px 20px">{_joined(sections)}</div>'
    )


def _head(result: BenchResult, tag: str) -> str:
    lead, rest = headline(result)
    return f'<{tag} class="headline"><b>{_text(lead)}</b>: {_text(rest)}</{tag}>'


def _notes(result: BenchResult) -> str:
    return "".join(f'<p class="note">{_text(hint)}</p>' for hint in hints(result))


def _body(result: BenchResult) -> list[str]:
    table = table_of(result)
    steady = [metric for metric in table.metrics if not metric_of(metric).timed]
    timed = [metric for metric in table.metrics if metric_of(metric).timed]
    return [
        *_pictures(result),
        _table(
            table,
            steady,
            "Quality and cost",
            "The best of a column is bold; intervals stand below.",
        ),
        _table(table, timed, "Speed", "Of this machine, at this moment."),
        _equal(result),
        _missing(result),
    ]


# Pictures ---------------------------------------------------------------------------------


def _pictures(result: BenchResult) -> list[str]:
    try:
        curves = curves_of(result)
    except InputError as error:
        return [f'<p class="note">The curves could not be read: {_text(str(error))}</p>']
    return [_picture(curve) for curve in curves]


def _picture(curve: Curve) -> str:
    """One picture in two widths, of which the style shows one; without it the wide one."""
    wide, narrow = (
        lines(curve, width=width, height=height) for width, height in ((_WIDE, 420), (_NARROW, 340))
    )
    return (
        f"<h2>{_text(curve.title)}</h2>"
        f'<figure><div class="wide">{wide}</div><div class="narrow" hidden>{narrow}</div></figure>'
    )


# Tables -----------------------------------------------------------------------------------


def _table(table: Table, metrics: Sequence[str], title: str, note: str) -> str:
    if not metrics:
        return ""
    heads = "".join(
        f'<th scope="col">{"<br>".join(map(_text, head(metric)))}</th>' for metric in metrics
    )
    best = {metric: best_of(table, metric) for metric in metrics}
    rows = "".join(
        f"<tr>{_row_head(table, name)}"
        + "".join(_cell(table, name, metric, best=name in best[metric]) for metric in metrics)
        + "</tr>"
        for name in table.candidates
        if any(table.value(name, metric) is not None for metric in metrics)
    )
    return (
        f'<h2>{title}</h2><p class="note">{note}</p><div class="scroll"><table>'
        f'<thead><tr><th scope="col">Candidate</th>{heads}</tr></thead><tbody>{rows}</tbody>'
        "</table></div>"
    )


def _equal(result: BenchResult) -> str:
    equal = equal_recall(result)
    if equal is None:
        return ""
    heads = "".join(f'<th scope="col">{_text(words)}</th>' for words in equal.heads)
    rows = "".join(
        f'<tr><th scope="row"><span class="name">{_text(name)}</span></th>'
        + "".join(
            f'<td data-label="{_text(words)}"><span>{_text(figure)}</span></td>'
            for words, figure in zip(equal.heads, equal.cells(name), strict=True)
        )
        + "</tr>"
        for name in equal.qps
    )
    return (
        f'<h2>{TITLE}</h2><p class="note">{NOTE}</p><div class="scroll"><table>'
        f'<thead><tr><th scope="col">Candidate</th>{heads}</tr></thead><tbody>{rows}</tbody>'
        "</table></div>"
    )


def _row_head(table: Table, name: str) -> str:
    setting = setting_of(table, name)
    small = f"<small>{_text(setting)}</small>" if setting else ""
    return f'<th scope="row"><span class="name">{_text(name)}</span>{small}</th>'


def _cell(table: Table, name: str, metric: str, *, best: bool) -> str:
    row = table.rows.get((name, metric))
    under = "" if row is None else interval(row)
    marked = ' class="best"' if best else ""
    label = " ".join(head(metric))
    return (
        f'<td data-label="{_text(label)}"{marked}>'
        f"<span>{_text(cell(metric, table.value(name, metric)))}</span>"
        f"<small>{_text(under)}</small></td>"
    )


def _missing(result: BenchResult) -> str:
    found = not_measured(result)
    if not found:
        return ""
    listed = "".join(f"<dt>{_text(what)}</dt><dd>{_text(why)}</dd>" for what, why in found)
    return f'<h2>Not measured</h2><dl class="reasons">{listed}</dl>'


def _measured(result: BenchResult) -> str:
    listed = "".join(
        f"<dt>{_text(label)}</dt><dd>{_text(value)}</dd>" for label, value in measured_on(result)
    )
    return f"<details><summary>How it was measured</summary><dl>{listed}</dl></details>"


def _text(value: str) -> str:
    return escape(clean(value))


def _joined(sections: list[str]) -> str:
    return "\n".join(section for section in sections if section)
