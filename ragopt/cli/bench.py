"""``ragopt bench index|cache|rerank|compress|savings``: measured beside peers, written as rows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from rich.console import Console
from rich.markup import escape

from ragopt.cli import common
from ragopt.cli.common import Html, Json, Quiet, Seed
from ragopt.cli.output import check_writable, deliver
from ragopt.cli.progress import progress_bars, watched
from ragopt.errors import InputError

if TYPE_CHECKING:
    from ragopt.benchmarks.context.cases import Half
    from ragopt.benchmarks.datasets import Dataset
    from ragopt.benchmarks.rows import BenchResult
    from ragopt.corpus import Progress
    from ragopt.embed import Embedder

__all__ = ["bench"]

bench = typer.Typer(
    name="bench",
    help="Measure index, cache, reranking, compression or the whole road beside peers.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

DatasetName: TypeAlias = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="A known name (those beyond 'embedded' stand in the folder RAGOPT_DATA names), or "
        "your own file or folder.",
        metavar="NAME|PATH",
    ),
]
Only: TypeAlias = Annotated[
    str,
    typer.Option(
        help="Only these candidates (a name that is none of them lists them all).",
        metavar="NAME,NAME",
        show_default=False,
    ),
]
Quick: TypeAlias = Annotated[
    bool, typer.Option("--quick", help="A smaller run of at most three minutes.")
]
EmbedderName: TypeAlias = Annotated[
    str,
    typer.Option(
        help="For texts that come without vectors: 'lsa' (fitted on them), or a "
        "sentence-transformers hub name or folder.",
        metavar="NAME",
    ),
]


@bench.command()
def index(
    *,
    dataset: DatasetName = "embedded",
    only: Only = "",
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
    html: Html = None,
    embedder: EmbedderName = "lsa",
    recall: Annotated[
        float,
        typer.Option(
            help="Floor of recall@10 at the operating point.", min=0.5, max=0.999, metavar="X"
        ),
    ] = 0.95,
    grow: Annotated[
        int | None,
        typer.Option(
            help="Grow the vectors to this many by interpolating between neighbours.",
            min=1,
            metavar="N",
            show_default=False,
        ),
    ] = None,
    memory_limit: Annotated[
        str,
        typer.Option(
            help="Hard limit of every search process, such as 200MB (Linux, cgroups).",
            metavar="SIZE",
            show_default=False,
        ),
    ] = "",
    find_memory_limit: Annotated[
        bool,
        typer.Option("--find-memory-limit", help="Find the smallest limit that still answers."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again what an earlier run has finished.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Vector indexes at equal recall: memory, pages, speed warm and cold, build.

    Every candidate runs in processes of its own. Finished ones are kept: an interrupted run goes
    on where it stopped.
    """
    from ragopt.benchmarks.datasets.convert import as_vectors
    from ragopt.benchmarks.index import IndexBenchOptions, bench_index
    from ragopt.benchmarks.index.grown import grown

    options = IndexBenchOptions(
        only=_names(only),
        seed=seed,
        quick=quick,
        recall=recall,
        memory_limit=_size(memory_limit),
        find_memory_limit=find_memory_limit,
        fresh=fresh,
    )

    def run(loaded: Dataset, progress: Progress) -> BenchResult:
        vectors = as_vectors(loaded, _embedder(embedder, loaded, progress))
        if grow is None:
            return bench_index(vectors, options=options, progress=progress)
        vectors, growth = grown(
            vectors, grow, folder=options.work_folder, seed=seed, progress=progress
        )
        result = bench_index(vectors, options=options, progress=progress)
        return replace(result, about={**result.about, "growth": growth})

    _bench(dataset, run, json=json, html=html, quiet=quiet)


@bench.command()
def cache(
    *,
    dataset: DatasetName = "embedded",
    only: Only = "",
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
    html: Html = None,
    embedder: EmbedderName = "lsa",
    quiet: Quiet = False,
) -> None:
    """Semantic caches: hits against wrong hits, on labelled pairs and in a stream; net dollars.

    Also what a look-up costs, and what guards stop of look-alikes and lose of duplicates.
    """
    from ragopt.benchmarks.cache import CacheBenchOptions, bench_cache
    from ragopt.benchmarks.datasets import IntentSet, PairSet, QueryLog
    from ragopt.benchmarks.datasets.convert import as_pairs

    options = CacheBenchOptions(only=_names(only), seed=seed, quick=quick)

    def run(loaded: Dataset, progress: Progress) -> BenchResult:
        model = _embedder(embedder, loaded, progress)
        if not isinstance(loaded, PairSet | IntentSet | QueryLog):
            loaded = as_pairs(loaded, seed=seed)
        return bench_cache(loaded, options=options, embedder=model, progress=progress)

    _bench(dataset, run, json=json, html=html, quiet=quiet)


@bench.command()
def rerank(
    *,
    dataset: DatasetName = "embedded",
    only: Only = "",
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
    html: Html = None,
    embedder: EmbedderName = "lsa",
    quiet: Quiet = False,
) -> None:
    """Scorers by nDCG@10, and how few tokens a tight top-k sends at held evidence."""
    from ragopt.benchmarks.context import RerankBenchOptions, bench_rerank
    from ragopt.benchmarks.datasets.convert import as_retrieval

    options = RerankBenchOptions(only=_names(only), seed=seed, quick=quick)

    def run(loaded: Dataset, progress: Progress) -> BenchResult:
        model = _embedder(embedder, loaded, progress)
        judged = as_retrieval(loaded)
        return bench_rerank(judged, options=options, embedder=model, progress=progress)

    _bench(dataset, run, json=json, html=html, quiet=quiet)


@bench.command()
def compress(
    *,
    dataset: DatasetName = "embedded",
    only: Only = "",
    seed: Seed = 0,
    quick: Quick = False,
    half: Annotated[
        str,
        typer.Option(
            help="Of the questions: what the shipped scorer was fitted on is in 'fit', not in "
            "'report'.",
            metavar="all|fit|report",
        ),
    ] = "all",
    json: Json = None,
    html: Html = None,
    quiet: Quiet = False,
) -> None:
    """Compressors by the evidence and the answers that they keep at 2x, 4x and 10x."""
    from ragopt.benchmarks.context import CompressBenchOptions, bench_compress
    from ragopt.benchmarks.datasets.convert import as_contexts

    options = CompressBenchOptions(only=_names(only), seed=seed, quick=quick, half=_half(half))

    def run(loaded: Dataset, progress: Progress) -> BenchResult:
        contexts = as_contexts(loaded, seed=seed)
        return bench_compress(contexts, options=options, progress=progress)

    _bench(dataset, run, json=json, html=html, quiet=quiet)


def _half(name: str) -> Half:
    halves: dict[str, Half] = {"all": "all", "fit": "fit", "report": "report"}
    if name not in halves:
        raise InputError(f"--half {name}: expected all, fit or report")
    return halves[name]


@bench.command()
def savings(
    *,
    dataset: DatasetName = "embedded",
    only: Only = "",
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
    html: Html = None,
    embedder: EmbedderName = "lsa",
    model: common.Model = common.DEFAULT_MODEL,
    prices: common.Prices = None,
    questions_per_month: common.Monthly = 1_000_000,
    vectors: Annotated[
        int, typer.Option(help="Load: vectors in the index.", min=1, metavar="N")
    ] = 1_000_000,
    questions: Annotated[
        int, typer.Option(help="Most questions taken, drawn with the seed.", min=4, metavar="N")
    ] = 1_000,
    traffic: common.Traffic = "zipf",
    arrivals: common.Arrivals = "",
    requests: common.Requests = None,
    zipf: common.Zipf = 0.8,
    threshold: common.Threshold = 0.95,
    quiet: Quiet = False,
) -> None:
    """The whole road against the usual baseline: lever by lever, and all together.

    An extractive answerer stands in for the model: no key is needed and nothing is sent anywhere.
    """
    from ragopt.benchmarks.road import SavingsBenchOptions, bench_savings
    from ragopt.benchmarks.road.savings_report import Load

    options = SavingsBenchOptions(
        only=_names(only),
        seed=seed,
        quick=quick,
        questions=questions,
        load=Load(questions_per_month=questions_per_month, vectors=vectors),
        traffic=traffic,
        arrivals=arrivals,
        requests=requests,
        zipf=zipf,
        threshold=threshold,
    )
    billing = common.billing_for(model, prices)

    def run(loaded: Dataset, progress: Progress) -> BenchResult:
        # LSA is fitted by the bench itself, on the chunks alone and not on the questions.
        model_of_text = None if embedder == "lsa" else _embedder(embedder, loaded, progress)
        return bench_savings(
            loaded, options=options, embedder=model_of_text, billing=billing, progress=progress
        )

    inputs = (prices, Path(traffic), Path(arrivals))
    _bench(dataset, run, json=json, html=html, quiet=quiet, inputs=inputs)


@bench.command()
def datasets() -> None:
    """List the datasets that --dataset knows by name, and which of them are here."""
    from ragopt.benchmarks.datasets import data_folder, describe, here, names

    console = Console(emoji=False)
    for name in names():
        missing = "" if here(name) else "  [yellow]not here[/]"
        console.print(escape(describe(name)) + missing, highlight=False, soft_wrap=True)
    folder = data_folder()
    told = "RAGOPT_DATA is not set" if folder is None else f"RAGOPT_DATA is {folder}"
    told += "; --dataset takes files and folders of your own too"
    console.print(told, highlight=False, markup=False, soft_wrap=True)


def _bench(
    name: str,
    run: Callable[[Dataset, Progress], BenchResult],
    *,
    json: Path | None,
    html: Path | None,
    quiet: bool,
    inputs: tuple[Path | None, ...] = (),
) -> None:
    """Load the dataset, run the bench on it, write and print what it found."""
    from ragopt.benchmarks.datasets import load

    check_writable(json, html, inputs=(Path(name), *inputs))
    console = Console(emoji=False)
    if not watched(console, quiet=quiet):
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars of the libraries that load models
    with progress_bars(console, quiet=quiet) as progress:
        progress(f"read {name}", 0, 1)
        loaded = load(name)
        progress(f"read {name}", 1, 1)
        result = run(loaded, progress)
    deliver(result, console, json_path=json, html_path=html)


def _names(only: str) -> tuple[str, ...]:
    """Candidates by name; commas within brackets belong to a spec such as ``hnsw(m=8, …)``."""
    found, depth = [""], 0
    for sign in only:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            found.append("")
        else:
            found[-1] += sign
    return tuple(name.strip() for name in found if name.strip())


def _size(text: str) -> int | None:
    """Bytes of a size such as ``200MB`` or ``1.5 GiB``; None for none given."""
    if not text.strip():
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", text.upper())
    if match is None:
        raise InputError(f"--memory-limit {text!r}: expected a size such as 200MB or 1.5GiB")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** " KMGT".index(match[2] or " "))


def _embedder(name: str, dataset: Dataset, progress: Progress) -> Embedder | None:
    """The embedder named, LSA fitted on the dataset's texts; None where it has vectors."""
    from ragopt.benchmarks.datasets import TraceSet
    from ragopt.benchmarks.datasets.convert import has_vectors, texts_of
    from ragopt.embed import LSAEmbedder, SentenceTransformerEmbedder

    if has_vectors(dataset) or isinstance(dataset, TraceSet):
        return None
    progress("make the embedder", 0, 1)
    embedder: Embedder
    if name == "lsa":
        embedder = LSAEmbedder.fit(texts_of(dataset)[0])
    else:
        embedder = SentenceTransformerEmbedder(name)
    progress("make the embedder", 1, 1)
    return embedder
