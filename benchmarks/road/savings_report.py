"""What a savings run found: bills, quality, tuning, and how they are read, written and shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ragopt.benchmarks.road.levers import worse_of
from ragopt.errors import InputError
from ragopt.quality import Certificate, PairedDifference

__all__ = [
    "HELD_POINTS",
    "LEVERS",
    "Bill",
    "LeverResult",
    "Load",
    "SavingsOptions",
    "SavingsReport",
    "TuningPoint",
]

HELD_POINTS = -0.02
"""Quality is held when the lower bound of its paired difference lies above this."""

LEVERS = ("index", "rerank", "compress", "exact_cache", "semantic_cache")
"""Names, in the order in which a combination is built up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the monthly bill is worked out for.

    Args:
        questions_per_month: asked.
        vectors: in the index; measured bytes a vector are scaled to them. Milliseconds and recall
            are not: they stay those of the corpus that was measured.
        peak_factor: how many times the mean rate the busiest time brings; vCPUs are bought for it.
        answer_tokens: output tokens billed for an answer. By default those of the extractive
            answerer that stands in for the model: its answers are short, and the shorter the
            answers, the more of the bill is context that can be saved.
    """

    questions_per_month: int = 1_000_000
    vectors: int = 1_000_000
    peak_factor: float = 1.0
    answer_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("questions_per_month", "vectors", "answer_tokens"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and (name, value) != ("answer_tokens", None):
                raise InputError(f"{name}={value!r}: expected a whole number of at least 1")
        if not 1 <= self.peak_factor < math.inf:
            raise InputError(f"peak_factor={self.peak_factor}: expected a finite number from 1 up")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingsOptions:
    """How savings are measured.

    Args:
        load: of the monthly bill.
        levers: that are tried, some of `LEVERS`; all by default.
        traffic: ``"zipf"`` (every wording once, and repeats that follow a Zipf law), ``"once"``
            (nobody repeats), or name or path of a query log whose repetition is replayed.
        requests: in Zipf traffic; raised to the number of wordings, and twice as many as there
            are when not given.
        zipf: exponent of the law.
        threshold: of the semantic cache.
        tuning_ratio: share of the questions that knobs are tuned on.
        confidence: of every bound.
        recall: floor of the compact index's recall@10.
        coarse: try fewer settings of each lever, for a quick look.
        seed: of split, traffic, indexes and bounds.
    """

    load: Load = field(default_factory=Load)
    levers: tuple[str, ...] = ()
    traffic: str = "zipf"
    requests: int | None = None
    zipf: float = 0.8
    threshold: float = 0.95
    tuning_ratio: float = 0.3
    confidence: float = 0.95
    recall: float = 0.95
    coarse: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.levers if name not in LEVERS]
        if unknown or not self.traffic:
            raise InputError(
                f"levers={self.levers}, traffic={self.traffic!r}: expected some of "
                f"{', '.join(LEVERS)}, and 'zipf', 'once' or the name of a query log"
            )
        for name in ("tuning_ratio", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: expected between 0 and 1")
        for name in ("threshold", "recall"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name)}: expected above 0, at most 1")
        if (self.requests is not None and not self.requests >= 1) or not 0 <= self.zipf < math.inf:
            raise InputError(
                f"requests={self.requests}, zipf={self.zipf}: expected requests >= 1 and a finite "
                "zipf >= 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Monthly US dollars at the load.

    Args:
        tokens: of the model.
        ram: at marginal prices, likewise the next two.
        disk: local NVMe.
        vcpu: for searching, reranking, compressing and caching.
        instances: the cheapest whole instances that hold RAM, disk and vCPUs, and gp3 for disk
            beyond their own.
        instance: which they are.
    """

    tokens: Decimal
    ram: Decimal
    disk: Decimal
    vcpu: Decimal
    instances: Decimal
    instance: str

    @property
    def infrastructure(self) -> Decimal:
        """RAM, disk and vCPU at marginal prices."""
        return self.ram + self.disk + self.vcpu

    @property
    def total(self) -> Decimal:
        """Tokens and infrastructure at marginal prices."""
        return self.tokens + self.infrastructure


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverResult:
    """One lever, or all together, against the baseline.

    Args:
        name: of the lever.
        setting: in words.
        bill: at the load.
        usd_per_1000: questions, tokens and infrastructure.
        input_tokens: a question.
        output_tokens: a question.
        ms: a question, the model left out.
        ram_bytes_per_vector: of index, word statistics and cache, at the load.
        disk_bytes_per_vector: of the index.
        hit_ratio: share of the requests served from a cache.
        hits: number of them.
        wrong_hits: requests served with another question's answer.
        failures: requests on which a stage raised and was skipped.
        evidence_recall: mean over questions.
        answer_kept: mean over questions.
        differences: of both qualities to the baseline; empty for the baseline itself.
        on: whether it is part of the combination.
        reason: why not, or what it rests on.
        certificate: of the compact index's recall.
        error: why it could not be measured at all; its figures are then the baseline's.
    """

    name: str
    setting: str
    bill: Bill
    usd_per_1000: Decimal
    input_tokens: float
    output_tokens: float
    ms: float
    ram_bytes_per_vector: float
    disk_bytes_per_vector: float
    hit_ratio: float
    hits: int
    wrong_hits: int
    failures: int
    evidence_recall: float
    answer_kept: float
    differences: Mapping[str, PairedDifference] = field(default_factory=dict)
    on: bool = True
    reason: str = ""
    certificate: Certificate | None = None
    error: str = ""

    @property
    def quality(self) -> PairedDifference | None:
        """The worse of the two paired differences; None for the baseline."""
        return worse_of(self.differences)[1] if self.differences else None

    @property
    def usage(self) -> dict[str, float]:
        """What is used, whatever it costs: a question's tokens and ms, a vector's bytes."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "ms": self.ms,
            "ram_bytes_per_vector": self.ram_bytes_per_vector,
            "disk_bytes_per_vector": self.disk_bytes_per_vector,
        }

    @property
    def held(self) -> bool:
        """Whether the lower bound of both qualities lies above -2 points, and nothing failed."""
        return not self.failures and (self.quality is None or self.quality.lower > HELD_POINTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningPoint:
    """A setting tried on the tuning questions.

    Args:
        lever: whose setting.
        setting: in words.
        input_tokens: sent a question.
        evidence_recall: mean over the tuning questions.
        passed: lost less than 2 points on average there, and so may go onto a ladder.
        chosen: went on to be reported.
        interval: of the evidence recall, both ends at 95 % confidence.
    """

    lever: str
    setting: str
    input_tokens: float
    evidence_recall: float
    passed: bool
    chosen: bool = False
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingsReport:
    """Everything a savings run found, ready to print, to plot and to compare.

    Args:
        baseline: the usual road.
        levers: each alone.
        combined: those that hold quality, together, tuned together.
        without_cache: the same without any cache: what is saved when no question repeats.
        steps: the combination built up lever by lever, for the waterfall.
        tuning: every setting that was tried.
        traps: pairs of look-alike questions asked of the caches, and those answered wrongly.
        traffic: in words.
        about: environment, data, prices, seeds.
        options: of the run.
    """

    baseline: LeverResult
    levers: tuple[LeverResult, ...]
    combined: LeverResult
    without_cache: LeverResult
    steps: tuple[LeverResult, ...]
    tuning: tuple[TuningPoint, ...]
    traps: Mapping[str, Any]
    traffic: str
    about: Mapping[str, Any]
    options: SavingsOptions

    def ratio(self, lever: LeverResult, name: str) -> float:
        """A figure of a lever over the baseline's; 0 where the baseline has none."""
        before = float(getattr(self.baseline, name))
        return float(getattr(lever, name)) / before if before else 0.0

    def rows(self) -> list[dict[str, Any]]:
        """``{name, unit, value, range, extra}`` of every lever, as every bench writes them."""
        found = []
        for lever in self.results:
            found.extend(self._rows_of(lever))
        return found

    @property
    def results(self) -> tuple[LeverResult, ...]:
        """Every lever, the combination, and the combination without cache."""
        return (*self.levers, self.combined, self.without_cache)

    def _rows_of(self, lever: LeverResult) -> list[dict[str, Any]]:
        quality = lever.quality
        extra = {"setting": lever.setting, "on": lever.on, "held": lever.held}
        if lever.error:
            extra = {"reason": lever.error}
        used = {} if lever.error else {"usage": lever.usage, "usd_per_1000": self._spent(lever)}
        spread = [quality.lower, quality.upper] if quality else None
        values: list[tuple[str, str, float, Any]] = [
            ("usd_ratio", "ratio", self.ratio(lever, "usd_per_1000"), None),
            ("input_tokens_ratio", "ratio", self.ratio(lever, "input_tokens"), None),
            ("ram_ratio", "ratio", self.ratio(lever, "ram_bytes_per_vector"), None),
            ("quality_diff", "share of questions", quality.mean if quality else 0.0, spread),
            ("quality_diff_lower", "share of questions", quality.lower if quality else 0.0, None),
        ]
        return [
            {
                "name": f"savings/{lever.name}/{name}",
                "unit": "" if lever.error else unit,
                "value": None if lever.error else value,
                "range": None if lever.error else interval,
                "extra": {**extra, **used} if name == "usd_ratio" else extra,
            }
            for name, unit, value, interval in values
        ]

    def _spent(self, lever: LeverResult) -> dict[str, float]:
        """US dollars for 1,000 questions, part by part."""
        thousands = self.options.load.questions_per_month / 1000
        parts = ("tokens", "ram", "disk", "vcpu")
        return {part: float(getattr(lever.bill, part)) / thousands for part in parts}

    def to_dict(self) -> dict[str, Any]:
        """The JSON that ``--json`` writes: rows first, then everything they rest on."""
        from ragopt.report.serialise import plain

        return {
            "kind": "ragopt savings",
            "rows": self.rows(),
            "about": plain(self.about),
            "options": plain(self.options),
            "traffic": self.traffic,
            "traps": plain(self.traps),
            "baseline": plain(self.baseline),
            "levers": plain(self.levers),
            "combined": plain(self.combined),
            "without_cache": plain(self.without_cache),
            "steps": plain(self.steps),
            "tuning": plain(self.tuning),
        }

    def to_html(self) -> str:
        """One self-contained page: table, waterfall, Pareto picture."""
        from ragopt.report.savings_html import savings_page

        return savings_page(self)

    def _repr_html_(self) -> str:
        from ragopt.report.savings_html import savings_fragment

        return savings_fragment(self)

    def __repr__(self) -> str:
        saved = 1 - self.ratio(self.combined, "usd_per_1000")
        return f"<SavingsReport: {saved:.0%} of the bill saved, quality {verdict(self.combined)}>"


def verdict(lever: LeverResult) -> str:
    """Whether a lever holds quality, with its paired difference in points."""
    if lever.quality is None:
        return "as it is"
    return (
        f"{'held' if lever.held else 'not held'} "
        f"({lever.quality.mean * 100:+.1f} points, at least {lever.quality.lower * 100:+.1f})"
    )
