"""``ragopt diff``: two results compared, for a pull request; price changes apart from usage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ragopt.cli.common import Json
from ragopt.cli.output import check_writable, write_json

__all__ = ["diff"]

_FAILED = 1


def diff(
    base: Annotated[
        Path, typer.Argument(help="Result to compare with: a file of --json.", metavar="BASE")
    ],
    head: Annotated[Path, typer.Argument(help="Result to judge, likewise.", metavar="HEAD")],
    *,
    max_increase: Annotated[
        float | None,
        typer.Option(
            help="Percent by which a cost (tokens, bytes, pages, dollars at BASE's prices) may "
            "rise; hit rates count by their misses.",
            metavar="PCT",
            show_default=False,
        ),
    ] = None,
    min_quality: Annotated[
        float | None,
        typer.Option(
            help="Least acceptable quality. Above 0 a level: every quality of HEAD, by the worse "
            "end of its range, is at least this (0.95); error rates by what is left of 1. From -1 "
            "to 0 a change: no quality may be worse than in BASE by more (-0.02: two points), nor "
            "a difference to a baseline below it. Levers that are off do not count.",
            metavar="X",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            help="Only rows of this pattern ('index/tiered/*'); may be given again.",
            metavar="PATTERN",
            show_default=False,
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Rows of BASE may be missing in HEAD.")
    ] = False,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Compare although data, seed, options or length of run differ."
        ),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Show unchanged rows and timings too.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull-request comment.")
    ] = False,
    json: Json = None,
) -> None:
    """Compare two results; exit 1 where HEAD costs more or is worse than allowed.

    Reads what `ragopt bench`, `ragopt demo` and `ragopt savings` write with --json. Rows of BASE
    that are missing in HEAD fail; timings never do. Exit status: 0 fine, 1 failed, 2 input that
    cannot be used, or results that do not measure the same.
    """
    from ragopt.benchmarks.diff import DiffOptions, read_run
    from ragopt.benchmarks.diff import diff as compare
    from ragopt.report.bench_diff import diff_markdown, print_diff
    from ragopt.report.terminal import said

    options = DiffOptions(
        max_increase=max_increase,
        min_quality=min_quality,
        allow_missing=allow_missing,
        rows=tuple(rows or ()),
    )
    check_writable(json, inputs=(base, head))
    found = compare(read_run(base), read_run(head), options=options, anyway=anyway)
    write_json(json, found.to_dict())
    console = Console(emoji=False)
    if markdown:
        text = said(diff_markdown(found, everything=everything), console)
        console.print(text, markup=False, highlight=False, soft_wrap=True, end="")
    else:
        print_diff(found, console, everything=everything)
    if found.failed:
        raise typer.Exit(_FAILED)
