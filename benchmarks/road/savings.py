"""The savings report: the whole road against the usual baseline, lever by lever and combined.

The usual baseline is an f32 HNSW index in RAM, the ten nearest chunks in every prompt, no cache.
Settings are put in order on some of the questions; which of them is taken, and everything that is
reported, rests on the others. Quality is *held* when the lower bound of its paired difference to
the baseline is above -2 points. A lever that cannot hold it stays off.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ragopt.benchmarks.common import reason_of
from ragopt.benchmarks.environment import environment
from ragopt.benchmarks.evidence import EvalItem, split
from ragopt.benchmarks.road.levers import (
    BASELINE_K,
    CANDIDATES,
    CacheKind,
    Measured,
    Setting,
    Workbench,
    trap_hits,
    worse_of,
)
from ragopt.benchmarks.road.savings_report import (
    HELD_POINTS,
    LEVERS,
    Bill,
    LeverResult,
    SavingsOptions,
    SavingsReport,
    verdict,
)
from ragopt.benchmarks.road.traffic import (
    Traffic,
    check_apart,
    log_traffic,
    once_traffic,
    zipf_traffic,
)
from ragopt.benchmarks.road.tuner import INDEXES, Tuner, in_words, tuning_traffic
from ragopt.cost.infrastructure import (
    Infrastructure,
    cheapest_instance,
    fleet_monthly,
    monthly_marginal,
)
from ragopt.errors import FloorNotMet, InputError
from ragopt.indexes import build, tune
from ragopt.quality import Certificate, data_hash

if TYPE_CHECKING:
    from ragopt.benchmarks.datasets.types import QueryLog
    from ragopt.chunk import Chunk
    from ragopt.corpus import Progress
    from ragopt.cost.model_prices import ModelPrice
    from ragopt.embed import Embedder
    from ragopt.pipeline import Billing

__all__ = ["measure_savings"]

_SECONDS_A_MONTH = 730 * 3600
_VCPU_UTILISATION = 0.7
_MOST_WRONG = 0.1  # of what the semantic cache adds: held quality must not hide what it gets wrong


def measure_savings(
    chunks: Sequence[Chunk],
    items: Sequence[EvalItem],
    embedder: Embedder,
    *,
    vectors: Any,
    billing: Billing,
    options: SavingsOptions | None = None,
    log: QueryLog | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> SavingsReport:
    """Measure what each lever saves on a corpus, at what quality.

    Args:
        chunks: the corpus.
        items: questions with evidence; some 300 for a useful interval.
        embedder: of chunks and questions.
        vectors: of the chunks, (n, dim), titles included (`ragopt.corpus.embed_chunks`).
        billing: priced model and token counter.
        options: of the run.
        log: whose repetition is replayed, where ``options.traffic`` names one; read by that name
            by default.
        about: added to the report's own description of data and environment.
        progress: told of every step.

    Raises:
        InputError: fewer than four questions, two alike, vectors that are not those of the
            chunks, a model without a price, or traffic that is neither known nor a query log.
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
    traffic = _traffic(parts[1], options, log)
    report = progress or _silent
    wanted = [name for name in INDEXES if name == "hnsw" or "index" in (options.levers or LEVERS)]
    indexes = {}
    for number, name in enumerate(wanted):
        report("build indexes", number, len(wanted))
        indexes[name] = build(INDEXES[name], vectors, seed=options.seed)
    report("build indexes", len(wanted), len(wanted))
    bench = Workbench(chunks, embedder, indexes, billing, options.load.answer_tokens)
    return _Run(bench, parts, traffic, options, report).report(about or {})


def _traffic(items: Sequence[EvalItem], options: SavingsOptions, log: QueryLog | None) -> Traffic:
    """What is asked, how often, in which order."""
    wordings = [(item.id, item.wordings) for item in items]
    if options.traffic == "once":
        return once_traffic(wordings, seed=options.seed)
    if options.traffic == "zipf":
        count = options.requests or 2 * sum(len(item.wordings) for item in items)
        return zipf_traffic(wordings, count, exponent=options.zipf, seed=options.seed)
    from ragopt.benchmarks.road.recorded import recorded_log
    from ragopt.benchmarks.workloads.streams import log_shape

    log = log or recorded_log(options.traffic)
    if log is None:
        raise InputError(f"traffic={options.traffic!r}: expected 'zipf', 'once' or a query log")
    return log_traffic(wordings, log_shape(log).places, name=log.name, seed=options.seed)


class _Run:
    """One savings measurement, from indexes to report."""

    def __init__(
        self,
        bench: Workbench,
        parts: tuple[Sequence[EvalItem], Sequence[EvalItem]],
        traffic: Traffic,
        options: SavingsOptions,
        progress: Progress,
    ) -> None:
        self.bench = bench
        self.options = options
        self.progress = progress
        self.tuning_items, self.report_items = parts
        self.items = {item.id: item for part in parts for item in part}
        self.traffic = traffic
        check_apart(tuning_traffic(self.tuning_items), traffic)
        self._known: dict[Setting, Measured] = {}
        self.alone: dict[str, Setting] = {}
        self.certificates = self._tune_indexes()
        self.tuner = Tuner(
            bench, self.tuning_items, seed=options.seed, progress=progress, coarse=options.coarse
        )
        self.before = self._measure(Setting(), "baseline")

    def report(self, about: Mapping[str, Any]) -> SavingsReport:
        """Run every stage of the measurement."""
        levers = self._levers()
        combined, setting = self._combine([lever.name for lever in levers if lever.on])
        chosen = {lever.name: lever.setting for lever in levers}
        return SavingsReport(
            baseline=self._result("baseline", Setting(), self.before),
            levers=tuple(_used(lever, setting) for lever in levers),
            combined=combined,
            without_cache=self._alone("combined_without_cache", setting.stateless),
            steps=tuple(self._steps(setting)),
            tuning=self.tuner.marked({**chosen, "combined": in_words(setting.stateless)}),
            traps=self._traps(),
            traffic=str(self.traffic),
            about={**self._about(), **about},
            options=self.options,
        )

    def _tune_indexes(self) -> dict[str, Certificate | str]:
        """Certificates of both indexes' recall, or the reason why there is none."""
        # One wording each: a certificate counts independent queries.
        queries, held_out = (
            self.bench.embedder.embed([item.wordings[0] for item in items])
            for items in (self.tuning_items, self.report_items)
        )
        found: dict[str, Certificate | str] = {}
        for name, index in self.bench.indexes.items():
            self.progress(f"tune {name}", 0, 1)
            try:
                found[name] = tune(
                    index,
                    queries,
                    held_out=held_out,
                    recall=self.options.recall,
                    k=BASELINE_K,
                    confidence=self.options.confidence,
                    seed=self.options.seed,
                )
            except (FloorNotMet, InputError) as error:
                found[name] = str(error)
            self.progress(f"tune {name}", 1, 1)
        return found

    @property
    def wanted(self) -> list[str]:
        """The levers to try, in their order."""
        return [name for name in LEVERS if not self.options.levers or name in self.options.levers]

    def _levers(self) -> list[LeverResult]:
        """Each lever alone."""
        measure: dict[str, Callable[[], LeverResult]] = {
            "index": self._index,
            "rerank": lambda: self._lowest("rerank", self.tuner.rerank()),
            "compress": self._compress,
            "exact_cache": self._exact_cache,
            "semantic_cache": self._semantic_cache,
        }
        return [self._or_off(name, measure[name]) for name in self.wanted]

    def _or_off(self, name: str, measure: Callable[[], LeverResult]) -> LeverResult:
        """A lever measured; one that cannot be says why and stays off."""
        try:
            return measure()
        except Exception as error:  # noqa: BLE001 - one lever must not fail the others
            told = reason_of(error)
            return replace(self._off(name, told), error=told)

    def _index(self) -> LeverResult:
        index = self._alone("index", Setting(index="compact"))
        if isinstance(reason := self.certificates["compact"], str):
            index = replace(index, on=False, reason=reason)
        return index

    def _compress(self) -> LeverResult:
        for items in (self.tuning_items, self.report_items):
            if not any(item.answer for item in items):
                raise InputError(
                    "the questions quote no answers: what compression leaves out of a gold chunk "
                    "cannot be judged"
                )
        return self._lowest("compress", self.tuner.compress())

    def _exact_cache(self) -> LeverResult:
        exact = self._alone("exact_cache", Setting(cache="exact"))
        if exact.on and not exact.hits:
            exact = replace(exact, on=False, reason="served nothing: no request repeats another")
        return exact

    def _semantic_cache(self) -> LeverResult:
        semantic = self._alone("semantic_cache", self._semantic(Setting()))
        exact = self._measure(Setting(cache="exact"), "exact_cache")
        if not semantic.on:
            return semantic
        own = semantic.hits - int(exact.column("hit").sum())
        if own <= 0:
            return replace(semantic, on=False, reason="served no more than the exact cache")
        if semantic.wrong_hits > _MOST_WRONG * own:
            told = f"served {own} requests that the exact cache did not, {semantic.wrong_hits} of"
            return replace(semantic, on=False, reason=f"{told} them wrongly")
        return semantic

    def _combine(self, on: Sequence[str]) -> tuple[LeverResult, Setting]:
        """The levers that are on, their knobs tuned together.

        Caches come on one after the other, the safest first, while quality holds.
        """
        bare = Setting(index="compact" if "index" in on else "hnsw")
        ladder = self.tuner.together(bare, cut="rerank" in on, compress="compress" in on)
        setting = self._descend("combined", ladder) or self._better_alone(bare, on)
        combined = self._alone("combined", setting)
        kinds: tuple[CacheKind, ...] = ("exact", "semantic")
        for kind in kinds:
            if f"{kind}_cache" in on:
                cached = replace(setting, cache=kind, threshold=self.options.threshold)
                result = self._alone("combined", cached)
                if not result.held:
                    break
                combined, setting = result, cached
        return combined, setting

    def _better_alone(self, bare: Setting, on: Sequence[str]) -> Setting:
        """The cheaper of the context levers that held alone, where they do not go together."""
        alone = [
            replace(bare, cut=each.cut, keep_score=each.keep_score)
            for name, each in self.alone.items()
            if name in on
        ]
        measured = {each: self._measure(each, "combined") for each in alone}
        return min(alone, key=lambda each: measured[each].mean("input_tokens"), default=bare)

    def _descend(self, name: str, ladder: Sequence[Setting]) -> Setting | None:
        """The last rung, going down from the most careful, before quality fails.

        Each rung is judged at full confidence and the first failure ends the descent: testing in
        an order fixed beforehand needs no correction for the number of rungs (fixed-sequence
        testing; Maurer, Hothorn and Lehmacher, 1995). The order comes from the tuning questions.
        The confidence is one ladder's own: several levers are several tests.
        """
        if not ladder:
            return None
        held = None
        for number, setting in enumerate(ladder):
            self.progress(f"judge {name}", number, len(ladder))
            measured = self.bench.screen(setting, self.traffic, self.items)
            quality = measured.against(
                self.before, confidence=self.options.confidence, seed=self.options.seed
            )
            if worse_of(quality)[1].lower <= HELD_POINTS:
                break
            held = setting
        self.progress(f"judge {name}", len(ladder), len(ladder))
        return held

    def _lowest(self, name: str, ladder: Sequence[Setting]) -> LeverResult:
        """A lever with a ladder, alone, on its lowest rung that holds; off where none does."""
        setting = self._descend(name, ladder)
        if setting is not None:
            self.alone[name] = setting
            return self._alone(name, setting)
        if ladder:
            return self._alone(name, ladder[0])
        return self._off(name, "every setting lost 2 points or more on the tuning questions")

    def _off(self, name: str, reason: str) -> LeverResult:
        """A lever without a setting: the road stays the baseline's."""
        off = self._result(name, Setting(), self.before)
        return replace(off, setting="off", on=False, reason=reason)

    def _alone(self, name: str, setting: Setting) -> LeverResult:
        """A setting over the whole traffic; on where it holds quality."""
        result = self._result(name, setting, self._measure(setting, name))
        certificate = self.certificates.get(setting.index) if setting.index == "compact" else None
        return replace(
            result,
            on=result.held,
            reason=f"a stage failed on {result.failures} requests"
            if result.failures
            else f"quality {verdict(result)}",
            certificate=certificate if isinstance(certificate, Certificate) else None,
        )

    def _semantic(self, setting: Setting) -> Setting:
        return replace(setting, cache="semantic", threshold=self.options.threshold)

    def _steps(self, target: Setting) -> list[LeverResult]:
        """The combination built up lever by lever."""
        steps = []
        current = Setting(threshold=target.threshold)
        for name in LEVERS:
            if _uses(target, name):
                current = _with(current, target, name)
                steps.append(self._result(name, current, self._measure(current, f"with {name}")))
        return steps

    def _traps(self) -> dict[str, Any]:
        traps = sum(len(item.traps) for item in self.items.values())
        found: dict[str, Any] = {"pairs": traps, "asked": 2 * traps, "served_wrong": {}}
        kinds: tuple[CacheKind, ...] = ("exact", "semantic")
        for kind in (kind for kind in kinds if f"{kind}_cache" in self.wanted):
            setting = Setting(cache=kind, threshold=self.options.threshold)
            self.progress(f"traps, {kind} cache", 0, 1)
            found["served_wrong"][kind] = trap_hits(self.bench, setting, self.items.values())
            self.progress(f"traps, {kind} cache", 1, 1)
        return found

    def _measure(self, setting: Setting, name: str) -> Measured:
        """A setting over the whole traffic; each is run once."""
        if setting not in self._known:
            done = 0

            def step() -> None:
                nonlocal done
                done += 1
                if done % 20 == 0 or done == len(self.traffic.requests):
                    self.progress(name, done, len(self.traffic.requests))

            self._known[setting] = self.bench.run(setting, self.traffic, self.items, step)
        return self._known[setting]

    def _result(
        self,
        name: str,
        setting: Setting,
        measured: Measured,
    ) -> LeverResult:
        count = len(self.bench.chunks)
        ram = self.bench.ram_bytes(setting) / count
        disk = self.bench.disk_bytes(setting) / count
        held = measured.cache_bytes + self.bench.bounded_bytes(setting)
        bill = self._bill(measured, ram, disk, held=held)
        questions = self.options.load.questions_per_month
        return LeverResult(
            name=name,
            setting=in_words(setting),
            bill=bill,
            usd_per_1000=bill.total / questions * 1000,
            input_tokens=measured.mean("input_tokens"),
            output_tokens=measured.mean("output_tokens"),
            ms=measured.mean("ms"),
            ram_bytes_per_vector=ram + held / self.options.load.vectors,
            disk_bytes_per_vector=disk,
            hit_ratio=measured.mean("hit"),
            hits=int(measured.column("hit").sum()),
            wrong_hits=int(measured.column("wrong").sum()),
            failures=int(measured.column("failed").sum()),
            evidence_recall=measured.by_question("evidence"),
            answer_kept=measured.by_question("answer"),
            differences=measured.against(
                self.before,
                confidence=self.options.confidence,
                seed=self.options.seed,
            )
            if name != "baseline"
            else {},
        )

    def _bill(self, measured: Measured, ram: float, disk: float, *, held: int) -> Bill:
        """At the load: RAM and disk a vector are scaled to it, what is merely held is not."""
        load = self.options.load
        ram_bytes = round(ram * load.vectors) + held
        disk_bytes = round(disk * load.vectors)
        busy = load.questions_per_month * measured.mean("ms") / 1e3 / _SECONDS_A_MONTH
        vcpus = busy * load.peak_factor / _VCPU_UTILISATION
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
            "prices": _prices(price),
            "tokens_counted_by": self.bench.billing.counter.method,
            "baseline": f"{INDEXES['hnsw']}, top {BASELINE_K}, no cache",
            "candidates": CANDIDATES,
            "environment": environment(),
        }


def _prices(price: ModelPrice | None) -> dict[str, Any]:
    """Id of the model's price, and a hash that changes whenever any price that is billed does."""
    return {
        "id": price.price_id if price else None,
        "hash": data_hash(repr(price), Infrastructure.default().hash),
    }


def _used(lever: LeverResult, combination: Setting) -> LeverResult:
    """A lever that held alone and yet is not part of the combination says so."""
    if not lever.on or _uses(combination, lever.name):
        return lever
    return replace(lever, on=False, reason=f"{lever.reason}; not part of the combination")


def _uses(setting: Setting, lever: str) -> bool:
    return {
        "index": setting.index == "compact",
        "rerank": setting.cut is not None,
        "compress": setting.keep_score is not None,
        "exact_cache": setting.cache != "none",
        "semantic_cache": setting.cache == "semantic",
    }[lever]


def _with(current: Setting, target: Setting, lever: str) -> Setting:
    """The current setting with one more lever as the target has it."""
    changes: dict[str, dict[str, Any]] = {
        "index": {"index": target.index},
        "rerank": {"cut": target.cut},
        "compress": {"keep_score": target.keep_score},
        "exact_cache": {"cache": "exact"},
        "semantic_cache": {"cache": "semantic"},
    }
    return replace(current, **changes[lever])


def _told(item: EvalItem) -> tuple[str, ...]:
    """Everything that a question's figures rest on."""
    return (item.id, *item.wordings, item.answer, *sorted(item.gold), *item.traps)


def _silent(_task: str, _done: int, _total: int) -> None:
    """Progress that nobody asked for."""
