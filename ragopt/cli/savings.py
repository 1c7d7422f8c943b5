"""``ragopt savings``: the same measurement on the user's own documents and questions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ragopt.cli.common import (
    DEFAULT_MODEL,
    Html,
    Json,
    Model,
    Monthly,
    Prices,
    Quiet,
    Requests,
    Seed,
    Threshold,
    Zipf,
)
from ragopt.cli.output import check_writable, deliver
from ragopt.cli.progress import progress_bars
from ragopt.errors import InputError, StorageError

if TYPE_CHECKING:
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
    model: Model = DEFAULT_MODEL,
    prices: Prices = None,
    embedder: Annotated[
        str,
        typer.Option(
            help="'lsa' (fitted on the documents), or a sentence-transformers hub name or folder.",
            metavar="NAME",
        ),
    ] = "lsa",
    vectors: Annotated[
        int | None,
        typer.Option(help="Load: vectors in the index; the chunks found by default.", min=1),
    ] = None,
    questions_per_month: Monthly = 1_000_000,
    max_chars: Annotated[int, typer.Option(help="Largest chunk, in characters.", min=1)] = 800,
    requests: Requests = 1_000,
    zipf: Zipf = 0.8,
    threshold: Threshold = 0.95,
    seed: Seed = 0,
    json: Json = None,
    html: Html = None,
    quiet: Quiet = False,
) -> None:
    """Measure what each lever saves on your own documents, at what quality.

    An extractive answerer stands in for the model: no key is needed and nothing is sent anywhere.
    """
    from ragopt.benchmarks.evidence import from_user
    from ragopt.benchmarks.savings import measure_savings
    from ragopt.benchmarks.savings_report import Load, SavingsOptions
    from ragopt.chunk import chunk_documents
    from ragopt.cost.prices import PriceSheet
    from ragopt.documents import load_documents
    from ragopt.pipeline import Billing
    from ragopt.questions import read_questions

    check_writable(json, html)
    console = Console()
    sheet = PriceSheet.default()
    if prices is not None:
        sheet = sheet.merged(PriceSheet.from_json(prices))
    billing = Billing(model, prices=sheet)
    asked = read_questions(questions)
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
            load=Load(questions_per_month=questions_per_month, vectors=vectors or len(chunks)),
            requests=requests,
            zipf=zipf,
            threshold=threshold,
            seed=seed,
        )
        model_of_text = _embedder(embedder, chunks, progress)
        report = measure_savings(
            chunks,
            items,
            model_of_text,
            vectors=_embed(model_of_text, chunks, progress, console),
            billing=billing,
            options=options,
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
    except StorageError as error:
        console.print(f"[yellow]embeddings are not kept:[/] {escape(str(error))}", soft_wrap=True)
        return embed_chunks(embedder, chunks, progress=progress)


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ragopt"


def _say_what_is_left_out(
    console: Console, loaded: Loaded, without_evidence: Sequence[str]
) -> None:
    for what, names in (
        ("files skipped", [str(skipped) for skipped in loaded.skipped]),
        ("questions left out, their evidence was not found", list(without_evidence)),
    ):
        if names:
            shown = "; ".join(names[:_SHOWN])
            more = f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            console.print(f"[yellow]{len(names)} {what}:[/] {escape(shown)}{more}", soft_wrap=True)


def _about(docs: Path, loaded: Loaded, without_evidence: Sequence[str]) -> dict[str, Any]:
    return {
        "corpus": f"{len(loaded.documents)} documents in {docs.name or docs}",
        "skipped": [str(skipped) for skipped in loaded.skipped],
        "unsupported": dict(loaded.unsupported),
        "questions_without_evidence": list(without_evidence),
    }
