"""Rows as the files that benchmark-action/github-action-benchmark keeps and draws over time.

Its tools ``customSmallerIsBetter`` and ``customBiggerIsBetter`` read a list of
``{name, unit, value, range, extra}`` each, in which range and extra are texts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragopt.benchmarks.rows import metric_of
from ragopt.errors import InputError
from ragopt.report.figures import clean
from ragopt.storage import atomic_write, storage_errors

if TYPE_CHECKING:
    from ragopt.benchmarks.rows import BenchResult, Row

__all__ = ["GITHUB_FILES", "github_rows", "write_github"]

GITHUB_FILES = {"smaller": "smaller-is-better.json", "bigger": "bigger-is-better.json"}


def github_rows(result: BenchResult, better: str, *, timings: bool = False) -> list[dict[str, Any]]:
    """Measured rows of one direction.

    Args:
        result: any.
        better: ``"smaller"`` or ``"bigger"``.
        timings: also times and rates, which differ from run to run: an alert on them is noise.
    """
    measured = ((row, metric_of(row.name)) for row in result.rows if row.value is not None)
    return [
        _entry(row)
        for row, metric in measured
        if metric.better == better and (timings or not metric.timed)
    ]


def _entry(row: Row) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": clean(row.name), "unit": row.unit, "value": row.value}
    if row.range is not None:
        entry["range"] = f"{row.range[0]:.6g} to {row.range[1]:.6g}"
    extra = [f"{key}: {clean(value)}" for key, value in row.extra.items() if value is not None]
    return {**entry, "extra": "\n".join(extra)} if extra else entry


def write_github(result: BenchResult, folder: Path, *, timings: bool = False) -> list[Path]:
    """Write both files into a folder, which is made where its parent stands.

    Raises:
        InputError: a file stands where the folder should.
        StorageError: they cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give the name of a folder")
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
    written = []
    for better, name in GITHUB_FILES.items():
        rows = github_rows(result, better, timings=timings)
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
        atomic_write(folder / name, text.encode(errors="backslashreplace"))
        written.append(folder / name)
    return written
