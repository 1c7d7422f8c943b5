"""The README's figures, made from the result files: ``python -m ragopt.benchmarks.readme_figures``.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``. Whatever is written between the
two is replaced by what the result files hold now, so that no figure is copied by hand. The pictures
in ``docs/`` are drawn anew too (extra ``plot``).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path

from ragopt.benchmarks.cache.traps import KINDS
from ragopt.benchmarks.context.floors import CUT_NAMES
from ragopt.benchmarks.diff.read import read_run
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.errors import InputError
from ragopt.report.figures import DASH

__all__ = ["PAGES", "draw", "filled", "main"]

PAGES = ("README.md", "docs/benchmarks.md", "docs/cache.md")
"""That hold tables."""

_WIDTH = 100
_INDEX = "index_qqp_minilm_384"
_SHOWN = (
    "tiered", "tiered-2bit", "tiered-small", "rabitq", "hnswlib", "faiss-hnsw", "faiss-hnsw-sq8",
    "faiss-rabitq-refine-mmap", "diskannpy", "usearch", "lancedb", "rabitqlib", "rabitqlib-qg",
)  # fmt: skip
_GROWN_CANDIDATES = (
    "tiered", "tiered-2bit", "tiered-small", "hnswlib", "diskannpy", "faiss-rabitq-refine-mmap",
)  # fmt: skip
_MARKED = re.compile(r"<!-- table (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str, results: Path) -> str:
    """A text with its marked tables made anew.

    Args:
        text: of the README.
        results: folder of the result files.

    Raises:
        InputError: a table of an unknown name, or without its result file.
    """

    def table(marked: re.Match[str]) -> str:
        make = _TABLES.get(marked[1])
        if make is None:
            raise InputError(f"table {marked[1]}: expected one of {', '.join(sorted(_TABLES))}")
        return f"<!-- table {marked[1]} -->\n{make(results)}\n<!-- end -->"

    return _MARKED.sub(table, text)


def _demo(results: Path) -> str:
    """What the demo prints, without the small print."""
    from rich.console import Console

    from ragopt.cli.output import own_report, show

    out = StringIO()
    console = Console(file=out, width=_WIDTH, color_system=None, emoji=False)
    show(own_report(read_run(results / "demo.json")), console)
    printed = [line.rstrip() for line in out.getvalue().splitlines()]
    rest = next(place for place, line in enumerate(printed) if line.startswith("off "))
    return "\n".join(["```", *printed[:rest], "…", "```"])


def _index(results: Path) -> str:
    """Index candidates of the README by RAM."""
    return _indexes(read_run(results / f"{_INDEX}.json"), shown=_SHOWN)


def _index_all(results: Path) -> str:
    """All index candidates by RAM; those without figures below, with their reason."""
    result = read_run(results / f"{_INDEX}.json")
    return _indexes(result, shown=_candidates(result)) + _reasons(result)


def _indexes(result: BenchResult, *, shown: Sequence[str]) -> str:
    figures = {
        "recall_at_10": "{:.3f}",
        "rss_anon_bytes_per_vector": "{:,.0f}",
        "rss_file_bytes_per_vector": "{:,.0f}",
        "disk_bytes_per_vector": "{:,.0f}",
        "pages_per_query": "{:,.1f}",
        "qps_warm_1t": "{:,.0f}",
        "p99_cold_ms": "{:,.2f}",
        "build_s": "{:,.1f}",
    }
    head = "candidate|recall@10|RAM B|mapped B|disk B|pages|QPS|p99 cold ms|build s".split("|")
    measured = [name for name in shown if _row(result, f"index/{name}") is None]
    measured.sort(key=lambda name: result.value(f"index/{name}/rss_anon_bytes_per_vector") or 0)
    rows = [
        [
            f"{name} ({_setting(result, f'index/{name}/recall_at_10')})",
            *(_said(result, f"index/{name}/{metric}", form) for metric, form in figures.items()),
        ]
        for name in measured
    ]
    return _markdown(head, rows)


def _growth(results: Path) -> str:
    """The same indexes at several sizes, real and grown."""
    figures = {
        "rss_anon_bytes_per_vector": "{:,.0f}",
        "pages_per_query": "{:,.1f}",
        "qps_warm_1t": "{:,.0f}",
        "p99_cold_ms": "{:,.2f}",
        "build_s": "{:,.0f}",
    }
    rows = []
    for count, result in _sizes(results):
        for name in _candidates(result):
            if name not in _GROWN_CANDIDATES or _row(result, f"index/{name}") is not None:
                continue
            said = [
                _said(result, f"index/{name}/{metric}", form) for metric, form in figures.items()
            ]
            recall = _said(result, f"index/{name}/recall_at_10", "{:.3f}")
            rows.append([f"{count:,}", name, recall, *said])
    head = "vectors|candidate|recall@10|RAM B|pages|QPS|p99 cold ms|build s".split("|")
    return _markdown(head, rows)


def _sizes(results: Path) -> list[tuple[int, BenchResult]]:
    """Index runs on growing sets of the same kind of vectors, by their number."""
    files = [results / f"{_INDEX}.json", *sorted(results.glob(f"{_INDEX}_grown_*.json"))]
    runs = [read_run(file) for file in files]
    return sorted(((_count(run), run) for run in runs), key=lambda each: each[0])


def _count(result: BenchResult) -> int:
    """Vectors that were indexed."""
    return int(result.details["split"]["base_rows"])


def _draw_growth(results: Path, folder: Path) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels: dict[str, tuple[str, str, Callable[[float, int], float]]] = {
        "build_s": ("build", "s", lambda value, _: value),
        "rss_anon_bytes_per_vector": ("RAM", "MB", lambda value, count: value * count / 1e6),
        "qps_warm_1t": ("query, warm, one thread", "ms", lambda value, _: 1e3 / value),
        "p99_cold_ms": ("p99 cold", "ms", lambda value, _: value),
    }
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    for place, (metric, (title, unit, scaled)) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for name in _GROWN_CANDIDATES:
            points = [
                (count, scaled(value, count))
                for count, result in _sizes(results)
                if (value := result.value(f"index/{name}/{metric}"))
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
        axes.set(xscale="log", yscale="log", title=title, xlabel="vectors", ylabel=unit)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": _INDEX}):
        figure.savefig(folder / f"{_INDEX}_grown.svg", metadata={"Date": None})


def _cache(results: Path) -> str:
    """Cache policies on labelled pairs and in the stream."""
    result = read_run(results / "cache_qqp.json")
    figures = {
        "hit_rate_at_precision_95": "{:.1%}",
        "hit_rate_certified_10": "{:.1%}",
        "wrong_per_hit": "{:.1%}",
        "stream/hit_rate": "{:.1%}",
        "stream/wrong_per_hit": "{:.1%}",
        "lookup_p50_us": "{:,.0f}",
        "insert_p50_us": "{:,.0f}",
    }
    head = (
        "policy|hits at precision .90|on the peers' pairs|at precision .95|certified: 10 % wrong|"
        "wrong per hit at cosine .95|stream: hits|stream: wrong per hit|look-up µs|insert µs"
    ).split("|")
    measured = [name for name in _candidates(result) if _row(result, f"cache/{name}") is None]
    asked = [name for name in measured if _row(result, f"cache/{name}/wrong_per_hit") is not None]
    hitting = [name for name in asked if result.value(f"cache/{name}/wrong_per_hit") is not None]
    rows = [
        [
            name,
            *_at_precision_90(result, f"cache/{name}/hit_rate_at_precision_90"),
            *(
                _said(result, f"cache/{name}/{metric}", form, spread=metric == "wrong_per_hit")
                for metric, form in figures.items()
            ),
        ]
        for name in hitting
    ]
    stale = [name for name in measured if _is_stale(result, f"cache/{name}/wrong_per_hit")]
    told = f"\n\nStill serving an answer that was replaced: {', '.join(stale)}." if stale else ""
    silent = [name for name in asked if name not in hitting]
    told += f"\n\nWithout a single hit: {', '.join(silent)}." if silent else ""
    return _markdown(head, rows) + told + _reasons(result)


def _at_precision_90(result: BenchResult, name: str) -> tuple[str, str]:
    """Over all pairs of the half that reports, and over those that the peers were asked."""
    row = _row(result, name)
    if row is None or row.value is None:
        return DASH, DASH
    whole = f"{row.value:.1%}"
    same = row.extra.get("same_pairs_as_peers")
    if same is None:  # a peer
        return DASH, whole
    return whole, f"{same['hit_rate']:.1%}" if isinstance(same, Mapping) else DASH


def _is_stale(result: BenchResult, name: str) -> bool:
    row = _row(result, name)
    return row is not None and row.extra.get("after_update") == "the replaced answer"


def _cache_guards(results: Path) -> str:
    """What guards stop of traps and lose of duplicates."""
    result = read_run(results / "cache_qqp.json")
    figures = {
        **{f"{kind}_stopped": f"{kind} changed: stopped" for kind in KINDS},
        "duplicates_lost_at_90": "labelled duplicates from cosine .90 on: lost",
        "duplicates_lost_at_95": "labelled duplicates from cosine .95 on: lost",
    }
    rows = [
        [
            title,
            _counted(result, f"cache/guards/{metric}"),
            *(
                _said(result, f"cache/{name}/{metric}", "{:.1%}", spread=True)
                for name in ("guards", "safety-guards")
            ),
        ]
        for metric, title in figures.items()
        if _row(result, f"cache/guards/{metric}") is not None
    ]
    if not rows:
        return f"Not in the results yet: {result.about['command']} measures it."
    return _markdown(["question", "n", "default guards", "before a verifier"], rows)


_POLICY = re.compile(r"(.+)/error_(\d+)")


def _cache_stream(results: Path) -> str:
    """What policies make of a stream: hits, wrong hits, what they ask, net dollars."""
    result = read_run(results / "cache_qqp.json")
    ends = "/net_usd_per_1000"
    names = [row.name.removesuffix(ends) for row in result.rows if row.name.endswith(ends)]
    if not names:
        return f"Not in the results yet: {result.about['command']} measures it."
    rows = [
        [
            _POLICY.sub(r"\1, at most \2 % wrong", name.replace("/stream", "")).removeprefix(
                "cache/"
            ),
            _said(result, f"{name}/hit_rate", "{:.1%}", spread=True),
            _said(result, f"{name}/wrong_per_request", "{:.2%}"),
            _said(result, f"{name}/wrong_per_hit", "{:.1%}", spread=True),
            _said(result, f"{name}/asked_per_request", "{:.1%}"),
            _said(result, f"{name}{ends}", "{:.4f}"),
        ]
        for name in names
    ]
    head = "policy|hits|wrong per request|wrong per hit|asked to learn|net $ per 1,000".split("|")
    return _markdown(head, rows)


def _counted(result: BenchResult, name: str) -> str:
    row = _row(result, name)
    return DASH if row is None else f"{row.extra.get('n', 0):,}"


def _compress(results: Path) -> str:
    """Compressors on four datasets."""
    named = {name: read_run(results / f"compress_{name}.json") for name in _QUESTIONS}
    columns = [
        ("hotpotqa", "evidence_recall_at_2x", "HotpotQA evidence 2x"),
        ("hotpotqa", "evidence_recall_at_4x", "4x"),
        ("hotpotqa", "evidence_recall_at_10x", "10x"),
        ("musique", "evidence_recall_at_2x", "MuSiQue evidence 2x"),
        ("musique", "evidence_recall_at_4x", "4x"),
        ("musique", "evidence_recall_at_10x", "10x"),
        ("squad", "answer_kept_at_4x", "SQuAD answer 4x"),
        ("nq", "answer_kept_at_4x", "NQ answer 4x"),
        ("hotpotqa", "ms_per_query", "ms"),
    ]
    first = named["hotpotqa"]
    rows = [
        [
            name,
            *(
                _said(
                    named[data],
                    f"compress/{name}/{data}/{metric}",
                    "{:.1f}" if metric == "ms_per_query" else "{:.1%}",
                )
                for data, metric, _ in columns
            ),
        ]
        for name in _candidates(first)
        if _row(first, f"compress/{name}/hotpotqa") is None
    ]
    return _markdown(["method", *(title for *_, title in columns)], rows) + _reasons(first)


def _rerank(results: Path) -> str:
    """Scorers on the passages of TREC Deep Learning 2019."""
    result = read_run(results / "rerank_msmarco_dl19.json")
    name = "rerank/{}/msmarco_dl19/{}"
    rows = [
        [
            scorer,
            _said(result, name.format(scorer, "ndcg_at_10"), "{:.3f}", spread=True),
            _said(result, name.format(scorer, "ms_per_query"), "{:.2f}"),
        ]
        for scorer in _candidates(result)
        if _row(result, name.format(scorer, "ndcg_at_10")) is not None
    ]
    return _markdown(["scorer", "nDCG@10", "ms a question"], rows) + _reasons(result)


def _cuts(results: Path) -> str:
    """Cuts of the same passages, and how often they keep the floor on other halves."""
    result = read_run(results / "rerank_msmarco_dl19.json")
    rows = []
    for cut in CUT_NAMES:
        name = f"rerank/{cut}/msmarco_dl19"
        row = _row(result, f"{name}/tokens_kept_ratio")
        if row is None or row.value is None:
            continue
        told, resplits = row.extra, row.extra["resplits"]
        rows.append(
            [
                cut,
                str(told["setting"]),
                f"{row.value:.0%}",
                f"{told['against_first_ten']['value']:.1f}x",
                _said(result, f"{name}/evidence_recall", "{:.1%}", spread=True),
                f"{resplits['evidence_recall_mean']:.1%}",
                f"{resplits['kept_the_floor']:.0%}",
            ]
        )
    head = "cut|setting|tokens|of the first ten|evidence found|in 200 resplits|kept the floor"
    return _markdown(head.split("|"), rows)


def _savings(results: Path) -> str:
    """The whole road on several corpora and kinds of traffic."""
    rows = []
    for file, title in _ROADS.items():
        result = read_run(results / f"savings_{file}.json")
        for lever, cache in (("combined", "yes"), ("combined_without_cache", "no")):
            name = f"savings/{lever}"
            rows.append(
                [
                    title,
                    cache,
                    _said(result, f"{name}/usd_ratio", "{:.2f}x"),
                    _said(result, f"{name}/input_tokens_ratio", "{:.2f}x"),
                    _said(result, f"{name}/ram_ratio", "{:.3f}x"),
                    _said(result, f"{name}/quality_diff", "{:+.1%}"),
                    _said(result, f"{name}/quality_diff_lower", "{:+.1%}"),
                ]
            )
    head = "corpus and traffic|caches|bill|input tokens|RAM a vector|quality|at least"
    return _markdown(head.split("|"), rows)


_QUESTIONS = ("hotpotqa", "musique", "squad", "nq")
_ROADS = {
    "squad": "SQuAD, Zipf traffic",
    "nq": "Natural Questions, Zipf traffic",
    "nq_recorded": "Natural Questions, web search log, Azure's answers",
}
_TABLES: dict[str, Callable[[Path], str]] = {
    "demo": _demo,
    "growth": _growth,
    "index": _index,
    "index_all": _index_all,
    "cache": _cache,
    "cache_guards": _cache_guards,
    "cache_stream": _cache_stream,
    "compress": _compress,
    "cuts": _cuts,
    "rerank": _rerank,
    "savings": _savings,
}


def _candidates(result: BenchResult) -> list[str]:
    return list(dict.fromkeys(row.name.split("/")[1] for row in result.rows))


def _row(result: BenchResult, name: str) -> Row | None:
    return next((row for row in result.rows if row.name == name), None)


def _setting(result: BenchResult, name: str) -> str:
    row = _row(result, name)
    return str(row.extra.get("setting", "")) if row else ""


def _said(result: BenchResult, name: str, form: str, *, spread: bool = False) -> str:
    row = _row(result, name)
    if row is None or row.value is None:
        return DASH
    told = form.format(row.value)
    if spread and row.range is not None:
        told += f" ({form.format(row.range[0])} to {form.format(row.range[1])})"
    return told


def _reasons(result: BenchResult) -> str:
    """Why whole candidates have no figures."""
    reasons: dict[str, list[str]] = {}
    for row in result.rows:
        if row.value is None and _whole(row.name):
            reasons.setdefault(row.reason, []).append(row.name.split("/")[1])
    if not reasons:
        return ""
    told = "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())
    return f"\n\nNot measured: {told}."


def _whole(name: str) -> bool:
    """Whether a row stands for all figures of its candidate."""
    parts = name.split("/")
    return len(parts) == (3 if parts[0] in ("rerank", "compress") else 2)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(results: Path, folder: Path) -> None:
    """Draw the pictures that the README shows.

    Args:
        results: folder of the result files.
        folder: where the pictures go.

    Raises:
        BackendMissing: matplotlib is not installed.
    """
    figure = read_run(results / f"{_INDEX}.json").plot()  # says so where matplotlib is missing
    from matplotlib import rc_context

    # Text stays text, ids and date do not change: the same result draws the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": _INDEX}):
        figure.savefig(folder / f"{_INDEX}.svg", metadata={"Date": None})
    _draw_growth(results, folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables into the README and the pages beside it, and draw the pictures."""
    parser = argparse.ArgumentParser(description="Make a README's figures from the result files.")
    parser.add_argument("root", type=Path, nargs="?", default=Path())
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args(arguments)
    draw(given.results, given.root / "docs")
    for page in PAGES:
        text = (given.root / page).read_text("utf-8")
        (given.root / page).write_text(filled(text, given.results), "utf-8")


if __name__ == "__main__":
    main()
