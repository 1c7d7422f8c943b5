"""One candidate through the three protocols: what it did, as decisions to be counted from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache import latency, pairs
from ragopt.benchmarks.cache.figures import millionths
from ragopt.benchmarks.cache.honesty import Refused, Tokens, after_update
from ragopt.benchmarks.cache.material import Material
from ragopt.benchmarks.cache.options import CacheBenchOptions
from ragopt.benchmarks.cache.policies import Candidate, Opening, Policy
from ragopt.benchmarks.cache.services import Services, one_thread, scratch
from ragopt.benchmarks.cache.stream import judge_of, run_stream
from ragopt.benchmarks.cache.unavailable import Unavailable
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.benchmarks.common import reason_of
from ragopt.cache.judging import Judge
from ragopt.cache.policies import Calibrated, Verifier

__all__ = ["Measured", "Run", "Tell", "settings_of", "taken_by"]

Tell = Callable[[str, int, int], None]


@dataclass(slots=True)
class Measured:
    """What one candidate did.

    Args:
        candidate: it.
        places: of the pairs it answered, ascending.
        scores: of these pairs, in millionths.
        checked: threshold in millionths to the number of pairs asked again there.
        streams: threshold, or tolerated error, to the stream's log; one under None for a policy
            without either.
        said: likewise, to what the policy says of itself.
        latency: one dictionary a size.
        updated: what it serves once an answer was replaced.
        refused: why none of its figures counts.
        failed: protocol to the reason why it has no figures.
    """

    candidate: Candidate
    places: NDArray[np.int64] | None = None
    scores: NDArray[np.int32] | None = None
    checked: dict[int, int] = field(default_factory=dict)
    streams: dict[float | None, NDArray[np.int32]] = field(default_factory=dict)
    said: dict[float | None, str] = field(default_factory=dict)
    latency: list[dict[str, Any]] = field(default_factory=list)
    updated: str = ""
    refused: str = ""
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the bench: what candidates are measured on."""

    material: Material
    options: CacheBenchOptions
    services: Services
    pool: latency.Pool | None
    verifier: Callable[[], Verifier]
    calibrated: Callable[[float, bool], Calibrated]
    tell: Tell

    def measure(self, candidate: Candidate) -> Measured:
        """All protocols; whatever goes wrong becomes a reason and ends nobody else's run."""
        found = Measured(candidate)
        steps = {"pairs": self._pairs, "stream": self._stream, "latency": self._latency}
        for protocol in taken_by(candidate, self.options):
            reason = _attempted(steps[protocol], found)
            if found.refused:
                break
            if reason:
                found.failed[protocol] = reason
        return found

    def _pairs(self, found: Measured) -> None:
        material, candidate = self.material, found.candidate
        if material.split is None or material.subset is None:
            return
        found.places = material.subset if candidate.peer else np.arange(len(material.pairs))
        if candidate.fits:
            found.places = np.setdiff1d(found.places, material.fitting)
        asked = [material.pairs[place] for place in found.places]
        task = f"{candidate.name}: pairs"
        with self._open(candidate, pairs.FLOOR) as policy:
            found.updated = after_update(policy, asked[0].text_a)
            found.scores = pairs.score_pairs(
                policy, asked, material.table, lambda done: self.tell(task, done, len(asked))
            )
        self.tell(task, len(asked), len(asked))
        if candidate.default is None:
            return  # it has no threshold that it could be opened at
        for threshold in sorted(self._thresholds(found)):
            with self._open(candidate, threshold / 1e6) as policy:
                found.checked[threshold] = pairs.check_scores(
                    policy, asked, found.scores, threshold, seed=self.options.seed
                )

    def _thresholds(self, found: Measured) -> set[int]:
        """Those that figures are reported for."""
        material = self.material
        if material.split is None or found.places is None or found.scores is None:
            return set()
        fit, report = pairs.judge(material.pairs, material.split, found.places, found.scores)
        points = [pairs.operating_point(fit, report, each) for each in pairs.PRECISIONS]
        wanted = {point.threshold for point in points if point.threshold is not None}
        wanted.add(millionths(self.options.threshold))
        if found.candidate.default is not None:
            wanted.add(millionths(found.candidate.default))
        return wanted

    def _stream(self, found: Measured) -> None:
        stream, candidate = self.material.stream, found.candidate
        for setting in settings_of(candidate, self.options):
            task = f"{candidate.name}: stream" + (f" at {setting:g}" if setting else "")
            tokens = Tokens()
            with self._open(candidate, setting or 1.0, judge=judge_of(stream, tokens)) as policy:
                if not found.updated:
                    found.updated = after_update(policy, stream.texts[0])
                found.streams[setting] = run_stream(
                    policy,
                    stream,
                    lambda done, task=task: self.tell(task, done, len(stream.texts)),  # type: ignore[misc]
                    tokens,
                )
                found.said[setting] = str(getattr(policy, "said", ""))
            self.tell(task, len(stream.texts), len(stream.texts))

    def _latency(self, found: Measured) -> None:
        if self.pool is None:
            return
        sizes, task = self.options.sizes, f"{found.candidate.name}: latency"
        with self._open(
            found.candidate, self.options.threshold, table=self.pool.table, timed=True
        ) as policy:
            found.latency = latency.measure(
                policy,
                self.pool,
                sizes,
                self.options.samples,
                lambda done: self.tell(task, done, sizes[-1]),
                seed=self.options.seed,
            )

    @contextlib.contextmanager
    def _open(
        self,
        candidate: Candidate,
        setting: float,
        *,
        table: VectorTable | None = None,
        timed: bool = False,
        judge: Judge | None = None,
    ) -> Iterator[Policy]:
        threads = contextlib.nullcontext() if timed else one_thread()
        with threads, scratch(timed=timed) as folder:
            policy = candidate.open(
                Opening(
                    table=table or self.material.table,
                    threshold=setting,
                    folder=folder,
                    services=self.services,
                    verifier=self.verifier,
                    max_error=setting,
                    calibrated=self.calibrated if self.material.certifying else None,
                    judge=judge,
                    seed=self.options.seed,
                )
            )
            with contextlib.closing(policy):
                yield policy


def taken_by(candidate: Candidate, options: CacheBenchOptions) -> tuple[str, ...]:
    """Protocols of a run that a candidate takes part in."""
    mine = ("stream",) if candidate.takes == "max_error" else ("pairs", "stream", "latency")
    return tuple(protocol for protocol in options.protocols if protocol in mine)


def settings_of(candidate: Candidate, options: CacheBenchOptions) -> tuple[float | None, ...]:
    """What the stream is run at: thresholds, tolerated errors, or None where there is no choice."""
    if candidate.default is None:
        return (None,)
    return options.errors if candidate.takes == "max_error" else options.stream_thresholds


def _attempted(step: Callable[[Measured], None], found: Measured) -> str:
    """Why a protocol came to nothing; empty where it did not."""
    try:
        step(found)
    except Refused as reason:
        found.refused = str(reason)
    except Unavailable as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001 - a candidate may fail in any way
        return reason_of(error)
    return ""
