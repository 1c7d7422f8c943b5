"""``ragopt cache tune|stats|purge|revoke|audit``: semantic caches, how often they may be wrong."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from rich.console import Console

from ragopt.cli.common import Json, Quiet, Seed
from ragopt.cli.index_print import print_pairs, print_rows, size
from ragopt.cli.output import check_writable, tell, write_json
from ragopt.cli.progress import progress_bars
from ragopt.errors import InputError
from ragopt.report.figures import DASH, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ragopt.benchmarks.datasets import PairSet
    from ragopt.cache.policies import Calibrated, Step
    from ragopt.corpus import Progress
    from ragopt.embed import Embedder

__all__ = ["cache"]

_SHOWN_STEPS = 14
_BAR = 24  # signs of the longest bar

cache = typer.Typer(
    name="cache",
    help="Calibrate a semantic cache, look into its file or its Redis, take answers out.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Place: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="File of the cache, or its Redis: redis://host:port/0, rediss:// or unix://, with the "
        "prefix of its keys behind a # where it has one of its own.",
        metavar="CACHE.db|URL",
    ),
]
_REDIS = ("redis://", "rediss://", "unix://")


@cache.command()
def tune(
    pairs: Annotated[
        str,
        typer.Argument(
            help="Labelled pairs of questions: .jsonl, .csv or .tsv with text_a, text_b and label, "
            "or the name of a dataset.",
            metavar="PAIRS",
        ),
    ],
    *,
    max_error: Annotated[
        float, typer.Option(help="Tolerated share of wrong hits.", min=0.0001, max=0.49)
    ] = 0.05,
    confidence: Annotated[
        float, typer.Option(help="With which it must hold.", min=0.5, max=0.9999)
    ] = 0.95,
    embedder: Annotated[
        str,
        typer.Option(
            help="Of the cache: a sentence-transformers hub name or folder, or 'lsa' (fitted on "
            "the pairs). Not needed for pairs that come with vectors.",
            metavar="NAME",
            show_default=False,
        ),
    ] = "",
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Fit a verifier over features of the pairs; by default where there are enough.",
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the policy with its certificate here.", metavar="POLICY.json"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw hit rate against certified error.", metavar="FILE.svg|png"),
    ] = None,
    seed: Seed = 0,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Find what a cache may serve at a certified error, on your own labelled pairs.

    The policy that `--save` writes goes into `SemanticCache(embedder, policy=Calibrated.load(…))`.
    """
    from ragopt.cache.policies import calibrate

    check_writable(save, plot, json, inputs=(Path(pairs),))
    console = Console(emoji=False)
    with progress_bars(console, quiet=quiet) as progress:
        labelled = _pairs(pairs, progress)
        policy = calibrate(
            _embedder(embedder, labelled, progress),
            labelled.pairs,
            max_error=max_error,
            confidence=confidence,
            verify=verify,
            seed=seed,
            progress=progress,
        )
    if save is not None:
        policy.save(save)
    if plot is not None:
        policy.plot().savefig(plot)
    write_json(json, {"pairs": pairs, **policy.to_dict()})
    _print_policy(policy, console)
    for path, what in ((save, "Policy"), (plot, "Picture"), (json, "Figures")):
        if path is not None:
            tell(f"{what} written to {path}", console)


@cache.command()
def stats(place: Place, *, json: Json = None) -> None:
    """Say what stands in a cache: entries, scopes, bytes, what has expired."""
    import time

    check_writable(json, inputs=_files(place))
    with _opened(place) as store:
        name, found = store.name, store.summary(time.time())
    write_json(json, {"cache": name, **found})
    pairs = [
        ("entries", f"{found['entries']:,} ({found['expired']:,} of them expired)"),
        ("scopes", f"{found['scopes']:,}"),
        ("texts and vectors", size(found["bytes"])),
        ("removed so far", f"{found['removals']:,}"),
        ("oldest", _ago(found["oldest_s"])),
        ("newest", _ago(found["newest_s"])),
    ]
    print_pairs(pairs, Console(emoji=False))


@cache.command()
def purge(
    place: Place,
    *,
    source: Annotated[
        str, typer.Option(help="Answers that rest on this document.", metavar="ID")
    ] = "",
    tag: Annotated[str, typer.Option(help="Answers that carry this tag.", metavar="TAG")] = "",
    corpus_version: Annotated[
        str, typer.Option(help="Answers from this version of the corpus.", metavar="VERSION")
    ] = "",
    older_than_s: Annotated[
        float | None,
        typer.Option(help="Answers stored so long ago, in seconds.", min=0, metavar="S"),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="All answers; without it a condition is needed.")
    ] = False,
    json: Json = None,
) -> None:
    """Take out the answers that meet every condition given; no process serves them any more."""
    import time

    check_writable(json, inputs=_files(place))
    named = (("source", source), ("tag", tag), ("corpus", corpus_version))
    labels = [(kind, label) for kind, label in named if label]
    if not labels and older_than_s is None and not everything:
        raise InputError("nothing says which answers; give a condition, or --everything")
    until = None if older_than_s is None else time.time() - older_than_s
    with _opened(place) as store:
        name, gone = store.name, store.purge(created_until=until, labels=labels)
    write_json(json, {"cache": name, "purged": gone})
    tell(f"{gone:,} answers taken out", Console(emoji=False))


@cache.command()
def revoke(
    place: Place,
    entry: Annotated[
        int, typer.Argument(help="Of the answer, as a hit names it.", min=1, max=2**63 - 1)
    ],
    *,
    json: Json = None,
) -> None:
    """Take out one answer."""
    check_writable(json, inputs=_files(place))
    with _opened(place) as store:
        name, gone = store.name, store.purge(entry_id=entry)
    write_json(json, {"cache": name, "entry": entry, "purged": gone})
    told = f"entry {entry} taken out" if gone else f"there is no entry {entry}"
    tell(told, Console(emoji=False))


@cache.command()
def audit(
    log: Annotated[
        str, typer.Argument(help="Of the hits, as `Safety(hit_log=…)` names it.", metavar="LOG")
    ],
    *,
    entry: Annotated[
        int | None, typer.Option(help="Only hits of this answer.", min=1, show_default=False)
    ] = None,
    last: Annotated[int, typer.Option(help="Hits to list, the newest.", min=0, metavar="N")] = 10,
    json: Json = None,
) -> None:
    """Say from a log of hits which answers were served, and whether lines were altered."""
    from collections import Counter
    from dataclasses import asdict

    from ragopt.cache.hitlog import read_hits

    if log.startswith(_REDIS):
        raise InputError(
            "hits of a cache in Redis are written to files too: give the one that "
            "Safety(hit_log=…) names"
        )
    check_writable(json, inputs=(Path(log),))
    lines = list(read_hits(log))
    hits = [hit for hit in lines if hit is not None and entry in (None, hit.entry)]
    tiers, served = Counter(hit.tier for hit in hits), Counter(hit.entry for hit in hits)
    damaged, newest = lines.count(None), hits[len(hits) - min(last, len(hits)) :]
    found = {
        "hits": len(hits),
        "by_tier": dict(tiers),
        "most_served": served.most_common(10),
        "damaged_lines": damaged,
        "last": [asdict(hit) for hit in newest],
    }
    write_json(json, {"log": str(log), **found})
    console = Console(emoji=False)
    told = ", ".join(f"{number:,} {tier}" for tier, number in sorted(tiers.items()))
    tell(f"{len(hits):,} hits" + (f": {told}" if told else ""), console)
    if damaged:
        tell(f"{damaged:,} lines are torn or were altered", console)
    rows = [
        (
            datetime.fromtimestamp(hit.time, timezone.utc).isoformat(timespec="seconds"),
            str(hit.entry),
            hit.tier,
            f"{hit.similarity:.3f}",
            hit.principal or DASH,
        )
        for hit in newest
    ]
    if rows:
        print_rows(("time", "entry", "tier", "similarity", "asked by"), rows, console)


def _files(place: str) -> tuple[Path, ...]:
    return () if place.startswith(_REDIS) else (Path(place),)


def _opened(place: str) -> Any:
    """The store of a cache that exists: looking into one must not make it.

    Raises:
        InputError: there is none.
        StorageError: its Redis does not answer.
    """
    from contextlib import closing

    from ragopt.cache.stores import RedisStore, SqliteStore
    from ragopt.cache.stores.redis import DEFAULT_PREFIX

    if place.startswith(_REDIS):
        url, _, prefix = place.partition("#")
        return closing(RedisStore(url, prefix=prefix or DEFAULT_PREFIX, make=False))
    if not Path(place).is_file():
        raise InputError(f"{place}: there is no cache; SemanticCache(embedder, path=…) makes one")
    return closing(SqliteStore(place))


def _pairs(name: str, progress: Progress) -> PairSet:
    from ragopt.benchmarks.datasets import PairSet, load

    progress(f"read {name}", 0, 1)
    loaded = load(name)
    progress(f"read {name}", 1, 1)
    if not isinstance(loaded, PairSet):
        raise InputError(
            f"{name} holds a {type(loaded).__name__}, expected labelled pairs of questions: a line "
            "each with text_a, text_b and label"
        )
    return loaded


def _embedder(name: str, pairs: PairSet, progress: Progress) -> Embedder:
    """The one named; for pairs that come with vectors, these.

    Raises:
        InputError: none is named, and the pairs have no vectors.
    """
    from ragopt.benchmarks.cache.vectors import VectorTable
    from ragopt.embed import LSAEmbedder, SentenceTransformerEmbedder

    if not name:
        if pairs.vectors is None:
            raise InputError(
                "--embedder is missing: the certificate holds for the cache's own embedder only; "
                "name a sentence-transformers model or folder, or 'lsa'"
            )
        rows, matrix = pairs.vectors
        return VectorTable(rows, matrix, id=f"{pairs.name}/stored")
    progress("make the embedder", 0, 1)
    made: Embedder
    if name == "lsa":
        made = LSAEmbedder.fit(
            list(dict.fromkeys(text for pair in pairs.pairs for text in (pair.text_a, pair.text_b)))
        )
    else:
        made = SentenceTransformerEmbedder(name)
    progress("make the embedder", 1, 1)
    return made


def _print_policy(policy: Calibrated, console: Console) -> None:
    steps = _shown(policy)
    most = max((step.hits for step in steps), default=0) or 1
    rows = [
        (
            f"{step.threshold:.3f}" + (" *" if step.threshold == policy.threshold else ""),
            f"{step.hits / policy.n:.1%}",
            f"{step.wrong / step.hits:.1%}" if step.hits else DASH,
            f"{step.bound:.1%}" if step.hits else DASH,
            "yes" if step.certified else "no",
            "#" * round(_BAR * step.hits / most),
        )
        for step in steps
    ]
    heads = ("score from", "hits", "wrong", "at most", "certified", "")
    print_rows(heads, rows, console)
    tell(str(policy), console)


def _shown(policy: Calibrated) -> Sequence[Step]:
    """Some steps from the first with a hit to a few below the chosen one."""
    used = [step for step in policy.steps if step.hits]
    if not used:
        return []
    last = max((place for place, step in enumerate(used) if step.certified), default=len(used) - 1)
    used = used[: last + 4]
    stride = max(1, -(-len(used) // _SHOWN_STEPS))
    kept = used[last % stride if policy.certificate else 0 :: stride]
    return (
        kept
        if policy.is_off or used[last] in kept
        else sorted([*kept, used[last]], key=lambda step: -step.threshold)
    )


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return DASH
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{count(seconds / length)} {unit} ago"
    return f"{count(max(0.0, seconds))} seconds ago"
