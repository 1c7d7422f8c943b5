"""What every bench writes: rows of ``{name, unit, value, range, extra}`` and what they rest on.

A row's name is a path whose last part is the metric: ``index/hnswlib/recall_at_10``. What a
metric is (its unit, whether less is better, whether it is a time) stands once, in `METRICS`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ragopt.errors import InputError
from ragopt.quality import data_hash
from ragopt.storage import atomic_write

__all__ = ["METRICS", "BenchResult", "Metric", "Row", "metric_of"]

Better = Literal["smaller", "bigger"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a figure is.

    Args:
        unit: of the value.
        better: which way is good.
        timed: a time or a rate: differs from run to run and machine to machine, so that it may
            warn and never fail a build.
        about: what moved when it moves: ``"usage"``, ``"price"`` or ``"quality"``.
    """

    unit: str
    better: Better
    timed: bool = False
    about: Literal["usage", "price", "quality"] = "usage"


_RATIO = Metric("ratio", "smaller")
_SHARE = Metric("ratio", "bigger", about="quality")
_HITS = Metric("ratio", "bigger")  # a miss is paid for; a wrong hit is another metric
_MS = Metric("ms", "smaller", timed=True)
_US = Metric("us", "smaller", timed=True)
_QPS = Metric("queries/s", "bigger", timed=True)

METRICS: Mapping[str, Metric] = {
    # index
    "recall_at_10": _SHARE,
    "recall_lower_bound": _SHARE,
    "rss_anon_bytes_per_vector": Metric("B", "smaller"),
    "rss_file_bytes_per_vector": Metric("B", "smaller"),
    "peak_build_rss_bytes": Metric("B", "smaller"),
    "disk_bytes_per_vector": Metric("B", "smaller"),
    "memory_limit_bytes": Metric("B", "smaller"),
    "qps_warm_1t": _QPS,
    "qps_warm_all": _QPS,
    "p50_warm_ms": _MS,
    "p99_warm_ms": _MS,
    "p50_cold_ms": _MS,
    "p99_cold_ms": _MS,
    "p50_zipf_ms": _MS,
    "p99_zipf_ms": _MS,
    "pages_per_query": Metric("4 KiB pages", "smaller"),
    "pages_per_query_zipf": Metric("4 KiB pages", "smaller"),
    "bytes_read_per_query": Metric("B", "smaller"),
    "read_rounds": Metric("rounds", "smaller"),
    "build_s": Metric("s", "smaller", timed=True),
    # cache
    "hit_rate": _HITS,
    "hit_rate_at_precision_90": _HITS,
    "hit_rate_at_precision_95": _HITS,
    "hit_rate_certified_10": _HITS,
    "wrong_per_hit": Metric("ratio", "smaller", about="quality"),
    "wrong_per_request": Metric("ratio", "smaller", about="quality"),
    "asked_per_request": _RATIO,
    "net_usd_per_1000": Metric("USD", "bigger", about="price"),
    "number_stopped": _SHARE,
    "unit_stopped": _SHARE,
    "date_stopped": _SHARE,
    "polarity_stopped": _SHARE,
    "reversal_stopped": _SHARE,
    "entity_stopped": _SHARE,
    "duplicates_lost_at_90": Metric("ratio", "smaller", about="quality"),
    "duplicates_lost_at_95": Metric("ratio", "smaller", about="quality"),
    "lookup_p50_us": _US,
    "insert_p50_us": _US,
    # rerank and compress
    "ndcg_at_10": Metric("nDCG", "bigger", about="quality"),
    "tokens_kept_ratio": _RATIO,
    "coverage": _SHARE,
    "evidence_recall": _SHARE,
    "evidence_recall_at_2x": _SHARE,
    "evidence_recall_at_4x": _SHARE,
    "evidence_recall_at_10x": _SHARE,
    "answer_kept_at_2x": _SHARE,
    "answer_kept_at_4x": _SHARE,
    "answer_kept_at_10x": _SHARE,
    "ms_per_query": _MS,
    "usd_per_query": Metric("USD", "smaller", about="price"),
    "net_usd_per_query": Metric("USD", "bigger", about="price"),
    # savings
    "usd_ratio": Metric("ratio", "smaller", about="price"),
    "input_tokens_ratio": _RATIO,
    "ram_ratio": _RATIO,
    "quality_diff": Metric("share of questions", "bigger", about="quality"),
    "quality_diff_lower": Metric("share of questions", "bigger", about="quality"),
}


def metric_of(name: str) -> Metric:
    """The metric that a row's name ends in; the name of a whole candidate has none of its own.

    A suffix after ``_at_`` that the table does not list takes what the listed kin have in common.

    Raises:
        InputError: no such metric.
    """
    last = name.rsplit("/", 1)[-1]
    if last in METRICS:
        return METRICS[last]
    stem = last.rpartition("_at_")[0]
    kin = {metric for known, metric in METRICS.items() if stem and known.startswith(stem + "_at_")}
    if len(kin) == 1:
        return kin.pop()
    raise InputError(f"{name}: {last!r} is no metric; expected one of {sorted(METRICS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure, or the reason why there is none.

    Args:
        name: ``bench/candidate/metric``, a dataset between the two where there are several.
        unit: of the value; the metric's own.
        value: None where it could not be measured; ``extra["reason"]`` says why.
        range: interval or spread around it, both ends included.
        extra: what the figure was measured with (setting, n, hashes of queries, control).
    """

    name: str
    unit: str
    value: float | None
    range: tuple[float, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.value is None:
            if not self.extra.get("reason"):
                raise InputError(f"{self.name}: a row without a value must say why (extra.reason)")
        elif isinstance(self.value, bool) or not math.isfinite(self.value):
            raise InputError(f"{self.name}: got {self.value!r}, expected a finite number")

    @classmethod
    def of(
        cls,
        name: str,
        value: float,
        *,
        range: tuple[float, float] | None = None,
        **extra: Any,
    ) -> Row:
        """A measured figure; the unit is its metric's.

        Raises:
            InputError: an unknown metric, or a value that is not finite.
        """
        return cls(
            name=name, unit=metric_of(name).unit, value=float(value), range=range, extra=extra
        )

    @classmethod
    def missing(cls, name: str, reason: str, **extra: Any) -> Row:
        """A candidate, or one of its figures, that could not be measured."""
        return cls(name=name, unit="", value=None, extra={"reason": reason, **extra})

    @property
    def reason(self) -> str:
        """Why there is no value; empty where there is one."""
        return str(self.extra.get("reason", "")) if self.value is None else ""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Row:
        """Read the JSON form.

        Raises:
            InputError: a field is missing, unknown or of another kind.
        """
        try:
            spread = fields.get("range")
            return cls(
                name=str(fields["name"]),
                unit=str(fields["unit"]),
                value=None if fields["value"] is None else float(fields["value"]),
                range=None if spread is None else (float(spread[0]), float(spread[1])),
                extra=dict(fields.get("extra") or {}),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"not a row: {error!r} in {str(dict(fields))[:200]}; expected name, unit, value, "
                "range, extra"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """One run of one bench, ready to print, plot, write and compare.

    Args:
        bench: ``"index"``, ``"cache"``, ``"rerank"``, ``"compress"`` or ``"savings"``.
        rows: what was measured, candidate by candidate.
        about: command, date, seed, environment, versions, hashes of data and prices.
        details: what the rows rest on: points of sweeps, curves, splits.
    """

    bench: str
    rows: tuple[Row, ...]
    about: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_unique(self.rows)

    def value(self, name: str) -> float | None:
        """The value of a row; None where it is missing or could not be measured."""
        return next((row.value for row in self.rows if row.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """The JSON that ``--json`` writes: rows first, sealed with a digest of everything."""
        from ragopt.report.serialise import plain

        content = {
            "kind": f"ragopt bench {self.bench}",
            "rows": [plain(row) for row in self.rows],
            "about": plain(self.about),
            "details": plain(self.details),
        }
        return {**content, "digest": digest(content)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> BenchResult:
        """Read the JSON form.

        Raises:
            InputError: it is not one, or it was changed after it was written.
        """
        if not isinstance(content, Mapping):
            raise InputError(f"got a {type(content).__name__}, expected an object")
        kind = str(content.get("kind", ""))
        if not kind.startswith("ragopt bench ") or not isinstance(content.get("rows"), list):
            raise InputError(f"kind={kind!r}: expected the JSON that ragopt bench writes")
        unsealed = {key: value for key, value in content.items() if key != "digest"}
        if content.get("digest") != digest(unsealed):
            raise InputError(
                "the figures are not those that were measured: the digest does not fit them; "
                "run the bench again instead of editing its result"
            )
        return cls(
            bench=kind.removeprefix("ragopt bench "),
            rows=tuple(Row.from_dict(row) for row in content["rows"]),
            about=dict(content.get("about") or {}),
            details=dict(content.get("details") or {}),
        )

    def write(self, path: Path | str) -> None:
        """Write the JSON, atomically.

        Raises:
            StorageError: the file cannot be written; a former one still stands.
        """
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"
        atomic_write(Path(path), text.encode(errors="backslashreplace"))

    @classmethod
    def read(cls, path: Path | str) -> BenchResult:
        """Read a written result.

        Raises:
            InputError: no such file, no such content, or changed since; the message names it.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text("utf-8")))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, InputError) as error:
            raise InputError(f"{path}: {error}") from error

    def to_html(self) -> str:
        """One self-contained page: claim, pictures, tables, what is missing and why."""
        from ragopt.report.bench_html import bench_page

        return bench_page(self)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` of a row a figure; see `ragopt.report.bench_plots.bench_frame`.

        Raises:
            BackendMissing: pandas is not installed.
        """
        from ragopt.report.bench_plots import bench_frame

        return bench_frame(self)

    def plot(self, *, only: Sequence[str] = ()) -> Any:
        """A ``matplotlib.figure.Figure`` of the curves; see `ragopt.report.bench_plots`.

        Args:
            only: lines to draw, by candidate; empty: all.

        Raises:
            BackendMissing: matplotlib is not installed.
            InputError: there is nothing to draw, or no such line.
        """
        from ragopt.report.bench_plots import bench_figure

        return bench_figure(self, only=only)

    def _repr_html_(self) -> str:
        from ragopt.report.bench_html import bench_fragment

        return bench_fragment(self)

    def __repr__(self) -> str:
        from ragopt.report.bench_words import headline

        return f"<BenchResult: {': '.join(headline(self))}>"

    def __str__(self) -> str:
        from ragopt.report.bench_table import bench_text

        return bench_text(self)


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 (shortened) of a JSON value, whatever the order of its keys."""
    return data_hash(json.dumps(content, sort_keys=True, ensure_ascii=True))


def _check_unique(rows: Iterable[Row]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.name in seen:
            raise InputError(f"{row.name}: two rows of this name; expected one")
        seen.add(row.name)
