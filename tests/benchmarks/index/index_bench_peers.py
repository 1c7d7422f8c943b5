"""Candidates of the index bench's tests: sound ones, and one for every way to cheat or to fail."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.benchmarks.index.peers.base import Ids, Peer, Vectors


class Exact(Peer):
    name = "exact"
    package = "numpy"

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        np.save(folder / "rows.npy", vectors)
        if log := os.environ.get("INDEX_BENCH_LOG"):
            with Path(log).open("a") as file:
                file.write(f"{self.name}\n")

    def open(self, folder: Path, *, count: int, dim: int) -> None:
        self.folder = folder
        self.rows = np.load(folder / "rows.npy")
        assert self.rows.shape == (count, dim)

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        return np.argsort(-(queries @ self.rows.T), axis=1, kind="stable")[:, :k]

    def close(self) -> None:
        del self.rows


class Graded(Exact):
    """Looks at some percent of the rows: recall grows with the knob."""

    name = "graded"
    knob = "percent"
    values = (50, 90, 99, 100)
    disk_backed = True

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        seen = self.rows[: len(self.rows) * value // 100]
        return np.argsort(-(queries @ seen.T), axis=1, kind="stable")[:, :k]


class Blind(Graded):
    name = "blind"
    values = (20, 50)


class Swapped(Exact):
    """Answers each query with what was found for the one before."""

    name = "swapped"
    before: Any = None

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        found = super().search(queries, k, value=value, threads=threads)
        both = found[-1:] if self.before is None else self.before
        self.before = found[-1:]
        return np.concatenate([both, found[:-1]])


class Repeated(Exact):
    """The same good id ten times."""

    name = "repeated"

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        return np.repeat(super().search(queries, 1, value=0, threads=1), k, axis=1)


class OutOfRange(Exact):
    """Ids that look like rows when taken modulo the number of them."""

    name = "out-of-range"

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        return super().search(queries, k, value=0, threads=1) - len(self.rows)


class WithScores(Exact):
    """Says that everything it found is perfect."""

    name = "with-scores"

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Any:
        ids = np.zeros((len(queries), k), dtype=np.int64)
        return ids, np.ones(ids.shape)


class FloatIds(Exact):
    name = "float-ids"

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Any:
        return super().search(queries, k, value=0, threads=1).astype(np.float64)


class GoodOnce(Exact):
    """Answers well until the warm-up is over."""

    name = "good-once"
    calls = 0

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        self.calls += 1
        if self.calls > 120:
            return np.zeros((len(queries), k), dtype=np.int64)
        return super().search(queries, k, value=0, threads=1)


class BadInBatches(Exact):
    name = "bad-in-batches"

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        if len(queries) > 1:
            return np.zeros((len(queries), k), dtype=np.int64)
        return super().search(queries, k, value=0, threads=1)


class BadWhenCold(Exact):
    """Knows the cold phase by what lies about, and saves itself the reading."""

    name = "bad-when-cold"

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        if not (self.folder.parent / "tuning.npy").exists():
            return np.zeros((len(queries), k), dtype=np.int64)
        return super().search(queries, k, value=0, threads=1)


class Memoised(Exact):
    """Remembers answers by the bytes of the query, and counts how often that helped."""

    name = "memoised"

    def open(self, folder: Path, *, count: int, dim: int) -> None:
        super().open(folder, count=count, dim=dim)
        self.known: dict[bytes, Ids] = {}

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        key = queries.tobytes()
        if key in self.known:
            raise RuntimeError("the same bytes were asked twice")
        self.known[key] = super().search(queries, k, value=0, threads=1)
        return self.known[key]


class Snooping(Exact):
    """Fails where it finds anything beyond what it was given."""

    name = "snooping"

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        arrays = {path.name for path in folder.parent.parent.rglob("*.np[yz]")}
        if arrays != {"base.npy"}:
            raise RuntimeError(f"queries lie about while building: {arrays}")
        super().build(vectors, folder, threads=threads, seed=seed)

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        found = super().search(queries, k, value=0, threads=1)
        if len(queries) == 1:
            if queries.base is not None and np.asarray(queries.base).size > queries.size:
                raise RuntimeError("the query is a window on other queries")
            self._look_for(found[0])
        return found

    def _look_for(self, truth: Ids) -> None:
        """The exact ids of a query must stand nowhere in the work folder."""
        for path in self.folder.parent.parent.rglob("*"):
            if path.suffix == ".npy" and path.parent != self.folder:
                if np.issubdtype(np.load(path).dtype, np.integer):
                    raise RuntimeError(f"ids in {path.name}")
            elif path.suffix == ".npz":
                raise RuntimeError(f"answers in {path.name}")
            elif path.suffix == ".json":
                text = "".join(json.dumps(json.loads(path.read_text())).split())
                if ",".join(map(str, truth.tolist())) in text:
                    raise RuntimeError(f"the truth stands in {path.name}")


class Vandal(Exact):
    """Destroys the rows that it was given, after having copied them."""

    name = "vandal"

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        super().build(vectors, folder, threads=threads, seed=seed)
        assert not vectors.flags.writeable
        for path in folder.parent.parent.rglob("*base*.npy"):
            np.save(path, np.zeros_like(vectors))


class CrashesAtBuild(Exact):
    name = "crashes-at-build"

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        raise RuntimeError("no such instruction")


class CrashesAtSearch(Exact):
    name = "crashes-at-search"

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        raise RuntimeError("the graph is empty")


class Killed(Exact):
    name = "killed"

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Hangs(Exact):
    name = "hangs"

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        if pids := os.environ.get("INDEX_BENCH_PIDS"):
            Path(pids).write_text(str(os.getpid()))
        if not os.environ.get("INDEX_BENCH_AWAKE"):
            time.sleep(600)
        super().build(vectors, folder, threads=threads, seed=seed)
