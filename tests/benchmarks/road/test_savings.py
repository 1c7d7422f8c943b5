"""The savings report: figures that add up, honest questions, and levers that lose quality."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ragopt import indexes
from ragopt.benchmarks.evidence import split
from ragopt.benchmarks.road import levers, savings
from ragopt.benchmarks.road.levers import Measured, Outcome, Setting, Workbench
from ragopt.benchmarks.road.savings import measure_savings
from ragopt.benchmarks.road.savings_report import (
    HELD_POINTS,
    LeverResult,
    Load,
    SavingsOptions,
    SavingsReport,
)
from ragopt.benchmarks.road.traffic import Request, Traffic, zipf_traffic
from ragopt.cache import SemanticCache
from ragopt.compress import Compressed, Extractive
from ragopt.cost.infrastructure import Infrastructure
from ragopt.errors import InputError
from ragopt.pipeline import Billing
from ragopt.rerank import FixedK

if TYPE_CHECKING:
    from conftest import SmallCorpus

LEVERS = ("index", "rerank", "compress", "exact_cache", "semantic_cache")
ROWS = (*LEVERS, "combined", "combined_without_cache")
FIGURES = ("usd_ratio", "input_tokens_ratio", "ram_ratio", "quality_diff", "quality_diff_lower")
USAGE = ("input_tokens", "output_tokens", "ms", "ram_bytes_per_vector", "disk_bytes_per_vector")
LOAD = Load(questions_per_month=250_000, vectors=3_000_000)
# With 24 questions a bound can only reach -2 points at a low confidence.
CONFIDENCE = 0.3
OPTIONS = SavingsOptions(load=LOAD, requests=120, tuning_ratio=0.5, confidence=CONFIDENCE, seed=3)


@dataclass
class Run:
    """A report, and what was seen on the way to it."""

    report: SavingsReport
    screened: list[Traffic] = field(default_factory=list)
    replayed: list[Traffic] = field(default_factory=list)
    progress: list[tuple[str, int, int]] = field(default_factory=list)

    def lever(self, name: str) -> LeverResult:
        results = (*self.report.levers, self.report.combined, self.report.without_cache)
        return next(result for result in results if result.name == name)


def _measured(
    small: SmallCorpus, patch: pytest.MonkeyPatch, options: SavingsOptions = OPTIONS
) -> Run:
    seen = Run.__new__(Run)
    seen.screened, seen.replayed, seen.progress = [], [], []
    for name, traffics in (("screen", seen.screened), ("run", seen.replayed)):
        patch.setattr(Workbench, name, _noting(getattr(Workbench, name), traffics))
    seen.report = measure_savings(
        small.chunks,
        small.items[:48],
        small.embedder,
        vectors=small.vectors,
        billing=Billing("gpt-5-mini"),
        options=options,
        about={"corpus": "small"},
        progress=lambda *step: seen.progress.append(step),
    )
    return seen


def _noting(method: Callable[..., Measured], traffics: list[Traffic]) -> Callable[..., Measured]:
    def noted(self: Workbench, setting: Setting, traffic: Traffic, *rest: Any) -> Measured:
        traffics.append(traffic)
        return method(self, setting, traffic, *rest)

    return noted


@pytest.fixture(scope="module")
def run(small: SmallCorpus) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        return _measured(small, patch)


@pytest.fixture(scope="module")
def rows(run: Run) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in run.report.rows()}


# ----------------------------------------------------------------------------------------- rows


def test_there_is_exactly_one_row_a_lever_and_figure(run: Run) -> None:
    names = [row["name"] for row in run.report.rows()]
    assert names == [f"savings/{lever}/{figure}" for lever in ROWS for figure in FIGURES]
    assert all(set(row) == {"name", "unit", "value", "range", "extra"} for row in run.report.rows())


@pytest.mark.parametrize("name", ROWS)
def test_rows_agree_with_the_figures_they_rest_on(
    run: Run, rows: dict[str, dict[str, Any]], name: str
) -> None:
    lever, before = run.lever(name), run.report.baseline
    total = [bill.tokens + bill.ram + bill.disk + bill.vcpu for bill in (lever.bill, before.bill)]
    ratios = {
        "usd_ratio": total[0] / total[1],
        "input_tokens_ratio": lever.input_tokens / before.input_tokens,
        "ram_ratio": lever.ram_bytes_per_vector / before.ram_bytes_per_vector,
    }
    for figure, expected in ratios.items():
        assert rows[f"savings/{name}/{figure}"]["value"] == pytest.approx(float(expected))
    quality = min(lever.differences.values(), key=lambda difference: difference.lower)
    usd = rows[f"savings/{name}/usd_ratio"]["extra"]
    assert sum(usd["usd_per_1000"].values()) == pytest.approx(float(lever.usd_per_1000))
    assert usd["usage"] == {kind: getattr(lever, kind) for kind in USAGE}
    row = rows[f"savings/{name}/quality_diff"]
    assert row["value"] == quality.mean
    assert row["range"] == [quality.lower, quality.upper]
    assert rows[f"savings/{name}/quality_diff_lower"]["value"] == quality.lower
    assert row["extra"] == {
        "setting": lever.setting,
        "on": lever.on,
        "held": quality.lower > HELD_POINTS,
    }


def test_on_this_corpus_every_lever_saves_and_holds(run: Run) -> None:
    """Or the tests below would say little."""
    assert [lever.name for lever in run.report.levers] == list(LEVERS)
    for name in ROWS:
        assert run.lever(name).on
        assert run.lever(name).held
        assert run.lever(name).reason.startswith("quality held")
    ratio = run.report.ratio
    assert ratio(run.lever("index"), "ram_bytes_per_vector") < 0.6
    assert ratio(run.lever("rerank"), "input_tokens") < 0.7
    assert ratio(run.lever("compress"), "input_tokens") < 0.9
    assert ratio(run.lever("exact_cache"), "input_tokens") < 0.9
    assert run.lever("semantic_cache").hit_ratio > run.lever("exact_cache").hit_ratio > 0
    least = min(lever.usd_per_1000 for lever in run.report.levers)
    assert run.report.combined.usd_per_1000 < least
    assert run.report.combined.usd_per_1000 < run.report.without_cache.usd_per_1000
    assert run.report.without_cache.hit_ratio == 0


@pytest.mark.parametrize("name", ["baseline", *ROWS])
def test_bills_add_up(run: Run, name: str) -> None:
    lever = run.report.baseline if name == "baseline" else run.lever(name)
    bill, questions = lever.bill, LOAD.questions_per_month
    price = Billing("gpt-5-mini").price
    assert price is not None
    a_question = lever.input_tokens * float(price.input) + lever.output_tokens * float(price.output)
    assert float(bill.tokens) == pytest.approx(a_question * questions)
    usd = {
        unit: Infrastructure.default().unit_price(f"{unit}_month").usd
        for unit in ("ram_gib", "nvme_gb", "vcpu")
    }
    ram_gib = lever.ram_bytes_per_vector * LOAD.vectors / 2**30
    assert float(bill.ram) == pytest.approx(ram_gib * float(usd["ram_gib"]), rel=1e-6)
    disk_gb = lever.disk_bytes_per_vector * LOAD.vectors / 1e9
    assert float(bill.disk) == pytest.approx(disk_gb * float(usd["nvme_gb"]), rel=1e-6)
    vcpus = questions * lever.ms / 1e3 / (730 * 3600) / 0.7
    assert float(bill.vcpu) == pytest.approx(vcpus * float(usd["vcpu"]))
    assert bill.infrastructure == bill.ram + bill.disk + bill.vcpu
    assert bill.total == bill.tokens + bill.infrastructure
    assert lever.usd_per_1000 == bill.total / questions * 1000


@pytest.mark.parametrize("name", ["baseline", "combined"])
def test_whole_instances_hold_the_load_and_are_billed_with_the_disk_they_lack(
    run: Run, name: str
) -> None:
    lever = run.report.baseline if name == "baseline" else run.report.combined
    number, _, size = lever.bill.instance.partition(" x ")
    instance, machines = Infrastructure.default().instance(size), int(number)
    ram = lever.ram_bytes_per_vector * LOAD.vectors
    disk_gb = lever.disk_bytes_per_vector * LOAD.vectors / 1e9
    assert machines * instance.ram_gib * 2**30 >= ram
    beyond = max(0.0, disk_gb - machines * instance.nvme_gb)
    gp3 = beyond * float(Infrastructure.default().unit_price("gp3_gb_month").usd)
    expected = float(instance.usd_per_month) * machines + gp3
    assert float(lever.bill.instances) == pytest.approx(expected, rel=1e-6)


def test_the_steps_lead_from_the_first_lever_to_the_combination(run: Run) -> None:
    steps = run.report.steps
    assert [step.name for step in steps] == list(LEVERS)
    last, combined = steps[-1], run.report.combined
    for name in ("setting", "input_tokens", "hit_ratio", "evidence_recall", "wrong_hits"):
        assert getattr(last, name) == getattr(combined, name)
    assert steps[0].setting == run.lever("index").setting
    assert steps[2].setting == run.report.without_cache.setting
    assert steps[2].input_tokens == run.report.without_cache.input_tokens


def test_the_compact_index_comes_with_its_certificate(run: Run) -> None:
    certificate = run.lever("index").certificate
    assert certificate is not None
    assert certificate.holds
    assert certificate.floor.at_least == OPTIONS.recall
    assert run.report.combined.certificate == certificate


def test_traps_were_asked_both_ways_round(run: Run, small: SmallCorpus) -> None:
    pairs = sum(len(item.traps) for item in small.items[:48])
    assert run.report.traps == {
        "pairs": pairs,
        "asked": 2 * pairs,
        "served_wrong": {"exact": [], "semantic": []},
    }
    assert pairs > 10


# -------------------------------------------------------------------------------------- honesty


def test_tuning_questions_never_occur_in_the_traffic_that_is_reported(
    run: Run, small: SmallCorpus
) -> None:
    parts = split(small.items[:48], tuning_ratio=0.5, seed=OPTIONS.seed)
    tuning, reported = ({item.id: item.wordings for item in part} for part in parts)
    in_tuning = [set(tuning) == {r.item for r in each.requests} for each in run.screened]
    assert sum(in_tuning) == len(run.report.tuning)  # all settings were put in order on these
    judged = [each for each, tuned in zip(run.screened, in_tuning, strict=True) if not tuned]
    assert judged
    for traffic in (*judged, *run.replayed):
        assert {request.item for request in traffic.requests} == set(reported)
        texts = {request.text for request in traffic.requests}
        assert texts == {text for wordings in reported.values() for text in wordings}
        assert len(traffic.requests) == 120
    assert run.report.about["questions"] == {"tuning": 24, "report": 24}
    assert run.report.traffic == str(run.replayed[0])


def _refused(small: SmallCorpus, **fields: Any) -> list[tuple[str, int, int]]:
    """What was done before a measurement was refused."""
    done: list[tuple[str, int, int]] = []
    arguments = {
        "chunks": small.chunks,
        "items": small.items,
        "embedder": small.embedder,
        "vectors": small.vectors,
        "billing": Billing("gpt-5-mini"),
        "options": OPTIONS,
        **fields,
    }
    positional = [arguments.pop(name) for name in ("chunks", "items", "embedder")]
    with pytest.raises(InputError) as caught:
        measure_savings(*positional, **arguments, progress=lambda *step: done.append(step))
    done.append((str(caught.value), 0, 0))
    return done


@pytest.mark.parametrize("disguise", ["q", None])
def test_a_traffic_with_a_tuning_question_is_refused(
    small: SmallCorpus, monkeypatch: pytest.MonkeyPatch, disguise: str | None
) -> None:
    """Under its own id, and under another one."""
    leaked = split(small.items, tuning_ratio=0.5, seed=OPTIONS.seed)[0][5]
    bad = Request(leaked.wordings[0], disguise or leaked.id)

    def leaking(*arguments: Any, **options: Any) -> Traffic:
        traffic = zipf_traffic(*arguments, **options)
        return replace(traffic, requests=(*traffic.requests, bad))

    monkeypatch.setattr(savings, "zipf_traffic", leaking)
    assert "tuned on" in _refused(small)[-1][0]


def test_a_split_that_overlaps_is_refused(
    small: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(savings, "split", lambda items, **_: (items[:20], items[19:]))
    assert "tuned on" in _refused(small)[-1][0]


def test_the_data_hash_tells_other_questions_apart(
    small: SmallCorpus, make_bench: Callable[[], Workbench]
) -> None:
    """Ids alone do not: those of a file are its line numbers."""
    tuning, reported = small.items[:2], small.items[2:4]
    hashes = []
    for change in ({}, {}, {"answer": "other words"}, {"wordings": ("Asked otherwise?",)}):
        changed = [replace(reported[0], **change), reported[1]]
        traffic = savings._traffic(changed, OPTIONS, None)
        measurement = savings._Run(
            make_bench(), (tuning, changed), traffic, OPTIONS, savings._silent
        )
        hashes.append(measurement._about()["data_hash"])
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


# ------------------------------------------------------------------- levers that lose quality


class DropsTheBest(Extractive):
    """Loses the best hit, which nearly always is the gold one."""

    def compress(self, query: str, hits: Any, *, max_tokens: int | None = None) -> Compressed:
        return super().compress(query, hits[1:], max_tokens=max_tokens)


@pytest.fixture(scope="module")
def damaged(small: SmallCorpus) -> Run:
    """An index that gives other chunks' ids, a compressor that drops gold, a gullible cache."""

    def swapping(spec: str, vectors: Any, **options: Any) -> Any:
        return indexes.build(spec, vectors[::-1] if "rabitq" in spec else vectors, **options)

    def gullible(embedder: Any, *, threshold: float, path: Any = None) -> SemanticCache:
        return SemanticCache(embedder, threshold=0.1, guards=(), path=path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(savings, "build", swapping)
        patch.setattr(levers, "Extractive", DropsTheBest)
        patch.setattr(levers, "SemanticCache", gullible)
        return _measured(small, patch)


def test_swapped_ids_show_as_lost_evidence_whatever_the_recall_certificate_says(
    damaged: Run,
) -> None:
    index = damaged.lever("index")
    assert index.certificate is not None
    assert index.certificate.holds  # the index finds the nearest rows, and names them wrongly
    assert not index.held
    assert not index.on
    assert index.reason.startswith("quality not held")
    assert index.evidence_recall < 0.2 < damaged.report.baseline.evidence_recall
    assert index.differences["evidence"].mean < -0.8


def test_a_compressor_that_drops_gold_is_off_by_its_tuning(damaged: Run) -> None:
    compress = damaged.lever("compress")
    assert (compress.on, compress.setting) == (False, "off")
    assert compress.reason == "every setting lost 2 points or more on the tuning questions"
    assert compress.input_tokens == damaged.report.baseline.input_tokens
    points = [point for point in damaged.report.tuning if point.lever == "compress"]
    assert points
    assert not any(point.passed or point.chosen for point in points)


def test_a_cache_that_serves_other_questions_answers_is_off(damaged: Run) -> None:
    semantic = damaged.lever("semantic_cache")
    assert (semantic.on, semantic.held) == (False, False)
    assert semantic.wrong_hits > 10
    assert damaged.lever("exact_cache").wrong_hits == 0
    assert len(damaged.report.traps["served_wrong"]["semantic"]) == damaged.report.traps["asked"]
    assert damaged.report.traps["served_wrong"]["exact"] == []


@pytest.mark.parametrize(
    ("hits", "wrong", "on", "reason"),
    [
        (20, 0, False, "served no more than the exact cache"),
        (23, 2, False, "served 3 requests that the exact cache did not, 2 of them wrongly"),
        (40, 2, True, "quality held"),
    ],
)
def test_held_quality_does_not_hide_that_most_of_what_a_cache_adds_is_wrong(
    run: Run, hits: int, wrong: int, on: bool, reason: str
) -> None:
    """Two wrong answers among hundreds of questions lose less than a point."""
    alone = replace(run.lever("semantic_cache"), hits=hits, wrong_hits=wrong)
    exact = [replace(_ANSWERED, hit=place < 20) for place in range(100)]
    measurement = savings._Run.__new__(savings._Run)
    measurement.__dict__.update(
        options=OPTIONS,
        _alone=lambda *_: alone,
        _measure=lambda *_: Measured(Setting(cache="exact"), exact, ["q"] * 100),
    )
    found = measurement._semantic_cache()
    assert found.on == on
    assert found.reason.startswith(reason)


_ANSWERED = Outcome(10, 1, Decimal(1), 1.0, 0, 1.0, 1.0)


def test_levers_that_lose_quality_are_absent_from_the_combination(damaged: Run) -> None:
    report = damaged.report
    assert [step.name for step in report.steps] == ["rerank", "exact_cache"]
    assert [lever.name for lever in report.levers if lever.on] == ["rerank", "exact_cache"]
    assert report.combined.held
    assert report.combined.on
    assert report.combined.certificate is None
    assert report.without_cache.setting + ", exact cache" == report.combined.setting
    assert "rabitq" not in report.combined.setting
    assert "sentences" not in report.combined.setting
    extra = {row["name"]: row["extra"] for row in report.rows()}
    for name in ("index", "compress", "semantic_cache"):
        assert not extra[f"savings/{name}/usd_ratio"]["on"]
    assert not extra["savings/index/usd_ratio"]["held"]
    assert extra["savings/combined/usd_ratio"]["held"]


def _cuts(*sizes: int) -> list[Setting]:
    return [Setting(cut=FixedK(size)) for size in sizes]


@pytest.mark.parametrize(
    ("losing", "taken", "judged"),
    [
        (set(), 2, [6, 4, 2]),
        ({2}, 4, [6, 4, 2]),
        ({4}, 6, [6, 4]),  # 2 would hold, but who looks on after a failure tests too often
        ({6}, None, [6]),
    ],
)
def test_the_way_down_a_ladder_ends_at_the_first_failure(
    losing: set[int], taken: int | None, judged: list[int]
) -> None:
    seen: list[int] = []

    def screen(setting: Setting, *_: Any) -> Measured:
        assert isinstance(setting.cut, FixedK)
        seen.append(setting.cut.k)
        lost = float(setting.cut.k not in losing)
        outcomes = [Outcome(10, 1, Decimal(1), 1.0, 0, lost, lost)] * 60
        return Measured(setting, outcomes, [f"q{place}" for place in range(60)])

    measurement = savings._Run.__new__(savings._Run)
    measurement.__dict__.update(
        bench=SimpleNamespace(screen=screen),
        options=OPTIONS,
        progress=savings._silent,
        traffic=None,
        items={},
        before=screen(Setting(cut=FixedK(10))),
    )
    seen.clear()
    found = measurement._descend("rerank", _cuts(6, 4, 2))
    assert found == (None if taken is None else _cuts(taken)[0])
    assert seen == judged


class Overfitted(Extractive):
    """Works on the tuning questions only."""

    tuned: frozenset[str] = frozenset()

    def compress(self, query: str, hits: Any, *, max_tokens: int | None = None) -> Compressed:
        kept = hits if query in self.tuned else hits[1:]
        return super().compress(query, kept, max_tokens=max_tokens)


@pytest.fixture(scope="module")
def overfitted(small: SmallCorpus) -> Run:
    tuning, _ = split(small.items[:48], tuning_ratio=0.5, seed=OPTIONS.seed)
    with pytest.MonkeyPatch.context() as patch:
        tuned = frozenset(text for item in tuning for text in item.wordings)
        patch.setattr(Overfitted, "tuned", tuned)
        patch.setattr(levers, "Extractive", Overfitted)
        return _measured(small, patch, replace(OPTIONS, requests=1))


def test_what_holds_on_the_tuning_questions_only_is_off(overfitted: Run) -> None:
    compress = overfitted.lever("compress")
    assert any(point.passed for point in overfitted.report.tuning if point.lever == "compress")
    assert (compress.on, compress.held) == (False, False)
    assert compress.reason.startswith("quality not held")
    assert "sentences" not in overfitted.report.combined.setting
    assert overfitted.report.combined.held


def test_fewer_requests_than_wordings_are_raised_to_them(
    overfitted: Run, small: SmallCorpus
) -> None:
    _, reported = split(small.items[:48], tuning_ratio=0.5, seed=OPTIONS.seed)
    wordings = sum(len(item.wordings) for item in reported)
    assert overfitted.report.traffic.startswith(f"{wordings} requests")
    assert overfitted.lever("exact_cache").hit_ratio == 0


# ---------------------------------------------------------------------------------- determinism


def _timeless(result: LeverResult) -> LeverResult:
    """A result without what rests on time, or on the date."""
    certificate = result.certificate and replace(result.certificate, created="")
    bill = replace(result.bill, vcpu=Decimal(0))
    return replace(result, bill=bill, ms=0.0, usd_per_1000=Decimal(0), certificate=certificate)


def test_one_seed_gives_one_report_but_for_the_time(
    run: Run, small: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = _measured(small, monkeypatch)
    for name in ROWS:
        assert _timeless(run.lever(name)) == _timeless(twin.lever(name))
    assert _timeless(run.report.baseline) == _timeless(twin.report.baseline)
    for first, second in zip(run.report.steps, twin.report.steps, strict=True):
        assert _timeless(first) == _timeless(second)
    assert run.report.tuning == twin.report.tuning
    assert run.report.traffic == twin.report.traffic
    assert run.report.traps == twin.report.traps
    for first, second in zip(run.report.rows(), twin.report.rows(), strict=True):
        if first["name"].endswith("usd_ratio"):
            assert first["value"] == pytest.approx(second["value"], rel=0.05)
        else:
            assert first == second


# --------------------------------------------------------------------------- what is written out


def _constant(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def _read(report: SavingsReport) -> Mapping[str, Any]:
    text = json.dumps(report.to_dict())
    read: Mapping[str, Any] = json.loads(text, parse_constant=_constant)
    return read


def test_the_report_is_valid_json_with_its_rows(run: Run) -> None:
    read = _read(run.report)
    assert read["kind"] == "ragopt savings"
    assert read["rows"] == run.report.rows()
    assert [lever["name"] for lever in read["levers"]] == list(LEVERS)
    assert read["options"]["load"] == {
        "questions_per_month": 250_000,
        "vectors": 3_000_000,
        "peak_factor": 1.0,
        "answer_tokens": None,
    }
    assert read["about"]["corpus"] == "small"
    assert read["about"]["model"] == "gpt-5-mini"
    assert read["baseline"]["bill"]["tokens"] == float(run.report.baseline.bill.tokens)
    assert read["combined"]["differences"]["evidence"]["n"] == 24
    assert len(read["tuning"]) == len(run.report.tuning)


def test_what_is_not_known_is_null(run: Run) -> None:
    """Questions with gold documents only say nothing about answers."""
    unknown = replace(run.report.baseline, answer_kept=math.nan)
    assert _read(replace(run.report, baseline=unknown))["baseline"]["answer_kept"] is None


def test_the_chosen_tuning_points_are_those_reported(run: Run) -> None:
    chosen = {point.lever: point.setting for point in run.report.tuning if point.chosen}
    assert chosen == {
        "rerank": run.lever("rerank").setting,
        "compress": run.lever("compress").setting,
        "combined": run.report.without_cache.setting,
    }
    assert all(point.passed for point in run.report.tuning if point.chosen)


def test_the_report_says_what_is_saved(run: Run) -> None:
    saved = 1 - run.report.ratio(run.report.combined, "usd_per_1000")
    assert f"{saved:.0%} of the bill saved, quality held" in repr(run.report)


def test_progress_is_sane(run: Run, damaged: Run) -> None:
    for task, done, total in (*run.progress, *damaged.progress):
        assert task
        assert 0 <= done <= total
        assert total > 0  # also where a lever has no setting to judge
    last: dict[str, tuple[int, int]] = {}
    for task, done, total in run.progress:
        last[task] = (done, total)
    assert all(done == total for done, total in last.values())
    assert {"build indexes", "tune compact", "tune rerank", "judge combined"} <= set(last)
    assert {*ROWS} - set(last) <= {"combined_without_cache"}  # run before, as the combination
    assert last["baseline"] == (120, 120)


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"billing": Billing()}, "priced"),
        ({"items": []}, "0 questions"),
        ({"chunks": []}, "144 vectors of 0 chunks"),
        ({"options": replace(OPTIONS, traffic="no-such-log")}, "no-such-log"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(
    small: SmallCorpus, fields: dict[str, Any], message: str
) -> None:
    done = _refused(small, **fields)
    assert message in done[-1][0]
    assert done[:-1] == []


def test_three_questions_a_missing_vector_and_two_alike_are_refused(small: SmallCorpus) -> None:
    assert "at least 4" in _refused(small, items=small.items[:3])[0][0]
    assert "143 vectors of 144 chunks" in _refused(small, vectors=small.vectors[1:])[0][0]
    assert "occurs twice" in _refused(small, items=[*small.items, small.items[0]])[0][0]


def test_few_questions_leave_every_lever_off_and_say_so(
    small: SmallCorpus,
) -> None:
    """Six questions prove nothing: not to lose any of three is what chance does."""
    report = measure_savings(
        small.chunks,
        small.items[:6],
        small.embedder,
        vectors=small.vectors,
        billing=Billing("gpt-5-mini"),
        options=replace(OPTIONS, confidence=0.95, requests=10),
    )
    for lever in report.levers:
        assert not lever.on
        assert lever.reason
    assert "tuning needs at least 20" in report.levers[0].reason
    assert report.steps == ()
    assert not report.combined.held
    assert "quality not held" in repr(report)
    assert report.combined.input_tokens == report.baseline.input_tokens


@pytest.mark.parametrize(
    "fields",
    [
        {"tuning_ratio": 0.0},
        {"tuning_ratio": 1.0},
        {"tuning_ratio": math.nan},
        {"threshold": 0.0},
        {"threshold": 1.01},
        {"confidence": 0.0},
        {"confidence": 1.0},
        {"confidence": math.nan},
        {"recall": 0.0},
        {"recall": 1.5},
        {"recall": math.nan},
        {"requests": 0},
        {"levers": ("gpu",)},
        {"traffic": ""},
        {"zipf": -0.1},
        {"zipf": math.nan},
        {"zipf": math.inf},
    ],
)
def test_options_outside_their_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(fields))}="):
        SavingsOptions(**fields)


def test_options_at_their_ends_are_allowed() -> None:
    SavingsOptions(threshold=1.0, recall=1.0, requests=1, zipf=0.0)


@pytest.mark.parametrize("name", ["questions_per_month", "vectors"])
@pytest.mark.parametrize("value", [0, -1, math.nan, 1e6, True, Decimal(5)])
def test_a_load_is_whole_numbers_from_one_up(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name}="):
        Load(**{name: value})
