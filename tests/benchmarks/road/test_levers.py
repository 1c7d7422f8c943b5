"""Levers: what is measured is what a real pipeline does, and wrong answers are noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ragopt.benchmarks.evidence import EvalItem
from ragopt.benchmarks.road import levers
from ragopt.benchmarks.road.levers import (
    Measured,
    Outcome,
    Setting,
    Workbench,
    trap_hits,
    worse_of,
)
from ragopt.benchmarks.road.traffic import Request, Traffic, zipf_traffic
from ragopt.cache import CacheHit, SemanticCache, normalise
from ragopt.llm import ExtractiveAnswerer
from ragopt.pipeline import Answer, Pipeline
from ragopt.quality import PairedDifference
from ragopt.rerank import FixedK, LargestGap
from ragopt.retrieve import Retriever

if TYPE_CHECKING:
    from conftest import SmallCorpus

MakeBench = Callable[[], Workbench]
TIGHT = Setting(index="compact", cut=FixedK(4), keep_score=0.5)


def _traffic(*requests: tuple[str, str]) -> Traffic:
    return Traffic(requests=tuple(Request(*each) for each in requests), law="by hand", seed=0)


@pytest.fixture(scope="module")
def items(small: SmallCorpus) -> dict[str, EvalItem]:
    """Every third asks for a sentence that shares no word with it and stands in many chunks."""
    texts = {chunk.id: chunk.text for chunk in small.chunks}
    found = {item.id: item for item in small.items[:24]}
    for item in small.items[:24:3]:
        last = texts[min(item.gold)].rsplit(". ", 1)[1]
        found[item.id] = replace(item, answer=last)
    return found


@pytest.fixture(scope="module")
def traffic(items: dict[str, EvalItem]) -> Traffic:
    return zipf_traffic([(item.id, item.wordings) for item in items.values()], 90, seed=2)


def _figures(measured: Measured) -> list[tuple[float, ...]]:
    """Everything but the time."""
    return [
        (o.input_tokens, o.output_tokens, o.usd, o.pages, o.evidence, o.answer, o.hit, o.wrong)
        for o in measured.outcomes
    ]


def _screened(measured: Measured) -> list[tuple[float, ...]]:
    """What settings are screened by: input tokens and quality."""
    return [(o.input_tokens, o.evidence, o.answer) for o in measured.outcomes]


def _judged(answer: Answer, item: EvalItem) -> tuple[float, ...]:
    """An answer's figures, worked out anew."""
    assert answer.context is not None
    whole = " ".join(answer.context.text.split())
    gold = [part.text for part in answer.context.chunks if part.chunk.id in item.gold]
    return (
        answer.usage.input,
        answer.usage.output,
        answer.cost,
        sum(stage.pages_read for stage in answer.stages),
        float(any(item.answer in text for text in gold)),
        float(item.answer in whole),
        False,
        False,
    )


# ------------------------------------------------------------------------------- without cache


def test_the_baseline_is_the_ten_nearest_of_hnsw_and_nothing_else(
    make_bench: MakeBench, items: dict[str, EvalItem], traffic: Traffic
) -> None:
    bench = make_bench()
    plain = Pipeline(
        Retriever(chunks=bench.chunks, embedder=bench.embedder, index=bench.indexes["hnsw"], k=10),
        ExtractiveAnswerer(),
        billing=bench.billing,
    )
    expected = [_judged(plain.ask(each.text), items[each.item]) for each in traffic.requests]
    measured = bench.run(Setting(), traffic, items)
    assert _figures(measured) == expected
    assert measured.items == [request.item for request in traffic.requests]
    assert min(measured.column("input_tokens")) > 300
    assert measured.cache_bytes == 0


@pytest.mark.parametrize(
    "setting",
    [TIGHT, Setting(cut=LargestGap(k_min=3, k_max=9)), Setting(index="compact", keep_score=0.3)],
    ids=["tight", "gap", "compressed"],
)
def test_a_run_and_a_screening_are_what_a_pipeline_does_request_by_request(
    make_bench: MakeBench, items: dict[str, EvalItem], traffic: Traffic, setting: Setting
) -> None:
    bench = make_bench()
    expected = [
        _judged(bench.pipeline(setting).ask(request.text), items[request.item])
        for request in traffic.requests
    ]
    measured = make_bench().run(setting, traffic, items)
    assert _figures(measured) == expected
    assert _screened(bench.screen(setting, traffic, items)) == _screened(measured)
    # Further settings meet what the first one left behind.
    for cut in (FixedK(2), None):
        other = replace(setting, cut=cut, keep_score=None)
        fresh = _screened(make_bench().run(other, traffic, items))
        assert _screened(bench.screen(other, traffic, items)) == fresh != _screened(measured)
    if setting == TIGHT:
        assert 0.5 < measured.mean("evidence") < 1  # so that quality, too, was compared


def test_equal_requests_are_answered_once_and_all_counted(
    make_bench: MakeBench, items: dict[str, EvalItem], traffic: Traffic
) -> None:
    steps = []
    measured = make_bench().run(TIGHT, traffic, items, lambda: steps.append(1))
    first = {}
    for request, outcome in zip(traffic.requests, measured.outcomes, strict=True):
        assert first.setdefault(request.text, outcome) is outcome
    assert len(steps) == len(measured.outcomes) == 90 > len(first)


def test_the_same_words_for_two_questions_are_judged_by_each(
    make_bench: MakeBench, small: SmallCorpus
) -> None:
    right = small.items[0]
    wrong = replace(right, id="other", answer="no such words")
    both = _traffic((right.wordings[0], right.id), (right.wordings[0], wrong.id))
    for answer_all in (make_bench().run, make_bench().screen):
        measured = answer_all(Setting(), both, {right.id: right, wrong.id: wrong})
        assert list(measured.column("evidence")) == [1.0, 0.0]


def test_resident_bytes_are_index_and_word_statistics(make_bench: MakeBench) -> None:
    bench = make_bench()
    hnsw, compact = (bench.indexes[name].footprint() for name in ("hnsw", "compact"))
    assert bench.ram_bytes(Setting()) == hnsw.ram_bytes > compact.ram_bytes
    assert bench.ram_bytes(TIGHT) == compact.ram_bytes + bench.statistics.ram_bytes
    assert bench.ram_bytes(replace(TIGHT, cut=None)) == compact.ram_bytes
    assert bench.disk_bytes(TIGHT) == compact.disk_bytes > 0


# ------------------------------------------------------------------------------------ the cache


@pytest.mark.parametrize("road", [Setting(), TIGHT], ids=["baseline", "tight"])
def test_repeats_are_hits_that_cost_nothing_and_are_as_good_as_the_first(
    make_bench: MakeBench, items: dict[str, EvalItem], traffic: Traffic, road: Setting
) -> None:
    alone = make_bench().run(road, traffic, items)
    steps = []
    cached = make_bench().run(replace(road, cache="exact"), traffic, items, lambda: steps.append(1))
    seen: set[str] = set()
    for request, bare, outcome in zip(
        traffic.requests, alone.outcomes, cached.outcomes, strict=True
    ):
        assert outcome.hit == (normalise(request.text) in seen)
        if outcome.hit:
            assert (outcome.input_tokens, outcome.output_tokens, outcome.usd) == (0, 0, 0)
        else:
            assert outcome.usd == bare.usd > 0
            assert outcome.input_tokens == bare.input_tokens
        assert (outcome.evidence, outcome.answer) == (bare.evidence, bare.answer)
        assert not outcome.wrong
        seen.add(normalise(request.text))
    assert cached.usd_per_request == sum(o.usd for o in cached.outcomes) / Decimal(90)
    assert 0 < cached.usd_per_request < alone.usd_per_request
    assert len(steps) == 90


def test_the_semantic_cache_serves_rephrased_questions_too_and_its_vectors_take_ram(
    make_bench: MakeBench, items: dict[str, EvalItem], traffic: Traffic
) -> None:
    bench = make_bench()
    exact = bench.run(Setting(cache="exact"), traffic, items)
    semantic = bench.run(Setting(cache="semantic"), traffic, items)
    assert semantic.mean("hit") > exact.mean("hit")
    assert semantic.mean("wrong") == 0
    assert semantic.by_question("evidence") == exact.by_question("evidence") == 1.0
    misses = 90 - int(semantic.column("hit").sum())
    assert semantic.cache_bytes == misses * (4 * bench.embedder.dim + 8)
    assert exact.cache_bytes == 0


def test_answers_given_to_other_questions_are_worth_nothing(
    make_bench: MakeBench,
    items: dict[str, EvalItem],
    traffic: Traffic,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(levers, "SemanticCache", partial(SemanticCache, guards=()))
    bench = make_bench()
    loose = bench.run(Setting(cache="semantic", threshold=0.05), traffic, items)
    asked: set[str] = set()
    swapped = 0
    for request, outcome in zip(traffic.requests, loose.outcomes, strict=True):
        if outcome.hit and request.item not in asked:  # it can only be another question's
            swapped += 1
            assert outcome.wrong
        if outcome.wrong:
            assert outcome.hit
            assert (outcome.evidence, outcome.answer) == (0.0, 0.0)
        asked.add(request.item)
    assert swapped > 10
    quality = loose.against(bench.run(Setting(), traffic, items))
    assert worse_of(quality)[1].upper < -0.2


class FirstAnswer:
    """A cache that serves the first answer for ever, honest or not about whose it was."""

    def __init__(self, *, honest: bool) -> None:
        self.honest = honest
        self.first: tuple[str, str] | None = None

    def get(self, question: str, **_: Any) -> CacheHit | None:
        if self.first is None:
            return None
        asked, answer = self.first
        shown = asked if self.honest else question
        return CacheHit(answer, "semantic", 1.0, 1, shown, 0.0, MappingProxyType({}))

    def put(self, question: str, answer: str, **_: Any) -> int:
        self.first = (question, answer)
        return 1

    def __len__(self) -> int:
        return int(self.first is not None)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("honest", [True, False])
def test_a_swapped_answer_is_noticed(
    make_bench: MakeBench,
    items: dict[str, EvalItem],
    traffic: Traffic,
    monkeypatch: pytest.MonkeyPatch,
    honest: bool,
) -> None:
    monkeypatch.setattr(levers, "SemanticCache", lambda *_, **__: FirstAnswer(honest=honest))
    measured = make_bench().run(Setting(cache="semantic"), traffic, items)
    assert measured.column("hit").sum() == 89
    first = traffic.requests[0]
    for request, outcome in zip(traffic.requests[1:], measured.outcomes[1:], strict=True):
        same = request.item == first.item if honest else request.text == first.text
        assert outcome.wrong == (not same)
        assert outcome.evidence == outcome.answer == float(same)


def test_a_wrong_answer_from_a_question_without_quotation_still_counts_as_lost(
    make_bench: MakeBench, small: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levers, "SemanticCache", lambda *_, **__: FirstAnswer(honest=True))
    silent, quoted = replace(small.items[0], answer=""), small.items[2]
    stream = _traffic(
        (silent.wordings[0], silent.id),
        (quoted.wordings[0], quoted.id),
        (silent.wordings[0], silent.id),
    )
    measured = make_bench().run(
        Setting(cache="semantic"), stream, {silent.id: silent, quoted.id: quoted}
    )
    assert list(measured.column("wrong")) == [0, 1, 0]
    assert list(measured.column("evidence")) == [1, 0, 1]
    np.testing.assert_array_equal(measured.column("answer"), [np.nan, 0, np.nan])


# -------------------------------------------------------------------------------------- figures


def _outcome(evidence: float, answer: float = np.nan) -> Outcome:
    return Outcome(100, 10, Decimal("0.002"), 3.0, 0, evidence, answer)


def _measured(*values: tuple[str, float, float]) -> Measured:
    outcomes = [_outcome(evidence, answer) for _, evidence, answer in values]
    return Measured(Setting(), outcomes, [item for item, _, _ in values])


def test_differences_are_clustered_by_question() -> None:
    """Nine requests for a question that is lost weigh as much as one for another that is kept."""
    before = _measured(*[("a", 1, 1)] * 9, ("b", 1, 1))
    after = _measured(*[("a", 0, 1)] * 9, ("b", 1, 0))
    quality = after.against(before, confidence=0.9, seed=5)
    assert quality["evidence"].mean == quality["answer"].mean == -0.5
    assert (quality["evidence"].n, quality["evidence"].worse) == (2, 1)
    assert (quality["evidence"].confidence, quality["evidence"].seed) == (0.9, 5)
    assert after.by_question("evidence") == 0.5
    assert after.mean("evidence") == pytest.approx(0.1)


def test_questions_without_quotation_say_nothing_about_answers() -> None:
    before = _measured(("a", 1, np.nan), ("b", 1, 1), ("c", 1, 1))
    after = _measured(("a", 0, np.nan), ("b", 1, 0), ("c", 1, 1))
    quality = after.against(before)
    assert (quality["evidence"].n, quality["answer"].n) == (3, 2)
    assert quality["answer"].mean == -0.5
    assert after.by_question("answer") == 0.5
    none = _measured(("a", 1, np.nan))
    assert set(none.against(none)) == {"evidence"}
    assert np.isnan(none.by_question("answer"))


def test_the_worse_of_two_qualities_is_the_one_with_the_lower_bound() -> None:
    def found(mean: float, lower: float) -> PairedDifference:
        return PairedDifference(
            mean=mean, lower=lower, upper=0, n=9, better=0, worse=1, confidence=0.95, seed=0
        )

    differences = {"evidence": found(-0.1, -0.2), "answer": found(-0.05, -0.3)}
    assert worse_of(differences) == ("answer", differences["answer"])


# ---------------------------------------------------------------------------------------- traps


def test_no_trap_is_walked_into_with_guards(make_bench: MakeBench, small: SmallCorpus) -> None:
    trapped = [item for item in small.items if item.traps]
    assert len(trapped) == 18
    bench = make_bench()
    assert trap_hits(bench, Setting(cache="exact"), trapped) == []
    assert trap_hits(bench, Setting(cache="semantic"), trapped) == []


def test_traps_are_tried_both_ways_round(
    make_bench: MakeBench, small: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levers, "SemanticCache", partial(SemanticCache, guards=()))
    item = next(item for item in small.items if item.traps)
    question, trap = item.wordings[0], item.traps[0]
    loose = Setting(cache="semantic", threshold=0.05)
    served = trap_hits(make_bench(), loose, [item, replace(small.items[2], traps=())])
    assert served == [(question, trap), (trap, question)]


@pytest.mark.parametrize("given", ["question", "trap"])
def test_a_cache_that_is_wrong_one_way_round_only_is_noticed(
    make_bench: MakeBench, small: SmallCorpus, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    item = next(item for item in small.items if item.traps)
    question, trap = item.wordings[0], item.traps[0]
    cached, asked = (question, trap) if given == "question" else (trap, question)

    class OneWay(FirstAnswer):
        def get(self, text: str, **_: Any) -> CacheHit | None:
            return super().get(text) if self.first and self.first[0] == cached else None

    monkeypatch.setattr(levers, "SemanticCache", lambda *_, **__: OneWay(honest=True))
    assert trap_hits(make_bench(), Setting(cache="semantic"), [item]) == [(cached, asked)]
