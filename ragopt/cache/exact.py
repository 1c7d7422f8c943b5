"""The exact cache: the same question, word for word, is answered once."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ragopt.cache.checks import (
    as_scope,
    check_text,
    check_ttl,
    encoded_payload,
    is_number,
    named_labels,
)
from ragopt.cache.entries import DamagedEntry, Entry, EntryStore
from ragopt.cache.results import CacheHit, CacheStats, Counters
from ragopt.cache.scope import Scope
from ragopt.cache.text import normalise
from ragopt.closing import Closing
from ragopt.errors import InputError, RagoptError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["CLOCK_SKEW_S", "ExactCache"]

CLOCK_SKEW_S = 5.0
"""An entry dated further ahead than this is not served: its age cannot be told."""

_MOST_PENDING = 10_000  # hits remembered until the next put


class ExactCache(Closing):
    """Answers by question text, in memory or in a SQLite file shared by several processes.

    A question is the same when `normalise` makes it the same. An entry is served until its time
    is over: no hit renews it, and one dated in the future (a clock was set back) is dropped.

    When full, expired entries go first, then those least recently served. Plain first-in-first-out
    would drop a question that everybody asks; keeping the order at every hit would make each
    look-up a write. So hits are noted in memory and written down with the next put: a look-up
    never writes, and never waits for another process.

    Args:
        path: a file, made when missing; in memory when None.
        ttl_s: seconds an entry is served, unless `put` says otherwise; forever when None.
        max_entries: in the whole file, over all scopes; no limit when None.
        secret: keys the scope keys and the checksums. A file opened with another secret holds
            nothing that can be found.
        clock: gives Unix time.

    Raises:
        InputError: a value outside its range, or a file of another kind.
        IndexCorrupt: the file is damaged.
        StorageError: the file cannot be made or read.
        StoreBusy: another process held the file too long.

    Example:
        >>> cache = ExactCache()
        >>> cache.put("What is a WAL?", "A write-ahead log.")
        1
        >>> cache.get("what is a  WAL").answer
        'A write-ahead log.'
    """

    def __init__(
        self,
        *,
        path: Path | str | None = None,
        ttl_s: float | None = None,
        max_entries: int | None = None,
        secret: bytes = b"",
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_ttl(ttl_s)
        if max_entries is not None and (isinstance(max_entries, bool) or max_entries < 1):
            raise InputError(f"max_entries={max_entries!r}, expected 1 or more, or None")
        if not isinstance(secret, bytes):
            raise InputError(f"secret is {type(secret).__name__}, expected bytes")
        if not callable(clock):
            raise InputError(f"clock is {clock!r}, expected a function that gives Unix time")
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._secret = secret
        self._clock = clock
        self._counters = Counters()
        self._lock = threading.RLock()
        self._used: dict[int, None] = {}
        self._doomed: set[int] = set()
        self._closed = False
        self._store = EntryStore(":memory:" if path is None else path, secret=secret)

    def get(
        self,
        question: str,
        *,
        scope: Scope | None = None,
        vector: ArrayLike | Callable[[], ArrayLike] | None = None,
    ) -> CacheHit | None:
        """The cached answer to a question, or None.

        Args:
            question: any text that is not blank.
            scope: only its entries are looked at; the empty scope when None.
            vector: of the question, (dim,), to save embedding it again, or a function that gives
                it, called only when the exact tier has no answer.

        Raises:
            InputError: an argument that cannot be used.
            RagoptError: the store failed; a pipeline may go on without it.
        """
        self._check_open()
        check_text(question, "question")
        key = self._scope_key(scope)
        unit = vector if callable(vector) else self._checked_vector(vector)
        self._counters.count("lookups")
        try:
            hit = self._look_up(question, key, unit)
        except Exception:
            self._counters.count("errors")
            raise
        if hit is None:
            self._counters.count("misses")
            return None
        self._counters.count(f"{hit.tier}_hits")
        self._note_use(hit.entry_id)
        return hit

    def put(
        self,
        question: str,
        answer: str,
        *,
        scope: Scope | None = None,
        vector: ArrayLike | None = None,
        payload: Mapping[str, Any] | None = None,
        sources: Iterable[str] = (),
        tags: Iterable[str] = (),
        ttl_s: float | None = None,
    ) -> int:
        """Store an answer; it takes the place of one to the same text in the same scope.

        Args:
            question: any text that is not blank.
            answer: likewise.
            scope: that may read it; the empty scope when None.
            vector: of the question, (dim,), to save embedding it again.
            payload: anything JSON, given back with each hit.
            sources: ids of the documents behind the answer, for `purge`.
            tags: any words, for `purge`.
            ttl_s: seconds it is served; the cache's own when None, ``math.inf`` for ever.

        Returns:
            The entry's id, for `revoke`.

        Raises:
            InputError: an argument that cannot be used; nothing was stored.
            RagoptError: the store failed; nothing was stored.
        """
        self._check_open()
        check_text(question, "question")
        check_text(answer, "answer")
        check_ttl(ttl_s)
        scope = as_scope(scope)
        key = self._scope_key(scope)
        labels = [*named_labels("source", sources), *named_labels("tag", tags)]
        if scope.corpus_version:
            labels.append(("corpus", scope.corpus_version))
        body = encoded_payload(payload)
        unit = self._checked_vector(vector)
        blob = self._vector_blob(question, unit)
        now = self._now()
        lifetime = self._ttl_s if ttl_s is None else ttl_s
        entry = Entry(
            scope=key,
            exact=_digest(normalise(question)),
            created=now,
            expires=None if lifetime is None or math.isinf(lifetime) else now + lifetime,
            vector=blob,
            question=question.encode(),
            answer=answer.encode(),
            payload=body,
        )
        return self._stored(entry, labels)

    def purge(
        self,
        *,
        scope: Scope | None = None,
        older_than_s: float | None = None,
        source: str | None = None,
        tag: str | None = None,
        corpus_version: str | None = None,
    ) -> int:
        """Remove the entries that meet every condition given; all entries when none is.

        Args:
            scope: of this scope.
            older_than_s: stored at least so many seconds ago.
            source: that name this document id.
            tag: that carry this tag.
            corpus_version: of every scope with this corpus version.

        Returns:
            How many went; no process serves them any more.
        """
        self._check_open()
        if older_than_s is not None and not (is_number(older_than_s) and older_than_s >= 0):
            raise InputError(f"older_than_s={older_than_s!r}, expected 0 or more seconds")
        named = (("source", source), ("tag", tag), ("corpus", corpus_version))
        labels = [(kind, value) for kind, value in named if value is not None]
        for kind, value in labels:
            check_text(value, kind)
        return self._store.purge(
            scope=None if scope is None else self._scope_key(scope),
            created_until=None if older_than_s is None else self._now() - older_than_s,
            labels=labels,
        )

    def revoke(self, entry_id: int) -> bool:
        """Remove one entry, as named by a hit or by `put`; whether it was there."""
        self._check_open()
        if isinstance(entry_id, bool) or not isinstance(entry_id, int):
            raise InputError(f"entry_id={entry_id!r}, expected the number that put() returned")
        return bool(self._store.purge(entry_id=entry_id))

    @property
    def ram_bytes(self) -> int:
        """Memory that grows with the entries: the vectors, and all of a cache without a file."""
        return self._store.memory_bytes()

    @property
    def stats(self) -> CacheStats:
        """Counters of this object since it was opened."""
        return self._counters.snapshot()

    def __len__(self) -> int:
        """Entries in the file, of all scopes, expired ones included until they are swept out."""
        self._check_open()
        return self._store.totals()[0]

    def __bool__(self) -> bool:
        """True: an empty cache is a cache still (``cache or other`` keeps it)."""
        return True

    def close(self) -> None:
        """Write down the last hits and close the file; closing twice does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            used, doomed = self._taken()
            if used or doomed:
                self._store.settle(used=used, doomed=doomed)
        except RagoptError:
            pass  # only the order of eviction and a few dead rows were at stake
        finally:
            self._store.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self._store.totals()[0]:,} entries"
        return f"{type(self).__name__}({str(self._store.path)!r}, {state}{self._more()})"

    def _more(self) -> str:
        return ""

    def _look_up(self, question: str, key: bytes, unit: Any) -> CacheHit | None:  # noqa: ARG002
        return self._same_text(question, key)

    def _same_text(self, question: str, key: bytes) -> CacheHit | None:
        try:
            entry = self._store.find(key, _digest(normalise(question)))
        except DamagedEntry as damage:
            self._doom(damage.entry_id, "corrupt")
            return None
        if entry is None or not self._alive(entry):
            return None
        return self._hit(entry, "exact", 1.0)

    def _alive(self, entry: Entry) -> bool:
        now = self._now()
        ahead = entry.created > now + CLOCK_SKEW_S
        if ahead or (entry.expires is not None and now >= entry.expires):
            self._doom(entry.id, "expired")
            return False
        return True

    def _hit(self, entry: Entry, tier: Literal["exact", "semantic"], similarity: float) -> CacheHit:
        return CacheHit(
            answer=entry.answer.decode(),
            tier=tier,
            similarity=similarity,
            entry_id=entry.id,
            question=entry.question.decode(),
            age_s=max(0.0, self._now() - entry.created),
            payload=MappingProxyType(json.loads(entry.payload)),
        )

    def _stored(self, entry: Entry, labels: Sequence[tuple[str, str]]) -> int:
        used, doomed = self._taken()
        try:
            entry_id = self._store.put(
                entry, labels=labels, used=used, doomed=doomed, max_entries=self._max_entries
            )
        except BaseException:
            with self._lock:
                self._used = {**dict.fromkeys(used), **self._used}
                self._doomed.update(doomed)
            raise
        self._counters.count("puts")
        return entry_id

    def _taken(self) -> tuple[list[int], list[int]]:
        """What look-ups found since the last write; whoever takes it writes it down."""
        with self._lock:
            used, doomed = list(self._used), sorted(self._doomed)
            self._used, self._doomed = {}, set()
        return used, doomed

    def _note_use(self, entry_id: int) -> None:
        with self._lock:
            self._used.pop(entry_id, None)
            self._used[entry_id] = None
            if len(self._used) > _MOST_PENDING:
                del self._used[next(iter(self._used))]

    def _doom(self, entry_id: int, why: Literal["expired", "corrupt"]) -> None:
        """Count an entry that may not be served, once; the next put removes it."""
        with self._lock:
            new = entry_id not in self._doomed
            self._doomed.add(entry_id)
        if new:
            self._counters.count(why)

    def _scope_key(self, scope: Scope | None) -> bytes:
        return as_scope(scope).key(self._secret)

    def _checked_vector(self, vector: ArrayLike | None) -> Any:  # noqa: ARG002
        return None

    def _vector_blob(self, question: str, unit: Any) -> bytes | None:  # noqa: ARG002
        return None

    def _now(self) -> float:
        now = self._clock()
        if not is_number(now) or not math.isfinite(now):
            raise InputError(f"clock() gave {now!r}, expected Unix time")
        return float(now)

    def _check_open(self) -> None:
        if self._closed:
            raise InputError(f"{self!r} is closed; open it again")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
