"""The interface of every vector index, what a search returns, and what all families share.

Families differ in how they find positions of rows; ids, tombstones, filters, validation and
persistence are the same for all and stand here once, in `PositionIndex`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import IndexCorrupt, InputError
from ragopt.indexes.checks import (
    LARGEST_ID,
    check_count,
    check_vectors,
    id_array,
    to_array,
)
from ragopt.indexes.scoring import (
    MISSING,
    BestOf,
    Metric,
    Positions,
    Vectors,
    score_block,
    unit_length,
)
from ragopt.indexes.tombstones import Tombstones
from ragopt.quality import Certificate
from ragopt.storage import load_folder

__all__ = [
    "KIND",
    "VERSION",
    "Footprint",
    "PositionIndex",
    "SearchResult",
    "SearchStats",
    "VectorIndex",
    "is_full",
    "load_saved",
]

KIND = "vector-index"
VERSION = 1
_EXACT_BLOCK_ROWS = 1 << 16
_EXACT_FILTER_ROWS = 2_000  # a filter that leaves no more than these is answered by a scan
_LARGEST_SEED = (1 << 31) - 2  # the engines take 32-bit seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStats:
    """What a search cost, summed over its queries.

    Args:
        codes_scanned: vectors or codes whose distance was estimated; 0 where the engine hides it.
        pages_read: 4 KiB pages of rows asked of the disk or the page cache.
        bytes_read: bytes in these pages.
        read_rounds: largest number of dependent read rounds of any query.
        seconds: wall time.
    """

    codes_scanned: int = 0
    pages_read: int = 0
    bytes_read: int = 0
    read_rounds: int = 0
    seconds: float = 0.0

    def lasting(self, seconds: float) -> SearchStats:
        """Set the time of work that was done just now and that nobody has seen yet."""
        object.__setattr__(self, "seconds", seconds)  # a copy would take a microsecond
        return self


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Nearest vectors of each query, best first.

    Args:
        ids: (nq, k) int64; -1 where fewer than k were found.
        scores: (nq, k) float32; higher is nearer (cosine, inner product, or minus the squared
            distance); ``-inf`` where the id is -1.
        stats: what it cost.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    stats: SearchStats


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that an index holds, by part.

    Args:
        ram_bytes: resident as long as the index is open.
        disk_bytes: in files; the page cache may keep some of them in memory, reclaimably.
        by_part: name of a part to its bytes; names of parts on disk begin with ``disk:``.
    """

    ram_bytes: int
    disk_bytes: int
    by_part: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, *, ram: Mapping[str, int], disk: Mapping[str, int] | None = None) -> Footprint:
        """Sum the parts."""
        disk = disk or {}
        named = {**ram, **{f"disk:{part}": size for part, size in disk.items()}}
        return cls(sum(ram.values()), sum(disk.values()), named)


@runtime_checkable
class VectorIndex(Protocol):
    """What every index can do; see `PositionIndex` for the terms of each method."""

    @property
    def dim(self) -> int: ...
    @property
    def metric(self) -> Metric: ...
    def search(
        self, queries: ArrayLike, k: int, *, where: Iterable[int] | None = None, **knobs: int
    ) -> SearchResult: ...
    def add(self, vectors: ArrayLike, ids: Iterable[int] | None = None) -> NDArray[np.int64]: ...
    def delete(self, ids: Iterable[int]) -> int: ...
    def __len__(self) -> int: ...
    def save(self, path: Path | str) -> None: ...
    def footprint(self) -> Footprint: ...


class PositionIndex(ABC):
    """What all families share: search, checks, filters, tombstones.

    Args:
        options: frozen dataclass of the family's options; written to the manifest.
        dim: length of a vector.
        metric: ``"cosine"`` (rows are scaled to length one), ``"ip"`` or ``"l2"``.
        seed: of whatever the family draws at random.
    """

    family: ClassVar[str]
    options_type: ClassVar[type[Any]]
    knobs: ClassVar[Mapping[str, Sequence[int]]] = {}
    """Search-time knobs and the values, cheapest first, that tuning tries."""

    def __init__(self, options: Any, dim: int, metric: Metric, *, seed: int = 0) -> None:
        if metric not in get_args(Metric):
            raise InputError(f"metric={metric!r}: expected one of {get_args(Metric)}")
        if not isinstance(seed, (int, np.integer)) or not 0 <= seed <= _LARGEST_SEED:
            raise InputError(f"seed={seed!r}: expected an integer from 0 to {_LARGEST_SEED}")
        self.options = options
        self.dim = dim
        self.metric: Metric = metric
        self.seed = int(seed)
        self.certificate: Certificate | None = None
        self.defaults: dict[str, int] = {}
        self._dead = Tombstones()
        self._rows = 0

    @classmethod
    def ladder(cls, options: Any) -> Mapping[str, Sequence[int]]:  # noqa: ARG003
        """`knobs` as they suit an index of these options; several of them rise together."""
        return cls.knobs

    def predict_pages(self, *, k: int = 10, **knobs: int) -> float | None:  # noqa: ARG002
        """Pages a query that a setting is expected to read; None where it is not known."""
        return None

    @property
    def code_bytes(self) -> float:
        """Bytes that a search moves for each of `SearchStats.codes_scanned`: rows, by default."""
        return 4.0 * self.dim

    # What a family provides ---------------------------------------------------------------

    @abstractmethod
    def _nearest(
        self, queries: Vectors, k: int, allowed: Positions | None, **knobs: int
    ) -> tuple[Positions, Vectors, SearchStats]:
        """Positions and scores (nq, k), best first, -1 and -inf where there are fewer."""

    @abstractmethod
    def _stored(self, positions: Positions) -> Vectors:
        """Rows (n, dim) as the index holds them."""

    @abstractmethod
    def _footprint(self) -> Footprint:
        """Of the family's own structures."""

    @abstractmethod
    def _lookup(self, ids: Positions, *, dead_allowed: bool = False) -> Positions:
        """Positions of ids, -1 for those that are not there."""

    @abstractmethod
    def _to_ids(self, positions: Positions) -> NDArray[np.int64]:
        """Ids of positions (nq, k), -1 for -1."""

    @property
    @abstractmethod
    def _id_bytes(self) -> int:
        """RAM of the ids."""

    @abstractmethod
    def _next_id(self) -> int:
        """The lowest id beyond all that were given."""

    # The interface ------------------------------------------------------------------------

    def search(
        self, queries: ArrayLike, k: int, *, where: Iterable[int] | None = None, **knobs: int
    ) -> SearchResult:
        """The ``k`` nearest vectors of each query.

        Args:
            queries: (nq, dim), or (dim,) for one.
            k: how many; where fewer exist the rest is -1.
            where: ids that may be found; all by default.
            **knobs: of the family, such as ``ef_search=`` or ``candidates=``; tuned or built-in
                defaults otherwise.

        Raises:
            InputError: wrong shape, NaN, k below 1, an unknown knob, or an unknown id in ``where``.
        """
        begin = perf_counter()
        rows, k = self._check_queries(queries), check_count("k", k)
        settings = self._settings(knobs)
        allowed = self._allowed(where)
        reachable = self._rows if allowed is None else len(allowed)
        width = min(k, reachable)
        if not width or not len(rows):
            positions = np.empty((len(rows), 0), dtype=np.int64)
            scores, stats = np.empty((len(rows), 0), dtype=np.float32), SearchStats()
        elif allowed is not None and reachable <= _EXACT_FILTER_ROWS:
            positions, scores, stats = self._scan(rows, width, allowed)
        else:
            positions, scores, stats = self._nearest(rows, width, allowed, **settings)
        if positions.shape[1] < k:
            fill = ((0, 0), (0, k - positions.shape[1]))
            positions = np.pad(positions, fill, constant_values=MISSING)
            scores = np.pad(scores, fill)
        if not is_full(positions):
            scores[positions == MISSING] = -np.inf
        return SearchResult(self._to_ids(positions), scores, stats.lasting(perf_counter() - begin))

    def exact(self, queries: ArrayLike, k: int) -> SearchResult:
        """What a perfect search would return: a scan of all rows as the index holds them.

        Reads every row, O(n dim) a query.

        Raises:
            InputError: as `search`.
        """
        begin = perf_counter()
        rows, k = self._check_queries(queries), check_count("k", k)
        best = BestOf(len(rows), k)
        for start in range(0, self._rows, _EXACT_BLOCK_ROWS):
            stop = min(start + _EXACT_BLOCK_ROWS, self._rows)
            block = np.arange(start, stop)
            if self._dead:
                block = block[~self._dead.among(block)]
            if len(block):
                best.offer(block, score_block(rows, self._stored(block), self.metric))
        stats = SearchStats(codes_scanned=self._rows * len(rows), seconds=perf_counter() - begin)
        return SearchResult(self._to_ids(best.positions), best.scores, stats)

    @abstractmethod
    def add(self, vectors: ArrayLike, ids: Iterable[int] | None = None) -> NDArray[np.int64]:
        """Add rows; all of them or, when one is refused, none.

        Args:
            vectors: (n, dim).
            ids: (n,) unique integers >= 0, not in the index; the next free ones by default.

        Returns:
            The ids, (n,).

        Raises:
            InputError: wrong shape or dtype, NaN, ids that repeat or are taken.
        """

    def delete(self, ids: Iterable[int]) -> int:
        """Take ids out of every later search.

        Rows stay as tombstones until the index is built anew; `footprint` counts them.

        Returns:
            How many were taken out.

        Raises:
            InputError: an id that is not in the index; nothing is deleted then.
        """
        return self._dead.add(self._positions(ids, "delete"))

    def __len__(self) -> int:
        return self._rows - len(self._dead)

    def __contains__(self, vector_id: object) -> bool:
        if not isinstance(vector_id, (int, np.integer)) or not 0 <= vector_id <= LARGEST_ID:
            return False
        return bool(self._lookup(np.array([vector_id], dtype=np.int64))[0] != MISSING)

    @abstractmethod
    def save(self, path: Path | str) -> None:
        """Write to a folder, atomically; an index saved there before is replaced.

        Raises:
            StoreBusy: another process is writing there.
            StorageError: the disk is full, read-only or failing; the old index still opens.
        """

    def footprint(self) -> Footprint:
        """Bytes in memory and on disk, by part, tombstones and ids included."""
        own = self._footprint()
        kept = {
            "ids": self._id_bytes,
            "tombstones": self._dead.nbytes,
        }
        parts = {**own.by_part, **{part: size for part, size in kept.items() if size}}
        return Footprint(own.ram_bytes + sum(kept.values()), own.disk_bytes, parts)

    def __repr__(self) -> str:
        size = self.footprint()
        per_vector = size.ram_bytes / max(1, self._rows)
        return (
            f"<{self.family} index: {len(self):,} x {self.dim} {self.metric}, "
            f"{per_vector:,.0f} B of RAM a vector, {size.disk_bytes:,} B on disk>"
        )

    # Shared machinery ---------------------------------------------------------------------

    def _described(self, rows: int) -> dict[str, Any]:
        """What the manifest of any family says of an index with so many rows."""
        return {
            "family": self.family,
            "options": asdict(self.options),
            "dim": self.dim,
            "metric": self.metric,
            "rows": rows,
            "defaults": self.defaults,
            "certificate": self.certificate.to_dict() if self.certificate else None,
        }

    def _take_tuning(self, about: Mapping[str, Any]) -> None:
        """Defaults and certificate from a manifest."""
        self.defaults = dict(about["defaults"])
        if about["certificate"]:
            self.certificate = Certificate.from_dict(about["certificate"])

    def _check_queries(self, queries: ArrayLike) -> Vectors:
        given = to_array("queries", queries)
        rows = check_vectors("queries", given[None] if given.ndim == 1 else given, dim=self.dim)
        return unit_length(rows) if self.metric == "cosine" else rows

    def _scan(
        self, queries: Vectors, k: int, allowed: Positions
    ) -> tuple[Positions, Vectors, SearchStats]:
        """Exact search among few rows: graphs lose their way when almost nothing may be found."""
        best = BestOf(len(queries), k)
        best.offer(allowed, score_block(queries, self._stored(allowed), self.metric))
        stats = SearchStats(codes_scanned=len(allowed) * len(queries))
        return best.positions, best.scores, stats

    def _settings(self, knobs: Mapping[str, int]) -> dict[str, int]:
        if not knobs.keys() <= self.knobs.keys():
            unknown = sorted(knobs.keys() - self.knobs.keys())
            raise InputError(
                f"{self.family} has no search knob {unknown}; it has {sorted(self.knobs)}"
            )
        if not knobs:
            return self.defaults
        given = {name: check_count(name, value) for name, value in knobs.items()}
        return {**self.defaults, **given}

    def _allowed(self, where: Iterable[int] | None) -> Positions | None:
        """Positions that may be found, ascending; None for all."""
        if where is None and not self._dead:
            return None
        if where is None:
            return self._dead.alive(self._rows)
        positions = np.unique(self._positions(where, "where", dead_allowed=True))
        return positions[~self._dead.among(positions)]

    def _positions(
        self, ids: Iterable[int], purpose: str, *, dead_allowed: bool = False
    ) -> Positions:
        wanted = id_array(purpose, ids)
        positions = self._lookup(wanted, dead_allowed=dead_allowed)
        if (positions == MISSING).any():
            unknown = wanted[positions == MISSING]
            raise InputError(
                f"{purpose}: {len(unknown)} ids are not in this index, the first is {unknown[0]}"
            )
        return positions

    def _new_ids(
        self, ids: Iterable[int] | None, count: int, *, replace: bool = False
    ) -> NDArray[np.int64]:
        if ids is None:
            first = self._next_id()
            if first + count - 1 > LARGEST_ID:
                raise InputError(
                    f"ids: the next free one, {first}, does not fit 64 bits; give ids yourself"
                )
            return np.arange(first, first + count, dtype=np.int64)
        new = id_array("ids", ids)
        if len(new) != count:
            raise InputError(f"ids: got {len(new)} for {count} vectors, expected one each")
        if count and new.min() < 0:
            raise InputError(f"ids: {new.min()} is negative; expected integers >= 0")
        if len(np.unique(new)) != count:
            values, times = np.unique(new, return_counts=True)
            raise InputError(f"ids: {values[times > 1][0]} occurs more than once")
        taken = new[self._lookup(new) != MISSING]
        if len(taken) and not replace:
            raise InputError(f"ids: {taken[0]} is already in the index; delete it first")
        return new

    @classmethod
    @abstractmethod
    def create(
        cls,
        options: Any,
        vectors: ArrayLike | Iterable[ArrayLike],
        ids: Iterable[int] | None,
        *,
        path: Path,
        metric: Metric,
        seed: int,
        progress: Callable[[str, int, int], object] | None = None,
    ) -> PositionIndex:
        """Build in a folder; what lives on disk is then read from there."""

    @classmethod
    @abstractmethod
    def restore(cls, about: Mapping[str, Any], parts: dict[str, Path]) -> PositionIndex:
        """Make an index of this family from its manifest and the paths of its parts."""


def is_full(positions: Positions) -> bool:
    """Whether every query has all its results; missing ones stand at the end."""
    if len(positions) == 1:  # in a tenth of the time
        return bool(positions.size) and int(positions.item(-1)) != MISSING
    return bool((positions[:, -1:] != MISSING).all())


def load_saved(
    path: Path,
    load: Callable[[dict[str, Any], dict[str, Path]], PositionIndex],
    *,
    verify: bool,
) -> PositionIndex:
    """Hand the checked description and parts of a saved index to ``load``.

    Raises:
        InputError: no index was saved there.
        IndexCorrupt: a file is damaged.
    """

    def check_and_load(about: dict[str, Any], parts: dict[str, Path]) -> PositionIndex:
        missing = {"family", "options", "dim", "metric", "rows"} - set(about)
        if missing:
            raise IndexCorrupt(f"{path}: the manifest lacks {sorted(missing)}; build it again")
        return load(about, parts)

    return load_folder(path, check_and_load, kind=KIND, version=VERSION, verify=verify)
