"""A bench result on a terminal: candidates as rows, metrics as columns, in as many blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragopt.report.bench_equal import NOTE, TITLE, EqualRecall, equal_recall
from ragopt.report.bench_words import (
    best_of,
    cell,
    head,
    headline,
    hints,
    measured_on,
    not_measured,
    table_of,
)
from ragopt.report.figures import DASH, clean, shortened
from ragopt.report.terminal import said, utf

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table as RichTable

    from ragopt.benchmarks.rows import BenchResult
    from ragopt.report.bench_words import Table as Figures

__all__ = ["bench_text", "print_bench", "ruled"]

_GAP = 2
_NAME = 32
_SHOWN = ("data", "data hash", "seed", "price", "machine")


def print_bench(result: BenchResult, console: Console) -> None:
    """Print headline, figures, what was not measured and why, and what it rests on.

    Columns that the width does not take go into a block below, under the same candidates; the
    best of a column is bold. What the console's encoding lacks is spelled in ASCII.
    """
    from rich.text import Text

    lead, rest = headline(result)
    console.print(Text.assemble((said(lead, console), "bold"), said(f": {rest}", console)))
    table = table_of(result)
    for columns in blocks(table, console.width):
        console.print()
        console.print(_block(table, columns, console))
    if (equal := equal_recall(result)) is not None:
        console.print()
        console.print(Text(said(f"{TITLE}. {NOTE}", console), style="dim"))
        console.print(_equal(equal, console))
    for title, lines in (("not measured", not_measured(result)), ("", _below(result))):
        if lines:
            console.print()
        if lines and title:
            console.print(Text(title, style="bold"))
        if lines:
            console.print(_grid(lines, console))


def bench_text(result: BenchResult, *, width: int = 100) -> str:
    """The same as plain text."""
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    print_bench(result, Console(file=out, width=width, color_system=None, emoji=False))
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its metric, its head of several lines, a figure for each candidate."""

    metric: str
    head: tuple[str, ...]
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        """Characters that it takes."""
        return max(map(len, (*self.head, *self.cells)))


def blocks(table: Figures, width: int) -> Iterator[list[Column]]:
    """Columns that fit side by side, at least one a block."""
    columns = [
        Column(
            metric,
            head(metric),
            tuple(cell(metric, table.value(name, metric)) for name in table.candidates),
        )
        for metric in table.metrics
    ]
    names = max((len(_name(name)) for name in table.candidates), default=0)
    block: list[Column] = []
    taken = names
    for column in columns:
        if block and taken + _GAP + column.width > width:
            yield block
            block, taken = [], names
        block.append(column)
        taken += _GAP + column.width
    if block:
        yield block


def ruled(console: Console) -> RichTable:
    """An empty table with a rule below its head."""
    from rich import box
    from rich.table import Table

    rule = "─" if utf(console) else "-"
    lines = ["    "] * 8
    lines[2] = f" {rule * 2} "
    return Table(
        box=box.Box("\n".join(lines) + "\n", ascii=not utf(console)),
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        header_style="",
    )


def _block(table: Figures, columns: Sequence[Column], console: Console) -> RenderableType:
    from rich.text import Text

    shown = ruled(console)
    shown.add_column("", overflow="fold")
    for column in columns:
        words = "\n".join(column.head)
        shown.add_column(
            Text(said(words, console)), justify="right", vertical="bottom", no_wrap=True
        )
    best = {column.metric: best_of(table, column.metric) for column in columns}
    for place, name in enumerate(table.candidates):
        if all(column.cells[place] == DASH for column in columns):
            continue
        figures = (
            Text(
                said(column.cells[place], console),
                style="bold" if name in best[column.metric] else "",
            )
            for column in columns
        )
        shown.add_row(Text(said(_name(name), console)), *figures)
    return shown


def _equal(equal: EqualRecall, console: Console) -> RenderableType:
    from rich.text import Text

    shown = ruled(console)
    shown.add_column("", overflow="fold")
    for words in equal.heads:
        shown.add_column(words, justify="right", no_wrap=True)
    for name in equal.qps:
        cells = (Text(said(figure, console)) for figure in equal.cells(name))
        shown.add_row(Text(said(_name(name), console)), *cells)
    return shown


def _name(candidate: str) -> str:
    return shortened(clean(candidate), _NAME)


def _below(result: BenchResult) -> list[tuple[str, str]]:
    rest = [(label, value) for label, value in measured_on(result) if label in _SHOWN]
    return [*(("note", hint) for hint in hints(result)), *rest]


def _grid(lines: Sequence[tuple[str, str]], console: Console) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold", max_width=max(console.width // 3, 12))
    grid.add_column(overflow="fold")
    for label, words in lines:
        grid.add_row(Text(said(label, console), style="dim"), Text(said(words, console)))
    return grid
