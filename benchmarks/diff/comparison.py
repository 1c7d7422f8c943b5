"""Two runs compared row by row: usage, dollars, quality and timings apart, and what fails a build.

Whatever is deterministic on a frozen slice (tokens, bytes, pages, recall) may fail a build; a
timing only warns. Dollars are judged at BASE's prices: that a provider changed its prices is no
fault of a pull request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from ragopt.benchmarks.diff.prices import at_prices_of, price_changes
from ragopt.benchmarks.diff.read import options_of, rechecked, why_incomparable
from ragopt.benchmarks.rows import BenchResult, Metric, Row, metric_of
from ragopt.errors import InputError
from ragopt.report.bench_words import figure

__all__ = ["Change", "Diff", "DiffOptions", "Finding", "diff"]

Group = Literal["usage", "price", "quality", "timing"]
Kind = Literal["gone", "new", "worse", "better", "same"]

TIMED_WARNING = 0.2
"""A timing that got worse by more than this share is worth a look; it never fails."""

_SAME = 1e-9
_DIFFERENCE = "quality_diff"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions:
    """What fails.

    Args:
        max_increase: percent by which a deterministic cost row (tokens, bytes, pages, dollars at
            BASE's prices) may rise; None: any. A hit rate counts by its misses, which are what is
            paid for. A rise from zero passes no limit.
        min_quality: least acceptable quality; None: any. Above 0 it is a level that every quality
            row of HEAD must reach, an error rate by what is left of 1, a row with a range by its
            worse end; differences to a baseline are left out. From -1 to 0 it is a change: no
            quality row may be worse than in BASE by more than that, and differences to a baseline
            (``quality_diff``) must themselves be at least that. Levers that are off do not count.
        allow_missing: rows of BASE may be missing in HEAD.
        rows: patterns (``index/tiered/*``) of the rows that are compared; empty: all.
    """

    max_increase: float | None = None
    min_quality: float | None = None
    allow_missing: bool = False
    rows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        most, least = self.max_increase, self.min_quality
        if most is not None and not 0 <= most < math.inf:
            raise InputError(
                f"--max-increase {most:g}: expected percent from 0 up (5: a cost may rise by 5 %)"
            )
        if least is not None and not -1 <= least <= 1:
            raise InputError(
                f"--min-quality {least:g}: expected a level above 0 and up to 1 (0.95: every "
                "quality at least 95 %), or a change from -1 to 0 (-0.02: none may fall by more "
                "than two points)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row in BASE and in HEAD.

    Args:
        name: of the row.
        metric: what it measures.
        before: in BASE; None where it has no such row.
        after: in HEAD, likewise.
        at_base_prices: HEAD's dollars at BASE's prices, where prices changed and this is known.
        prices_changed: whether they did.
    """

    name: str
    metric: Metric
    before: Row | None
    after: Row | None
    at_base_prices: float | None = None
    prices_changed: bool = False

    @property
    def old(self) -> float | None:
        """BASE's value."""
        return None if self.before is None else self.before.value

    @property
    def new(self) -> float | None:
        """HEAD's value."""
        return None if self.after is None else self.after.value

    @property
    def group(self) -> Group:
        """What moved."""
        return "timing" if self.metric.timed else self.metric.about

    @property
    def delta(self) -> float | None:
        """HEAD minus BASE."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def ratio(self) -> float | None:
        """HEAD over BASE, less 1; infinite from zero; None where either is missing."""
        return None if self.old is None or self.new is None else _rise(self.old, self.new)

    @property
    def kind(self) -> Kind:
        """What became of the row."""
        if self.old is None or self.new is None:
            return "gone" if self.new is None else "new"
        if math.isclose(self.old, self.new, rel_tol=_SAME, abs_tol=_SAME):
            return "same"
        return "better" if (self.new < self.old) == (self.metric.better == "smaller") else "worse"

    @property
    def cost_increase(self) -> float | None:
        """Share by which what is paid for rose (negative: fell), at BASE's prices.

        None for quality and timings, and for dollars whose part of the prices is not known.
        """
        if self.old is None or self.new is None or self.group not in ("usage", "price"):
            return None
        if self.group == "price" and self.prices_changed:
            if self.at_base_prices is None:
                return None
            return _rise(self.old, self.at_base_prices)
        if self.metric.better == "smaller":
            return _rise(self.old, self.new)
        if self.metric.unit == "ratio":
            return _rise(1 - self.old, 1 - self.new)
        return _rise(self.new, self.old)

    def to_dict(self) -> dict[str, Any]:
        """As JSON; a rise from zero has no finite ratio and is null."""
        return {
            "name": self.name,
            "unit": self.metric.unit,
            "group": self.group,
            "kind": self.kind,
            "base": self.old,
            "head": self.new,
            "ratio": _finite(self.ratio),
            "cost_increase": _finite(self.cost_increase),
            "at_base_prices": self.at_base_prices,
            "reason": self.reason,
        }

    @property
    def reason(self) -> str:
        """Why HEAD has no value, where it says so."""
        return "" if self.after is None else self.after.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that fails the comparison, or that is worth a look.

    Args:
        rule: ``"missing"``, ``"max-increase"``, ``"min-quality"`` or ``"timing"``.
        name: of the row, of a whole candidate, or of an option that found nothing to judge.
        words: what happened.
    """

    rule: str
    name: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What changed between two runs.

    Args:
        bench: of both.
        changes: every row of either.
        alarms: what fails.
        warnings: what does not fail and is worth a look.
        notes: what the reader must know: forced comparisons, other machines, other versions.
        prices: what differs between the prices; empty where they are the same.
        options: what was judged by.
    """

    bench: str
    changes: tuple[Change, ...]
    alarms: tuple[Finding, ...]
    warnings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    prices: tuple[str, ...] = ()
    options: DiffOptions = field(default_factory=DiffOptions)

    @property
    def failed(self) -> bool:
        """Whether anything fails."""
        return bool(self.alarms)

    def of(self, group: Group) -> tuple[Change, ...]:
        """The changes of a group."""
        return tuple(change for change in self.changes if change.group == group)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        from ragopt.report.serialise import plain

        return {
            "kind": "ragopt diff",
            "bench": self.bench,
            "failed": self.failed,
            "alarms": plain(self.alarms),
            "warnings": plain(self.warnings),
            "notes": list(self.notes),
            "prices": list(self.prices),
            "options": plain(self.options),
            "changes": [change.to_dict() for change in self.changes],
        }


def diff(
    base: BenchResult,
    head: BenchResult,
    *,
    options: DiffOptions | None = None,
    anyway: bool = False,
) -> Diff:
    """Compare two results of one bench.

    Args:
        base: what is compared with.
        head: what is judged.
        options: what fails.
        anyway: compare also what does not measure the same; it is then said in the notes.

    Raises:
        InputError: results that may not be compared, that do not fit their own figures, or that
            hold a row twice, without a metric, or in another unit.
    """
    options = options or DiffOptions()
    notes = _fit_to_compare(base, head, anyway=anyway)
    prices = tuple(price_changes(base, head))
    known = at_prices_of(base, head) if prices else {}
    changes = tuple(
        _change(name, before, after, known.get(name), prices_changed=bool(prices))
        for name, before, after in _pairs(base, head, options.rows)
    )
    if options.rows and not changes:
        raise InputError(f"--rows {' '.join(options.rows)}: no row of either result matches")
    alarms, gone_timings = _missing(changes, head, options)
    alarms += [found for each in changes for found in _judged(each, options)]
    same_machine = _machine(base) == _machine(head)
    slower = [found for each in changes for found in _slower(each)] if same_machine else []
    return Diff(
        bench=head.bench,
        changes=changes,
        alarms=tuple(alarms),
        warnings=(*gone_timings, *slower, *_idle_gates(changes, options)),
        notes=(*notes, *_other_ground(base, head), *_not_measured(base, head)),
        prices=prices,
        options=options,
    )


def _fit_to_compare(base: BenchResult, head: BenchResult, *, anyway: bool) -> list[str]:
    for said, result in (("BASE", base), ("HEAD", head)):
        problems = rechecked(result)
        if problems:
            more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
            raise InputError(
                f"{said} does not fit its own figures: {'; '.join(problems[:3])}{more}; run the "
                "bench again"
            )
    reasons = why_incomparable(base, head)
    if reasons and not anyway:
        raise InputError(
            f"BASE and HEAD do not measure the same: {'; '.join(reasons)}; run both alike, or "
            "compare them all the same with --anyway"
        )
    return [f"not the same measurement: {reason}" for reason in reasons]


def _pairs(
    base: BenchResult, head: BenchResult, patterns: Sequence[str]
) -> list[tuple[str, Row | None, Row | None]]:
    """Rows by name, in HEAD's order and then what only BASE has, where either has a value."""
    before = {row.name: row for row in base.rows}
    after = {row.name: row for row in head.rows}
    return [
        (name, before.get(name), after.get(name))
        for name in dict.fromkeys([*after, *before])
        if _has_value(before.get(name)) or _has_value(after.get(name))
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def _change(
    name: str,
    before: Row | None,
    after: Row | None,
    at_base: float | None,
    *,
    prices_changed: bool,
) -> Change:
    if _has_value(before) and _has_value(after) and before and after and before.unit != after.unit:
        raise InputError(f"{name}: {before.unit!r} in BASE, {after.unit!r} in HEAD")
    metric = metric_of(name)
    return Change(
        name=name,
        metric=metric,
        before=before,
        after=after,
        at_base_prices=at_base if metric.about == "price" and _has_value(after) else None,
        prices_changed=prices_changed,
    )


# Rules ------------------------------------------------------------------------------------


def _missing(
    changes: Sequence[Change], head: BenchResult, options: DiffOptions
) -> tuple[list[Finding], list[Finding]]:
    """Rows that BASE has and HEAD has not: alarms, and warnings for timings alone.

    A candidate of which nothing is left is one finding, with the reason that HEAD gives.
    """
    gone = [change for change in changes if change.kind == "gone"]
    left = {_candidate(row.name) for row in head.rows if row.value is not None}
    whole = dict.fromkeys(
        candidate for each in gone if (candidate := _candidate(each.name)) not in left
    )
    found = [
        Finding(rule="missing", name=candidate, words=f"gone: {_why_gone(candidate, head)}")
        for candidate in whole
    ]
    found += [
        Finding(
            rule="timing" if each.group == "timing" else "missing",
            name=each.name,
            words=f"gone: {each.reason or _why_gone(each.name, head)}",
        )
        for each in gone
        if _candidate(each.name) not in whole
    ]
    failing = [each for each in found if each.rule == "missing"]
    if options.allow_missing:
        return [], found
    return failing, [each for each in found if each.rule != "missing"]


def _why_gone(name: str, head: BenchResult) -> str:
    """The reason that HEAD gives for a row, its candidate, or the first of its rows."""
    reasons = {row.name: row.reason for row in head.rows if row.value is None}
    place = name
    while place:
        if place in reasons:
            return reasons[place]
        place = place.rpartition("/")[0]
    within = (reason for row, reason in reasons.items() if row.startswith(f"{name}/"))
    return next(within, "HEAD has no such row and gives no reason")


def _judged(change: Change, options: DiffOptions) -> list[Finding]:
    found = []
    most, least, increase = options.max_increase, options.min_quality, change.cost_increase
    if most is not None and increase is not None and increase * 100 > most + _SAME:
        found.append(_too_dear(change, increase, most))
    words = _too_bad(change, least) if least is not None else ""
    if words:
        found.append(Finding(rule="min-quality", name=change.name, words=words))
    return found


def _too_dear(change: Change, increase: float, most: float) -> Finding:
    now = change.new if change.at_base_prices is None else change.at_base_prices
    words = f"{figure(change.name, change.old)} → {figure(change.name, now)}"
    if change.at_base_prices is not None:
        words += " at BASE's prices"
    rise = f"{increase:+.1%}" if math.isfinite(increase) else "from nothing"
    what = ", misses" if change.metric.better == "bigger" else ","
    return Finding(
        rule="max-increase", name=change.name, words=f"{words}{what} {rise}; at most +{most:g}%"
    )


def _idle_gates(changes: Sequence[Change], options: DiffOptions) -> list[Finding]:
    """A limit that no row was judged by does not pass in silence."""
    least, found = options.min_quality, []
    if options.max_increase is not None and all(each.cost_increase is None for each in changes):
        found.append(("--max-increase", "no cost"))
    if least is not None and not any(_judged_by(each, least) for each in changes):
        found.append(("--min-quality", "no quality level" if least > 0 else "no quality"))
    return [
        Finding(rule=name.removeprefix("--"), name=name, words=f"{what} was there to judge")
        for name, what in found
    ]


def _judged_by(change: Change, least: float) -> bool:
    """Whether a row is a quality that this limit says something about."""
    row = change.after
    if change.group != "quality" or row is None or row.value is None:
        return False
    if row.extra.get("on") is False:
        return False
    if _is_difference(change):
        return least <= 0
    return least > 0 or change.delta is not None


def _too_bad(change: Change, least: float) -> str:
    """Why a quality is not acceptable; empty where it is."""
    row = change.after
    if row is None or not _judged_by(change, least):
        return ""
    low, high = _ends(row)
    if _is_difference(change):
        return "" if low >= least - _SAME else f"{figure(change.name, low)}, least is {least:g}"
    if least > 0:
        level = low if change.metric.better == "bigger" else 1 - high
        worst = "at worst " if row.range is not None else ""
        return "" if level >= least - _SAME else f"{worst}{level:.4g}, least is {least:g}"
    delta = change.delta or 0.0
    gain = delta if change.metric.better == "bigger" else -delta
    if gain >= least - _SAME:
        return ""
    moved = f"{figure(change.name, change.old)} → {figure(change.name, change.new)}"
    return f"{moved}, worse by {-gain * 100:.3g} points; at most {-least * 100:g}"


def _is_difference(change: Change) -> bool:
    """Whether a row is itself a difference to a baseline within its run."""
    return _last(change.name).startswith(_DIFFERENCE)


def _slower(change: Change) -> list[Finding]:
    """A warning where a timing got much worse, and not within the spread of its repetitions."""
    if change.group != "timing" or change.kind != "worse" or not change.old or not change.new:
        return []
    factor = (
        change.new / change.old if change.metric.better == "smaller" else change.old / change.new
    )
    if factor - 1 <= TIMED_WARNING or _ranges_meet(change):
        return []
    moved = f"{figure(change.name, change.old)} → {figure(change.name, change.new)}"
    return [Finding(rule="timing", name=change.name, words=f"{moved}, slower by {factor - 1:.0%}")]


def _ranges_meet(change: Change) -> bool:
    before, after = change.before, change.after
    if before is None or after is None or before.range is None or after.range is None:
        return False
    return before.range[0] <= after.range[1] and after.range[0] <= before.range[1]


# Notes ------------------------------------------------------------------------------------


def _other_ground(base: BenchResult, head: BenchResult) -> list[str]:
    """Other machines, other versions and options of one side, in words."""
    notes = [
        f"options that only {who} names: {', '.join(sorted(own))}"
        for who, one, other in (("BASE", base, head), ("HEAD", head, base))
        if (own := {*options_of(one)} - {*options_of(other)})
    ]
    if _machine(base) != _machine(head):
        notes.append(
            f"measured on other machines ({_machine(base)}; {_machine(head)}): timings are not "
            "compared"
        )
    before, after = _packages(base), _packages(head)
    moved = [
        f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    if moved:
        notes.append(f"other versions: {', '.join(moved)}")
    return notes


def _not_measured(base: BenchResult, head: BenchResult) -> list[str]:
    """What HEAD lists for the first time, and could not measure."""
    known = {row.name for row in base.rows}
    return [
        f"{row.name} is new and was not measured: {row.reason}"
        for row in head.rows
        if row.value is None and row.name not in known
        if not any(name.startswith(f"{row.name}/") for name in known)
    ]


def _environment(result: BenchResult) -> Mapping[str, Any]:
    found = result.about.get("environment")
    return found if isinstance(found, Mapping) else {}


def _machine(result: BenchResult) -> str:
    return str(_environment(result).get("cpu", "unknown"))


def _packages(result: BenchResult) -> dict[str, str]:
    found = _environment(result)
    known: dict[str, Any] = {}
    for versions in (found.get("packages"), result.about.get("versions")):
        known.update(versions if isinstance(versions, Mapping) else {})
    if "python" in found:
        known["python"] = found["python"]
    return {str(name): str(version) for name, version in known.items()}


# Figures ----------------------------------------------------------------------------------


def _rise(before: float, after: float) -> float:
    """Relative increase; infinite from zero, 0 where both are."""
    if math.isclose(before, after, rel_tol=_SAME, abs_tol=_SAME):
        return 0.0
    if abs(before) < _SAME:
        return math.copysign(math.inf, after - before)
    return (after - before) / abs(before)


def _ends(row: Row) -> tuple[float, float]:
    """Both ends of a row's range; its value twice where it has none."""
    value = row.value if row.value is not None else math.nan
    if row.range is None or not all(math.isfinite(end) for end in row.range):
        return value, value
    return min(row.range), max(row.range)


def _has_value(row: Row | None) -> bool:
    return row is not None and row.value is not None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _candidate(name: str) -> str:
    return name.rpartition("/")[0]


def _last(name: str) -> str:
    return name.rpartition("/")[2]
