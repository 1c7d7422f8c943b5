"""``ragopt report``: a stored result shown again, as a page, and as rows for charts over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ragopt.cli.common import Html
from ragopt.cli.output import check_writable, own_report, show

__all__ = ["report"]


def report(
    run: Annotated[Path, typer.Argument(help="A result: a file of --json.", metavar="RUN")],
    *,
    html: Html = None,
    github_benchmark: Annotated[
        Path | None,
        typer.Option(
            help="Folder for smaller-is-better.json and bigger-is-better.json, as "
            "github-action-benchmark reads them.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    timings: Annotated[
        bool, typer.Option("--timings", help="Timings too in those; an alert on them is noise.")
    ] = False,
) -> None:
    """Print a stored result; write it as a page, or as rows for charts over time.

    Nothing is measured. A result that was changed, or that does not fit its own figures, is
    refused.
    """
    from ragopt.benchmarks.diff import read_run, rechecked
    from ragopt.errors import InputError
    from ragopt.report.bench_export import write_github
    from ragopt.storage import atomic_write

    check_writable(html, inputs=(run,))
    result = read_run(run)
    problems = rechecked(result)
    if problems:
        raise InputError(f"{run} does not fit its own figures: {'; '.join(problems[:3])}")
    shown = own_report(result)
    written = []
    if html is not None:
        atomic_write(html, shown.to_html().encode(errors="replace"))
        written.append(html)
    if github_benchmark is not None:
        written.extend(write_github(result, github_benchmark, timings=timings))
    console = Console(emoji=False)
    show(shown, console)
    for path in written:
        console.print(f"Written to {path}", markup=False, highlight=False, soft_wrap=True)
