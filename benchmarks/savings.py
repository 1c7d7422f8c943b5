"""The savings report: the whole road against the usual baseline, lever by lever and combined.

The usual baseline is an f32 HNSW index in RAM, the ten nearest chunks in every prompt, no cache.
Knobs are tuned on some of the questions, everything is reported on the others, and quality is
*held* when the lower bound of its paired difference to the baseline is above -2 points. A lever
that cannot hold it stays off.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ragopt.benchmarks.environment import environment
from ragopt.benchmarks.evidence import EvalItem, split
from ragopt.benchmarks.levers import (
    BASELINE_K,
    CANDIDATES,
    CacheKind,
    Measured,
    Setting,
    Workbench,
    trap_hits,
    worse_of,
)
from ragopt.benchmarks.savings_report import (
    HELD_POINTS,
    Bill,
    LeverResult,
    SavingsOptions,
    SavingsReport,
    TuningPoint,
    verdict,
)
from ragopt.benchmarks.traffic import Request, Traffic, check_apart, zipf_traffic
from ragopt.cost.infrastructure import cheapest_instance, fleet_monthly, monthly_marginal
from ragopt.errors import FloorNotMet, InputError
from ragopt.indexes import build, tune
from ragopt.quality import Certificate, data_hash
from ragopt.rerank import Cut, FixedK, LargestGap

if TYPE_CHECKING:
    from ragopt.chunk import Chunk
    from ragopt.corpus import Progress
    from ragopt.embed import Embedder
    from ragopt.pipeline import Billing

__all__ = ["measure_savings"]

_KEEP_RATIOS = (0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3)
_FIXED_CUTS: tuple[Cut, ...] = tuple(FixedK(k) for k in (9, 8, 7, 6, 5, 4, 3))
_CUTS: tuple[Cut, ...] = (*_FIXED_CUTS, *(LargestGap(k_min=low, k_max=9) for low in (5, 4, 3)))
_TRIALS = 3  # settings of one lever that may be judged on the report questions
_TUNING_WORDINGS = 2  # of each question: enough to choose by
_SECONDS_A_MONTH = 730 * 3600
_VCPU_UTILISATION = 0.7


def measure_savings(
    chunks: Sequence[Chunk],
    items: Sequence[EvalItem],
    embedder: Embedder,
    *,
    vectors: Any,
    billing: Billing,
    options: SavingsOptions | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> SavingsReport:
    """Measure what each lever saves on a corpus, at what quality.

    Args:
        chunks: the corpus.
        items: questions with evidence; 150 or more for a useful interval.
        embedder: of chunks and questions.
        vectors: of the chunks, (n, dim), titles included (`ragopt.corpus.embed_chunks`).
        billing: priced model and token counter.
        options: of the run.
        about: added to the report's own description of data and environment.
        progress: told of every step.

    Raises:
        InputError: fewer than four questions, two alike, vectors that are not those of the
            chunks, or a model without a price.
    """
    options = options or SavingsOptions()
    if billing.price is None:
        raise InputError("billing has no model; savings in dollars need a priced one")
    if len(vectors) != len(chunks):
        raise InputError(
            f"{len(vectors)} vectors of {len(chunks)} chunks; expected one each, in their order "
            "(ragopt.corpus.embed_chunks)"
        )
    parts = split(items, tuning_ratio=options.tuning_ratio, seed=options.seed)
    report = progress or _silent
    indexes = {}
    for number, (name, spec) in enumerate(_INDEXES.items()):
        report("build indexes", number, len(_INDEXES))
        indexes[name] = build(spec, vectors, seed=options.seed)
    report("build indexes", len(_INDEXES), len(_INDEXES))
    bench = Workbench(chunks, embedder, indexes, billing)
    return _Run(bench, *parts, options, report).report(about or {})


class _Run:
    """One savings measurement, from indexes to report."""

    def __init__(
        self,
        bench: Workbench,
        tuning_items: Sequence[EvalItem],
        report_items: Sequence[EvalItem],
        options: SavingsOptions,
        progress: Progress,
    ) -> None:
        self.bench = bench
        self.options = options
        self.progress = progress
        self.tuning_items = tuning_items
        self.report_items = report_items
        self.items = {item.id: item for item in (*tuning_items, *report_items)}
        self.tuning_traffic = _tuning_traffic(tuning_items, options.seed)
        self.traffic = zipf_traffic(
            [(item.id, item.wordings) for item in report_items],
            options.requests,
            exponent=options.zipf,
            seed=options.seed,
        )
        check_apart(self.tuning_traffic, self.traffic)
        self.points: list[TuningPoint] = []
        self._tried = 0
        self.certificates: dict[str, Certificate | None] = {}

    def report(self, about: Mapping[str, Any]) -> SavingsReport:
        """Run every stage of the measurement."""
        index_reason = self._tune_indexes()
        self.before_tuning = self.bench.screen(Setting(), self.tuning_traffic, self.items)
        self.before = self._measure(Setting(), "baseline")
        levers = self._levers(index_reason)
        combined, setting = self._combine([lever.name for lever in levers if lever.on])
        return SavingsReport(
            baseline=self._result("baseline", Setting(), self.before),
            levers=tuple(_used(lever, setting) for lever in levers),
            combined=combined,
            without_cache=self._without_cache(setting, combined),
            steps=tuple(self._steps(setting)),
            tuning=tuple(self._marked(setting, levers)),
            traps=self._traps(),
            traffic=str(self.traffic),
            about={**self._about(), **about},
            options=self.options,
        )

    # Tuning -------------------------------------------------------------------------------

    def _tune_indexes(self) -> str:
        """Tune both indexes to the recall floor; why the compact one cannot be used, if so."""
        wordings = [request.text for request in self.tuning_traffic.requests]
        queries = self.bench.embedder.embed(wordings)
        reason = ""
        for name, index in self.bench.indexes.items():
            self.progress(f"tune {name}", 0, 1)
            try:
                self.certificates[name] = tune(
                    index,
                    queries,
                    recall=self.options.recall,
                    k=BASELINE_K,
                    confidence=self.options.confidence,
                    seed=self.options.seed,
                )
            except (FloorNotMet, InputError) as error:
                self.certificates[name] = None
                reason = str(error) if name == "compact" else reason
            self.progress(f"tune {name}", 1, 1)
        return reason

    def _screen(self, lever: str, setting: Setting) -> bool:
        """Try a setting on the tuning questions; whether it holds quality there."""
        self._tried += 1
        self.progress("tune levers", self._tried, self._tried + 1)
        measured = self.bench.screen(setting, self.tuning_traffic, self.items)
        quality = measured.against(
            self.before_tuning, confidence=self.options.confidence, seed=self.options.seed
        )
        self.points.append(
            TuningPoint(
                lever=lever,
                setting=_in_words(setting),
                input_tokens=measured.mean("input_tokens"),
                evidence_recall=measured.by_question("evidence"),
                passed=worse_of(quality)[1].lower > HELD_POINTS,
            )
        )
        return self.points[-1].passed

    def _passing(self, lever: str, settings: Iterable[Setting]) -> list[Setting]:
        """Settings that pass the screen, the cheapest first."""
        tried = [
            (self.points[-1].input_tokens, setting)
            for setting in settings
            if self._screen(lever, setting)
        ]
        return [setting for _, setting in sorted(tried, key=lambda each: each[0])]

    def _passing_together(self, bare: Setting) -> list[Setting]:
        """Cuts with the tightest ratio that each stands, the cheapest first.

        A tighter cut does not stand a tighter ratio than a looser one did: the border between
        what passes and what fails is walked as one staircase, len(cuts) + len(ratios) steps.
        """
        passing: list[tuple[float, Setting]] = []
        ratios = list(_KEEP_RATIOS)  # loosest first
        for cut in _FIXED_CUTS:
            while ratios:
                setting = replace(bare, cut=cut, keep_ratio=ratios[-1])
                if self._screen("combined", setting):
                    passing.append((self.points[-1].input_tokens, setting))
                    break
                ratios.pop()
        return [setting for _, setting in sorted(passing, key=lambda each: each[0])]

    # Reporting ----------------------------------------------------------------------------

    def _levers(self, index_reason: str) -> list[LeverResult]:
        """Each lever alone."""
        index = self._judged("index", [Setting(index="compact")])
        index = replace(index, certificate=self.certificates["compact"])
        if index_reason:
            index = replace(index, on=False, reason=index_reason)
        rerank = self._passing("rerank", [Setting(cut=cut) for cut in _CUTS])
        compress = self._passing("compress", [Setting(keep_ratio=keep) for keep in _KEEP_RATIOS])
        exact = self._judged("exact_cache", [Setting(cache="exact")])
        semantic = self._judged("semantic_cache", [self._semantic(Setting())])
        if semantic.on and semantic.hit_ratio <= exact.hit_ratio:
            semantic = replace(semantic, on=False, reason="served no more than the exact cache")
        return [
            index,
            self._judged("rerank", rerank),
            self._judged("compress", compress),
            exact,
            semantic,
        ]

    def _combine(self, on: Sequence[str]) -> tuple[LeverResult, Setting]:
        """The levers that are on, their knobs tuned together."""
        bare = Setting(index="compact" if "index" in on else "hnsw")
        if "rerank" in on and "compress" in on:
            tuned = self._passing_together(bare)
        elif "rerank" in on:
            tuned = self._passing("combined", [replace(bare, cut=cut) for cut in _CUTS])
        elif "compress" in on:
            ratios = [replace(bare, keep_ratio=ratio) for ratio in _KEEP_RATIOS]
            tuned = self._passing("combined", ratios)
        else:
            tuned = []
        settings = [*tuned[: _TRIALS - 1], bare]
        if "semantic_cache" in on:
            settings = [self._semantic(setting) for setting in settings]
        elif "exact_cache" in on:
            settings = [replace(setting, cache="exact") for setting in settings]
        combined, setting = self._first_held("combined", settings)
        certificate = self.certificates["compact"] if setting.index == "compact" else None
        return replace(combined, certificate=certificate), setting

    def _judged(self, name: str, settings: Sequence[Setting]) -> LeverResult:
        """A lever alone, with the cheapest of its settings that holds; off where none does."""
        if not settings:
            off = self._result(name, Setting(), self.before)
            reason = "no setting held quality on the tuning questions"
            return replace(off, setting="off", on=False, reason=reason)
        return self._first_held(name, settings[:_TRIALS])[0]

    def _first_held(self, name: str, settings: Sequence[Setting]) -> tuple[LeverResult, Setting]:
        """The first setting that holds quality on the report questions.

        Each further one is judged at a confidence corrected for their number (Bonferroni). When
        none holds, the last one tried is returned, switched off.
        """
        for trials, setting in enumerate(settings, 1):
            confidence = 1 - (1 - self.options.confidence) / trials
            measured = self._measure(setting, name)
            result = self._result(name, setting, measured, confidence=confidence)
            tried = f", setting {trials} of those tuned" if trials > 1 else ""
            if result.held:
                break
        reason = f"quality {verdict(result)}{tried}"
        return replace(result, on=result.held, reason=reason), setting

    def _semantic(self, setting: Setting) -> Setting:
        return replace(setting, cache="semantic", threshold=self.options.threshold)

    def _steps(self, target: Setting) -> list[LeverResult]:
        """The combination built up lever by lever."""
        steps = []
        current = Setting(threshold=target.threshold)
        for name in _ORDER:
            if _uses(target, name):
                current = _with(current, target, name)
                steps.append(self._result(name, current, self._measure(current, f"with {name}")))
        return steps

    def _marked(self, target: Setting, levers: Sequence[LeverResult]) -> list[TuningPoint]:
        """The tuning points, those marked that were chosen."""
        chosen = {lever.name: lever.setting for lever in levers}
        chosen["combined"] = _in_words(replace(target, cache="none"))
        return [
            replace(point, chosen=chosen.get(point.lever) == point.setting) for point in self.points
        ]

    def _without_cache(self, setting: Setting, combined: LeverResult) -> LeverResult:
        """The combination less its cache, at the confidence that the combination was chosen at."""
        name, bare = "combined_without_cache", setting.stateless
        confidence = combined.quality.confidence if combined.quality else None
        result = self._result(name, bare, self._measure(bare, name), confidence=confidence)
        reason = f"quality {verdict(result)}"
        certificate = combined.certificate
        return replace(result, on=result.held, reason=reason, certificate=certificate)

    def _traps(self) -> dict[str, Any]:
        traps = sum(len(item.traps) for item in self.items.values())
        found: dict[str, Any] = {"pairs": traps, "asked": 2 * traps, "served_wrong": {}}
        kinds: tuple[CacheKind, ...] = ("exact", "semantic")
        for kind in kinds:
            setting = Setting(cache=kind, threshold=self.options.threshold)
            self.progress(f"traps, {kind} cache", 0, 1)
            found["served_wrong"][kind] = trap_hits(self.bench, setting, self.items.values())
            self.progress(f"traps, {kind} cache", 1, 1)
        return found

    def _measure(self, setting: Setting, name: str) -> Measured:
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            if done % 20 == 0 or done == len(self.traffic.requests):
                self.progress(name, done, len(self.traffic.requests))

        return self.bench.run(setting, self.traffic, self.items, step)

    def _result(
        self,
        name: str,
        setting: Setting,
        measured: Measured,
        *,
        confidence: float | None = None,
    ) -> LeverResult:
        count = len(self.bench.chunks)
        ram = self.bench.ram_bytes(setting) / count
        disk = self.bench.disk_bytes(setting) / count
        ms = measured.mean("ms")
        bill = self._bill(measured, ram, disk, ms)
        questions = self.options.load.questions_per_month
        return LeverResult(
            name=name,
            setting=_in_words(setting),
            bill=bill,
            usd_per_1000=bill.total / questions * 1000,
            input_tokens=measured.mean("input_tokens"),
            output_tokens=measured.mean("output_tokens"),
            ms=ms,
            ram_bytes_per_vector=ram + measured.cache_bytes / count,
            disk_bytes_per_vector=disk,
            hit_ratio=measured.mean("hit"),
            wrong_hits=int(measured.column("wrong").sum()),
            evidence_recall=measured.by_question("evidence"),
            answer_kept=measured.by_question("answer"),
            differences=measured.against(
                self.before,
                confidence=confidence or self.options.confidence,
                seed=self.options.seed,
            )
            if name != "baseline"
            else {},
        )

    def _bill(self, measured: Measured, ram: float, disk: float, ms: float) -> Bill:
        load = self.options.load
        ram_bytes = round(ram * load.vectors) + measured.cache_bytes
        disk_bytes = round(disk * load.vectors)
        busy = load.questions_per_month * ms / 1e3 / _SECONDS_A_MONTH
        vcpus = busy / _VCPU_UTILISATION
        marginal = monthly_marginal(ram_bytes, disk_bytes, vcpus)
        instance, machines = cheapest_instance(ram_bytes, disk_bytes, vcpus)
        return Bill(
            tokens=measured.usd_per_request * load.questions_per_month,
            ram=marginal.ram_usd,
            disk=marginal.disk_usd,
            vcpu=marginal.vcpu_usd,
            instances=fleet_monthly(instance, machines, disk_bytes).total_usd,
            instance=f"{machines} x {instance.name}",
        )

    def _about(self) -> dict[str, Any]:
        price = self.bench.billing.price
        return {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": " ".join(["ragopt", *sys.argv[1:]]),
            "chunks": len(self.bench.chunks),
            "dim": self.bench.embedder.dim,
            "embedder": self.bench.embedder.id,
            "data_hash": data_hash(
                *(chunk.text for chunk in self.bench.chunks),
                *(part for name in sorted(self.items) for part in _told(self.items[name])),
            ),
            "questions": {"tuning": len(self.tuning_items), "report": len(self.report_items)},
            "model": self.bench.billing.model,
            "price": price.price_id if price else None,
            "tokens_counted_by": self.bench.billing.counter.method,
            "baseline": f"{_INDEXES['hnsw']}, top {BASELINE_K}, no cache",
            "candidates": CANDIDATES,
            "environment": environment(),
        }


_INDEXES = {"hnsw": "hnsw(m=16)", "compact": "rabitq(bits=1)+rescore(f16)"}
_ORDER = ("index", "rerank", "compress", "exact_cache", "semantic_cache")


def _tuning_traffic(items: Sequence[EvalItem], seed: int) -> Traffic:
    requests = tuple(
        Request(text, item.id) for item in items for text in item.wordings[:_TUNING_WORDINGS]
    )
    return Traffic(requests=requests, exponent=0.0, seed=seed)


def _used(lever: LeverResult, combination: Setting) -> LeverResult:
    """A lever that held alone and yet is not part of the combination says so."""
    if not lever.on or _uses(combination, lever.name):
        return lever
    return replace(lever, on=False, reason=f"{lever.reason}; not part of the combination")


def _uses(setting: Setting, lever: str) -> bool:
    return {
        "index": setting.index == "compact",
        "rerank": setting.cut is not None,
        "compress": setting.keep_ratio is not None,
        "exact_cache": setting.cache != "none",
        "semantic_cache": setting.cache == "semantic",
    }[lever]


def _with(current: Setting, target: Setting, lever: str) -> Setting:
    """The current setting with one more lever as the target has it."""
    changes: dict[str, dict[str, Any]] = {
        "index": {"index": target.index},
        "rerank": {"cut": target.cut},
        "compress": {"keep_ratio": target.keep_ratio},
        "exact_cache": {"cache": "exact"},
        "semantic_cache": {"cache": "semantic"},
    }
    return replace(current, **changes[lever])


def _in_words(setting: Setting) -> str:
    parts = [_INDEXES[setting.index]]
    if setting.cut is not None:
        parts.append(f"rerank {CANDIDATES}, keep {setting.cut}")
    else:
        parts.append(f"top {BASELINE_K}")
    if setting.keep_ratio is not None:
        parts.append(f"compress to {setting.keep_ratio:.0%}")
    if setting.cache == "semantic":
        parts.append(f"exact and semantic cache at {setting.threshold:g}")
    elif setting.cache == "exact":
        parts.append("exact cache")
    return ", ".join(parts)


def _told(item: EvalItem) -> tuple[str, ...]:
    """Everything that a question's figures rest on."""
    return (item.id, *item.wordings, item.answer, *sorted(item.gold), *item.traps)


def _silent(_task: str, _done: int, _total: int) -> None:
    """Progress that nobody asked for."""
