"""Conformal floors beside tuned cuts: thresholds of the score, found by promise, not by trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.context.tightening import CUTS, Ranked, Table
from ragopt.chunk import Hit
from ragopt.rerank import ConformalFloor, Evidence

__all__ = ["CUT_NAMES", "FloorTable", "table_of"]

_FLOORS = {
    # Mean recall over calibrations, and of this one.
    "conformal": None,
    "conformal-sure": 0.95,
}
"""Candidate to the confidence of its promise."""

CUT_NAMES = (*CUTS, *_FLOORS)


@dataclass(frozen=True, slots=True)
class _From:
    """Keeps what scores at least so much; minus infinity keeps all."""

    score: float

    def keep(self, hits: Sequence[Hit]) -> int:
        """How many hits, which come best first, reach the score."""
        return sum(hit.score >= self.score for hit in hits)

    def __str__(self) -> str:
        return f"score from {self.score:.3g}" if np.isfinite(self.score) else "all"


class FloorTable(Table):
    """Thresholds of the score, of which `ragopt.rerank.ConformalFloor` chooses.

    The floor is one of mean recall of the evidence that is among the candidates. The scores of all
    evidence are the thresholds there are; which of them is taken hangs on the queries tuned on.

    Args:
        ranked: the queries.
        keys: wording of each query.
        confidence: of the promise; on average over calibrations without.
    """

    def __init__(
        self, ranked: Sequence[Ranked], keys: Sequence[str], confidence: float | None
    ) -> None:
        self._found = [_gold_scores(one) for one in ranked]
        self._steps = np.unique(np.concatenate([np.empty(0), *self._found]))
        cuts = [_From(float(score)) for score in (-np.inf, *self._steps)]
        super().__init__(cuts, ranked, keys)
        self._confidence = confidence

    def _cheapest(self, places: NDArray[np.intp], floor: float) -> tuple[int, bool]:
        evidence = [
            Evidence(tuple(self._probabilities(self._found[place])), len(self._found[place]))
            for place in places
            if len(self._found[place])
        ]
        if not evidence or floor >= 1:
            return 0, not evidence
        fitted = ConformalFloor.fit(
            evidence,
            alpha=1 - floor,
            promise="mean recall",
            of="found",
            confidence=self._confidence,
        )
        return round(fitted.threshold * len(self._steps)), fitted.certificate.holds

    def _probabilities(self, scores: NDArray[np.float64]) -> Iterator[float]:
        """Scores as numbers from 0 to 1 in the same order: all that a floor looks at."""
        for place in np.searchsorted(self._steps, scores):
            yield float(place + 1) / len(self._steps)


def table_of(name: str, ranked: Sequence[Ranked], keys: Sequence[str]) -> Table:
    """The settings of one of `CUT_NAMES`, for some queries."""
    if name in CUTS:
        return Table(CUTS[name](), ranked, keys)
    return FloorTable(ranked, keys, _FLOORS[name])


def _gold_scores(one: Ranked) -> NDArray[np.float64]:
    """Scores of a query's evidence among its candidates."""
    is_gold = np.diff(one.gold) > 0
    scores = np.array([hit.score for hit in one.hits], dtype=np.float64)
    return scores[is_gold]
