"""``ragopt index add|delete|compact|rebalance``: an index in a folder, changed for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from rich.console import Console

from ragopt.cli.common import Json, Quiet
from ragopt.cli.index_data import (
    array_of,
    as_tiered,
    budget_of,
    ids_of,
    opened,
    standing,
)
from ragopt.cli.index_print import print_rows, size
from ragopt.cli.output import check_writable, tell, write_json
from ragopt.cli.progress import progress_bars
from ragopt.errors import InputError

if TYPE_CHECKING:
    from ragopt.indexes.base import PositionIndex
    from ragopt.indexes.tiered.index import TieredIndex

__all__ = ["add", "compact", "delete", "rebalance"]

_NAMES = {
    "rows": "rows",
    "segments": "segments",
    "fresh_rows": "fresh rows",
    "tombstones": "tombstones",
    "tiers": "hot/warm/cold",
    "ram_budget_bytes": "RAM budget",
    "bytes": "bytes",
}

Folder: TypeAlias = Annotated[Path, typer.Argument(help="Of the index.", metavar="FOLDER")]


def add(
    folder: Folder,
    vectors: Annotated[
        Path, typer.Argument(help="One a row, read into memory.", metavar="VECTORS.npy")
    ],
    *,
    ids: Annotated[
        str,
        typer.Option(
            help="Integers, one a row; the next free ones by default.",
            metavar="IDS.npy",
            show_default=False,
        ),
    ] = "",
    upsert: Annotated[
        bool,
        typer.Option("--upsert", help="Replace rows that have these ids (tiered indexes)."),
    ] = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Add rows: all of them or, where one cannot be used, none."""
    if upsert and not ids:
        raise InputError("--upsert replaces rows by their ids; give --ids too")
    check_writable(json, inputs=(vectors, Path(ids)))
    rows, numbers = array_of(vectors), ids_of("--ids", ids) if ids else None

    def change(index: PositionIndex) -> str:
        if upsert and numbers is not None:
            new = _tiered(index, "--upsert").upsert(rows, numbers)
        else:
            new = index.add(rows, numbers)
        told = f"{_rows(len(new))} {'put' if upsert else 'added'}"
        if numbers is None and len(new):
            told += f", ids {new[0]} to {new[-1]}"
        return told

    _change(folder, change, "add rows", json=json, quiet=quiet)


def delete(
    folder: Folder,
    ids: Annotated[str, typer.Argument(help="Rows to delete.", metavar="IDS.npy|ID,ID")],
    *,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Delete rows: all of them or, where one is not there, none.

    Their space comes back with `compact` or, for families without it, with a new build.
    """
    check_writable(json, inputs=(Path(ids),))
    numbers = ids_of("IDS", ids)
    _change(
        folder,
        lambda index: f"{_rows(index.delete(numbers))} deleted",
        "delete rows",
        json=json,
        quiet=quiet,
    )


def compact(folder: Folder, *, json: Json = None, quiet: Quiet = False) -> None:
    """Merge all segments of a tiered index into one, without the rows that were deleted.

    Where it has outgrown its lists they are trained anew.
    """

    def change(index: PositionIndex) -> str:
        _tiered(index, "compact").compact()
        return "compacted"

    check_writable(json)
    _change(folder, change, "compact", json=json, quiet=quiet)


def rebalance(
    folder: Folder,
    *,
    ram_budget: Annotated[
        str,
        typer.Option(
            help="A new budget: bytes, a size such as 200MB, or a share of the raw rows.",
            metavar="SIZE",
            show_default=False,
        ),
    ] = "",
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Choose anew which lists of a tiered index stand in RAM, by how often they were searched."""
    budget = budget_of(ram_budget) if ram_budget else None

    def change(index: PositionIndex) -> str:
        tiered = _tiered(index, "rebalance")
        tiered.flush()  # as the writer of the folder: what is chosen is stored
        tiered.rebalance(budget)
        return "rebalanced"

    check_writable(json)
    _change(folder, change, "rebalance", json=json, quiet=quiet)


def _tiered(index: PositionIndex, what: str) -> TieredIndex:
    tiered = as_tiered(index)
    if tiered is None:
        raise InputError(
            f"{what} is of tiered indexes alone; this one is {index.family}: build it again instead"
        )
    return tiered


def _change(
    folder: Path,
    change: Callable[[PositionIndex], str],
    doing: str,
    *,
    json: Path | None,
    quiet: bool,
) -> None:
    """Make a change that outlives this process, and tell what came of it."""
    index = opened(folder)
    tiered = as_tiered(index)
    console = Console(emoji=False)
    before = standing(index, folder)
    with progress_bars(console, quiet=quiet) as progress:
        progress(doing, 0, 1)
        try:
            done = change(index)
        finally:
            if tiered is not None:
                tiered.close()
        if tiered is None:
            index.save(folder)
    after = standing(index, folder)
    write_json(json, {"folder": str(folder), "done": done, "before": before, "after": after})
    tell(f"{folder}: {done}", console)
    rows = [
        (words, _figure(name, before), _figure(name, after))
        for name, words in _NAMES.items()
        if name in after
    ]
    print_rows(("", "before", "after"), rows, console)


def _rows(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"


def _figure(name: str, found: Mapping[str, Any]) -> str:
    value = found[name]
    if name == "tiers":
        return "/".join(f"{number:,}" for number in value.values())
    if name == "ram_budget_bytes":
        return "none" if value is None else size(value)
    return f"{value:,}"
