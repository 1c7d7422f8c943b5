"""``ragopt savings``: the same measurement on the user's own documents and questions."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ragopt.cli import common
from ragopt.cli.output import check_writable, deliver
from ragopt.cli.progress import progress_bars, watched
from ragopt.errors import IndexCorrupt, InputError, StorageError, StoreBusy
from ragopt.report.figures import clean

if TYPE_CHECKING:
    from ragopt.benchmarks.road.savings_report import SavingsOptions
    from ragopt.chunk import Chunk
    from ragopt.corpus import Progress
    from ragopt.documents import Loaded
    from ragopt.embed import Embedder

__all__ = ["savings"]

_SHOWN = 5  # skipped files or questions named on the terminal; the JSON names all


def savings(
    *,
    docs: Annotated[
        Path, typer.Option(help="Folder of .txt .md .rst .html .jsonl .pdf.", metavar="FOLDER")
    ],
    questions: Annotated[
        Path,
        typer.Option(
            help="A JSON object a line: question; answer (quoted from the documents) or gold "
            "(document names); optionally paraphrases.",
            metavar="FILE.jsonl",
        ),
    ],
    model: common.Model = common.DEFAULT_MODEL,
    prices: common.Prices = None,
    embedder: Annotated[
        str,
        typer.Option(
            help="'lsa' (fitted on the documents), or a sentence-transformers hub name or folder.",
            metavar="NAME",
        ),
    ] = "lsa",
    vectors: Annotated[
        int | None,
        typer.Option(
            help="Load: vectors in the index; the chunks found by default.", min=1, metavar="N"
        ),
    ] = None,
    questions_per_month: common.Monthly = 1_000_000,
    max_chars: Annotated[
        int, typer.Option(help="Largest chunk, in characters.", min=1, metavar="N")
    ] = 800,
    traffic: common.Traffic = "zipf",
    arrivals: common.Arrivals = "",
    requests: common.Requests = None,
    zipf: common.Zipf = 0.8,
    threshold: common.Threshold = 0.95,
    seed: common.Seed = 0,
    json: common.Json = None,
    html: common.Html = None,
    quiet: common.Quiet = False,
) -> None:
    """Measure what each lever saves on your own documents, at what quality.

    An extractive answerer stands in for the model: no key is needed and nothing is sent anywhere.
    """
    from ragopt.benchmarks.evidence import from_user
    from ragopt.benchmarks.road.recorded import recorded_load, recorded_log
    from ragopt.benchmarks.road.savings import measure_savings
    from ragopt.benchmarks.road.savings_report import Load, SavingsOptions
    from ragopt.chunk import chunk_documents
    from ragopt.documents import load_documents
    from ragopt.questions import read_questions

    check_writable(json, html, inputs=(questions, prices, Path(traffic), Path(arrivals)))
    console = Console(emoji=False)
    if not watched(console, quiet=quiet):
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars of the libraries that load models
    billing = common.billing_for(model, prices)
    asked, log = read_questions(questions), recorded_log(traffic)
    load = recorded_load(arrivals, Load(questions_per_month=questions_per_month))
    with progress_bars(console, quiet=quiet) as progress:
        loaded = load_documents(
            docs, on_progress=lambda done, total: progress("read documents", done, total)
        )
        chunks = list(chunk_documents(loaded.documents, max_chars=max_chars))
        items, without_evidence = from_user(asked, chunks)
        _say_what_is_left_out(console, loaded, without_evidence)
        if not items:
            raise InputError(
                f"{questions}: none of the {len(asked)} questions has evidence in {docs}; give "
                'each an "answer" quoted from the documents, or the "gold" document\'s name'
            )
        options = SavingsOptions(
            load=replace(load, vectors=vectors or len(chunks)),
            traffic=traffic,
            requests=requests,
            zipf=zipf,
            threshold=threshold,
            seed=seed,
        )
        _say_what_was_read(console, loaded, len(chunks), len(items), options)
        model_of_text = _embedder(embedder, chunks, progress)
        report = measure_savings(
            chunks,
            items,
            model_of_text,
            vectors=_embed(model_of_text, chunks, progress, console),
            billing=billing,
            options=options,
            log=log,
            about=_about(docs, loaded, without_evidence),
            progress=progress,
        )
    deliver(report, console, json_path=json, html_path=html)


def _embedder(name: str, chunks: Sequence[Chunk], progress: Progress) -> Embedder:
    from ragopt.embed import LSAEmbedder, SentenceTransformerEmbedder
    from ragopt.rerank.base import passage

    progress("load the embedder", 0, 1)
    embedder: Embedder
    if name == "lsa":
        embedder = LSAEmbedder.fit(passage(chunk) for chunk in chunks)
    else:
        embedder = SentenceTransformerEmbedder(name)
    progress("load the embedder", 1, 1)
    return embedder


def _embed(
    embedder: Embedder, chunks: Sequence[Chunk], progress: Progress, console: Console
) -> Any:
    """Vectors of the chunks; those of a model are kept, so that an interrupted run goes on."""
    from ragopt.corpus import embed_chunks
    from ragopt.embed import LSAEmbedder

    if isinstance(embedder, LSAEmbedder):  # faster than a file of its vectors
        return embed_chunks(embedder, chunks, progress=progress)
    store = _cache_folder() / "embeddings.sqlite"
    try:
        return embed_chunks(embedder, chunks, store=store, progress=progress)
    except (StorageError, StoreBusy, IndexCorrupt) as error:
        console.print(
            f"[yellow]embeddings are not kept:[/] {escape(common.message(error))}", soft_wrap=True
        )
        return embed_chunks(embedder, chunks, progress=progress)


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ragopt"


def _say_what_was_read(
    console: Console, loaded: Loaded, chunks: int, questions: int, options: SavingsOptions
) -> None:
    console.print(
        f"{len(loaded.documents):,} documents in {chunks:,} chunks, {questions:,} questions with "
        "evidence",
        highlight=False,
    )
    enough = _enough(options)
    if questions < enough:
        console.print(
            f"[yellow]few questions:[/] below {enough:,}, not even a lever that loses none of them "
            "can be shown to hold quality",
            soft_wrap=True,
        )


def _enough(options: SavingsOptions) -> int:
    """How many questions it takes until an unseen loss is bounded below what quality may lose."""
    from ragopt.benchmarks.road.savings_report import HELD_POINTS

    reported = math.floor(math.log(1 - options.confidence) / math.log(1 + HELD_POINTS)) + 1
    return math.ceil(reported / (1 - options.tuning_ratio))


def _say_what_is_left_out(
    console: Console, loaded: Loaded, without_evidence: Sequence[str]
) -> None:
    kinds = [f"{count:,} {suffix}" for suffix, count in loaded.unsupported.items()]
    for what, count, names in (
        ("files skipped", len(loaded.skipped), loaded.skipped),
        ("files of other kinds", sum(loaded.unsupported.values()), kinds),
        (
            "questions left out, their evidence was not found",
            len(without_evidence),
            without_evidence,
        ),
    ):
        if names:
            shown = "; ".join(clean(name) for name in names[:_SHOWN])
            more = f"; and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            console.print(f"[yellow]{what} ({count:,}):[/] {escape(shown)}{more}", soft_wrap=True)


def _about(docs: Path, loaded: Loaded, without_evidence: Sequence[str]) -> dict[str, Any]:
    return {
        "corpus": f"{len(loaded.documents)} documents in {docs.name or docs}",
        "skipped": [str(skipped) for skipped in loaded.skipped],
        "unsupported": dict(loaded.unsupported),
        "questions_without_evidence": list(without_evidence),
    }
