"""Figures and rows of a stream: hits, wrong hits, what was asked to learn, net dollars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache.bill import Bill, UnitCosts, bill_of
from ragopt.benchmarks.cache.figures import Counted, interval
from ragopt.benchmarks.cache.options import CacheBenchOptions
from ragopt.benchmarks.cache.policies import Candidate
from ragopt.benchmarks.cache.stream import StreamCounted, counted
from ragopt.benchmarks.rows import Row

__all__ = [
    "REPORTED_ERRORS",
    "Ground",
    "StreamFigures",
    "label",
    "stream_figures",
    "stream_rows",
    "wrong_row",
]

REPORTED_ERRORS = (0.05, 0.1)
"""Of the errors that a policy may be given, those that have rows."""

_UNKNOWN = "nobody says which questions of a log have one answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the figures of all policies are counted with.

    Args:
        groups: (n,) of the requests; None where nobody knows.
        words: (n,) of `stream.words_of`.
        tokens: (n,) of the questions.
        costs: of what is billed.
        prices: where the costs are from, see `bill.unit_costs`.
    """

    groups: NDArray[np.int32] | None
    words: NDArray[np.int32]
    tokens: NDArray[np.int32]
    costs: UnitCosts
    prices: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFigures:
    """A policy at one setting.

    Args:
        counts: what it did.
        bill: what that came to.
        truth: whether wrong hits are known.
        said: by the policy of itself.
    """

    counts: StreamCounted
    bill: Bill
    truth: bool
    said: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All figures; of a log, only those that can be known."""
        content = self.counts.to_dict()
        if not self.truth:
            known = ("n", "hits", "hit_rate", "hit_rate_range", "by_tier")
            content = {name: content[name] for name in known}
        said = {"policy": self.said} if self.said else {}
        return {**content, "net_usd_per_1000": float(self.bill.net), **self._billed(), **said}

    def _billed(self) -> dict[str, float | None]:
        bill = self.bill.to_dict()
        if not self.truth:
            bill.pop("break_even_wrong_usd")
        return bill

    def extra(self) -> dict[str, Any]:
        """What stands beside the net dollars in their row."""
        return {"n": self.counts.n, "hits": self.counts.hits, **self._billed()}


def stream_figures(
    log: NDArray[np.int32], ground: Ground, *, embeds: str, said: str = ""
) -> StreamFigures:
    """Count a log and bill it."""
    truth = ground.groups is not None
    counts = counted(log, ground.groups, ground.words)
    bill = bill_of(
        log,
        ground.tokens,
        ground.words,
        ground.costs,
        embeds=embeds,
        wrong=counts.wrong if truth else None,
    )
    return StreamFigures(counts=counts, bill=bill, truth=truth, said=said)


def stream_rows(
    candidate: Candidate,
    streams: Mapping[float | None, StreamFigures],
    reason: str | None,
    options: CacheBenchOptions,
) -> Iterator[Row]:
    """Rows of a candidate at the settings that are reported.

    Args:
        candidate: it.
        streams: its figures by setting.
        reason: why there are none.
        options: of the run.
    """
    for setting, name in _reported(candidate, options):
        if reason is not None:
            yield from (Row.missing(f"{name}/{metric}", reason) for metric in _metrics(candidate))
        elif setting in streams:
            yield from _rows(candidate, name, setting, streams)


def _reported(
    candidate: Candidate, options: CacheBenchOptions
) -> Iterator[tuple[float | None, str]]:
    """Settings with the beginning of their rows' names."""
    name = f"cache/{candidate.name}/stream"
    if candidate.default is None:
        yield None, name
    elif candidate.takes == "threshold":
        yield options.threshold, name
    else:
        for error in options.errors:
            if error in REPORTED_ERRORS:
                yield error, f"{name}/error_{error * 100:g}"


def _metrics(candidate: Candidate) -> tuple[str, ...]:
    asked = ("asked_per_request",) if candidate.asks else ()
    return ("hit_rate", "wrong_per_hit", "wrong_per_request", *asked, "net_usd_per_1000")


def _rows(
    candidate: Candidate,
    name: str,
    setting: float | None,
    streams: Mapping[float | None, StreamFigures],
) -> Iterator[Row]:
    figures = streams[setting]
    counts = figures.counts
    extra: dict[str, Any] = {candidate.takes: setting, "n": counts.n, "hits": counts.hits}
    if figures.said:
        extra["policy"] = figures.said
    yield Row.of(
        f"{name}/hit_rate",
        counts.hit_rate,
        range=interval(counts.hits, counts.n),
        by_tier=counts.to_dict()["by_tier"],
        at={label(each): found.to_dict() for each, found in streams.items()},
        **extra,
    )
    if figures.truth:
        extra["wrong"] = counts.wrong
        yield wrong_row(f"{name}/wrong_per_hit", counts, extra)
        yield Row.of(
            f"{name}/wrong_per_request",
            counts.wrong_per_request,
            range=interval(counts.wrong, counts.n),
            **extra,
        )
    else:
        for metric in ("wrong_per_hit", "wrong_per_request"):
            yield Row.missing(f"{name}/{metric}", _UNKNOWN)
    if candidate.asks:
        yield Row.of(
            f"{name}/asked_per_request",
            counts.asked_per_request,
            range=interval(counts.asked, counts.n),
            asked=counts.asked,
            **extra,
        )
    yield Row.of(f"{name}/net_usd_per_1000", float(figures.bill.net), **figures.extra())


def wrong_row(name: str, counts: Counted, extra: Mapping[str, Any]) -> Row:
    """Share of hits that are wrong; the reason where there was no hit."""
    if counts.wrong_per_hit is None:
        return Row.missing(name, f"no hit in {counts.n} requests", **extra)
    spread = interval(counts.wrong, counts.hits)
    return Row.of(name, counts.wrong_per_hit, range=spread, **extra)


def label(setting: float | None) -> str:
    """Of a setting, in results."""
    return "any" if setting is None else f"{setting:g}"
