"""What commands do with a finished result: write it, print it, say where it is."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.console import Console

from ragopt.errors import InputError
from ragopt.report.terminal import said
from ragopt.storage import atomic_write, storage_errors

if TYPE_CHECKING:
    from ragopt.benchmarks.road.savings_report import SavingsReport
    from ragopt.benchmarks.rows import BenchResult

__all__ = ["Result", "check_writable", "deliver", "own_report", "show", "tell", "write_json"]

Result: TypeAlias = "SavingsReport | BenchResult"


def check_writable(*paths: Path | None, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse an output path that cannot work, before minutes are spent.

    Args:
        paths: to be written.
        inputs: files that are read; none of them may be written over.

    Raises:
        InputError: a folder, device or pipe stands there, its own folder is missing, or the file
            is an input or given twice.
        StorageError: its folder takes no file.
    """
    taken = {os.path.realpath(path) for path in inputs if path is not None}
    for path in filter(None, paths):
        with storage_errors(path):
            _check_place(path)
        place = os.path.realpath(path)
        if place in taken:
            raise InputError(f"{path}: another option names this file; give one of its own")
        taken.add(place)


def _check_place(path: Path) -> None:
    folder = path.absolute().parent
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file to write")
    if path.exists() and not path.is_file():  # replacing /dev/null by a file harms the machine
        raise InputError(f"{path} is a device or a pipe; give the name of a file to write")
    if not folder.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=folder):
        pass


def deliver(
    result: Result, console: Console, *, json_path: Path | None, html_path: Path | None
) -> None:
    """Write the files that were asked for, each atomically, and print the report.

    It is printed also where a file cannot be written: it took minutes.

    Raises:
        StorageError: a file cannot be written; a former one still stands.
    """
    shown = own_report(result)
    written: list[str] = []
    try:
        written.extend(_write(result, shown, json_path=json_path, html_path=html_path))
    finally:
        show(shown, console)
        for words in written:
            console.print(words, highlight=False, markup=False, soft_wrap=True)


def own_report(result: Result) -> Result:
    """A savings result has a page and a table of its own, where it holds the whole report."""
    from ragopt.benchmarks.road.savings_read import read_report
    from ragopt.benchmarks.rows import BenchResult

    if not isinstance(result, BenchResult) or result.bench != "savings":
        return result
    if "baseline" not in result.details:
        return result
    return read_report({**result.details, "about": result.about})


def show(shown: Result, console: Console) -> None:
    """Print a result as what it is."""
    from ragopt.benchmarks.rows import BenchResult
    from ragopt.report.bench_table import print_bench
    from ragopt.report.savings_table import print_savings

    if isinstance(shown, BenchResult):
        print_bench(shown, console)
    else:
        print_savings(shown, console)


def tell(words: str, console: Console) -> None:
    """A sentence, on one line however long it is."""
    console.print(said(words, console), highlight=False, markup=False, soft_wrap=True)


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write figures for ``--json``, atomically; for None nothing.

    Raises:
        StorageError: the file cannot be written; a former one still stands.
    """
    if path is None:
        return
    text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
    # A file name may hold bytes that are no UTF-8: as \udcff they are JSON all the same.
    atomic_write(path, text.encode(errors="backslashreplace"))


def _write(
    result: Result, shown: Result, *, json_path: Path | None, html_path: Path | None
) -> Iterator[str]:
    """Write each file; what was written, in words."""
    if json_path is not None:
        write_json(json_path, result.to_dict())
        yield f"Figures written to {json_path}"
    if html_path is not None:
        atomic_write(html_path, shown.to_html().encode(errors="replace"))
        yield f"Report page written to {html_path}"
