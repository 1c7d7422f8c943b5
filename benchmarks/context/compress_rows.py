"""Rows of the compress bench, made from what was recorded of every question.

The bench and `recheck` make rows by the same road, so that a figure that does not follow from its
records is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.context.figures import paired, share, spread, unpack
from ragopt.benchmarks.context.methods import CONTROL
from ragopt.benchmarks.rows import Row
from ragopt.errors import InputError

__all__ = ["MOST_REFUSED", "Column", "compress_curves", "compress_rows"]

MOST_REFUSED = 0.05
"""Share of outputs that may be over the budget, or failed: each counts as nothing kept, and a
candidate with more of them has no figure at that budget."""

_FIGURES = {"evidence_recall": "evidence", "answer_kept": "answer"}


class Column:
    """What one method did at one budget, question by question.

    Args:
        record: packed columns ``tokens``, ``evidence``, ``answer``, ``foreign`` and ``failed``.
        tokens: of each question's source.
        ratio: of the budget.

    Raises:
        InputError: columns of different lengths.
    """

    def __init__(self, record: Mapping[str, str], tokens: Sequence[float], ratio: float) -> None:
        read = {name: unpack(record[name]) for name in ("tokens", "evidence", "answer", "foreign")}
        lengths = {name: len(values) for name, values in read.items()}
        if len(set(lengths.values())) != 1 or lengths["tokens"] > len(tokens):
            raise InputError(f"records of different lengths: {lengths} for {len(tokens)} questions")
        self.count = lengths["tokens"]
        self.used = np.array([value or 0.0 for value in read["tokens"]])
        self.before = np.array(tokens[: self.count])
        self.budget = np.maximum(1, np.floor(self.before / ratio))
        self.failed = np.array([value is None for value in read["tokens"]], dtype=bool)
        self.over = self.used > self.budget
        self.foreign = np.array([value or 0.0 for value in read["foreign"]])
        self._read = read

    @property
    def refused(self) -> float:
        """Share of the outputs that count as nothing kept."""
        return float((self.over | self.failed).mean())

    @property
    def achieved(self) -> float:
        """Tokens before over tokens after, all questions together."""
        return float(self.before.sum() / max(1.0, self.used.sum()))

    def scores(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """What counts of a column, and the places of the questions that it can be said of."""
        values = self._read[name]
        places = np.array([at for at, value in enumerate(values) if value is not None], dtype=int)
        found = np.array([values[at] for at in places], dtype=np.float64)
        found[(self.over | self.failed)[places]] = 0.0
        return found, places


def compress_rows(details: Mapping[str, Any], *, dataset: str, seed: int) -> list[Row]:
    """All rows of a run, candidate by candidate."""
    rows: list[Row] = []
    for name, record in details["methods"].items():
        reason = record.get("reason")
        if reason:
            rows.append(Row.missing(f"compress/{name}/{dataset}", str(reason)))
            continue
        notes = {"note": record["note"]} if record.get("note") else {}
        for ratio in details["ratios"]:
            rows += _rows_at(details, (name, float(ratio), dataset), notes, seed=seed)
        rows.append(_timing(details, name, dataset))
    return rows


def _rows_at(
    details: Mapping[str, Any],
    which: tuple[str, float, str],
    notes: Mapping[str, Any],
    *,
    seed: int,
) -> list[Row]:
    name, ratio, dataset = which
    columns = _columns(details, ratio)
    column = columns[name]
    rows = []
    for figure, source in _FIGURES.items():
        row = f"compress/{name}/{dataset}/{figure}_at_{ratio:g}x"
        scores, places = column.scores(source)
        extra = {
            "n": len(places),
            "half": details["half"],
            "achieved_ratio": column.achieved,
            "over_budget": int(column.over.sum()),
            "failed": int(column.failed.sum()),
            "foreign_words": float(column.foreign.mean()),
            "judged_by": _judged_by(details, figure),
            **notes,
        }
        if not len(places):
            rows.append(Row.missing(row, f"no question of {dataset} can be judged by it", **extra))
        elif column.refused > MOST_REFUSED:
            rows.append(Row.missing(row, _refusal(column, ratio), **extra))
        else:
            clusters = [details["keys"][at] for at in places]
            value, bounds = share(scores, clusters, seed=seed)
            control = columns.get(CONTROL)
            if control is not None and name != CONTROL:
                before = _at(control, source, places)
                extra[f"against_{CONTROL}"] = paired(before, scores, clusters, seed=seed)
            rows.append(Row.of(row, value, range=bounds, **extra))
    return rows


def _columns(details: Mapping[str, Any], ratio: float) -> dict[str, Column]:
    tokens = [value or 0.0 for value in unpack(details["tokens"])]
    everyone = {**details.get("control", {}), **details["methods"]}
    return {
        name: Column(record["budgets"][f"{ratio:g}"], tokens, ratio)
        for name, record in everyone.items()
        if "budgets" in record
    }


def _at(control: Column, source: str, places: NDArray[np.intp]) -> NDArray[np.float64]:
    scores, known = control.scores(source)
    by_place = dict(zip(known.tolist(), scores.tolist(), strict=True))
    return np.array([by_place[at] for at in places.tolist()])


def _judged_by(details: Mapping[str, Any], figure: str) -> str:
    if figure == "answer_kept":
        return "an acceptable answer as whole words, any case"
    return ", ".join(f"{kind} ({n})" for kind, n in details["evidence_kinds"].items())


def _refusal(column: Column, ratio: float) -> str:
    parts = []
    if column.over.any():
        parts.append(
            f"over the budget on {int(column.over.sum())} of {column.count} questions: "
            f"{column.achieved:.2f}x instead of {ratio:g}x"
        )
    if column.failed.any():
        parts.append(f"failed on {int(column.failed.sum())} of {column.count} questions")
    return "; ".join(parts)


def _timing(details: Mapping[str, Any], name: str, dataset: str) -> Row:
    record = details["methods"][name]
    row = f"compress/{name}/{dataset}/ms_per_query"
    times = [value for value in unpack(record.get("ms", "")) if value is not None]
    if not times:
        return Row.missing(row, record.get("ms_reason") or "it was not timed")
    value, bounds = spread(times)
    return Row.of(row, value, range=bounds, n=len(times), **details["timed"])


def compress_curves(details: Mapping[str, Any], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Evidence and answers kept against the ratio, one line a method."""
    titles = {"evidence_recall": "evidence recall", "answer_kept": "answer kept"}
    by_name = {row.name: row for row in rows}
    curves = []
    for figure, title in titles.items():
        lines = []
        for method in details["methods"]:
            found = [
                (ratio, row)
                for ratio in details["ratios"]
                for name, row in by_name.items()
                if name.startswith(f"compress/{method}/")
                and name.endswith(f"/{figure}_at_{ratio:g}x")
                and row.value is not None
            ]
            if found:
                lines.append({"name": method, "points": [_point(*one) for one in found]})
        if lines:
            curves.append({"title": f"Compression: {title}", **_axes(title), "lines": lines})
    return curves


def _axes(title: str) -> dict[str, Any]:
    return {
        "x": {"label": "compression", "unit": "x", "scale": "log", "better": "bigger"},
        "y": {"label": title, "unit": "ratio", "scale": "linear", "better": "bigger"},
    }


def _point(ratio: float, row: Row) -> dict[str, Any]:
    point: dict[str, Any] = {"x": ratio, "y": row.value, "label": f"{ratio:g}x", "chosen": False}
    if row.range is not None:
        point["low"], point["high"] = row.range
    return point
