"""How ``ragopt index`` prints what it found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ragopt.cli.output import tell
from ragopt.report.figures import DASH, count
from ragopt.report.terminal import said

if TYPE_CHECKING:
    from rich.console import Console

    from ragopt.indexes.base import SearchResult

__all__ = [
    "print_cost",
    "print_found",
    "print_pairs",
    "print_rows",
    "print_settings",
    "size",
    "words_of",
]

_UNITS = ("B", "kB", "MB", "GB", "TB")
_SHOWN_RANKS = 10
_SHOWN_QUERIES = 5


def size(value: float) -> str:
    """Bytes as people read them: 47.8 MB."""
    place = 0
    while abs(value) >= 999.5 and place < len(_UNITS) - 1:
        value, place = value / 1000, place + 1
    return f"{count(value)} {_UNITS[place]}"


def print_pairs(pairs: Iterable[tuple[str, str]], console: Console) -> None:
    """What something is called and what it is, one below the other."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in pairs:
        table.add_row(Text(said(name, console)), Text(said(words, console)))
    console.print(table)


def print_rows(heads: Sequence[str], rows: Iterable[Sequence[str]], console: Console) -> None:
    """A table whose first column is to the left and whose figures are to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, head in enumerate(heads):
        table.add_column(Text(said(head, console)), justify="right" if place else "left")
    for row in rows:
        table.add_row(*(Text(said(words, console)) for words in row))
    console.print(table)


def print_found(result: SearchResult, console: Console) -> None:
    """Ranks as rows, as many of the first queries as columns as the width takes."""
    cells = [
        [
            f"{number} ({_score(score)})" if number >= 0 else DASH
            for number, score in zip(*pair, strict=True)
        ]
        for pair in zip(
            result.ids[:_SHOWN_QUERIES, :_SHOWN_RANKS].tolist(),
            result.scores[:_SHOWN_QUERIES, :_SHOWN_RANKS].tolist(),
            strict=True,
        )
    ]
    widest = 3 + max(len("query 0"), *(len(cell) for column in cells for cell in column))
    cells = cells[: max(1, (console.width - len("rank")) // widest)]
    heads = ["rank", *(f"query {number}" for number in range(len(cells)))]
    rows = [[str(rank + 1), *ranked] for rank, ranked in enumerate(zip(*cells, strict=True))]
    print_rows(heads, rows, console)


def _score(score: float) -> str:
    return f"{score:.0f}" if abs(score) >= 1000 else f"{score:#.4g}"


def print_cost(cost: Mapping[str, float], queries: int, k: int, console: Console) -> None:
    """What a query cost."""
    asked = f"{queries:,} {'query' if queries == 1 else 'queries'}"
    codes, pages, ms = (count(cost[f"{part}_per_query"]) for part in ("codes", "pages", "ms"))
    tell(
        f"{asked}, {k} results each; a query: {ms} ms, {codes} codes scanned, {pages} pages "
        f"read, at most {cost['read_rounds']} rounds of reads",
        console,
    )


def print_settings(settings: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Knobs and what a query costs with them."""
    rows = [
        (
            f"{name}: {_knobs(setting['defaults'])}",
            *(count(setting[f"{part}_per_query"]) for part in ("codes", "pages", "ms")),
        )
        for name, setting in settings.items()
    ]
    print_rows(("a query", "codes", "pages", "ms"), rows, console)


def words_of(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `describe` found, for people."""
    options = ", ".join(f"{name}={value}" for name, value in found["options"].items())
    ram, disk = (
        ", ".join(f"{part} {size(length)}" for part, length in found[place].items() if length)
        for place in ("ram", "disk")
    )
    share = found["ram_bytes_per_vector"]
    per_vector = "" if share is None else f", {count(share)} bytes a vector"
    pairs = [
        ("index", f"{found['family']}({options})"),
        ("rows", f"{found['rows']:,} x {found['dim']:,}, {found['metric']}"),
        ("RAM", size(found["ram_bytes"]) + per_vector),
        ("", ram),
        ("disk", f"{size(found['bytes'])} in {found['files']} files"),
        *([("", disk)] if disk else []),
    ]
    if "tiers" in found:
        budget = found["ram_budget"]
        tiers = ", ".join(f"{number:,} {tier}" for tier, number in found["tiers"].items())
        told = "none" if budget is None else f"{budget} ({size(found['ram_budget_bytes'])})"
        pairs += [
            ("segments", f"{found['segments']} of {found['lists']:,} lists"),
            ("changes", f"{found['fresh_rows']:,} fresh rows, {found['tombstones']:,} tombstones"),
            ("tiers", f"{tiers} lists"),
            ("budget", told),
        ]
    pairs.append(("knobs", _knobs(found["defaults"])))
    pairs.append(("certificate", _certified(found["certificate"])))
    return pairs


def _certified(certificate: dict[str, Any] | None) -> str:
    from ragopt.quality import Certificate

    return str(Certificate.from_dict(certificate)) if certificate else "none; tune writes one"


def _knobs(defaults: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in defaults.items()) or "as built"
