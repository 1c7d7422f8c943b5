"""From what was measured to rows: a pure function, so that a result can be checked against it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ragopt.benchmarks.index.job import Searched
from ragopt.benchmarks.index.operating import judge_point, operating_value
from ragopt.benchmarks.measure.latency import Latencies
from ragopt.benchmarks.measure.page_cache import COLD_RATIO
from ragopt.benchmarks.measure.support import PAGE_BYTES
from ragopt.benchmarks.rows import Row
from ragopt.errors import InputError
from ragopt.quality import Floor

__all__ = ["RECALL_SLACK", "check_parts", "latencies", "points_of", "rows_of", "setting_of"]

RECALL_SLACK = 0.05
"""Answers given in batches, cold or in the stream must not fall further below the floor."""

_MEDIAN = "median of the passes; range: least to greatest"


def points_of(
    family: str,
    knob: str,
    settings: Mapping[int, str],
    searched: Searched,
    hits: Sequence[Mapping[str, list[int]]],
    *,
    wanted: int,
    floor: Floor,
    seed: int,
) -> list[dict[str, Any]]:
    """The points of one candidate's sweep, with the operating one marked.

    Args:
        family: of the candidate.
        knob: that was swept.
        settings: its values in words.
        searched: what the worker measured.
        hits: at each point, right results of the ``tuning``, ``report`` and ``batch`` answers.
        wanted: results of a perfect search.
        floor: of the operating point.
        seed: of the bounds.
    """
    points = []
    for point, right in zip(searched.points, hits, strict=True):
        judged = judge_point(
            right["tuning"], right["report"], wanted=wanted, floor=floor, seed=seed
        )
        points.append(
            {
                "family": family,
                "knob": knob,
                "value": point.value,
                "setting": settings[point.value],
                **judged,
                "qps": statistics.median(each.qps for each in point.passes),
                "p50_ms": statistics.median(each.p50_ms for each in point.passes),
                "p99_ms": statistics.median(each.p99_ms for each in point.passes),
                "qps_all": statistics.median(point.batch_qps),
                "timed_queries": point.timed,
                "passes": [
                    {"qps": each.qps, "p50_ms": each.p50_ms, "p99_ms": each.p99_ms}
                    for each in point.passes
                ],
                "batch_qps": list(point.batch_qps),
                "warm_up_qps": point.warm_up.qps,
                "changed_answers": point.changed,
                "cpu_ratio": point.cpu_ratio,
                "rss_anon_bytes": point.rss_anon - searched.rss_anon_before,
                "rss_file_bytes": point.rss_file - searched.rss_file_before,
                "rss_index_bytes": point.rss_index,
                "read_rounds": point.read_rounds,
                "tuning_hits": right["tuning"],
                "report_hits": right["report"],
                "batch_hits": right["batch"],
                "tuning_hash": searched.tuning_hash,
                "report_hash": searched.report_hash,
            }
        )
    value = operating_value(points, floor)
    for marked in points:
        marked["operating"] = marked["value"] == value
    return points


def rows_of(details: Mapping[str, Any]) -> list[Row]:
    """Every row of a result, from its details alone.

    Raises:
        InputError: a point was not measured on the report queries.
    """
    rows = []
    for facts in details["candidates"]:
        name = f"index/{facts['family']}"
        points = [each for each in details["points"] if each["family"] == facts["family"]]
        check_parts(points, details["split"])
        chosen = next((point for point in points if point["operating"]), None)
        if facts["reason"]:
            rows.append(Row.missing(name, facts["reason"]))
        elif chosen is None:
            rows.append(_never_reached(name, points, facts, details))
        else:
            rows += _Figures(name, facts, chosen, details).rows()
    return rows


def check_parts(points: Sequence[Mapping[str, Any]], split: Mapping[str, Any]) -> None:
    """Refuse figures that were not taken on the report queries.

    Raises:
        InputError: a point of other queries, or of queries that were tuned on.
    """
    if split["tuning_hash"] == split["report_hash"]:
        raise InputError("tuning and report queries are the same; expected two parts")
    for point in points:
        for part in ("tuning_hash", "report_hash"):
            if point[part] != split[part]:
                raise InputError(
                    f"{point['family']}, {point['knob']}={point['value']}: its {part} is "
                    f"{point[part]}, that of the split is {split[part]}; expected figures of the "
                    "report queries, tuned on the tuning queries"
                )


def _never_reached(
    name: str,
    points: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    details: Mapping[str, Any],
) -> Row:
    best = max(points, key=lambda point: point["recall_lower"])
    k, floor = details["options"]["k"], details["options"]["recall"]
    setting = setting_of(best)
    skipped = facts["search"]["skipped"]
    return Row.missing(
        name,
        f"recall@{k} never reached {floor:g} by its lower bound where it was certified; best "
        f"{best['recall_report']:.4f}, at least {best['recall_lower']:.4f}, at {setting}"
        + (f"; no time for {facts['knob']}={skipped}" if skipped else ""),
        reached=False,
        setting=setting,
        tuning_hash=best["tuning_hash"],
        report_hash=best["report_hash"],
    )


class _Figures:
    """The rows of a candidate that reached the floor."""

    def __init__(
        self,
        name: str,
        facts: Mapping[str, Any],
        point: Mapping[str, Any],
        details: Mapping[str, Any],
    ) -> None:
        self._name = name
        self._facts = facts
        self._point = point
        self._options = details["options"]
        self._count = details["split"]["base_rows"]
        self._shared = {
            "setting": setting_of(point),
            "n": details["split"]["report_queries"],
            "tuning_hash": point["tuning_hash"],
            "report_hash": point["report_hash"],
        }

    def rows(self) -> list[Row]:
        return [
            *self._recall(),
            *self._memory(),
            *self._warm(),
            *self._batch(),
            *self._cold(),
            *self._zipf(),
            *self._read_rounds(),
            *self._built(),
            *self._limit(),
        ]

    def _recall(self) -> list[Row]:
        point, confidence = self._point, self._options["confidence"]
        spread = (point["recall_lower"], point["recall_upper"])
        ends = f"one-sided {confidence:.0%} bounds of Learned-Miller and Thomas"
        return [
            self._row(
                f"recall_at_{self._options['k']}", point["recall_report"], spread, range_is=ends
            ),
            self._row("recall_lower_bound", point["recall_lower"], confidence=confidence),
        ]

    def _memory(self) -> list[Row]:
        extra = {
            "vectors": self._count,
            "beyond": "the process with all imports before the index was opened",
        }
        anon, file, index = (
            self._point[f"rss_{part}_bytes"] / self._count for part in ("anon", "file", "index")
        )
        return [
            self._row("rss_anon_bytes_per_vector", anon, **extra),
            self._row("rss_file_bytes_per_vector", file, of_index_files=index, **extra),
        ]

    def _warm(self) -> list[Row]:
        figures = {"qps_warm_1t": "qps", "p50_warm_ms": "p50_ms", "p99_warm_ms": "p99_ms"}
        passes = self._point["passes"]
        extra = {
            "n": self._point["timed_queries"],
            "passes": len(passes),
            "value_is": _MEDIAN,
            "cpu_ratio": self._point["cpu_ratio"],
        }
        return [
            self._row(metric, self._point[name], _spread(each[name] for each in passes), **extra)
            for metric, name in figures.items()
        ]

    def _batch(self) -> list[Row]:
        if reason := self._bad_answers(self._point["batch_hits"], "in batches"):
            return self._missing(["qps_warm_all"], reason)
        rates = self._point["batch_qps"]
        return [
            self._row(
                "qps_warm_all",
                self._point["qps_all"],
                _spread(rates),
                passes=len(rates),
                threads=self._options["threads"],
                value_is=_MEDIAN,
            )
        ]

    def _cold(self) -> list[Row]:
        metrics = ["p50_cold_ms", "p99_cold_ms", "pages_per_query", "bytes_read_per_query"]
        cold = self._facts["cold"]
        if reason := cold.get("reason") or self._not_cold(cold["blocks"], cold["hits"]):
            return self._missing(metrics, reason)
        blocks = cold["blocks"]
        times = latencies([ms for block in blocks for ms in block["ms"]])
        later = [ms for block in blocks for ms in block["ms"][1:]]
        extra = {
            "n": times.count,
            "blocks": len(blocks),
            "method": _methods(blocks),
            "opened": "anew for each block, in a process of its own" if len(blocks) > 1 else "once",
            "first_query_ms": statistics.median(block["ms"][0] for block in blocks),
            "open_ms": statistics.median(block["open_ms"] for block in blocks),
        }
        if later:
            extra["p99_without_first_ms"] = latencies(later).p99_ms
        read = sum(block["read_bytes"] for block in blocks) / times.count
        reads = _spread(block["read_bytes"] / len(block["ms"]) for block in blocks)
        pages = (reads[0] / PAGE_BYTES, reads[1] / PAGE_BYTES)
        opened = {"open_bytes": statistics.median(block["open_bytes"] for block in blocks)}
        return [
            self._row("p50_cold_ms", times.p50_ms, times.interval_ms(0.5), **extra),
            self._row("p99_cold_ms", times.p99_ms, times.interval_ms(0.99), **extra),
            self._row("pages_per_query", read / PAGE_BYTES, pages, **extra, **opened),
            self._row("bytes_read_per_query", read, reads, **extra, **opened),
        ]

    def _zipf(self) -> list[Row]:
        metrics = ["p50_zipf_ms", "p99_zipf_ms", "pages_per_query_zipf"]
        zipf = self._facts["zipf"]
        if reason := zipf.get("reason") or self._not_cold([zipf["run"]], zipf["hits"]):
            return self._missing(metrics, reason)
        run = zipf["run"]
        extra = {
            "n": zipf["requests"],
            "exponent": zipf["exponent"],
            "distinct": zipf["distinct"],
            "method": run["method"],
        }
        pages = run["read_bytes"] / PAGE_BYTES / zipf["requests"]
        spread = zipf["p99_range"] and (zipf["p99_range"][0], zipf["p99_range"][1])
        return [
            self._row("p50_zipf_ms", zipf["p50_ms"], **extra),
            self._row("p99_zipf_ms", zipf["p99_ms"], spread, **extra),
            self._row("pages_per_query_zipf", pages, **extra),
        ]

    def _read_rounds(self) -> list[Row]:
        rounds = self._point["read_rounds"]
        if rounds is None:
            return self._missing(["read_rounds"], "not known from outside of the library")
        return [
            self._row(
                "read_rounds",
                rounds,
                source="as the library counts or its design has it; not measured",
            )
        ]

    def _built(self) -> list[Row]:
        built = self._facts["build"]
        threads = {"threads": built["threads"]}
        peak = {"anon_bytes": built["peak_rss_anon"], "file_bytes": built["peak_rss_file"]}
        return [
            self._row("peak_build_rss_bytes", built["peak_rss"], **peak, **threads),
            self._row("build_s", built["seconds"], **threads),
            self._row("disk_bytes_per_vector", built["disk_bytes"] / self._count),
        ]

    def _limit(self) -> list[Row]:
        limit = self._facts["limit"]
        if not limit:
            return []
        if "reason" in limit:
            return self._missing(["memory_limit_bytes"], limit["reason"])
        least = float(limit["fails_bytes"] or 0)
        return [
            self._row(
                "memory_limit_bytes",
                limit["size_bytes"],
                (least, float(limit["size_bytes"])),
                range_is="largest limit that failed to smallest that did not",
                of="the whole process, page cache included",
                n=limit["queries"],
            )
        ]

    def _not_cold(self, runs: Sequence[Mapping[str, Any]], hits: list[int]) -> str:
        stayed = max(run["resident_ratio"] for run in runs)
        if stayed > COLD_RATIO:
            return (
                f"{stayed:.0%} of the index stays in the page cache (tried: {_methods(runs)}); "
                "run as root, or put the work folder on a real disk"
            )
        return self._bad_answers(hits, "after the page cache was dropped")

    def _bad_answers(self, hits: list[int], when: str) -> str:
        recall = float(np.average(np.arange(len(hits)) / self._facts["wanted"], weights=hits))
        if recall >= self._options["recall"] - RECALL_SLACK:
            return ""
        return f"answers given {when} have recall {recall:.4f} only: no figure to compare"

    def _row(
        self, metric: str, value: float, spread: tuple[float, float] | None = None, **extra: Any
    ) -> Row:
        return Row.of(f"{self._name}/{metric}", value, range=spread, **{**self._shared, **extra})

    def _missing(self, metrics: Sequence[str], reason: str) -> list[Row]:
        return [Row.missing(f"{self._name}/{each}", reason, **self._shared) for each in metrics]


def setting_of(point: Mapping[str, Any]) -> str:
    """What was set, as in ``ef=64``."""
    return str(point["setting"])


def _spread(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    return min(found), max(found)


def latencies(ms: Sequence[float]) -> Latencies:
    """Times in milliseconds as `Latencies`."""
    return Latencies(np.rint(np.array(ms) * 1e6).astype(np.int64))


def _methods(runs: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(sorted({run["method"] for run in runs}))
