"""The compress bench: evidence and answers kept at equal budgets, judged from the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Literal

from ragopt.benchmarks.common import about, at_least, chosen, reason_of, silent
from ragopt.benchmarks.context.cases import Case, Half, prepare, timing_contexts
from ragopt.benchmarks.context.compress_rows import compress_curves, compress_rows
from ragopt.benchmarks.context.figures import pack
from ragopt.benchmarks.context.judge import judge
from ragopt.benchmarks.context.lingua import LINGUA_ENVIRONMENT, lingua_methods
from ragopt.benchmarks.context.methods import CONTROL, Method, own_methods
from ragopt.benchmarks.datasets.types import Dataset
from ragopt.benchmarks.rows import BenchResult
from ragopt.compress import Compressor
from ragopt.cost.token_estimate import estimate_tokens
from ragopt.cost.tokens import TokenCounter, token_counter
from ragopt.errors import InputError
from ragopt.quality import data_hash

__all__ = ["CompressBenchOptions", "bench_compress", "counter_of"]

Progress = Callable[[str, int, int], None]

_QUICK_QUESTIONS = 60
_QUICK_CALLS = 10
_WARM_UP = 2
_TIMED_RATIO = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressBenchOptions:
    """Settings of `bench_compress`.

    Args:
        only: candidates to measure; all where empty.
        seed: of draw, halves, passage order and bootstrap.
        quick: few questions and calls.
        limit: questions, drawn with the seed; None takes all.
        model_limit: questions for candidates that run a model.
        ratios: budgets, as the share of the tokens that is left turned over; above 1.
        half: of the questions: ``"fit"`` to choose weights on, ``"report"`` to report on.
        passages: of a question in a set without distractors of its own.
        calls: timed ones.
        models: variant of LLMLingua to hub name or folder; else the environment names them.
        device: of models.
        counter: ``"auto"`` is `ragopt.cost.tokens.token_counter`; ``"estimate"`` counts alike on
            every machine.
    """

    only: tuple[str, ...] = ()
    seed: int = 0
    quick: bool = False
    limit: int | None = 400
    model_limit: int = 50
    ratios: tuple[float, ...] = (2, 4, 10)
    half: Half = "all"
    passages: int = 10
    calls: int = 30
    models: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    counter: Literal["auto", "estimate"] = "auto"

    def __post_init__(self) -> None:
        if not self.ratios or any(not ratio > 1 for ratio in self.ratios):
            raise InputError(f"ratios={self.ratios}: expected numbers above 1, such as 2, 4, 10")
        for name in ("limit", "model_limit", "passages", "calls"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name))
        if self.half not in ("all", "fit", "report"):
            raise InputError(f"half={self.half!r}: expected all, fit or report")
        if self.counter not in ("auto", "estimate"):
            raise InputError(f"counter={self.counter!r}: expected auto or estimate")
        unknown = sorted(set(self.models) - set(LINGUA_ENVIRONMENT))
        if unknown:
            raise InputError(f"models: {unknown}: expected some of {sorted(LINGUA_ENVIRONMENT)}")

    @property
    def questions(self) -> int | None:
        """How many to draw."""
        if self.quick:
            return min(self.limit or _QUICK_QUESTIONS, _QUICK_QUESTIONS)
        return self.limit


def counter_of(kind: Literal["auto", "estimate"]) -> TokenCounter:
    """The one counter of a run; its ``method`` is stated with the figures."""
    return token_counter() if kind == "auto" else TokenCounter(estimate_tokens, "estimate")


def bench_compress(
    dataset: Dataset,
    *,
    options: CompressBenchOptions,
    progress: Progress | None = None,
    methods: Mapping[str, Method] | None = None,
) -> BenchResult:
    """Measure compressors at equal budgets.

    Each sees the question and the numbered passages, nothing else; what it returns is judged by
    its text. A budget is a share of the tokens of all passages, titles included, by one counter;
    an output over it counts as nothing kept.

    Args:
        dataset: questions with passages, answers and evidence, or what can be made into such
            (the embedded corpus).
        options: settings.
        progress: told about candidates and questions.
        methods: further candidates, by name.

    Raises:
        InputError: an unknown candidate, or nothing to measure with.
    """
    counter = counter_of(options.counter)
    known = {
        **own_methods(counter.count, seed=options.seed),
        **lingua_methods(options.models, counter.count, device=options.device),
        **(methods or {}),
    }
    names = chosen(options.only, known)
    cases = prepare(
        dataset,
        counter.count,
        half=options.half,
        limit=options.questions,
        passages=options.passages,
        seed=options.seed,
    )
    timed = timing_contexts(
        cases, counter.count, calls=_QUICK_CALLS if options.quick else options.calls
    )
    measure = partial(
        _measure,
        cases=cases,
        timed=timed,
        options=options,
        count=counter.count,
        dataset=dataset.name,
    )
    tell = progress or silent
    details = _details(cases, timed, options, counter)
    details["methods"] = {name: measure(name, known[name], tell) for name in names}
    if CONTROL not in names:
        details["control"] = {CONTROL: measure(CONTROL, known[CONTROL], tell)}
    rows = compress_rows(details, dataset=dataset.name, seed=options.seed)
    details["curves"] = compress_curves(details, rows)
    return BenchResult(
        bench="compress",
        rows=tuple(rows),
        about=about(
            bench="compress",
            dataset=dataset.name,
            data_hash=dataset.data_hash,
            seed=options.seed,
            token_counter=counter.method,
            half=options.half,
            questions=len(cases),
            questions_hash=data_hash(*(case.key for case in cases)),
            quick=options.quick,
        ),
        details=details,
    )


def _details(
    cases: Sequence[Case],
    timed: Sequence[tuple[str, Any]],
    options: CompressBenchOptions,
    counter: TokenCounter,
) -> dict[str, Any]:
    kinds = Counter(piece.kind for case in cases for piece in case.evidence)
    chunks = [hit for _, hits in timed for hit in hits]
    tokens = sum(counter.count(hit.chunk.text) for hit in chunks) / max(1, len(chunks))
    return {
        "ratios": list(options.ratios),
        "half": options.half,
        "ids": [case.id for case in cases],
        "keys": [data_hash(case.key)[:8] for case in cases],
        "tokens": pack([case.tokens for case in cases]),
        "evidence_kinds": dict(sorted(kinds.items())),
        "timed": {
            "chunks": round(len(chunks) / max(1, len(timed)), 1),
            "tokens_per_chunk": round(tokens, 1),
            "ratio": _TIMED_RATIO,
            "one_call_at_a_time": True,
            "token_counter": counter.method,
        },
    }


def _measure(
    name: str,
    method: Method,
    tell: Progress,
    *,
    cases: Sequence[Case],
    timed: Sequence[tuple[str, Any]],
    options: CompressBenchOptions,
    count: Callable[[str], int],
    dataset: str,
) -> dict[str, Any]:
    """The record of one candidate, or the reason why there is none."""
    try:
        compressor = method.make()
    except Exception as error:  # noqa: BLE001 - one candidate's failure is not the others'
        return {"reason": reason_of(error)}
    asked = cases[: options.model_limit] if method.cost == "model" else cases
    budgets: dict[str, Any] = {}
    failure = ""
    for number, ratio in enumerate(options.ratios):
        tell(f"compress {name} {ratio:g}x", number, len(options.ratios))
        column, why = _column(compressor, asked, ratio, count)
        budgets[f"{ratio:g}"] = column
        failure = failure or why
        if why and set(column["tokens"].split()) == {"-"}:
            return {"reason": f"failed on every question at {ratio:g}x: {why}"}
    tell(f"compress {name}", len(options.ratios), len(options.ratios))
    notes = [method.notes.get(""), method.notes.get(dataset)]
    return {
        "budgets": budgets,
        "note": "; ".join(note for note in notes if note),
        "first_failure": failure,
        **_times(compressor, timed, count),
    }


def _column(
    compressor: Compressor, cases: Sequence[Case], ratio: float, count: Callable[[str], int]
) -> tuple[dict[str, str], str]:
    """What became of every question at one budget, and why the first that failed did."""
    columns: dict[str, list[float | None]] = {
        name: [] for name in ("tokens", "evidence", "answer", "foreign")
    }
    failure = ""
    for case in cases:
        try:
            text = compressor.compress(case.question, case.hits, max_tokens=case.budget(ratio)).text
            tokens: float | None = count(text)
        except Exception as error:  # noqa: BLE001 - counted as nothing kept, and said
            failure = failure or reason_of(error)
            text, tokens = "", None
        verdict = judge(text, source=case.source, evidence=case.evidence, answers=case.answers)
        columns["tokens"].append(tokens)
        columns["evidence"].append(verdict.evidence)
        columns["answer"].append(None if verdict.answer is None else float(verdict.answer))
        columns["foreign"].append(verdict.foreign)
    return {name: pack(values) for name, values in columns.items()}, failure


def _times(
    compressor: Compressor, timed: Sequence[tuple[str, Any]], count: Callable[[str], int]
) -> dict[str, Any]:
    # Further attempts to get within a budget are ours, not the candidate's.
    if hasattr(compressor, "attempts"):
        compressor.attempts = 1
    times: list[float] = []
    try:
        for number, (question, hits) in enumerate([*timed[:_WARM_UP], *timed]):
            budget = max(1, sum(count(hit.chunk.text) for hit in hits) // _TIMED_RATIO)
            begin = perf_counter()
            compressor.compress(question, hits, max_tokens=budget)
            if number >= min(_WARM_UP, len(timed)):
                times.append((perf_counter() - begin) * 1e3)
    except Exception as error:  # noqa: BLE001 - the figures stand, the time is missing
        return {"ms": "", "ms_reason": reason_of(error)}
    return {"ms": pack(times)}
