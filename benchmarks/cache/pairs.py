"""The protocol of labelled pairs: one question stored, the other asked, nothing else in the cache.

A policy is opened at the lowest threshold of interest and says of each pair at which similarity it
serves; half of the pairs fit a threshold, the other half reports. What a policy says is not taken
on trust: on a sample it is opened again at the thresholds that figures are reported for, and must
then serve what the scores say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache.figures import (
    MILLION,
    NOT_SERVED,
    Counted,
    count,
    enough_hits,
    lowest_threshold,
    millionths,
)
from ragopt.benchmarks.cache.honesty import Refused, Tokens
from ragopt.benchmarks.cache.policies import Policy, Served
from ragopt.benchmarks.cache.split import Halves, check_apart
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.benchmarks.datasets.types import LabelledPair
from ragopt.cache.policies import certified_steps

__all__ = [
    "FLOOR",
    "MAX_ERROR",
    "PRECISIONS",
    "Judged",
    "OperatingPoint",
    "certified_point",
    "check_scores",
    "curve",
    "judge",
    "operating_point",
    "score_pairs",
]

FLOOR = 0.3
"""Cosine below which no cache would serve; scores start here."""

PRECISIONS = (0.95, 0.9, 0.85)
MAX_ERROR = 0.1
"""Share of wrong hits that is certified."""

_CERTIFIED_GRID = tuple(step / 200 for step in range(200, 59, -1))  # scores, 1 down to .3
_GRID = tuple(threshold / 1000 for threshold in (*range(500, 900, 25), *range(900, 1000, 5), 1000))
_ROUNDING = 300  # millionths: float32 here, float32 of another order of addition there
_CHECKED = 40  # pairs to check on each side of a threshold, and as many at random


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores (n,) of one half's pairs in millionths, and whether the two ask the same."""

    scores: NDArray[np.int32]
    same: NDArray[np.bool_]

    def at(self, threshold: int) -> Counted:
        """Hits and wrong hits at a threshold in millionths."""
        return count(self.scores, self.same, threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A threshold fitted to a precision, and what it does on other pairs.

    Args:
        precision: asked for.
        threshold: millionths; None where no threshold reached it.
        fit: what it did where it was fitted.
        report: what it did on the other half.
        certified: the fit bounds the error at 95 % confidence.
    """

    precision: float
    threshold: int | None
    fit: Counted | None = None
    report: Counted | None = None
    certified: bool = False

    @property
    def reason(self) -> str:
        """Why there is no threshold."""
        if self.certified:
            return f"no threshold certified at {1 - self.precision:.0%} wrong hits"
        return (
            f"precision {self.precision:g} never reached with at least "
            f"{enough_hits(self.precision)} hits on the half that fits"
        )

    def to_dict(self) -> dict[str, Any]:
        """Threshold as a cosine, figures of both halves."""
        if self.threshold is None or self.fit is None or self.report is None:
            return {"precision": self.precision, "threshold": None, "reason": self.reason}
        return {
            "precision": self.precision,
            "threshold": self.threshold / MILLION,
            "fit": self.fit.to_dict(),
            "report": self.report.to_dict(),
        }


def score_pairs(
    policy: Policy,
    pairs: Sequence[LabelledPair],
    table: VectorTable,
    progress: Callable[[int], None],
) -> NDArray[np.int32]:
    """Millionths of similarity at which each pair is served; `NOT_SERVED` where it is not.

    Raises:
        Refused: an answer came back that was not the one just stored.
    """
    scores = np.full(len(pairs), NOT_SERVED, dtype=np.int32)
    for number, pair in enumerate(pairs):
        served = _asked(policy, pair)
        if served is not None:
            similarity = served.similarity
            if similarity is None:
                similarity = table.cosine(pair.text_a, pair.text_b)
            scores[number] = millionths(similarity)
        if number % 256 == 0:
            progress(number)
    return scores


def check_scores(
    policy: Policy,
    pairs: Sequence[LabelledPair],
    scores: NDArray[np.int32],
    threshold: int,
    *,
    seed: int,
) -> int:
    """Ask a policy opened at a threshold (millionths) again, on a sample of pairs.

    Returns:
        How many pairs were asked.

    Raises:
        Refused: it serves a pair that its score keeps from it, or does not serve one that it must.
    """
    distance = np.abs(scores - threshold)
    clear = np.flatnonzero(distance > _ROUNDING)
    near = clear[np.argsort(distance[clear], kind="stable")]
    above, below = near[scores[near] > threshold], near[scores[near] < threshold]
    drawn = np.random.default_rng(seed).permutation(clear)[:_CHECKED]
    sample = np.unique(np.concatenate([above[:_CHECKED], below[:_CHECKED], drawn]))
    for place in sample:
        served = _asked(policy, pairs[place]) is not None
        if served != bool(scores[place] >= threshold):
            raise Refused(
                f"its similarity does not decide: at threshold {threshold / MILLION:g} it "
                f"{'served' if served else 'did not serve'} {pairs[place].text_b[:60]!r}, of "
                f"similarity {scores[place] / MILLION:g} to what was stored"
            )
    return len(sample)


def judge(
    pairs: Sequence[LabelledPair],
    split: Halves,
    places: NDArray[np.int64],
    scores: NDArray[np.int32],
) -> tuple[Judged, Judged]:
    """What the half that fits and the half that reports were scored.

    Args:
        pairs: all of them.
        split: of all of them.
        places: (n,) of the pairs that were scored, ascending.
        scores: (n,) of these.

    Raises:
        InputError: a question is in both halves, or one of them was not asked at all.
    """
    fit = np.isin(places, split.fit)
    check_apart(pairs, Halves(places[fit], places[~fit]))
    same = np.array([pairs[place].same for place in places], dtype=bool)
    return Judged(scores[fit], same[fit]), Judged(scores[~fit], same[~fit])


def operating_point(fit: Judged, report: Judged, precision: float) -> OperatingPoint:
    """Fit the lowest threshold with a precision on one half; report on the other."""
    threshold = lowest_threshold(fit.scores, fit.same, precision)
    if threshold is None:
        return OperatingPoint(precision=precision, threshold=None)
    return OperatingPoint(
        precision=precision,
        threshold=threshold,
        fit=fit.at(threshold),
        report=report.at(threshold),
    )


def certified_point(fit: Judged, report: Judged) -> OperatingPoint:
    """The lowest threshold whose error one half bounds at 95 % confidence, on the other half."""
    scores = np.where(fit.scores == NOT_SERVED, -np.inf, fit.scores / MILLION)
    steps = certified_steps(scores, fit.same, max_error=MAX_ERROR, grid=_CERTIFIED_GRID)
    chosen = [step.threshold for step in steps if step.certified]
    if not chosen:
        return OperatingPoint(precision=1 - MAX_ERROR, threshold=None, certified=True)
    threshold = millionths(chosen[-1])
    return OperatingPoint(
        precision=1 - MAX_ERROR,
        threshold=threshold,
        fit=fit.at(threshold),
        report=report.at(threshold),
        certified=True,
    )


def curve(report: Judged) -> list[dict[str, Any]]:
    """Figures of the half that reports at a fixed grid of thresholds, ascending."""
    return [
        {"threshold": threshold, **report.at(millionths(threshold)).to_dict()}
        for threshold in _GRID
    ]


def _asked(policy: Policy, pair: LabelledPair) -> Served | None:
    policy.clear()
    tokens = Tokens()
    policy.put(pair.text_a, tokens.new(pair.text_a, 0))
    served = policy.get(pair.text_b)
    if served is not None:
        tokens.place(served.answer, {0: pair.text_a})
    return served
