"""Speed at equal recall, as an index result tells it: between its points, never measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragopt.report.figures import DASH, clean

if TYPE_CHECKING:
    from ragopt.benchmarks.rows import BenchResult

__all__ = ["NOTE", "TITLE", "EqualRecall", "equal_recall"]

TITLE = "Queries a second at equal recall"
NOTE = "One thread, warm; interpolated between the two nearest points, not measured."


@dataclass(frozen=True, slots=True)
class EqualRecall:
    """A table of candidates by recall.

    Args:
        recalls: ascending.
        qps: of each candidate, by recall; a recall that its points do not enclose is missing.
    """

    recalls: tuple[float, ...]
    qps: Mapping[str, Mapping[float, float]]

    @property
    def heads(self) -> list[str]:
        """Of the columns."""
        return [f"at {recall:.2f}" for recall in self.recalls]

    def cells(self, candidate: str) -> list[str]:
        """Of one candidate's row, in the order of the recalls."""
        known = self.qps[candidate]
        return [f"{known[each]:,.0f}" if each in known else DASH for each in self.recalls]


def equal_recall(result: BenchResult) -> EqualRecall | None:
    """The table of a result; None where it has none. What is no figure is passed over."""
    found: dict[str, dict[float, float]] = {}
    for family, recall, qps in _figures(result.details.get("at_equal_recall")):
        found.setdefault(family, {})[recall] = qps
    if not found:
        return None
    return EqualRecall(tuple(sorted({each for known in found.values() for each in known})), found)


def _figures(given: Any) -> Iterator[tuple[str, float, float]]:
    for each in given if isinstance(given, (list, tuple)) else ():
        if not isinstance(each, Mapping):
            continue
        recall, qps = _number(each.get("recall")), _number(each.get("qps"))
        if math.isfinite(recall) and math.isfinite(qps):
            yield clean(each.get("family", "")), recall, qps


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
