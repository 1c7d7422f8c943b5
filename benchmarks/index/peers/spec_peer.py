"""ragopt's own indexes, by spec, through the interface that users have."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

import ragopt.indexes
from ragopt.benchmarks.index.peers.base import Ids, Peer, Vectors, opened
from ragopt.benchmarks.index.peers.threads import (
    LibraryThreads,
    held_to_cores,
)
from ragopt.errors import InputError
from ragopt.indexes.base import PositionIndex
from ragopt.indexes.registry import parse_spec
from ragopt.indexes.tiered.index import TieredIndex

__all__ = ["SpecPeer", "spec_unknown"]

_REHEARSED = 2_000  # rows of the index that is only there to have everything loaded


class SpecPeer(Peer):
    """Any index that a spec names; an unknown family makes a peer that cannot be built.

    The knobs and their values are those that the family offers for tuning. Where it has several,
    they rise together: the value that is swept is a rung, the place in each knob's list.

    Args:
        spec: such as ``"hnsw(m=32)"``.
        name: as in rows; the spec by default.
        values: of the knob, instead of the family's; those of a rung where it has several.
    """

    package = "ragopt"

    def __init__(
        self, spec: str, *, name: str | None = None, values: Sequence[int] | None = None
    ) -> None:
        self.spec = spec
        self.name = name or spec
        self.build_options = {"spec": spec, "metric": "ip"}
        self._grids = _grids(spec)
        self.disk_backed = self._grids is not None and _on_disk(spec)
        self.knob, self.values = _sweep(self._grids or {})
        if values is not None and self.knob:
            self.values = tuple(values)
        self._index: PositionIndex | None = None
        self._threads = LibraryThreads()
        self._rounds: dict[int, int] = {}

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        with self._held(threads):
            ragopt.indexes.build(self.spec, vectors, path=folder, metric="ip", seed=seed)
        self._threads.restore()

    def load_library(self, dim: int) -> None:
        rows = np.random.default_rng(0).standard_normal((_REHEARSED, dim)).astype(np.float32)
        with tempfile.TemporaryDirectory(prefix="ragopt-bench-") as folder:
            self.build(rows, Path(folder), threads=1, seed=0)
            self.open(Path(folder), count=len(rows), dim=dim)
            self.search(rows[:1], 1, value=self.values[0], threads=1)
            self.close()

    def open(self, folder: Path, *, count: int, dim: int) -> None:  # noqa: ARG002
        # No peer reads its files whole to check them before the first query.
        self._index = ragopt.indexes.open(folder, verify=False)
        if isinstance(self._index, TieredIndex):
            self._index.load()  # as a server would, before the first question

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        index: PositionIndex = opened(self._index, self.name)
        with self._held(threads):
            found = index.search(queries, k, where=None, **self._settings(value))
        self._rounds[value] = found.stats.read_rounds
        return found.ids

    def close(self) -> None:
        self._index = None
        self._threads.restore()

    def setting(self, value: int) -> str:
        if len(self._grids or {}) < 2:
            return super().setting(value)
        return ", ".join(f"{name}={chosen}" for name, chosen in self._settings(value).items())

    def read_rounds(self, value: int) -> float | None:
        """Of the dearest query of the last search at this value, as the index counts them."""
        rounds = self._rounds.get(value)
        return super().read_rounds(value) if rounds is None else float(rounds)

    def _settings(self, value: int) -> dict[str, int]:
        grids = self._grids or {}
        if len(grids) == 1:
            return {self.knob: value}
        return {name: grid[min(value, len(grid) - 1)] for name, grid in grids.items()}

    def _held(self, count: int) -> AbstractContextManager[None]:
        """Every kind of thread that a family may use: those of libraries, and its own."""
        self._threads.use(count)
        return held_to_cores(count)


def spec_unknown(spec: str) -> str | None:
    """Why ragopt does not know a spec, in the words of its own error; None where it does."""
    try:
        parse_spec(spec)
    except InputError as error:
        return str(error)
    return None


def _grids(spec: str) -> dict[str, tuple[int, ...]] | None:
    """Knobs with the values that tuning tries; None where the family is unknown."""
    try:
        index_type, options = parse_spec(spec)
    except InputError:
        return None
    return {name: tuple(grid) for name, grid in index_type.ladder(options).items()}


def _sweep(grids: dict[str, tuple[int, ...]]) -> tuple[str, tuple[int, ...]]:
    if not grids:
        return "", (0,)
    if len(grids) == 1:
        ((name, values),) = grids.items()
        return name, values
    return "rung", tuple(range(max(len(grid) for grid in grids.values())))


def _on_disk(spec: str) -> bool:
    """Whether the family keeps a part of itself on disk while it is open."""
    index_type, options = parse_spec(spec)
    try:
        parts = index_type(options, 8, "ip").footprint().by_part
    except ImportError:  # says so when it is built
        return False
    return any(part.startswith("disk:") for part in parts)
