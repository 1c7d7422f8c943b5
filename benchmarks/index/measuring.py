"""One candidate from build to figures: phases in processes of their own, answers judged here."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.common import reason_of
from ragopt.benchmarks.index.candidates import Candidate
from ragopt.benchmarks.index.figures import RECALL_SLACK, latencies, points_of
from ragopt.benchmarks.index.job import Built, ColdBlock, Job, Phase, Searched, ZipfRun, load
from ragopt.benchmarks.index.options import IndexBenchOptions
from ragopt.benchmarks.index.place import Place
from ragopt.benchmarks.index.process import CandidateFailed, run_job
from ragopt.benchmarks.index.split import Split
from ragopt.benchmarks.index.truth import Truth
from ragopt.errors import FloorNotMet, InputError
from ragopt.quality import data_hash

__all__ = ["PHASES", "Measuring"]

PHASES = ("build", "search", "cold", "zipf")
ZIPF_EXPONENT = 1.0
_LIMIT_QUERIES = 25
_LIMIT_LOW = 16 << 20
_LIMIT_TIMEOUT_S = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """What all candidates of a run are measured with.

    Args:
        split: base and queries.
        tuning: truth of the tuning queries; it and the next never leave this process.
        report: truth of the report queries.
        options: of the run.
    """

    split: Split
    tuning: Truth
    report: Truth
    options: IndexBenchOptions

    def candidate(self, candidate: Candidate, place: Place, say: Say) -> dict[str, Any]:
        """Facts and points of a candidate; whatever goes wrong is a reason, not an error.

        Returns:
            ``{"facts": …, "points": […]}``; kept in ``place`` where nothing went wrong.
        """
        place.prepare(fresh=self.options.fresh)
        finished = place.finished()
        if finished is not None:
            finished["facts"]["resumed"] = True
            return finished
        facts: dict[str, Any] = {
            "family": candidate.name,
            **{
                name: value
                for name, value in asdict(candidate).items()
                if name not in {"name", "unavailable"}
            },
            "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "resumed": False,
            "wanted": min(self.options.k, len(self.split.base)),
            "reason": "",
        }
        if candidate.unavailable:
            return {"facts": {**facts, "reason": candidate.unavailable}, "points": []}
        begin = perf_counter()
        try:
            points = _Run(self, candidate, place, say).into(facts)
        except (CandidateFailed, InputError, OSError) as error:
            if not self.options.keep_indexes:
                shutil.rmtree(place.folder, ignore_errors=True)
            return {"facts": {**facts, "reason": reason_of(error)}, "points": []}
        facts["seconds"] = perf_counter() - begin
        result = {"facts": facts, "points": points}
        place.finish(result, keep_index=self.options.keep_indexes)
        return result


class _Run:
    """The phases of one candidate."""

    def __init__(self, measuring: Measuring, candidate: Candidate, place: Place, say: Say) -> None:
        self._measuring = measuring
        self._options = measuring.options
        self._budget = measuring.options.budget
        self._split = measuring.split
        self._candidate = candidate
        self._place = place
        self._say = say
        self._modules: tuple[str, ...] = ()

    def into(self, facts: dict[str, Any]) -> list[dict[str, Any]]:
        """Run the phases, fill in the facts and return the points.

        Raises:
            CandidateFailed: build or sweep failed; failures of later phases are facts.
        """
        self._say("build")
        built = self._place.kept("build", self._build)
        self._modules = tuple(built.pop("modules"))
        facts["build"] = built
        self._say("search")
        searched = self._place.kept("search", self._search)
        facts["search"] = searched["search"]
        points: list[dict[str, Any]] = searched["points"]
        value = next((point["value"] for point in points if point["operating"]), None)
        facts.update(operating=value, cold={}, zipf={}, limit={})
        if value is not None:
            self._say("cold")
            facts["cold"] = self._place.kept("cold", lambda: self._cold(value))
            self._say("zipf")
            facts["zipf"] = self._place.kept("zipf", lambda: self._zipf(value))
            if self._options.find_memory_limit:
                facts["limit"] = self._place.kept("limit", lambda: self._limit(value))
        return points

    def _build(self) -> dict[str, Any]:
        # A copy, removed afterwards: what a build does to it harms nobody else.
        base = self._place.folder / "base.npy"
        np.save(base, self._split.base)
        try:
            outcome = self._run("build", base=str(base), threads=self._options.all_threads)
        finally:
            base.unlink(missing_ok=True)
        load(Built, outcome)
        return outcome

    def _search(self) -> dict[str, Any]:
        outcome, answers = self._ask(
            "search",
            self._split.report,
            tuning=self._split.tuning,
            values=self._candidate.values,
            threads=self._options.all_threads,
            passes=self._options.passes,
            seconds=self._budget.search_s,
        )
        searched = load(Searched, outcome)
        for part in ("tuning", "report"):
            expected = getattr(self._split, f"{part}_hash")
            if getattr(searched, f"{part}_hash") != expected:
                raise CandidateFailed(f"search: the {part} queries were not those of the split")
        truths = {
            "tuning": self._measuring.tuning,
            "report": self._measuring.report,
            "batch": self._measuring.report,
        }
        hits = [
            {part: truth.hits(answers[part][number]) for part, truth in truths.items()}
            for number in range(len(searched.points))
        ]
        points = points_of(
            self._candidate.name,
            self._candidate.knob,
            {value: self._candidate.setting(value) for value in self._candidate.values},
            searched,
            hits,
            wanted=min(self._options.k, len(self._split.base)),
            floor=self._options.floor,
            seed=self._options.seed,
        )
        described = {key: value for key, value in outcome.items() if key != "points"}
        return {"search": described, "points": points}

    def _cold(self, value: int) -> dict[str, Any]:
        """Blocks of unseen queries, each in a fresh process where the index lives on disk."""
        per_block = self._budget.block_queries
        count = min(self._budget.cold_blocks * per_block, len(self._split.report))
        step = per_block if self._candidate.disk_backed else count
        until = perf_counter() + self._budget.cold_s
        blocks: list[dict[str, Any]] = []
        hits = np.zeros(self._options.k + 1, dtype=np.int64)
        try:
            for start in range(0, count, step):
                if blocks and perf_counter() > until:
                    break
                rows = np.arange(start, min(start + step, count))
                outcome, right = self._cold_answers("cold", rows, value)
                load(ColdBlock, outcome)
                blocks.append(outcome)
                hits += right
        except (CandidateFailed, InputError, OSError) as error:
            return {"reason": reason_of(error)}
        return {"blocks": blocks, "hits": hits.tolist()}

    def _zipf(self, value: int) -> dict[str, Any]:
        stream = _zipf_stream(
            len(self._split.report), self._budget.zipf_requests, self._options.seed
        )
        try:
            outcome, right = self._cold_answers("zipf", stream, value, seconds=self._budget.zipf_s)
            run = load(ZipfRun, outcome)
        except (CandidateFailed, InputError, OSError) as error:
            return {"reason": reason_of(error)}
        times = latencies(run.ms)
        return {
            "run": {name: part for name, part in outcome.items() if name != "ms"},
            "requests": times.count,
            "p50_ms": times.p50_ms,
            "p99_ms": times.p99_ms,
            "p99_range": times.interval_ms(0.99),
            "hits": right.tolist(),
            "exponent": ZIPF_EXPONENT,
            "distinct": len(np.unique(stream[: times.count])),
        }

    def _limit(self, value: int) -> dict[str, Any]:
        from ragopt.benchmarks.measure.limit import MemoryLimit, smallest_limit

        if reason := MemoryLimit.available():
            return {"reason": reason}
        rows = np.arange(min(_LIMIT_QUERIES, len(self._split.report)))

        def works(size_bytes: int) -> bool:
            try:
                _, right = self._cold_answers(
                    "answer", rows, value, limit=size_bytes, timeout_s=_LIMIT_TIMEOUT_S
                )
            except (CandidateFailed, InputError):
                return False
            return _recall(right) >= self._options.recall - 2 * RECALL_SLACK

        try:
            free, _ = self._cold_answers("answer", rows, value)
            high = 4 * int(free["peak_rss"]) + self._index_bytes()
            found = smallest_limit(works, _LIMIT_LOW, high)
        except (CandidateFailed, InputError, FloorNotMet) as error:
            return {"reason": reason_of(error)}
        return {
            "size_bytes": found.size_bytes,
            "fails_bytes": found.fails_bytes,
            "queries": len(rows),
            "tried": [list(each) for each in found.tried],
        }

    def _index_bytes(self) -> int:
        files = (file for file in self._place.index.rglob("*") if file.is_file())
        return sum(file.stat().st_size for file in files)

    def _cold_answers(
        self, phase: Phase, rows: NDArray[np.int64], value: int, **more: Any
    ) -> tuple[dict[str, Any], NDArray[np.int64]]:
        """Outcome of a phase over some report queries, and how many results were right."""
        queries = self._split.report[rows]
        outcome, answers = self._ask(phase, queries, values=(value,), **more)
        if outcome["queries_hash"] != data_hash(queries):
            raise CandidateFailed(f"{phase}: the queries were not those of the split")
        ids = answers["report"]
        hits = self._measuring.report.of_rows(rows[: len(ids)]).hits(ids)
        return outcome, np.array(hits, dtype=np.int64)

    def _ask(
        self,
        phase: Phase,
        report: NDArray[np.float32],
        *,
        tuning: NDArray[np.float32] | None = None,
        **more: Any,
    ) -> tuple[dict[str, Any], Mapping[str, NDArray[Any]]]:
        """Hand queries to a phase and read the ids it answers; neither is left lying about."""
        folder = self._place.folder
        files = {"report": folder / "report.npy", "answers": folder / "answers.npz"}
        if tuning is not None:
            files["tuning"] = folder / "tuning.npy"
            np.save(files["tuning"], tuning)
        np.save(files["report"], report)
        try:
            named: dict[str, Any] = {name: str(path) for name, path in files.items()}
            outcome = self._run(phase, **named, **more)
            return outcome, _read_answers(files["answers"])
        finally:
            for path in files.values():
                path.unlink(missing_ok=True)

    def _run(
        self, phase: Phase, *, limit: int | None = None, timeout_s: float = math.inf, **more: Any
    ) -> dict[str, Any]:
        if phase != "build" and limit is None:
            limit = self._options.memory_limit
        job = Job(
            phase=phase,
            target=self._candidate.target,
            index=str(self._place.index),
            count=len(self._split.base),
            dim=int(self._split.base.shape[1]),
            k=self._options.k,
            out=str(self._place.folder / f"{phase}.outcome.json"),
            seed=self._options.seed,
            parent=os.getpid(),
            path=tuple(str(Path(entry).absolute()) for entry in sys.path if entry),
            modules=self._modules,
            **more,
        )
        return run_job(
            job,
            self._place.folder,
            timeout_s=min(timeout_s, self._budget.timeout_s),
            limit_bytes=limit,
        )


def _read_answers(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as answers:
            return {name: answers[name] for name in answers.files}
    except (OSError, ValueError) as error:
        raise CandidateFailed(f"no readable answers: {error}") from error


def _zipf_stream(queries: int, requests: int, seed: int) -> NDArray[np.int64]:
    """Which query each request asks: rank r with a probability proportional to 1 / r."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, queries + 1) ** -ZIPF_EXPONENT
    ranks = rng.choice(queries, size=requests, p=weights / weights.sum())
    return rng.permutation(queries)[ranks]


def _recall(hits: NDArray[np.int64]) -> float:
    return float(np.average(np.arange(len(hits)) / (len(hits) - 1), weights=hits))
