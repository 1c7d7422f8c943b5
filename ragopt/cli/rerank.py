"""``ragopt rerank tune``: how few chunks may be sent so that the evidence stays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ragopt.cli.common import Json, Quiet, Seed
from ragopt.cli.index_print import print_rows
from ragopt.cli.output import check_writable, tell, write_json
from ragopt.cli.progress import progress_bars

if TYPE_CHECKING:
    from ragopt.benchmarks.context.tune import TuneOptions, TuneReport
    from ragopt.benchmarks.datasets import Dataset
    from ragopt.embed import Embedder

__all__ = ["rerank"]

_BAR = 24  # signs of the longest bar

rerank = typer.Typer(
    name="rerank",
    help="Tune a tight top-k on your own labelled questions.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@rerank.callback()
def _group() -> None:
    """Tune a tight top-k on your own labelled questions."""


@rerank.command()
def tune(
    labelled: Annotated[
        str,
        typer.Argument(
            help="Questions with their evidence: the name of a dataset, a BEIR folder, or JSONL of "
            "questions with passages, as `ragopt bench rerank` reads them.",
            metavar="LABELLED",
        ),
    ],
    *,
    scorer: Annotated[
        str, typer.Option(help="bm25, cosine, fused or cross-encoder:MODEL.", metavar="NAME")
    ] = "fused",
    alpha: Annotated[
        float,
        typer.Option(help="Tolerated share of questions that lose evidence.", min=0.001, max=0.9),
    ] = 0.05,
    recall: Annotated[
        bool,
        typer.Option("--recall", help="Promise the mean recall instead: alpha of it may be lost."),
    ] = False,
    found: Annotated[
        bool,
        typer.Option(
            "--found", help="Count only evidence among the candidates, not what the search missed."
        ),
    ] = False,
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Hold the promise with this calibration, with such a confidence; on average over "
            "calibrations without.",
            min=0.5,
            max=0.9999,
            show_default=False,
        ),
    ] = None,
    candidates: Annotated[
        int, typer.Option(help="Chunks of a question to choose from.", min=1)
    ] = 50,
    embedder: Annotated[
        str,
        typer.Option(
            help="For cosines of texts that come without vectors: 'lsa' (fitted on them), or a "
            "sentence-transformers hub name or folder.",
            metavar="NAME",
        ),
    ] = "lsa",
    save: Annotated[
        Path | None,
        typer.Option(help="Write what was fitted, with its certificate.", metavar="TIGHT.json"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw tokens and evidence beside fixed cuts.", metavar="FILE.svg|png"),
    ] = None,
    seed: Seed = 0,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Fit a floor on half of labelled questions and tell what it keeps of the other half.

    What `--save` writes goes into `Retriever(…, cut=Tighten.load(…))` with the same scorer.
    """
    from ragopt.benchmarks.context.tune import TuneOptions
    from ragopt.benchmarks.context.tune import tune as fit_and_tell

    check_writable(save, plot, json, inputs=(Path(labelled),))
    options = TuneOptions(
        scorer=scorer,
        alpha=alpha,
        promise="mean recall" if recall else "all evidence",
        of="found" if found else "owed",
        confidence=confidence,
        candidates=candidates,
        seed=seed,
    )
    console = Console(emoji=False)
    with progress_bars(console, quiet=quiet) as progress:
        from ragopt.benchmarks.datasets import load

        progress(f"read {labelled}", 0, 1)
        dataset = load(labelled)
        progress(f"read {labelled}", 1, 1)
        model = _embedder(embedder, dataset, options)
        report = fit_and_tell(dataset, options=options, embedder=model, progress=progress)
    if save is not None:
        report.tighten.save(save)
    if plot is not None:
        report.plot().savefig(plot)
    write_json(json, {"labelled": labelled, **report.to_dict()})
    _print(report, options, console)
    for path, what in ((save, "Tight top-k"), (plot, "Picture"), (json, "Figures")):
        if path is not None:
            tell(f"{what} written to {path}", console)


def _embedder(name: str, dataset: Dataset, options: TuneOptions) -> Embedder | None:
    """The one named, where cosines need one; None leaves LSA to be fitted on the texts."""
    from ragopt.benchmarks.datasets.convert import has_vectors
    from ragopt.embed import SentenceTransformerEmbedder

    if name == "lsa" or has_vectors(dataset) or options.scorer not in ("cosine", "fused"):
        return None
    return SentenceTransformerEmbedder(name)


def _print(report: TuneReport, options: TuneOptions, console: Console) -> None:
    most = max([report.tokens, *(cut["tokens"] for cut in report.fixed.values())]) or 1
    rows = [("tight", f"{report.chunks:.1f}", report.tokens, report.recall)]
    rows += [(f"top {k}", str(k), cut["tokens"], cut["recall"]) for k, cut in report.fixed.items()]
    cells = [
        (name, chunks, f"{tokens:,.0f}", f"{kept:.1%}", "#" * round(_BAR * tokens / most))
        for name, chunks, tokens, kept in rows
    ]
    print_rows(("", "chunks", "tokens", "evidence", ""), cells, console)
    what = "recall" if options.promise == "mean recall" else "questions with all evidence"
    tell(
        f"{what} on {report.reported_on:,} other questions: {report.kept:.1%} "
        f"({report.kept_lower:.1%} to {report.kept_upper:.1%}, 95 % interval)",
        console,
    )
    splits = report.resplits
    if splits["splits"]:
        tell(
            f"{splits['splits']:.0f} other halves: {splits['kept_mean']:.1%} kept on average, the "
            f"promise kept in {splits['held']:.0%} of them",
            console,
        )
    floor = report.tighten.floor
    if floor is not None:
        tell(
            f"all evidence is among the candidates of {floor.ceiling:.1%} of the questions", console
        )
        tell(str(floor), console)
        tell(str(floor.certificate), console)
