"""A savings report made by hand, with the figures of a plausible run, and ways to bend it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ragopt.benchmarks.road.savings_report import (
    Bill,
    LeverResult,
    Load,
    SavingsOptions,
    SavingsReport,
    TuningPoint,
)
from ragopt.quality import Certificate, Floor, PairedDifference

HNSW, COMPACT = "hnsw(m=16)", "rabitq(bits=1)+rescore(f16)"


def difference(mean: float, lower: float, upper: float) -> PairedDifference:
    return PairedDifference(
        mean=mean, lower=lower, upper=upper, n=277, better=12, worse=8, confidence=0.95, seed=0
    )


def bill(tokens: str, infrastructure: str, instances: str, instance: str) -> Bill:
    ram = Decimal(infrastructure) * Decimal("0.75")
    return Bill(
        tokens=Decimal(tokens),
        ram=ram,
        disk=Decimal(0),
        vcpu=Decimal(infrastructure) - ram,
        instances=Decimal(instances),
        instance=instance,
    )


def lever_result(name: str, setting: str, paid: Bill, **changes: Any) -> LeverResult:
    figures: dict[str, Any] = {
        "input_tokens": 4012.4,
        "output_tokens": 39.2,
        "ms": 1.14,
        "ram_bytes_per_vector": 2193.5,
        "disk_bytes_per_vector": 0.0,
        "hit_ratio": 0.0,
        "hits": 0,
        "wrong_hits": 0,
        "failures": 0,
        "evidence_recall": 0.787,
        "answer_kept": 0.744,
        "differences": {
            "evidence": difference(0.002, -0.004, 0.009),
            "answer": difference(0.004, -0.002, 0.012),
        },
        "reason": "quality held (+0.2 points, at least -0.4)",
    }
    figures |= changes
    return LeverResult(
        name=name, setting=setting, bill=paid, usd_per_1000=paid.total / 1000, **figures
    )


SMALL, LARGE = ("26.46", "1 x c7g.medium"), ("39.09", "1 x r7g.medium")
BASELINE = lever_result(
    "baseline", f"{HNSW}, top 10", bill("1226.00", "4.30", *LARGE), differences={}, reason=""
)
INDEX = lever_result(
    "index",
    f"{COMPACT}, top 10",
    bill("1226.00", "0.46", *SMALL),
    ram_bytes_per_vector=72.6,
    disk_bytes_per_vector=1024.0,
    ms=2.84,
    certificate=Certificate(
        floor=Floor(metric="recall@10", at_least=0.95),
        observed=0.9951,
        bound=0.9605,
        n=103,
        method="Learned-Miller and Thomas bound over queries",
    ),
)
RERANK = lever_result(
    "rerank",
    f"{HNSW}, rerank 50, keep top 4",
    bill("660.00", "4.42", *LARGE),
    input_tokens=1718.0,
    ms=7.93,
    evidence_recall=0.815,
    answer_kept=0.772,
    differences={
        "evidence": difference(0.028, 0.009, 0.047),
        "answer": difference(0.028, 0.004, 0.052),
    },
)
COMPRESS = lever_result(
    "compress",
    f"{HNSW}, top 10, compress to 50%",
    bill("780.00", "4.31", *LARGE),
    input_tokens=2207.0,
    evidence_recall=0.742,
    answer_kept=0.701,
    differences={
        "evidence": difference(-0.045, -0.071, -0.021),
        "answer": difference(-0.043, -0.069, -0.018),
    },
    on=False,
    reason="quality not held (-4.5 points, at least -7.1)",
)
EXACT = lever_result(
    "exact_cache",
    f"{HNSW}, top 10, exact cache",
    bill("870.00", "4.30", *LARGE),
    input_tokens=2849.0,
    hit_ratio=0.288,
    hits=288,
)
COMBINED = lever_result(
    "combined",
    f"{COMPACT}, rerank 50, keep top 4, exact and semantic cache at 0.95",
    bill("356.10", "0.58", *SMALL),
    input_tokens=903.0,
    ms=6.2,
    ram_bytes_per_vector=93.6,
    disk_bytes_per_vector=1024.0,
    hit_ratio=0.462,
    hits=462,
    wrong_hits=3,
    evidence_recall=0.823,
    answer_kept=0.776,
    differences={
        "evidence": difference(0.036, 0.011, 0.061),
        "answer": difference(0.032, 0.008, 0.056),
    },
    reason="quality held (+3.2 points, at least +0.8)",
)
BARE = replace(
    COMBINED,
    name="combined_without_cache",
    setting=f"{COMPACT}, rerank 50, keep top 4",
    bill=bill("661.20", "0.71", *SMALL),
    usd_per_1000=Decimal("0.66191"),
    input_tokens=1718.0,
    hit_ratio=0.0,
    hits=0,
    wrong_hits=0,
)
TUNING = (
    ("rerank", "keep top 8", 3241.0, 0.842, True),
    ("rerank", "keep top 4", 1718.0, 0.831, True),
    ("rerank", "keep top 3", 1321.0, 0.789, False),
    ("compress", "compress to 80%", 3290.0, 0.811, True),
    ("compress", "compress to 50%", 2207.0, 0.801, True),
    ("compress", "compress to 20%", 981.0, 0.611, False),
    ("combined", "keep top 4", 1716.0, 0.833, True),
)
ABOUT: dict[str, Any] = {
    "created": "2026-11-22T01:12:09+00:00",
    "command": "ragopt savings",
    "chunks": 6150,
    "dim": 512,
    "embedder": "lsa-512-198ad5c513ab0d5a",
    "data_hash": "f906908405c7e3d0",
    "questions": {"tuning": 138, "report": 277},
    "model": "gpt-5-mini",
    "price": "litellm-1.109.1/gpt-5-mini@2026-11-22",
    "tokens_counted_by": "tiktoken o200k_base",
    "baseline": f"{HNSW}, top 10, no cache",
    "candidates": 50,
    "environment": {"cpu": "AMD EPYC", "packages": {"numpy": "2.4.6", "tiktoken": "0.14.0"}},
}


def savings_report() -> SavingsReport:
    semantic = replace(
        EXACT,
        name="semantic_cache",
        setting=f"{HNSW}, top 10, exact and semantic cache at 0.95",
        hit_ratio=0.462,
        hits=462,
        wrong_hits=3,
    )
    steps = (
        INDEX,
        replace(RERANK, usd_per_1000=Decimal("0.66191")),
        replace(EXACT, usd_per_1000=Decimal("0.4713")),
        replace(semantic, usd_per_1000=Decimal("0.35668")),
    )
    return SavingsReport(
        baseline=BASELINE,
        levers=(INDEX, RERANK, COMPRESS, EXACT, semantic),
        combined=COMBINED,
        without_cache=BARE,
        steps=steps,
        tuning=tuple(
            TuningPoint(
                lever=lever,
                setting=f"{HNSW}, {setting}",
                input_tokens=tokens,
                evidence_recall=recall,
                passed=passed,
                chosen=setting == "keep top 4",
            )
            for lever, setting, tokens, recall, passed in TUNING
        ),
        traps={
            "pairs": 170,
            "asked": 340,
            "served_wrong": {"exact": [], "semantic": [("Is a 5 kg bag in?", "Is a 50 kg bag?")]},
        },
        traffic="1,000 requests, Zipf exponent 0.8, seed 0: 29% repeat earlier words",
        about=ABOUT,
        options=SavingsOptions(load=Load(questions_per_month=1_000_000, vectors=2_000_000)),
    )


@pytest.fixture
def report() -> SavingsReport:
    return savings_report()


@pytest.fixture
def bent() -> Mapping[str, Callable[[SavingsReport], SavingsReport]]:
    """Ways to bend a report to its borders, by name."""
    return BENT


@pytest.fixture(
    params=["no lever on", "dearer", "not held", "nothing tuned", "no answers", "free", "bare"]
)
def bent_report(request: pytest.FixtureRequest, report: SavingsReport) -> SavingsReport:
    """A report at one of the borders."""
    return BENT[request.param](report)


def no_lever_on(report: SavingsReport) -> SavingsReport:
    off = replace(BASELINE, differences={"evidence": difference(0.0, -0.011, 0.011)}, on=False)
    levers = tuple(replace(off, name=each.name, setting="off") for each in report.levers)
    combined = replace(off, name="combined", on=True)
    bare = replace(off, name="combined_without_cache", on=True)
    return replace(report, levers=levers, combined=combined, without_cache=bare, steps=())


def dearer(report: SavingsReport) -> SavingsReport:
    more = Decimal("1.40")
    steps = (replace(INDEX, usd_per_1000=Decimal("1.29")), replace(RERANK, usd_per_1000=more))
    return replace(report, combined=replace(COMBINED, usd_per_1000=more), steps=steps)


def not_held(report: SavingsReport) -> SavingsReport:
    return replace(report, combined=replace(COMBINED, differences=COMPRESS.differences, on=False))


def no_answers(report: SavingsReport) -> SavingsReport:
    def without(lever: LeverResult) -> LeverResult:
        kept = {name: each for name, each in lever.differences.items() if name == "evidence"}
        return replace(lever, answer_kept=float("nan"), differences=kept)

    return replace(
        report,
        baseline=without(report.baseline),
        levers=tuple(without(lever) for lever in report.levers),
        combined=without(report.combined),
        without_cache=without(report.without_cache),
    )


def free(report: SavingsReport) -> SavingsReport:
    nothing = bill("0", "0", "0", "0 x none")
    zero: dict[str, Any] = {"bill": nothing, "usd_per_1000": Decimal(0), "input_tokens": 0.0}
    return replace(
        report,
        baseline=replace(report.baseline, **zero),
        combined=replace(report.combined, **zero),
        steps=tuple(replace(step, **zero) for step in report.steps),
    )


BENT: dict[str, Callable[[SavingsReport], SavingsReport]] = {
    "no lever on": no_lever_on,
    "dearer": dearer,
    "not held": not_held,
    "nothing tuned": lambda report: replace(report, tuning=(), steps=()),
    "no answers": no_answers,
    "free": free,
    "bare": lambda report: replace(report, traps={}, about={}, levers=(), traffic=""),
}
