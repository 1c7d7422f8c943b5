"""Check a result of the index bench against what it says it rests on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from ragopt.benchmarks.index.curves import curves
from ragopt.benchmarks.index.figures import check_parts, rows_of
from ragopt.benchmarks.index.operating import equal_recalls, judge_point, operating_value
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.errors import InputError
from ragopt.quality import Floor
from ragopt.report.serialise import plain

__all__ = ["recheck"]

_BOUND_TOLERANCE = 5e-4
"""Bounds are drawn; another release of numpy may draw others from the same seed."""


def recheck(result: BenchResult) -> list[str]:
    """Derive every figure anew from the result's points; what does not fit, in words.

    Recall and its bounds are counted again from how many results each query had right, the
    operating point is chosen again, and every row is made again. No figure may stand on queries
    that were tuned on.

    Returns:
        Empty where everything fits.
    """
    try:
        return list(_complaints(result))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return [f"the details are not those of an index bench: {error!r}"]


def _complaints(result: BenchResult) -> Iterator[str]:
    details = result.details
    yield from _parts(result)
    for point in details["points"]:
        yield from _point(point, details)
    for facts in details["candidates"]:
        yield from _operating(facts["family"], details)
    try:
        yield from _rows(result.rows, rows_of(details))
    except InputError as error:
        yield str(error)
        return
    if not _same(plain(details["curves"]), plain(curves(details))):
        yield "the curves are not those of the points"
    families = [facts["family"] for facts in details["candidates"]]
    if not _same(plain(details["at_equal_recall"]), equal_recalls(details["points"], families)):
        yield "the figures at equal recall are not those of the points"


def _parts(result: BenchResult) -> Iterator[str]:
    try:
        check_parts(result.details["points"], result.details["split"])
    except InputError as error:
        yield str(error)
    for row in result.rows:
        reported = row.extra.get("report_hash")
        if reported is not None and reported == row.extra.get("tuning_hash"):
            yield f"{row.name}: reported on the queries that were tuned on"


def _point(point: Mapping[str, Any], details: Mapping[str, Any]) -> Iterator[str]:
    name = f"{point['family']}, {point['knob']}={point['value']}"
    split, options = details["split"], details["options"]
    for part in ("tuning", "report"):
        if sum(point[f"{part}_hits"]) != split[f"{part}_queries"]:
            yield f"{name}: its {part} counts are not of {split[f'{part}_queries']} queries"
            return
    wanted = min(options["k"], split["base_rows"])
    judged = judge_point(
        point["tuning_hits"],
        point["report_hits"],
        wanted=wanted,
        floor=_floor(options),
        seed=options["seed"],
    )
    for key, value in judged.items():
        tolerance = _BOUND_TOLERANCE if key in {"recall_lower", "recall_upper"} else 1e-9
        if abs(value - point[key]) > tolerance:
            yield f"{name}: {key} is {point[key]:.6g}, its counts make it {value:.6g}"
    for key in ("qps", "p50_ms", "p99_ms"):
        middle = statistics.median(each[key] for each in point["passes"])
        if not _same(middle, point[key]):
            yield f"{name}: {key} is {point[key]:.6g}, the median of its passes {middle:.6g}"
    middle = statistics.median(point["batch_qps"])
    if not _same(middle, point["qps_all"]):
        yield f"{name}: qps_all is {point['qps_all']:.6g}, the median of its batches {middle:.6g}"


def _operating(family: str, details: Mapping[str, Any]) -> Iterator[str]:
    points = [point for point in details["points"] if point["family"] == family]
    marked = [point["value"] for point in points if point["operating"]]
    value = operating_value(points, _floor(details["options"])) if points else None
    if marked != ([] if value is None else [value]):
        yield f"{family}: reported at {marked}, the cheapest certified value is {value}"


def _rows(given: tuple[Row, ...], derived: list[Row]) -> Iterator[str]:
    expected = {row.name: row for row in derived}
    for row in given:
        other = expected.pop(row.name, None)
        if other is None:
            yield f"{row.name}: the details hold no such figure"
        elif not _same(plain(row), plain(other)):
            yield (f"{row.name}: {_in_words(row)}; the details make it {_in_words(other)}")
    yield from (f"{name}: the details hold it, the rows do not" for name in expected)


def _in_words(row: Row) -> str:
    if row.value is None:
        return row.reason
    return f"{row.value:.6g} {row.range or ''} {dict(row.extra)}"


def _same(one: Any, other: Any) -> bool:
    """Equal, numbers up to rounding, whatever the order of keys."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(one == other)


def _floor(options: Mapping[str, Any]) -> Floor:
    return Floor(
        metric=f"recall@{options['k']}",
        at_least=options["recall"],
        confidence=options["confidence"],
    )
