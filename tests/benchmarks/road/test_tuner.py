"""Ladders of settings: what is put on them, in which order, and how many rungs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from ragopt.benchmarks.road import tuner
from ragopt.benchmarks.road.levers import Setting, Workbench
from ragopt.benchmarks.road.tuner import Tuner, in_words
from ragopt.rerank import FixedK

if TYPE_CHECKING:
    from conftest import SmallCorpus


def _tried(*points: tuple[float, float]) -> list[tuple[float, float, Setting]]:
    """Settings told apart by their cut, in the order given."""
    return [
        (tokens, evidence, Setting(cut=FixedK(place + 1)))
        for place, (tokens, evidence) in enumerate(points)
    ]


def _places(settings: list[Setting]) -> list[int]:
    return [each.cut.k - 1 for each in settings if isinstance(each.cut, FixedK)]


def test_settings_come_onto_a_ladder_unless_a_cheaper_one_is_better() -> None:
    tried = _tried((500, 0.99), (700, 0.98), (300, 0.97), (300, 0.95), (200, 0.97), (100, 0.9))
    assert _places([setting for *_, setting in tuner._frontier(tried)]) == [0, 2, 4, 5]
    assert tuner._frontier([]) == []


def test_a_ladder_runs_from_the_most_careful_to_the_cheapest_in_few_rungs() -> None:
    tried = _tried(*[(2000 - 100 * place, 0.99 - 0.01 * place) for place in range(15)])
    assert _places(tuner._thinned(tried)) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert _places(tuner._thinned(tried[:3])) == [0, 1, 2]
    assert tuner._thinned([]) == []


def test_every_setting_tried_is_noted_and_ladders_hold_plausible_ones(
    small: SmallCorpus, make_bench: Callable[[], Workbench]
) -> None:
    told: list[tuple[str, int, int]] = []
    found = Tuner(make_bench(), small.items[:24], seed=0, progress=lambda *step: told.append(step))
    ladder = found.together(Setting(index="compact"), cut=True, compress=True)
    assert ladder
    assert all(setting.index == "compact" for setting in ladder)
    baseline, *points = found.points
    assert (baseline.lever, baseline.setting) == ("baseline", in_words(Setting()))
    for point in found.points:
        assert point.interval is not None
        assert point.interval[0] <= point.evidence_recall <= point.interval[1]
    by_words = {point.setting: point for point in points}
    assert len(by_words) == len(points)
    rungs = [by_words[in_words(setting)] for setting in ladder]
    assert all(rung.passed for rung in rungs)
    tokens = [rung.input_tokens for rung in rungs]
    assert tokens == sorted(tokens, reverse=True)
    assert told[-1] == ("tune combined", len(points), len(points))
    marked = found.marked({"combined": rungs[-1].setting, "baseline": "another"})
    assert [point.setting for point in marked if point.chosen] == [rungs[-1].setting]


def test_where_neither_cut_nor_compression_may_be_used_nothing_is_tried(
    small: SmallCorpus, make_bench: Callable[[], Workbench]
) -> None:
    told: list[tuple[str, int, int]] = []
    found = Tuner(make_bench(), small.items[:4], seed=0, progress=lambda *step: told.append(step))
    assert found.together(Setting(), cut=False, compress=False) == []
    assert (len(found.points), told) == (1, [])


@pytest.mark.parametrize(
    ("cut", "compress"),
    [(True, False), (False, True)],
)
def test_one_lever_alone_is_tuned_without_the_other(
    small: SmallCorpus,
    make_bench: Callable[[], Workbench],
    cut: bool,
    compress: bool,
) -> None:
    found = Tuner(make_bench(), small.items[:6], seed=0, progress=lambda *_: None)
    ladder = found.together(Setting(), cut=cut, compress=compress)
    assert ladder
    assert all((setting.cut is not None) == cut for setting in ladder)
    assert all((setting.keep_score is not None) == compress for setting in ladder)
