"""The semantic cache: a question that asks the same in other words is answered once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.cache.checks import as_scope, is_number
from ragopt.cache.entries import DamagedEntry, Entry
from ragopt.cache.exact import ExactCache
from ragopt.cache.guards import DEFAULT_GUARDS, Guard
from ragopt.cache.results import CacheHit
from ragopt.cache.scope import Scope
from ragopt.cache.vectors import FlatVectors, VectorStore
from ragopt.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ragopt.embed import Embedder

__all__ = ["SemanticCache"]

_CANDIDATES = 5
_ROUNDING = 1e-6  # of float32 dot products: threshold=1.0 still finds the very same vector
_UNIT = 1e-3  # how far from 1 the length of a stored vector may be
_BLOB = np.dtype("<f4")
_MOST_SCOPES = 1024  # with vectors in memory; the least recently used are read again when needed
_STALE_SHARE = 0.1  # of a scope's vectors removed elsewhere, before they are looked through


@dataclass(slots=True)
class _ScopeVectors:
    """The vectors of one scope in memory, and how far they follow the file."""

    vectors: VectorStore
    state: tuple[int, int] | None = None
    last_id: int = 0
    removals: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class SemanticCache(ExactCache):
    """Answers by meaning: exact text first, then the most similar questions of the same scope.

    A cached answer is served when the cosine of the two questions is at least ``threshold`` and
    no guard refuses; the five most similar candidates are tried in order. Everything else is as in
    `ExactCache`.

    The embedder's id is part of every scope: what one embedder stored, another never reads. What
    other processes store in the file is seen at the next look-up, and what they remove is never
    served: only vectors are kept in memory, and each answer is read, checked and then served.

    Args:
        embedder: gives the vectors.
        threshold: least cosine, above 0 and at most 1.
        exact: serve the same text without asking the embedder.
        semantic: serve similar questions; without it this is an `ExactCache`.
        guards: that must all agree before a similar question is served.
        path: as in `ExactCache`.
        ttl_s: as in `ExactCache`.
        max_entries: as in `ExactCache`.
        secret: as in `ExactCache`.
        clock: as in `ExactCache`.
        vector_store: makes the index of a scope from the embedder's dim; every row compared when
            None.

    Raises:
        InputError: a value outside its range, or a file of another kind.
        RagoptError: as `ExactCache`.

    Cost: a look-up reads 4 * dim bytes of memory per entry of the scope, and one row of the file
    per candidate.

    Example:
        >>> cache = SemanticCache(embedder, threshold=0.95)         # doctest: +SKIP
        >>> cache.put("How do I rotate a key?", "Use rotate().")    # doctest: +SKIP
        >>> cache.get("how can I rotate keys?").tier                # doctest: +SKIP
        'semantic'
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        threshold: float = 0.95,
        exact: bool = True,
        semantic: bool = True,
        guards: Sequence[Guard] = DEFAULT_GUARDS,
        path: Path | str | None = None,
        ttl_s: float | None = None,
        max_entries: int | None = None,
        secret: bytes = b"",
        clock: Callable[[], float] = time.time,
        vector_store: Callable[[int], VectorStore] | None = None,
    ) -> None:
        if not is_number(threshold) or not 0 < threshold <= 1:
            raise InputError(f"threshold={threshold!r}, expected a cosine above 0, at most 1")
        if not (exact or semantic):
            raise InputError("exact=False and semantic=False leave nothing to serve; enable one")
        _check_embedder(embedder)
        _check_guards(guards)
        self._embedder = embedder
        self._dim = int(embedder.dim)
        self._embedder_id = f"{embedder.id}/{self._dim}"
        self._threshold = float(threshold)
        self._exact = exact
        self._semantic = semantic
        self._guards = tuple(guards)
        self._make_vectors: Callable[[int], VectorStore] = vector_store or FlatVectors
        self._scopes: OrderedDict[bytes, _ScopeVectors] = OrderedDict()
        super().__init__(
            path=path, ttl_s=ttl_s, max_entries=max_entries, secret=secret, clock=clock
        )

    @property
    def embedder(self) -> Embedder:
        """The one that was given."""
        return self._embedder

    @property
    def ram_bytes(self) -> int:
        """Memory that grows with the entries: the vectors, and all of a cache without a file."""
        with self._lock:
            stores = [scope.vectors for scope in self._scopes.values()]
        return super().ram_bytes + sum(int(getattr(each, "nbytes", 0)) for each in stores)

    def _more(self) -> str:
        return f", threshold={self._threshold}"

    def _look_up(
        self,
        question: str,
        key: bytes,
        unit: NDArray[np.float32] | Callable[[], ArrayLike] | None,
    ) -> CacheHit | None:
        hit = self._same_text(question, key) if self._exact else None
        if hit is not None or not self._semantic:
            return hit
        vectors = self._followed(key)
        if not len(vectors):
            return None  # nothing to compare with: the embedder need not be asked
        if callable(unit):
            unit = self._checked_vector(unit())
        unit = self._embedded(question) if unit is None else unit
        return self._similar(question, key, vectors, unit) if unit.any() else None

    def _similar(
        self, question: str, key: bytes, vectors: VectorStore, unit: NDArray[np.float32]
    ) -> CacheHit | None:
        """The most similar entry that is there, sound, in time, and passes the guards."""
        gone: set[int] = set()
        while True:
            stale = set()
            for entry_id, similarity in vectors.search(
                unit, _CANDIDATES, self._threshold - _ROUNDING
            ):
                entry = self._sound(entry_id, key)
                if entry is None:
                    stale.add(entry_id)
                elif self._agreed(question, entry.question.decode()):
                    return self._hit(entry, "semantic", min(1.0, similarity))
            if stale <= gone:
                return None
            gone |= stale
            with self._of_scope(key).lock:  # the next candidates come up to fill the places
                vectors.remove(stale)

    def _sound(self, entry_id: int, key: bytes) -> Entry | None:
        try:
            entry = self._store.fetch(entry_id)
        except DamagedEntry:
            self._doom(entry_id, "corrupt")
            return None
        if entry is None or entry.scope != key or not self._alive(entry):
            return None
        return entry

    def _agreed(self, asked: str, cached: str) -> bool:
        for guard in self._guards:
            if not guard.agrees(asked, cached):
                self._counters.refuse(guard.name)
                return False
        return True

    def _followed(self, key: bytes) -> VectorStore:
        """The vectors of a scope, brought up to what any process has stored."""
        mine = self._of_scope(key)
        state = self._store.state()
        if mine.state == state:
            return mine.vectors
        with mine.lock:
            # the state was read first: what comes in meanwhile is read now or next time, never lost
            self._take_in(key, mine)
            self._drop_removed(key, mine)
            mine.state = state
        return mine.vectors

    def _of_scope(self, key: bytes) -> _ScopeVectors:
        with self._lock:
            mine = self._scopes.get(key)
            if mine is None:
                mine = _ScopeVectors(self._make_vectors(self._dim))
                self._scopes[key] = mine
                if len(self._scopes) > _MOST_SCOPES:
                    self._scopes.popitem(last=False)
            self._scopes.move_to_end(key)
            return mine

    def _take_in(self, key: bytes, mine: _ScopeVectors) -> None:
        seen, ids, rows = mine.last_id, [], []
        for entry_id, blob in self._store.vectors(key, mine.last_id):
            seen = entry_id
            row = self._decoded(blob)
            if row is not None:
                ids.append(entry_id)
                rows.append(row)
            elif blob is not None:
                self._doom(entry_id, "corrupt")
            if len(ids) == _CHUNK:
                mine.vectors.add(ids, np.stack(rows))
                mine.last_id, ids, rows = seen, [], []
        if ids:
            mine.vectors.add(ids, np.stack(rows))
        mine.last_id = seen

    def _drop_removed(self, key: bytes, mine: _ScopeVectors) -> None:
        """Give back the memory of entries removed elsewhere, once there may be many."""
        _, removals = self._store.totals()
        if removals - mine.removals <= _STALE_SHARE * len(mine.vectors):
            return
        known = mine.vectors.ids()
        mine.vectors.remove(
            np.setdiff1d(known, np.asarray(self._store.ids(key), np.int64)).tolist()
        )
        mine.removals = removals

    def _decoded(self, blob: object) -> NDArray[np.float32] | None:
        if not isinstance(blob, bytes) or len(blob) != self._dim * _BLOB.itemsize:
            return None
        row = np.frombuffer(blob, dtype=_BLOB).astype(np.float32)
        length = float(np.linalg.norm(row.astype(np.float64)))
        return row if abs(length - 1) < _UNIT else None  # also where it is NaN

    def _embedded(self, question: str) -> NDArray[np.float32]:
        vectors = np.asarray(self._embedder.embed([question]))
        if vectors.ndim != 2 or vectors.shape[0] != 1:
            raise InputError(
                f"{self._embedder_id} returned shape {vectors.shape} for one text, "
                f"expected (1, {self._dim})"
            )
        return self._unit(vectors[0], self._embedder_id)

    def _checked_vector(self, vector: ArrayLike | None) -> NDArray[np.float32] | None:
        return None if vector is None else self._unit(vector, "vector")

    def _unit(self, vector: ArrayLike, who: str) -> NDArray[np.float32]:
        """A vector of length one; zeros where the embedder knows nothing of the text."""
        try:
            # float64 first: what overflows float32 must not pass for infinite, nor warn
            row = np.asarray(vector).astype(np.float64, casting="same_kind")
        except (TypeError, ValueError) as error:
            raise InputError(f"{who} is no vector of numbers ({error})") from error
        if row.shape != (self._dim,):
            raise InputError(f"{who} has shape {row.shape}, expected ({self._dim},)")
        if not np.isfinite(row).all():
            raise InputError(f"{who} holds NaN or infinite values; nothing can be similar to it")
        largest = float(np.abs(row).max())
        if not largest:
            return row.astype(np.float32)
        row = row / largest
        return np.asarray(row / np.linalg.norm(row), dtype=np.float32)

    def _vector_blob(self, question: str, unit: NDArray[np.float32] | None) -> bytes | None:
        if not self._semantic:
            return None
        unit = self._embedded(question) if unit is None else unit
        return unit.astype(_BLOB).tobytes() if unit.any() else None

    def _scope_key(self, scope: Scope | None) -> bytes:
        scope = as_scope(scope)
        if scope.embedder_id not in ("", self._embedder.id):
            raise InputError(
                f"scope names the embedder {scope.embedder_id!r}, this cache has "
                f"{self._embedder.id!r}; leave embedder_id out"
            )
        return replace(scope, embedder_id=self._embedder_id).key(self._secret)


_CHUNK = 1024  # rows taken into memory at once


def _check_embedder(embedder: Any) -> None:
    dim, name = getattr(embedder, "dim", None), getattr(embedder, "id", None)
    if not callable(getattr(embedder, "embed", None)) or not isinstance(name, str):
        raise InputError(
            f"embedder is {type(embedder).__name__}, expected one of ragopt.embed: "
            "an object with dim, id and embed(texts)"
        )
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or dim < 1:
        raise InputError(f"embedder {name!r} has dim={dim!r}, expected 1 or more")


def _check_guards(guards: Sequence[Guard]) -> None:
    for guard in guards:
        if not isinstance(getattr(guard, "name", None), str) or not callable(
            getattr(guard, "agrees", None)
        ):
            raise InputError(
                f"guards holds {guard!r}, expected objects with a name and agrees(asked, cached)"
            )
