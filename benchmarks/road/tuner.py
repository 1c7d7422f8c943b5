"""Ladders of settings, from the most careful to the cheapest, found on the tuning questions.

The tuning questions only put settings in order. Which rung is taken is decided on other
questions, by going down while quality holds (`ragopt.benchmarks.road.savings`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.evidence import EvalItem
from ragopt.benchmarks.road.levers import BASELINE_K, CANDIDATES, Measured, Setting, Workbench
from ragopt.benchmarks.road.savings_report import HELD_POINTS, TuningPoint
from ragopt.benchmarks.road.traffic import Request, Traffic
from ragopt.quality import mean_lower
from ragopt.rerank import Cut, FixedK, LargestGap, ScoreRatio

if TYPE_CHECKING:
    from ragopt.corpus import Progress

__all__ = ["INDEXES", "Tuner", "in_words", "tuning_traffic"]

INDEXES = {"hnsw": "hnsw(m=16)", "compact": "rabitq(bits=1)+rescore(f16)"}
"""Specs of the baseline's index and of the compact one."""

_WORDINGS = 2  # of each question: enough to put settings in order
_RUNGS = 8

_COARSE_CUTS: tuple[Cut, ...] = tuple(
    ScoreRatio(ratio=ratio, k_max=BASELINE_K) for ratio in (0.6, 0.7, 0.75, 0.8)
)
_CUTS: tuple[Cut, ...] = (
    *_COARSE_CUTS,
    *(ScoreRatio(ratio=ratio, k_max=BASELINE_K) for ratio in (0.5, 0.725, 0.775, 0.85)),
    *(FixedK(k) for k in (8, 6, 5, 4)),
    LargestGap(k_min=3, k_max=9),
)
_KEEP_SCORES = (0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, 0.3)
_COARSE_SCORES = (0.1, 0.2, 0.25, 0.3)  # where each is tried with every cut


def tuning_traffic(items: Sequence[EvalItem]) -> Traffic:
    """Some wordings of every question, once each."""
    requests = [Request(text, item.id) for item in items for text in item.wordings[:_WORDINGS]]
    return Traffic(requests=tuple(requests), law="for tuning", seed=0)


class Tuner:
    """Tries settings on the tuning questions.

    Args:
        bench: runs them.
        items: the tuning questions.
        seed: of the bounds.
        progress: told of every setting.
        coarse: try fewer settings.

    Attributes:
        points: every setting tried, the baseline first.
    """

    def __init__(
        self,
        bench: Workbench,
        items: Sequence[EvalItem],
        *,
        seed: int,
        progress: Progress,
        coarse: bool = False,
    ) -> None:
        self._bench = bench
        self._cuts = _COARSE_CUTS if coarse else _CUTS
        self._scores = _COARSE_SCORES if coarse else _KEEP_SCORES
        self._items: Mapping[str, EvalItem] = {item.id: item for item in items}
        self._seed = seed
        self._progress = progress
        self.traffic = tuning_traffic(items)
        self._before = bench.screen(Setting(), self.traffic, self._items)
        self.points: list[TuningPoint] = []
        self._note("baseline", Setting(), self._before, passed=True)

    def rerank(self) -> list[Setting]:
        """The ladder of cuts."""
        return self._ladder("rerank", [Setting(cut=cut) for cut in self._cuts])

    def compress(self) -> list[Setting]:
        """The ladder of compressions."""
        return self._ladder("compress", [Setting(keep_score=score) for score in self._scores])

    def together(self, bare: Setting, *, cut: bool, compress: bool) -> list[Setting]:
        """The ladder of cut and compression together, as far as they may be used."""
        alone = _COARSE_CUTS if compress else self._cuts
        cuts: Sequence[Cut | None] = alone if cut else (None,)
        scores = (None, *_COARSE_SCORES) if compress else (None,)
        settings = [replace(bare, cut=each, keep_score=score) for each in cuts for score in scores]
        return self._ladder("combined", [each for each in settings if each != bare])

    def marked(self, chosen: Mapping[str, str]) -> tuple[TuningPoint, ...]:
        """All points, those marked whose lever chose their setting."""
        return tuple(
            replace(point, chosen=chosen.get(point.lever) == point.setting) for point in self.points
        )

    def _ladder(self, lever: str, settings: Sequence[Setting]) -> list[Setting]:
        """Undominated settings that may hold, the most careful first, thinned out."""
        if not settings:
            return []
        tried = []
        for number, setting in enumerate(settings):
            self._progress(f"tune {lever}", number, len(settings))
            measured = self._bench.screen(setting, self.traffic, self._items)
            quality = measured.against(self._before, seed=self._seed)
            plausible = min(each.mean for each in quality.values()) > HELD_POINTS
            self._note(lever, setting, measured, passed=plausible)
            if plausible:
                point = self.points[-1]
                tried.append((point.input_tokens, point.evidence_recall, setting))
        self._progress(f"tune {lever}", len(settings), len(settings))
        return _thinned(_frontier(tried))

    def _note(self, lever: str, setting: Setting, measured: Measured, *, passed: bool) -> None:
        self.points.append(
            TuningPoint(
                lever=lever,
                setting=in_words(setting),
                input_tokens=measured.mean("input_tokens"),
                evidence_recall=measured.by_question("evidence"),
                passed=passed,
                interval=_interval(measured.questions("evidence")),
            )
        )


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Both ends of a mean of values in [0, 1], each at 95 % confidence."""
    return mean_lower(values), 1 - mean_lower(1 - values)


_Tried = tuple[float, float, Setting]


def _frontier(tried: Iterable[_Tried]) -> list[_Tried]:
    """Settings that no cheaper one beats in evidence, most tokens first.

    Equally good ones stay: what these questions cannot tell apart, others may.
    """
    best: list[_Tried] = []
    for point in sorted(tried, key=lambda each: (each[0], -each[1])):
        if not best or point[1] >= best[-1][1]:
            best.append(point)
    return best[::-1]


def _thinned(frontier: Sequence[_Tried]) -> list[Setting]:
    """At most a handful of rungs from the most careful to the cheapest, evenly spread."""
    places = np.unique(np.linspace(0, len(frontier) - 1, _RUNGS).round().astype(int))
    return [frontier[place][2] for place in places] if frontier else []


def in_words(setting: Setting) -> str:
    """A setting as a person would say it."""
    parts = [INDEXES[setting.index]]
    if setting.cut is None:
        parts.append(f"top {BASELINE_K}")
    else:
        parts.append(f"rerank {CANDIDATES}, keep {setting.cut}")
    if setting.keep_score is not None:
        parts.append(f"keep sentences at {setting.keep_score:.0%} of the best")
    if setting.cache == "semantic":
        parts.append(f"exact and semantic cache at {setting.threshold:g}")
    elif setting.cache == "exact":
        parts.append("exact cache")
    return ", ".join(parts)
