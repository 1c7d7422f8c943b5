"""Progress bars for long work; nothing at all where nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from ragopt.corpus import Progress as Report

__all__ = ["progress_bars", "watched"]


def watched(console: Console, *, quiet: bool) -> bool:
    """Whether somebody looks on and has not asked for quiet."""
    return console.is_terminal and not quiet


@contextmanager
def progress_bars(console: Console, *, quiet: bool = False) -> Iterator[Report]:
    """A callback that shows each task as a bar, gone when all is done."""
    if not watched(console, quiet=quiet):
        yield _ignore
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(task: str, done: int, total: int) -> None:
            if task not in tasks:
                for finished in tasks.values():  # one line at a time keeps small terminals calm
                    bars.update(finished, visible=False)
                tasks[task] = bars.add_task(task.replace("_", " "), total=total)
            bars.update(tasks[task], completed=done, total=total)

        yield report


def _ignore(_task: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""
