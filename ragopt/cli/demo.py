"""``ragopt demo``: a RAG pipeline getting cheaper at held quality, on text already there."""

from __future__ import annotations

import platform
from time import perf_counter

from rich.console import Console

from ragopt.cli import common
from ragopt.cli.output import check_writable, deliver
from ragopt.cli.progress import progress_bars

__all__ = ["demo"]

_LOAD_VECTORS = 1_000_000


def demo(
    *,
    json: common.Json = None,
    html: common.Html = None,
    model: common.Model = common.DEFAULT_MODEL,
    prices: common.Prices = None,
    questions_per_month: common.Monthly = 1_000_000,
    requests: common.Requests = None,
    zipf: common.Zipf = 0.8,
    threshold: common.Threshold = 0.95,
    seed: common.Seed = 0,
    quiet: common.Quiet = False,
) -> None:
    """Show what ragopt saves, at held quality, on the documentation that ships with Python.

    Needs no download, no key and no GPU: the embedder is fitted on the corpus, and an extractive
    answerer stands in for the model, so that quality is measured on what the model would be given.
    """
    from ragopt.benchmarks.embedded import load_embedded
    from ragopt.benchmarks.road.savings import measure_savings
    from ragopt.benchmarks.road.savings_report import Load, SavingsOptions
    from ragopt.corpus import embed_chunks
    from ragopt.embed import LSAEmbedder
    from ragopt.rerank.base import passage

    check_writable(json, html, inputs=(prices,))
    begin = perf_counter()
    console = Console(emoji=False)
    billing = common.billing_for(model, prices)
    options = SavingsOptions(
        load=Load(questions_per_month=questions_per_month, vectors=_LOAD_VECTORS),
        requests=requests,
        zipf=zipf,
        threshold=threshold,
        seed=seed,
    )
    with progress_bars(console, quiet=quiet) as progress:
        progress("read Python's documentation", 0, 1)
        chunks, items = load_embedded()
        progress("read Python's documentation", 1, 1)
        progress("fit the embedder", 0, 1)
        embedder = LSAEmbedder.fit(passage(chunk) for chunk in chunks)
        progress("fit the embedder", 1, 1)
        report = measure_savings(
            chunks,
            items,
            embedder,
            vectors=embed_chunks(embedder, chunks, progress=progress),
            billing=billing,
            options=options,
            about={"corpus": f"the documentation in Python {platform.python_version()}"},
            progress=progress,
        )
    deliver(report, console, json_path=json, html_path=html)
    console.print(
        f"\nMeasured in {perf_counter() - begin:.0f} s. Next, on your own data:\n"
        "  ragopt savings --docs FOLDER --questions FILE.jsonl --html report.html\n"
        "FOLDER holds .txt .md .rst .html .jsonl or .pdf; FILE.jsonl a question a line, such as\n"
        '  {"question": "How long is a token valid?", "answer": "for 30 days"}\n'
        "where answer quotes the words of your documents that settle it.",
        highlight=False,
        markup=False,
    )
