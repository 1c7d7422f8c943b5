"""What both commands do with a finished report: write it, print it, say where it is."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ragopt.errors import InputError
from ragopt.storage import atomic_write, storage_errors

if TYPE_CHECKING:
    from ragopt.benchmarks.savings_report import SavingsReport

__all__ = ["check_writable", "deliver"]


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
    report: SavingsReport, console: Console, *, json_path: Path | None, html_path: Path | None
) -> None:
    """Write the files that were asked for, each atomically, and print the report.

    It is printed also where a file cannot be written: it took minutes.

    Raises:
        StorageError: a file cannot be written; a former one still stands.
    """
    from ragopt.report.savings_table import print_savings

    written: list[str] = []
    try:
        written.extend(_write(report, json_path=json_path, html_path=html_path))
    finally:
        print_savings(report, console)
        for words in written:
            console.print(words, highlight=False, markup=False, soft_wrap=True)


def _write(
    report: SavingsReport, *, json_path: Path | None, html_path: Path | None
) -> Iterator[str]:
    """Write each file; what was written, in words."""
    if json_path is not None:
        text = json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n"
        # A file name may hold bytes that are no UTF-8: as \udcff they are JSON all the same.
        atomic_write(json_path, text.encode(errors="backslashreplace"))
        yield f"Figures written to {json_path}"
    if html_path is not None:
        atomic_write(html_path, report.to_html().encode(errors="replace"))
        yield f"Report page written to {html_path}"
