"""What both commands do with a finished report: print it, write it, say where it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ragopt.errors import InputError
from ragopt.storage import atomic_write

if TYPE_CHECKING:
    from ragopt.benchmarks.savings_report import SavingsReport

__all__ = ["check_writable", "deliver"]


def check_writable(*paths: Path | None) -> None:
    """Refuse an output path that cannot work, before minutes are spent.

    Raises:
        InputError: a folder stands there, or its own folder is missing.
    """
    for path in filter(None, paths):
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a file to write")
        if not path.absolute().parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist; make it first")


def deliver(
    report: SavingsReport, console: Console, *, json_path: Path | None, html_path: Path | None
) -> None:
    """Print a report and write the files that were asked for, each atomically.

    Raises:
        StorageError: a file cannot be written; a former one still stands.
    """
    from ragopt.report.savings_table import print_savings

    print_savings(report, console)
    if json_path is not None:
        text = json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n"
        atomic_write(json_path, text.encode())
        console.print(f"Figures written to {json_path}", highlight=False)
    if html_path is not None:
        atomic_write(html_path, report.to_html().encode())
        console.print(f"Report page written to {html_path}", highlight=False)
