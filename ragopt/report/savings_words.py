"""What a savings report says, in sentences: shared by the page and the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ragopt.report.figures import MINUS, change, clean, count, dollars, percent, points, ratio

if TYPE_CHECKING:
    from ragopt.benchmarks.road.savings_report import LeverResult, SavingsReport

__all__ = [
    "QUALITIES",
    "bill_change",
    "headline",
    "held_means",
    "lever_title",
    "load_words",
    "measured_how",
    "of_baseline",
    "quality_words",
    "reason",
    "road",
    "served_wrong",
    "status",
    "tone",
    "traps_sentence",
    "without_cache_sentence",
]

QUALITIES = {"evidence": "evidence recall", "answer": "answer kept"}

_TITLES = {
    "baseline": "Baseline",
    "index": "Compact index",
    "rerank": "Rerank and cut",
    "compress": "Compression",
    "exact_cache": "Exact cache",
    "semantic_cache": "Semantic cache",
    "combined": "Combined",
    "combined_without_cache": "Combined, no cache",
}
# An index spec leads every setting; commas may stand inside its brackets.
_HYPHEN = re.compile(r"(?<![\w.)-])-(?=\d)")
_INDEX_SPEC = re.compile(r"^[^(),]+(?:\([^()]*\)[^(),]*)*, ")


def lever_title(name: str) -> str:
    """A lever's name as a reader sees it."""
    return _TITLES.get(name) or clean(name).replace("_", " ").capitalize()


def road(setting: str) -> str:
    """A setting in words without the index that leads it."""
    return _INDEX_SPEC.sub("", clean(setting), count=1)


def of_baseline(report: SavingsReport, lever: LeverResult, name: str) -> str:
    """A figure's ratio to the baseline's; empty where the baseline has none of it."""
    return ratio(report.ratio(lever, name)) if getattr(report.baseline, name) else ""


def reason(lever: LeverResult) -> str:
    """Why a lever is on or off, with typographic minus signs."""
    return _HYPHEN.sub(MINUS, clean(lever.reason))


def status(lever: LeverResult) -> str:
    """One word for what became of a lever."""
    if not lever.differences:
        return "baseline"
    if lever.name.startswith("combined"):
        return "held" if lever.held else "not held"
    return "on" if lever.on else "off"


def bill_change(report: SavingsReport, lever: LeverResult) -> tuple[str, str]:
    """How the bill moves, then from where to where: two halves of one sentence."""
    before, after = dollars(report.baseline.usd_per_1000), dollars(lever.usd_per_1000)
    if not report.baseline.usd_per_1000:
        return "The baseline costs nothing", f"with the levers it is {after} per 1,000 questions"
    saved = 1 - report.ratio(lever, "usd_per_1000")
    if abs(saved) < 0.0005:
        return "The bill stays as it is", f"{before} per 1,000 questions"
    verb = "falls" if saved > 0 else "rises"
    return (
        f"The bill {verb} by {percent(abs(saved))}",
        f"from {before} to {after} per 1,000 questions",
    )


def headline(report: SavingsReport) -> tuple[str, str]:
    """The report in one sentence, in two halves: what happens to the bill, and on what terms."""
    if not any(lever.on for lever in report.levers):
        before = dollars(report.baseline.usd_per_1000)
        return (
            "The bill stays as it is",
            f"{before} per 1,000 questions, for no lever could be switched on",
        )
    lead, figures = bill_change(report, report.combined)
    return lead, f"{figures}, {quality_words(report.combined)}"


def tone(report: SavingsReport) -> str:
    """``good``, ``bad`` or ``even``: a bill that falls at held quality, trouble, or neither."""
    after = report.combined
    if not after.held or after.usd_per_1000 > report.baseline.usd_per_1000:
        return "bad"
    fell = after.usd_per_1000 < report.baseline.usd_per_1000
    return "good" if fell and any(lever.on for lever in report.levers) else "even"


def quality_words(lever: LeverResult) -> str:
    """Whether quality is held, with the quality that decides it."""
    quality = lever.quality
    if quality is None:
        return "quality not compared"
    decisive = next(name for name, each in lever.differences.items() if each is quality)
    verdict = "quality held" if lever.held else "but quality is not held"
    return (
        f"{verdict} ({QUALITIES.get(decisive, decisive)} {points(quality.mean)} points, "
        f"at least {points(quality.lower)})"
    )


def without_cache_sentence(report: SavingsReport) -> str:
    """What remains when no question ever repeats."""
    lever = report.without_cache
    lead, figures = bill_change(report, lever)
    tokens = f"{count(lever.input_tokens)} input tokens a question"
    if report.baseline.input_tokens:
        tokens += f" ({change(report.ratio(lever, 'input_tokens'))})"
    return f"{lead}: {figures}, {tokens}, {quality_words(lever)}."


def served_wrong(traps: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Pairs a cache answered wrongly: the cached question and the one asked, by kind of cache."""
    served = traps.get("served_wrong")
    if not isinstance(served, Mapping):
        return {}
    return {
        clean(kind): [(clean(cached), clean(asked)) for cached, asked in pairs]
        for kind, pairs in served.items()
    }


def load_words(report: SavingsReport) -> str:
    """What the monthly figures are for."""
    load = report.options.load
    told = f"{load.questions_per_month:,} questions a month over {load.vectors:,} vectors"
    if load.peak_factor > 1:
        told += f", {load.peak_factor:.3g} times as many in the busiest minute as in the mean one"
    if load.answer_tokens is not None:
        told += f", {load.answer_tokens:,} output tokens an answer"
    return told


def traps_sentence(traps: Mapping[str, Any]) -> str:
    """How the caches fared with look-alike questions."""
    pairs, asked = int(traps.get("pairs") or 0), int(traps.get("asked") or 0)
    if not asked:
        return "The questions come with no look-alikes; the caches were not put to that test."
    wrong = [
        f"the {kind} cache answered {len(found):,} of {asked:,} wrongly"
        for kind, found in served_wrong(traps).items()
    ]
    told = "; ".join(wrong) or "no cache was asked"
    from ragopt.quality import binomial_upper

    most = max((len({*map(tuple, found)}) for found in served_wrong(traps).values()), default=0)
    bound = percent(binomial_upper(min(most, pairs), pairs))
    return (
        f"{pairs:,} pairs that look alike and mean something else, both ways round: {told} "
        f"(of such pairs, at most {bound} at 95% confidence)."
    )


def held_means(report: SavingsReport) -> str:
    """What *held* promises, in the figures of this run."""
    from ragopt.benchmarks.road.savings_report import HELD_POINTS

    return (
        "Evidence recall is the share of questions whose evidence stood in the prompt, answer "
        "kept the share whose quoted answer still stood there. Both are compared with the baseline "
        "question by question. Settings were put in order, from the most careful to the cheapest, "
        "on other questions; on these each lever went down its ladder while quality held, so that "
        "the point estimates of what was chosen lean to the kind side, and the bound is each "
        "lever's own, not one for all levers together. Quality is held when the lower bound of "
        f"the worse difference, at {report.options.confidence:.0%} confidence (paired by question; "
        f"exact, or by a score test), lies above {points(HELD_POINTS)} points. A lever that does "
        "not hold quality, or that failed on a question, stays off."
    )


def measured_how(report: SavingsReport) -> list[tuple[str, str]]:
    """How the run was measured, as (what, value), the most asked for first."""
    about = dict(report.about)
    options = report.options
    asked = about.pop("questions", None)
    found = [
        ("Traffic", clean(report.traffic)),
        ("Seed", str(options.seed)),
        ("Load", load_words(report)),
    ]
    if isinstance(asked, Mapping):
        found += [
            (f"Questions {done} on", _flat(asked[key]))
            for key, done in (("tuning", "tuned"), ("report", "reported"))
            if key in asked
        ]
    found += [(label, _flat(about.pop(key))) for key, label in _ABOUT if about.get(key) is not None]
    found += _knobs(report)
    environment = about.pop("environment", None)
    found += [(clean(key).replace("_", " ").capitalize(), _flat(about[key])) for key in about]
    if environment is not None:
        found.append(("Environment", _flat(environment)))
    return [(label, value) for label, value in found if value]


def _knobs(report: SavingsReport) -> list[tuple[str, str]]:
    options = report.options
    lines = [
        ("Semantic threshold", f"{options.threshold:g}"),
        ("Confidence of every bound", f"{options.confidence:.0%}"),
    ]
    certified = [lever for lever in report.levers if lever.certificate is not None]
    lines += [
        (f"Certificate, {lever_title(lever.name).lower()}", clean(lever.certificate))
        for lever in certified
    ]
    return lines


_ABOUT = (
    ("baseline", "Baseline"),
    ("embedder", "Embedder"),
    ("dim", "Dimensions"),
    ("chunks", "Chunks"),
    ("candidates", "Candidates before reranking"),
    ("model", "Model"),
    ("price", "Price"),
    ("tokens_counted_by", "Tokens counted by"),
    ("data_hash", "Data hash"),
    ("created", "Created"),
    ("command", "Command"),
)


def _flat(value: object) -> str:
    """Nested values on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(key)} {_flat(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_flat(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else clean(value)
