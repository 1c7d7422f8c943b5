"""What a bench result says, in figures and sentences: shared by page, terminal and comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragopt.benchmarks.rows import METRICS, metric_of
from ragopt.errors import InputError
from ragopt.report.figures import (
    DASH,
    MINUS,
    change,
    clean,
    count,
    dollars,
    points,
    ratio,
    share,
    shortened,
)

if TYPE_CHECKING:
    from ragopt.benchmarks.rows import BenchResult, Metric, Row

__all__ = [
    "Table",
    "best_of",
    "cell",
    "figure",
    "head",
    "headline",
    "hints",
    "interval",
    "measured_on",
    "not_measured",
    "setting_of",
    "table_of",
]

_HEADS = {
    "recall_at_10": "recall|@10",
    "recall_lower_bound": "recall|at least",
    "rss_anon_bytes_per_vector": "RAM|B/vector",
    "rss_file_bytes_per_vector": "mapped|B/vector",
    "peak_build_rss_bytes": "peak RAM|of build",
    "disk_bytes_per_vector": "disk|B/vector",
    "memory_limit_bytes": "smallest|limit",
    "qps_warm_1t": "QPS|1 thread",
    "qps_warm_all": "QPS all|threads",
    "p50_warm_ms": "warm ms|p50",
    "p99_warm_ms": "warm ms|p99",
    "p50_cold_ms": "cold ms|p50",
    "p99_cold_ms": "cold ms|p99",
    "p50_zipf_ms": "Zipf ms|p50",
    "p99_zipf_ms": "Zipf ms|p99",
    "pages_per_query": "pages|/query",
    "pages_per_query_zipf": "pages/q|Zipf",
    "bytes_read_per_query": "bytes|/query",
    "read_rounds": "read|rounds",
    "build_s": "build|s",
    "hit_rate": "hits",
    "wrong_per_hit": "wrong|/hit",
    "wrong_per_request": "wrong|/request",
    "hit_rate_certified_10": "hits, 10 %|certified",
    "asked_per_request": "asked to|learn",
    "net_usd_per_1000": "net $|/1,000",
    "lookup_p50_us": "look-up|µs p50",
    "insert_p50_us": "insert|µs p50",
    "ndcg_at_10": "nDCG|@10",
    "tokens_kept_ratio": "tokens|kept",
    "coverage": "coverage",
    "ms_per_query": "ms|/query",
    "usd_per_query": "$|/query",
    "net_usd_per_query": "net $|/query",
    "usd_ratio": "bill",
    "input_tokens_ratio": "input|tokens",
    "ram_ratio": "RAM",
    "quality_diff": "quality,|points",
    "quality_diff_lower": "points|at least",
}
_KIN = {
    "hit_rate_at_precision": "hits at|precision .{}",
    "evidence_recall_at": "evidence|@{}",
    "answer_kept_at": "answer|@{}",
    "duplicates_lost_at": "duplicates|lost from .{}",
}
_UNITS = {"B": "B", "ms": "ms", "s": "s", "us": "µs", "queries/s": "/s", "4 KiB pages": "pages"}
_WHOLE = ("peak_build_rss_bytes", "memory_limit_bytes")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_REASON = 300


# Figures ----------------------------------------------------------------------------------


def cell(name: str, value: float | None) -> str:
    """A figure below the head of its metric, without its unit."""
    if value is None or not math.isfinite(value):
        return DASH
    last = _last(name)
    unit = _unit(name)
    if last.startswith("quality_diff"):
        return points(value)
    if last in _WHOLE:
        return _binary(value)
    if unit == "USD":
        return dollars(value)
    if unit == "ratio":
        return ratio(value) if last.endswith("_ratio") else share(value)
    return f"{value:.3f}".replace("-", MINUS) if unit == "nDCG" else count(value)


def figure(name: str, value: float | None) -> str:
    """A figure with its unit, as a sentence or a comparison needs it."""
    said = cell(name, value)
    if said == DASH or _last(name) in _WHOLE:
        return said
    if _last(name).startswith("quality_diff"):
        return f"{said} points"
    unit = _UNITS.get(_unit(name), "")
    return f"{said}{'' if unit.startswith('/') else ' '}{unit}" if unit else said


def interval(row: Row) -> str:
    """A row's range; empty where it has none."""
    if row.range is None or not all(math.isfinite(end) for end in row.range):
        return ""
    low, high = (cell(row.name, end) for end in row.range)
    return f"[{low}, {high}]"


def head(metric: str) -> tuple[str, ...]:
    """The short head of a metric's column, one or two lines."""
    if metric in _HEADS:
        return tuple(_HEADS[metric].split("|"))
    stem, _, suffix = metric.rpartition("_")
    if stem in _KIN:
        return tuple(_KIN[stem].format(suffix).split("|"))
    words = metric.replace("_", " ").split()
    middle = (len(words) + 1) // 2
    return tuple(part for part in (" ".join(words[:middle]), " ".join(words[middle:])) if part)


def _binary(value: float) -> str:
    size = abs(value)
    place = min(int(math.log(size, 1024)), len(_BINARY) - 1) if size >= 1 else 0
    return f"{count(value / 1024**place)} {_BINARY[place]}"


def _unit(name: str) -> str:
    try:
        return metric_of(name).unit
    except InputError:
        return ""


def _last(name: str) -> str:
    return name.rpartition("/")[2]


# A result as a table ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """A result by candidate and metric.

    Args:
        candidates: of which anything was measured, in the order of their rows.
        metrics: measured of any of them, in the order of `METRICS`.
        rows: by candidate and metric.
        absent: candidates of which nothing was measured.
    """

    candidates: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: dict[tuple[str, str], Row]
    absent: tuple[str, ...]

    def value(self, candidate: str, metric: str) -> float | None:
        """A figure; None where it was not measured."""
        row = self.rows.get((candidate, metric))
        return None if row is None else row.value


def table_of(result: BenchResult) -> Table:
    """The rows of a result by candidate and metric; a single data set is not part of a name."""
    suffix = _one_data_set(result)
    rows: dict[tuple[str, str], Row] = {}
    every: dict[str, bool] = {}
    for row in result.rows:
        candidate, metric = split(row)
        candidate = candidate.removesuffix(suffix)
        measured = row.value is not None
        every[candidate] = every.get(candidate, False) or measured
        if metric:
            rows[candidate, metric] = row
    order = {metric: place for place, metric in enumerate(METRICS)}
    measured_metrics = dict.fromkeys(
        metric for (_, metric), row in rows.items() if row.value is not None
    )
    return Table(
        tuple(name for name, measured in every.items() if measured),
        tuple(sorted(measured_metrics, key=lambda each: order.get(each, len(order)))),
        rows,
        tuple(name for name, measured in every.items() if not measured),
    )


def _one_data_set(result: BenchResult) -> str:
    """``/dataset`` where all measured candidates end in it, else nothing."""
    suffix = f"/{result.about.get('dataset')}"
    measured = [split(row)[0] for row in result.rows if row.value is not None]
    return suffix if measured and all(name.endswith(suffix) for name in measured) else ""


def split(row: Row) -> tuple[str, str]:
    """Candidate (datasets included) and metric of a row; no metric where a whole one is missing."""
    _, _, rest = row.name.partition("/")
    candidate, slash, last = rest.rpartition("/")
    if row.value is None and not _is_metric(last):
        return rest or row.name, ""
    return (candidate if slash else DASH), last or row.name


def _is_metric(name: str) -> bool:
    try:
        metric_of(name)
    except InputError:
        return False
    return True


def best_of(table: Table, metric: str) -> set[str]:
    """Candidates with the best figure of a metric; none where most are alike, or unknown."""
    known = {
        name: value for name in table.candidates if (value := table.value(name, metric)) is not None
    }
    if not _is_metric(metric) or len(set(known.values())) < 2:
        return set()
    best = _best(metric_of(metric), known.values())
    found = {name for name, value in known.items() if value == best}
    return found if 2 * len(found) <= len(known) else set()


def _best(metric: Metric, values: Iterable[float]) -> float:
    return min(values) if metric.better == "smaller" else max(values)


def setting_of(table: Table, candidate: str) -> str:
    """The setting that a candidate's figures were measured with, where its rows name one."""
    for metric in table.metrics:
        row = table.rows.get((candidate, metric))
        if row is not None and row.value is not None and row.extra.get("setting"):
            return shortened(clean(row.extra["setting"]), _REASON)
    return ""


def not_measured(result: BenchResult) -> list[tuple[str, str]]:
    """What could not be measured and why: rows of one reason together, whole candidates first."""
    suffix = _one_data_set(result)
    whole: dict[str, list[str]] = {}
    single: dict[str, list[tuple[str, str]]] = {}
    for row in result.rows:
        if row.value is None:
            candidate, metric = split(row)
            candidate = candidate.removesuffix(suffix)
            reason = shortened(clean(row.reason), _REASON)
            if metric:
                single.setdefault(reason, []).append((candidate, metric))
            else:
                whole.setdefault(reason, []).append(clean(candidate))
    told = [(_listed(names), reason) for reason, names in whole.items()]
    for reason, found in single.items():
        metrics = _listed([" ".join(head(metric)) for _, metric in found], most=3, what="figures")
        names = _listed([clean(name) for name, _ in found], most=3, what="candidates")
        told.append((f"{metrics} of {names}", reason))
    return told


def _listed(names: Sequence[str], *, most: int = 12, what: str = "candidates") -> str:
    every = list(dict.fromkeys(names))
    return ", ".join(every) if len(every) <= most else f"{len(every)} {what}"


# Sentences --------------------------------------------------------------------------------


def headline(result: BenchResult) -> tuple[str, str]:
    """What a run found: a claim and what it rests on; without a claim, what was measured."""
    table = table_of(result)
    claim = {
        "index": _least_ram,
        "cache": _most_hits,
        "rerank": _best_ranking,
        "compress": _most_evidence,
        "savings": _bill,
    }.get(result.bench, lambda _: None)(table)
    done, every = len(table.candidates), len(table.candidates) + len(table.absent)
    measured = f"{done} of {every} candidates measured" if every != done else f"{done} measured"
    dataset = clean(result.about.get("dataset") or "")
    ground = f"{measured} on {dataset}" if dataset else measured
    return claim or (f"{clean(result.bench).capitalize()} bench", ground)


def _least_ram(table: Table) -> tuple[str, str] | None:
    """Among those whose recall holds: bytes of one that returns nonsense are no achievement."""
    metric, floor = "rss_anon_bytes_per_vector", "recall_lower_bound"
    held = {
        name: ram
        for name in table.candidates
        if (table.value(name, floor) or 0) >= 0.95
        and (ram := table.value(name, metric)) is not None
    }
    if not held:
        return None
    name = min(held, key=lambda each: held[each])
    most = max(held.values())
    bound = cell(floor, table.value(name, floor))
    against = f" ({change(held[name] / most)} against the most)" if most else ""
    rest = f"{count(held[name])} bytes a vector{against} at recall@10 of at least {bound}"
    return f"{clean(name)} needs the least RAM", rest


def _most_hits(table: Table) -> tuple[str, str] | None:
    found = _first(table, "hit_rate_at_precision_90")
    if found is None:
        return None
    name, value = found
    return f"{name} serves the most", f"{share(value)} of requests at precision .90"


def _best_ranking(table: Table) -> tuple[str, str] | None:
    found = _first(table, "ndcg_at_10")
    return found and (f"{found[0]} ranks best", f"nDCG@10 of {found[1]:.3f}")


def _most_evidence(table: Table) -> tuple[str, str] | None:
    found = _first(table, "evidence_recall_at_4x")
    return found and (f"{found[0]} keeps the most", f"{share(found[1])} of the evidence at 4x")


def _bill(table: Table) -> tuple[str, str] | None:
    bill = table.value("combined", "usd_ratio")
    if bill is None:
        return None
    quality = table.value("combined", "quality_diff_lower")
    held = "" if quality is None else f", quality at least {points(quality)} points of before"
    moved = "rises" if bill > 1 else "falls"
    return f"The bill {moved} to {ratio(bill)} of the baseline", f"all levers together{held}"


def _first(table: Table, metric: str) -> tuple[str, float] | None:
    """The best candidate by a metric; none where several data sets cannot be ranked together."""
    known = {
        name: value for name in table.candidates if (value := table.value(name, metric)) is not None
    }
    if len(known) < 2 or any("/" in name for name in known):
        return None
    name = max(known, key=lambda each: known[each])
    return clean(name), known[name]


def measured_on(result: BenchResult) -> list[tuple[str, str]]:
    """What the figures rest on, a label and a value each."""
    about = result.about
    told = [
        (label, clean(about[name]))
        for name, label in (
            ("dataset", "data"),
            ("data_hash", "data hash"),
            ("seed", "seed"),
            ("price", "price"),
            ("created", "measured"),
            ("command", "command"),
        )
        if about.get(name) not in (None, "")
    ]
    environment = about.get("environment")
    if isinstance(environment, dict):
        places = [environment.get(name) for name in ("cpu", "system")]
        told.append(("machine", ", ".join(clean(place) for place in places if place)))
        packages = environment.get("packages")
        if isinstance(packages, dict):
            versions = [f"{name} {version}" for name, version in packages.items()]
            told.append(("versions", clean(", ".join(versions))))
    return [(label, value) for label, value in told if value]


def hints(result: BenchResult) -> list[str]:
    """What a reader should know: the bench's own notes, and what kind of run it was."""
    notes = result.about.get("notes") or result.details.get("notes") or []
    told = [clean(note) for note in notes] if isinstance(notes, (list, tuple)) else [clean(notes)]
    noted: dict[str, set[str]] = {}
    for row in result.rows:
        if note := row.extra.get("note"):
            noted.setdefault(clean(note), set()).add(row.name.split("/")[1])
    told += [f"{', '.join(sorted(names))}: {note}" for note, names in noted.items()]
    if result.about.get("quick"):
        told.append("A quick run: fewer queries and points, wider intervals; not for publication.")
    return told
