"""``ragopt index build|search|info|verify|tune|…``: vector indexes in folders."""

from __future__ import annotations

import re
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

import typer
from rich.console import Console

from ragopt.cli.common import Interrupted, Json, Quiet
from ragopt.cli.index_changes import add, compact, delete, rebalance
from ragopt.cli.index_data import (
    array_of,
    as_tiered,
    budget_of,
    check_replaceable,
    cost_of,
    describe,
    files_of,
    ids_of,
    in_blocks,
    is_unfinished,
    knobs_of,
    opened,
    queries_of,
    search_all,
)
from ragopt.cli.index_print import (
    print_cost,
    print_found,
    print_pairs,
    print_rows,
    print_settings,
    size,
    words_of,
)
from ragopt.cli.output import check_writable, tell, write_json
from ragopt.cli.progress import progress_bars
from ragopt.errors import InputError
from ragopt.report.figures import count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragopt.corpus import Progress
    from ragopt.indexes.base import PositionIndex
    from ragopt.indexes.scoring import Metric

__all__ = ["index"]

_SAMPLE = 200  # queries that tell what a setting costs
_STAGES = {
    "train": "train the lists",
    "assign": "find the lists of rows",
    "write": "write codes and rows",
}
_TIERED = re.compile(r"\s*tiered\s*(?:\((?P<given>[^()]*)\)\s*)?")

index = typer.Typer(
    name="index",
    help="Build, search, tune, change and check a vector index in a folder.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for command in (add, delete, compact, rebalance):
    index.command()(command)

Folder: TypeAlias = Annotated[Path, typer.Argument(help="Of the index.", metavar="FOLDER")]
Queries: TypeAlias = Annotated[
    Path, typer.Argument(help="One a row, as the vectors are embedded.", metavar="QUERIES.npy")
]
K: TypeAlias = Annotated[int, typer.Option("-k", help="Results a query.", min=1, metavar="N")]


@index.command()
def build(
    vectors: Annotated[
        Path, typer.Argument(help="One a row, floats or integers.", metavar="VECTORS.npy")
    ],
    folder: Annotated[Path, typer.Argument(help="To build in.", metavar="FOLDER")],
    *,
    spec: Annotated[
        str,
        typer.Option(
            help="Family with options, such as 'hnsw(m=32)+sq8' or 'rabitq(bits=1)+rescore(f16)'.",
            metavar="SPEC",
        ),
    ] = "tiered",
    metric: Annotated[str, typer.Option(help="cosine, ip or l2.", metavar="NAME")] = "cosine",
    ids: Annotated[
        str,
        typer.Option(
            help="Integers, one a row; 0, 1, 2 and so on by default.",
            metavar="IDS.npy",
            show_default=False,
        ),
    ] = "",
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.", min=0, metavar="N")] = 0,
    ram_budget: Annotated[
        str,
        typer.Option(
            help="Of a tiered index: bytes, a size such as 200MB, or a share of the raw rows.",
            metavar="SIZE",
            show_default=False,
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Replace the index that stands in FOLDER.")
    ] = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Build an index in a folder, from a file that may be larger than memory.

    A `tiered` build streams, and goes on where it was when it is interrupted and the same command
    is given again; other families take the rows into memory.
    """
    from ragopt.indexes import build as build_index

    spec = _with_budget(spec, ram_budget)
    check_writable(json, inputs=(vectors, Path(ids)))
    check_replaceable(folder, force=force)
    rows, numbers = array_of(vectors), ids_of("--ids", ids) if ids else None
    console = Console(emoji=False)
    if is_unfinished(folder) and _TIERED.match(spec):
        tell(f"{folder}: goes on with the build interrupted here, if it is the same", console)
    begin = perf_counter()
    try:
        with progress_bars(console, quiet=quiet) as progress:
            progress("build", 0, 1)
            built = build_index(
                spec,
                rows,
                numbers,
                path=folder,
                metric=cast("Metric", metric),
                seed=seed,
                progress=_named(progress),
            )
    except KeyboardInterrupt as stop:
        kept = (
            "give the same command again to go on" if is_unfinished(folder) else "nothing is kept"
        )
        raise Interrupted(f"{folder} is not built; {kept}.") from stop
    seconds = perf_counter() - begin
    found = {**describe(built, folder), "seconds": seconds}
    write_json(json, found)
    print_pairs([*words_of(found), ("built in", f"{count(seconds)} s")], console)
    tell(f"Index written to {folder}", console)


@index.command()
def search(
    folder: Folder,
    queries: Queries,
    *,
    k: K = 10,
    where: Annotated[
        str,
        typer.Option(help="Only these may be found.", metavar="IDS.npy|ID,ID", show_default=False),
    ] = "",
    knob: Annotated[
        list[str] | None,
        typer.Option(
            help="A search knob of the family; repeatable.",
            metavar="NAME=VALUE",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Scan all rows: what a perfect search finds.")
    ] = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Search, print the first results and what a query costs.

    What a first search brings into memory or compiles is not counted.
    """
    if exact and (where or knob):
        raise InputError("--exact scans all rows; give it without --where and --knob")
    check_writable(json, inputs=(queries, Path(where)))
    knobs = knobs_of(knob or ())
    allowed = ids_of("--where", where) if where else None
    rows = queries_of(queries)
    found = opened(folder)
    console = Console(emoji=False)
    with progress_bars(console, quiet=quiet) as progress:
        result = (
            in_blocks(rows, progress, lambda block: found.exact(block, k))
            if exact
            else search_all(found, rows, k, progress, where=allowed, **knobs)
        )
    cost = cost_of(result)
    told = {
        "folder": str(folder),
        "family": found.family,
        "k": k,
        "exact": exact,
        "knobs": {} if exact else {**found.defaults, **knobs},
        "ids": result.ids.tolist(),
        "scores": [
            [score if number >= 0 else None for number, score in zip(*pair, strict=True)]
            for pair in zip(result.ids.tolist(), result.scores.tolist(), strict=True)
        ],
        "stats": {"queries": len(rows), **cost},
    }
    write_json(json, told)
    print_found(result, console)
    print_cost(cost, len(rows), k, console)


@index.command()
def info(folder: Folder, *, json: Json = None) -> None:
    """Tell what an index is, what it takes, and what was certified of it.

    Codes and rows of a tiered index stay on disk.
    """
    check_writable(json)
    found = describe(opened(folder), folder)
    write_json(json, found)
    print_pairs(words_of(found), Console(emoji=False))


@index.command()
def verify(folder: Folder, *, json: Json = None, quiet: Quiet = False) -> None:
    """Check every file of an index against its checksum; exit 1 naming one that is damaged."""
    from ragopt.indexes import open as open_index

    check_writable(json)
    console = Console(emoji=False)
    found, files = opened(folder), files_of(folder)
    begin, total = perf_counter(), sum(files.values())
    with progress_bars(console, quiet=quiet) as progress:
        progress(f"read {size(total)}", 0, 1)
        tiered = as_tiered(found)
        if tiered is None:
            open_index(folder, verify=True)
        else:
            tiered.verify()
    seconds = perf_counter() - begin
    write_json(json, {"folder": str(folder), "files": files, "bytes": total, "seconds": seconds})
    rows = [(name, f"{length:,}") for name, length in sorted(files.items())]
    print_rows(("file", "bytes"), rows, console)
    tell(f"{len(files)} files, {total:,} bytes: every checksum is right", console)


@index.command()
def tune(
    folder: Folder,
    queries: Queries,
    *,
    recall: Annotated[
        float, typer.Option(help="Floor of the mean recall@k.", min=0, max=1, metavar="X")
    ] = 0.95,
    confidence: Annotated[
        float, typer.Option(help="Of the certificate.", min=0, max=1, metavar="X")
    ] = 0.95,
    k: K = 10,
    held_out: Annotated[
        Path | None,
        typer.Option(
            help="Other queries to certify on; half of QUERIES by default.",
            metavar="FILE.npy",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split and the bound.", min=0, metavar="N")] = 0,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Set the knobs to the cheapest values that keep recall@k, and certify it on unseen queries.

    The truth is an exact scan of all rows. Settings and certificate are stored in the folder; of a
    tiered index nobody else may change the rows meanwhile. Exit 1 where no setting keeps the floor.
    """
    from ragopt.indexes import tune as tune_index
    from ragopt.storage import writer_lock

    check_writable(json, inputs=(queries, held_out))
    rows = queries_of(queries)
    others = None if held_out is None else queries_of(held_out)
    found = opened(folder)
    tiered = as_tiered(found)
    console = Console(emoji=False)
    try:
        if tiered is not None:
            tiered.flush()  # holds the folder: what is certified are these rows
        else:
            with writer_lock(folder):  # found out now, not after minutes
                pass
        with progress_bars(console, quiet=quiet) as progress:
            before = _setting(found, rows, k, progress)
            progress("tune", 0, 1)
            certificate = tune_index(
                found, rows, held_out=others, recall=recall, k=k, confidence=confidence, seed=seed
            )
            after = _setting(found, rows, k, progress)
        found.save(folder)
    finally:
        if tiered is not None:
            tiered.close()
    write_json(
        json,
        {
            "folder": str(folder),
            "certificate": certificate.to_dict(),
            "before": before,
            "after": after,
        },
    )
    tell(str(certificate), console)
    print_settings({"before": before, "after": after}, console)
    tell(f"Settings and certificate stored in {folder}", console)


def _with_budget(spec: str, budget: str) -> str:
    if not budget:
        return spec
    head, plus, modifiers = spec.partition("+")
    match = _TIERED.fullmatch(head)
    if match is None:
        raise InputError(f"--ram-budget is of tiered indexes alone; got --spec {spec!r}")
    given = (match["given"] or "").strip()
    options = f"{given}{', ' if given else ''}ram_budget={budget_of(budget)}"
    return f"tiered({options}){plus}{modifiers}"


def _named(progress: Progress) -> Progress:
    """Stages of a build in words."""
    return lambda stage, done, total: progress(_STAGES.get(stage, stage), done, total)


def _setting(
    found: PositionIndex, rows: NDArray[Any], k: int, progress: Progress
) -> dict[str, Any]:
    """The knobs in use and what a search of them costs."""
    result = search_all(found, rows[:_SAMPLE], k, progress)
    return {"defaults": dict(found.defaults), **cost_of(result)}
