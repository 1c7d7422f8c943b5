"""The typer application, and how errors reach the user: one sentence, never a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import ragopt
from ragopt.cli.bench import bench
from ragopt.cli.cache import cache
from ragopt.cli.common import Interrupted, message
from ragopt.cli.compress import compress
from ragopt.cli.demo import demo
from ragopt.cli.diff import diff
from ragopt.cli.index import index
from ragopt.cli.report import report
from ragopt.cli.rerank import rerank
from ragopt.cli.savings import savings
from ragopt.errors import BackendMissing, InputError, RagoptError, UnknownPrice

__all__ = ["app", "run"]

_UNUSABLE_INPUT = 2
_INTERRUPTED = 130

app = typer.Typer(
    name="ragopt",
    help="Make retrieval-augmented generation cheap without making it worse, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(demo)
app.command()(savings)
app.add_typer(index)
app.add_typer(cache)
app.add_typer(rerank)
app.add_typer(compress)
app.add_typer(bench)
app.command()(diff)
app.command()(report)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ragopt {ragopt.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Make retrieval-augmented generation cheap without making it worse, and prove it."""


def run(arguments: Sequence[str]) -> int:
    """Run a command; return the exit status."""
    errors = Console(stderr=True, emoji=False)
    kept = "nothing is half-written, and what a model has embedded is kept for the next run."
    try:
        status = _status(arguments, errors)
    except Interrupted as stop:
        status, kept = _INTERRUPTED, message(stop)
    if status == _INTERRUPTED:
        errors.print(f"[yellow]Interrupted;[/] {escape(kept)}", soft_wrap=True)
    return status


def _status(arguments: Sequence[str], errors: Console) -> int:
    try:
        app(args=list(arguments), standalone_mode=True)
    except SystemExit as stop:  # typer's own way, also after Ctrl-C
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (RagoptError, OSError) as error:
        errors.print(f"[red]error:[/] {escape(message(error))}", soft_wrap=True)
        unusable = isinstance(error, (InputError, UnknownPrice, BackendMissing))
        return _UNUSABLE_INPUT if unusable else 1
    return 0
