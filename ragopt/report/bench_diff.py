"""A comparison of two runs, on a terminal and as Markdown for a pull request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ragopt.report.bench_words import figure
from ragopt.report.figures import DASH, MINUS, clean, percent, points, shortened
from ragopt.report.terminal import said

if TYPE_CHECKING:
    from rich.console import Console

    from ragopt.benchmarks.diff import Change, Diff, Finding

__all__ = ["diff_markdown", "print_diff", "summary"]

_LONGEST = 200
_SPECIAL = "\\`*_[]|#~"


@dataclass(frozen=True, slots=True)
class _Section:
    """Rows of one group: those to show and those to fold away.

    Args:
        title: of the group.
        note: what a reader must know of it.
        shown: rows that changed.
        folded: rows that did not, those of candidates that are gone, and timings.
    """

    title: str
    note: str
    shown: tuple[Change, ...]
    folded: tuple[Change, ...]


def summary(found: Diff) -> str:
    """One sentence: what fails, or how much changed."""
    counts = dict.fromkeys(("worse", "better", "gone", "new"), 0)
    for change in found.changes:
        if change.group != "timing" and change.kind in counts:
            counts[change.kind] += 1
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    changed = told or "nothing changed"
    if found.failed:
        return f"{len(found.alarms)} {_plural('failure', found.alarms)}; {changed}"
    return f"no failure; {changed}"


def _plural(word: str, things: Sequence[object]) -> str:
    return word if len(things) == 1 else f"{word}s"


def _sections(found: Diff) -> list[_Section]:
    prices = "; ".join(found.prices)
    apart = (
        f"Prices changed: {prices}. The middle column is HEAD's bill at BASE's prices: usage is "
        "what differs from BASE, the rest is prices. Only usage is judged."
        if any(change.at_base_prices is not None for change in found.of("price"))
        else f"Prices changed: {prices}. Dollars are not comparable and are not judged."
    )
    told = {finding.name for finding in (*found.alarms, *found.warnings)}
    sections = [
        _section("Usage", "", found.of("usage"), told),
        _section("Dollars", apart if prices else "Prices are the same.", found.of("price"), told),
        _section("Quality", "", found.of("quality"), told),
    ]
    timings = _Section("Timings", "Never judged.", (), found.of("timing"))
    return [each for each in (*sections, timings) if each.shown or each.folded]


def _section(title: str, note: str, changes: Sequence[Change], told: set[str]) -> _Section:
    """Rows of a candidate that is gone as a whole are folded: one sentence has said so."""

    def quiet(change: Change) -> bool:
        gone = change.kind == "gone" and change.name.rpartition("/")[0] in told
        return gone or change.kind == "same"

    return _Section(
        title,
        note,
        tuple(change for change in changes if not quiet(change)),
        tuple(change for change in changes if quiet(change)),
    )


def _cells(change: Change, *, split: bool) -> list[str]:
    """BASE, at BASE's prices where dollars are split, HEAD, what changed."""
    base, head = figure(change.name, change.old), figure(change.name, change.new)
    if change.old is None:
        base = DASH if change.before is None else "not measured"
    if change.new is None:
        head = "gone" if change.after is None else "not measured"
    middle = [figure(change.name, change.at_base_prices)] if split else []
    return [base, *middle, head, _moved(change)]


def _moved(change: Change) -> str:
    """What changed, with its sign, in points for qualities and percent for the rest."""
    if change.delta is None:
        return change.kind
    if change.kind == "same":
        return ""
    if change.group == "quality" or _is_share(change):
        return f"{_points(change.delta)} points"
    ratio = change.ratio
    if ratio is None or not math.isfinite(ratio):
        return "from 0"
    return _signed(ratio)


def _is_share(change: Change) -> bool:
    """A share of requests; a ratio to a baseline changes in percent."""
    return change.metric.unit == "ratio" and not change.name.endswith("_ratio")


def _points(delta: float) -> str:
    if abs(delta) >= 0.0005:
        return points(delta)
    return f"{delta * 100:+.1g}".replace("-", MINUS)


def _signed(ratio: float) -> str:
    text = percent(ratio)
    if not any(digit in text for digit in "123456789"):
        return "under +0.1%" if ratio > 0 else f"under {MINUS}0.1%"
    return f"+{text}" if ratio > 0 else text


def _verdict(change: Change) -> str:
    """Better or worse; what is gone or new has said so already."""
    return change.kind if change.kind in ("better", "worse") else ""


# Terminal ---------------------------------------------------------------------------------


def print_diff(found: Diff, console: Console, *, everything: bool = False) -> None:
    """Print what fails, then what changed, group by group.

    Args:
        found: the comparison.
        console: to print on; 80 columns are enough.
        everything: also rows that did not change, and timings.
    """
    from rich.text import Text

    style = "bold red" if found.failed else "bold green"
    lead = Text.assemble(
        f"ragopt diff, {said(found.bench, console)} bench: ", (summary(found), style)
    )
    console.print(lead)
    for title, findings, shade in (
        ("fails", found.alarms, "red"),
        ("look at", found.warnings, "yellow"),
    ):
        for each in findings:
            words = Text.assemble((f"{title}: ", shade), said(_sentence(each), console))
            console.print(words)
    for note in found.notes:
        console.print(Text(said(f"note: {note}", console), style="dim"))
    for section in _sections(found):
        changes = (*section.shown, *section.folded) if everything else section.shown
        if changes or everything:
            _print_section(section, changes, console)
    folded = sum(len(section.folded) for section in _sections(found))
    if folded and not everything:
        console.print()
        console.print(
            Text(f"{folded} rows folded away (unchanged, timings); --all shows them.", style="dim")
        )


def _print_section(section: _Section, changes: Sequence[Change], console: Console) -> None:
    from rich.text import Text

    from ragopt.report.bench_table import ruled

    console.print()
    note = f"  {section.note}" if section.note else ""
    console.print(Text.assemble((section.title, "bold"), (said(note, console), "dim")))
    split = _is_split(changes)
    table = ruled(console)
    table.add_column("", overflow="fold")
    for column in _heads(split=split):
        table.add_column(Text(column), justify="right", vertical="bottom", overflow="fold")
    table.add_column("")
    for change in changes:
        shade = {"worse": "red", "gone": "red", "better": "green"}.get(change.kind, "")
        cells = [Text(said(each, console)) for each in _cells(change, split=split)]
        own = change.name.partition("/")[2] or change.name  # every row begins with the bench
        name = Text(said(shortened(clean(own), _LONGEST), console))
        table.add_row(name, *cells, Text(_verdict(change), style=shade))
    console.print(table)


def _is_split(changes: Sequence[Change]) -> bool:
    return any(change.at_base_prices is not None for change in changes)


def _heads(*, split: bool) -> list[str]:
    return ["BASE", *(["at BASE's\nprices"] if split else []), "HEAD", "change"]


def _sentence(found: Finding) -> str:
    return f"{clean(found.name)}: {shortened(clean(found.words), _LONGEST)}"


# Markdown ---------------------------------------------------------------------------------


def diff_markdown(found: Diff, *, everything: bool = False) -> str:
    """The comparison as GitHub-flavoured Markdown: failures first, unchanged rows folded away.

    Names and reasons are anybody's: they are escaped, mention nobody and open no element.

    Args:
        found: the comparison.
        everything: unfold unchanged rows and timings.
    """
    return "\n".join(_lines(found, everything=everything)) + "\n"


def _lines(found: Diff, *, everything: bool) -> Iterator[str]:
    mark = "❌" if found.failed else "✅"
    yield f"### {mark} ragopt {_inline(found.bench)}: {summary(found)}"
    yield ""
    for each in found.alarms:
        yield f"- **fails** {_code(each.name)}: {_inline(each.words)}"
    for each in found.warnings:
        yield f"- look at {_code(each.name)}: {_inline(each.words)}"
    for note in found.notes:
        yield f"- {_inline(note)}"
    for section in _sections(found):
        changes = (*section.shown, *section.folded) if everything else section.shown
        if changes:
            yield from _markdown_section(section, changes)
    folded = [change for section in _sections(found) for change in section.folded]
    if folded and not everything:
        yield ""
        what = "rows unchanged, gone as told, or timings (never judged)"
        yield f"<details><summary>{len(folded)} {what}</summary>"
        yield ""
        yield from _markdown_table(folded)
        yield ""
        yield "</details>"


def _markdown_section(section: _Section, changes: Sequence[Change]) -> Iterator[str]:
    yield ""
    yield f"**{section.title}**" + (f": {_inline(section.note)}" if section.note else "")
    yield ""
    yield from _markdown_table(changes)


def _markdown_table(changes: Sequence[Change]) -> Iterator[str]:
    split = _is_split(changes)
    heads = [head.replace("\n", " ") for head in _heads(split=split)]
    yield f"| row | {' | '.join(heads)} | |"
    yield f"|:--|{'--:|' * len(heads)}:--|"
    for change in changes:
        cells = " | ".join(_inline(each) for each in _cells(change, split=split))
        yield f"| {_code(change.name)} | {cells} | {_verdict(change)} |"


def _code(name: str) -> str:
    """A name in a code span: nothing in it is a mention, a link, an element or a column."""
    words = shortened(clean(name), _LONGEST).replace("`", "'")
    words = words.replace("\\", "/").replace("|", "\\|")  # a backslash would unescape the pipe
    return f"`{words or DASH}`"


def _inline(words: str) -> str:
    """Text that means nothing to Markdown, to HTML, or to those it might name."""
    plain = escape(shortened(clean(words), _LONGEST * 4), quote=False)
    for sign in _SPECIAL:
        plain = plain.replace(sign, f"\\{sign}")
    return plain.replace("@", "&#64;").replace("://", "&#58;//")
