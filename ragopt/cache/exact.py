"""The exact cache: the same question, word for word, is answered once."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ragopt.cache.checks import (
    as_scope,
    check_principal,
    check_text,
    check_ttl,
    check_usd,
    encoded_payload,
    is_count,
    is_number,
    named_labels,
)
from ragopt.cache.frequency import Frequencies
from ragopt.cache.hitlog import HitLog, LoggedHit
from ragopt.cache.judging import same_words
from ragopt.cache.lifetimes import Lifetimes
from ragopt.cache.results import CacheHit, CacheStats, Counters
from ragopt.cache.safety import Safety, digest_of
from ragopt.cache.scope import Scope
from ragopt.cache.stores import DamagedEntry, Entry, EntryStore, Limits, Put, SqliteStore
from ragopt.cache.text import normalise
from ragopt.closing import Closing
from ragopt.errors import InputError, RagoptError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["CLOCK_SKEW_S", "ExactCache", "text_digest"]

CLOCK_SKEW_S = 5.0
"""An entry dated further ahead than this is not served: its age cannot be told."""

_MOST_KEYS = 1024  # of scopes
_MOST_PENDING = 10_000  # hits remembered until the next put


@dataclass(frozen=True, slots=True)
class Asked:
    """A look-up in one scope.

    Args:
        question: as it was asked.
        key: of the scope that is looked into.
        exact: digest of the question.
        principal: digest of who asks.
        home: key of the scope that asks, where a fresh answer will be put.
    """

    question: str
    key: bytes
    exact: bytes
    principal: bytes
    home: bytes


class ExactCache(Closing):
    """Answers by question text, in memory or in a SQLite file shared by several processes.

    A question is the same when `normalise` makes it the same. An entry is served until its time
    is over: no hit renews it, and one dated in the future (a clock was set back) is dropped.

    When full, expired entries go first, then those that save least: dollars a byte, times how often
    they were served, aged. An answer to a question that is asked too rarely to be worth what would
    give way is not stored. Hits are noted in memory and written down with the next put: a look-up
    never writes, and never waits for another process.

    Args:
        path: a file, made when missing; in memory when None.
        store: instead of a file, such as `ragopt.cache.stores.RedisStore`; closed with the cache.
        ttl_s: seconds an entry is served, unless `put` says otherwise; by the content class of
            its question when None, see `Lifetimes`.
        lifetimes: of the content classes; `LIFETIMES_S` when None.
        max_entries: in the whole file, over all scopes; no limit when None.
        max_bytes: of texts, vectors and some 200 bytes an entry beside, likewise.
        safety: which answers are stored, whom they are served to, what is recorded.
        shared: scopes that every scope of this cache may read beside its own, looked up after it
            in this order; see `docs/cache.md`. Nothing is stored in one but by a `put` that names
            it.
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
        store: EntryStore | None = None,
        ttl_s: float | None = None,
        lifetimes: Lifetimes | None = None,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        safety: Safety | None = None,
        shared: Sequence[Scope] = (),
        secret: bytes = b"",
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_ttl(ttl_s)
        if not isinstance(secret, bytes):
            raise InputError(f"secret is {type(secret).__name__}, expected bytes")
        if not callable(clock):
            raise InputError(f"clock is {clock!r}, expected a function that gives Unix time")
        if path is not None and store is not None:
            raise InputError(f"path={str(path)!r} and a store: give one of them")
        for name, value, kind in (("lifetimes", lifetimes, Lifetimes), ("safety", safety, Safety)):
            if value is not None and not isinstance(value, kind):
                raise InputError(f"{name} is {value!r}, expected a {kind.__name__}, or None")
        if store is not None and not callable(getattr(store, "put", None)):
            raise InputError(f"store is {store!r}, expected one of ragopt.cache.stores, or None")
        self._ttl_s = ttl_s
        self._lifetimes = lifetimes or Lifetimes()
        self._limits = Limits(max_entries=max_entries, max_bytes=max_bytes)
        self._safety = safety or Safety()
        self._secret = secret
        self._clock = clock
        self._counters = Counters()
        self._lock = threading.RLock()
        self._used: list[int] = []
        self._doomed: set[int] = set()
        self._asked = Frequencies()
        self._keys: dict[Scope, bytes] = {}
        self._shared = tuple((self._scope_key(scope), scope) for scope in _listed(shared))
        self._closed = False
        self._log = None if self._safety.hit_log is None else HitLog(self._safety.hit_log)
        self._store = store or SqliteStore(":memory:" if path is None else path, secret=secret)

    def get(
        self,
        question: str,
        *,
        scope: Scope | None = None,
        principal: str = "",
        vector: ArrayLike | Callable[[], ArrayLike] | None = None,
        check: Callable[[CacheHit], bool] | None = None,
    ) -> CacheHit | None:
        """The cached answer to a question, or None.

        Args:
            question: any text that is not blank.
            scope: only its entries are looked at; the empty scope when None.
            principal: who asks; entries in quarantine are served to their author alone.
            vector: of the question, (dim,), to save embedding it again, or a function that gives
                it, called only when the exact tier has no answer.
            check: has the last word on a hit: where it says no, nothing is served, and
                ``stats.refused["check"]`` counts it.

        Raises:
            InputError: an argument that cannot be used.
            RagoptError: the store failed; a pipeline may go on without it.
        """
        begin = time.perf_counter()
        self._check_open()
        check_text(question, "question")
        check_principal(principal)
        scope = as_scope(scope)
        key = self._scope_key(scope)
        exact, who = text_digest(question), digest_of(principal, self._secret)
        asked = Asked(question, key, exact, who, key)
        unit = vector if callable(vector) else self._checked_vector(vector)
        self._counters.count("lookups")
        self._asked.add(asked.exact)
        try:
            hit, asked = self._found(asked, scope, unit)
            if hit is not None and check is not None and not check(hit):
                self._counters.refuse("check")
                hit = None
        except Exception:
            self._counters.count("errors")
            raise
        if hit is None:
            self._counters.count("misses")
            return None
        self._counters.count(f"{hit.tier}_hits")
        if hit.shared:
            self._counters.count("shared_hits")
        self._note_use(hit, asked)
        spared = self._safety.latency_floor_s - (time.perf_counter() - begin)
        if spared > 0:
            time.sleep(spared)
        return hit

    def put(
        self,
        question: str,
        answer: str,
        *,
        scope: Scope | None = None,
        principal: str = "",
        vector: ArrayLike | None = None,
        payload: Mapping[str, Any] | None = None,
        sources: Iterable[str] = (),
        tags: Iterable[str] = (),
        ttl_s: float | None = None,
        content_class: str | None = None,
        personalised: bool = False,
        usd: float | None = None,
    ) -> int | None:
        """Store an answer; it takes the place of one to the same text in the same scope.

        Args:
            question: any text that is not blank.
            answer: likewise.
            scope: that may read it; the empty scope when None.
            principal: who was given it; see `Safety`.
            vector: of the question, (dim,), to save embedding it again.
            payload: anything JSON, given back with each hit.
            sources: ids of the documents behind the answer, for `purge`.
            tags: any words, for `purge`.
            ttl_s: seconds it is served; the cache's own when None, ``math.inf`` for ever.
            content_class: of the answer, which decides on its time where no ``ttl_s`` does; told
                from the question when None.
            personalised: it was made for one person, or by calling tools; it is not stored.
            usd: what a hit saves, which decides on who gives way when the cache is full; guessed
                from the length when None.

        Returns:
            The entry's id, for `revoke`; None where the answer is not stored, which
            ``stats.not_admitted`` counts by reason.

        Raises:
            InputError: an argument that cannot be used; nothing was stored.
            RagoptError: the store failed; nothing was stored.
        """
        self._check_open()
        check_text(question, "question")
        check_text(answer, "answer")
        check_ttl(ttl_s)
        check_usd(usd)
        scope = as_scope(scope)
        labels = [*named_labels("source", sources), *named_labels("tag", tags)]
        if scope.corpus_version:
            labels.append(("corpus", scope.corpus_version))
        author = self._author(principal)
        body = encoded_payload(payload)
        unit = self._checked_vector(vector)
        lifetime = self._lifetime(question, ttl_s, content_class)
        key, exact = self._scope_key(scope), text_digest(question)
        expected = self._expected(key, exact)
        size = len(question.encode()) + len(answer.encode()) + len(body)
        reason = self._safety.admission.refuses(
            question, answer, scope, size=size, personalised=personalised
        )
        if reason is None and lifetime <= 0:
            reason = "lifetime"
        if reason is not None:
            self._counters.turn_away(reason)
            self._compare(expected, question, answer)
            return None
        confirmed = self._confirmed(key, exact, author, question, answer)
        if confirmed is not None:
            self._compare(expected, question, answer)
            return confirmed
        now = self._now()
        entry = Entry(
            scope=key,
            exact=exact,
            created=now,
            expires=None if math.isinf(lifetime) else now + lifetime,
            vector=self._vector_blob(question, unit),
            question=question.encode(),
            answer=answer.encode(),
            payload=body,
            author=author if self._safety.confirmations else b"",
            usd=None if usd is None else float(usd),
        )
        return self._stored(entry, labels, author, expected)

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
        if not is_count(entry_id):
            raise InputError(f"entry_id={entry_id!r}, expected the number that put() returned")
        return bool(self._store.purge(entry_id=int(entry_id)))

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
            if self._log is not None:
                self._log.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self._store.totals()[0]:,} entries"
        return f"{type(self).__name__}({self._store.name!r}, {state}{self._more()})"

    def _more(self) -> str:
        return ""

    @property
    def _found_alone(self) -> bool:
        """Whether an entry that is being compared is kept from the similar ones meanwhile."""
        return False

    def _found(self, asked: Asked, scope: Scope, unit: Any) -> tuple[CacheHit | None, Asked]:
        """A hit with the scope it is from: the own one first, then those that are listed."""
        if self._shared:
            unit = self._once(asked, unit)
        hit = self._look_up(asked, unit)
        if hit is not None:
            return replace(hit, scope=scope), asked
        for key, listed in self._shared:
            if key == asked.home or self._awaited(asked):
                continue
            elsewhere = replace(asked, key=key)
            hit = self._look_up(elsewhere, unit)
            if hit is not None:
                return replace(hit, scope=listed, shared=True), elsewhere
        return None, asked

    def _once(self, asked: Asked, unit: Any) -> Any:  # noqa: ARG002
        """A vector that is made at most once, however many scopes are looked into."""
        return unit

    def _awaited(self, asked: Asked) -> bool:  # noqa: ARG002
        """Whether this question is to be answered afresh, so that nothing else may answer it."""
        return False

    def _look_up(self, asked: Asked, unit: Any) -> CacheHit | None:  # noqa: ARG002
        return self._same_text(asked)

    def _same_text(self, asked: Asked) -> CacheHit | None:
        entry = self._at_text(asked.key, asked.exact)
        if entry is None or not self._may_read(entry, asked.principal):
            return None
        return self._hit(entry, "exact", 1.0)

    def _at_text(self, key: bytes, exact: bytes) -> Entry | None:
        """The entry of a text, if it is sound and in time."""
        try:
            entry = self._store.find(key, exact)
        except DamagedEntry as damage:
            self._doom(damage.entry_id, "corrupt")
            return None
        return entry if entry is not None and self._alive(entry) else None

    def _alive(self, entry: Entry) -> bool:
        now = self._now()
        ahead = entry.created > now + CLOCK_SKEW_S
        if ahead or (entry.expires is not None and now >= entry.expires):
            self._doom(entry.id, "expired")
            return False
        return True

    def _may_read(self, entry: Entry, principal: bytes) -> bool:
        """Whether an entry is out of quarantine, or this one's own."""
        if not entry.author or entry.author == principal:
            return True
        if self._store.confirmations(entry.id) >= self._safety.confirmations:
            return True
        self._counters.count("quarantined")
        return False

    def _author(self, principal: str) -> bytes:
        check_principal(principal)
        if not principal and self._safety.needs_principal:
            raise InputError(
                "principal is missing: with a quarantine or a quota, put() must be told whose "
                "answer it stores"
            )
        return digest_of(principal, self._secret)

    def _confirmed(
        self, key: bytes, exact: bytes, author: bytes, question: str, answer: str
    ) -> int | None:
        """The id of another's entry that this answer confirms; None where it does not."""
        if not self._safety.confirmations:
            return None
        entry = self._at_text(key, exact)
        if entry is None or entry.author in (b"", author):
            return None
        if not same_words(question, entry.answer.decode(), answer):
            return None
        self._store.confirm(entry.id, author)
        return entry.id

    def _expected(self, key: bytes, exact: bytes) -> Any:  # noqa: ARG002
        """What would have been served, where a fresh answer is to be compared with it."""
        return None

    def _compare(
        self, expected: Any, question: str, answer: str, otherwise: Put | None = None
    ) -> None:
        """Have a fresh answer compared; what to store ``otherwise``, if it says something else."""

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

    def _lifetime(self, question: str, ttl_s: float | None, content_class: str | None) -> float:
        """What was said last counts: of the entry, its class, the cache."""
        if ttl_s is not None:
            return ttl_s
        if content_class is None and self._ttl_s is not None:
            return self._ttl_s
        return self._lifetimes.of(question, content_class)

    def _stored(
        self, entry: Entry, labels: Sequence[tuple[str, str]], author: bytes, expected: Any
    ) -> int | None:
        used, doomed = self._taken()
        put = Put(
            entry=entry,
            labels=labels,
            used=used,
            doomed=doomed,
            limits=self._limits,
            frequency=self._asked.of(entry.exact),
            author=author,
            quota=self._safety.quota,
        )
        # what may turn out to say the same as another entry is found by its own text alone
        alone = expected is not None and self._found_alone
        first = replace(put, entry=replace(entry, vector=None)) if alone else put
        try:
            entry_id, reason = self._store.put(first)
        except BaseException:
            with self._lock:
                self._used = [*used, *self._used]
                self._doomed.update(doomed)
            raise
        again = replace(put, used=(), doomed=(), quota=None) if alone and not reason else None
        self._compare(expected, entry.question.decode(), entry.answer.decode(), again)
        if reason:
            self._counters.turn_away(reason)
            return None
        self._counters.count("puts")
        return entry_id

    def _taken(self) -> tuple[list[int], list[int]]:
        """What look-ups found since the last write; whoever takes it writes it down."""
        with self._lock:
            used, doomed = self._used, sorted(self._doomed)
            self._used, self._doomed = [], set()
        return used, doomed

    def _note_use(self, hit: CacheHit, asked: Asked) -> None:
        with self._lock:
            self._used.append(hit.entry_id)
            if len(self._used) > _MOST_PENDING:
                del self._used[0]
        if self._log is not None:
            self._log.append(
                LoggedHit(
                    time=self._now(),
                    entry=hit.entry_id,
                    tier=hit.tier,
                    similarity=hit.similarity,
                    scope=asked.key.hex()[:16],
                    question=asked.exact.hex()[:16],
                    principal=asked.principal.hex()[:16],
                )
            )

    def _doom(self, entry_id: int, why: Literal["expired", "corrupt"]) -> None:
        """Count an entry that may not be served, once; the next put removes it."""
        with self._lock:
            new = entry_id not in self._doomed
            self._doomed.add(entry_id)
        if new:
            self._counters.count(why)

    def _scope_key(self, scope: Scope | None) -> bytes:
        """The key of a scope; those of late are kept, since to make one takes 50 us."""
        asked = as_scope(scope)
        key = self._keys.get(asked)
        if key is None:
            key = self._made_key(asked)
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            self._keys[asked] = key
        return key

    def _made_key(self, scope: Scope) -> bytes:
        return scope.key(self._secret)

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


def text_digest(question: str) -> bytes:
    """By which a question is found: of its normalised text."""
    return hashlib.sha256(normalise(question).encode()).digest()


def _listed(shared: Sequence[Scope]) -> tuple[Scope, ...]:
    if isinstance(shared, Scope) or not isinstance(shared, Sequence):
        raise InputError(f"shared is {shared!r}, expected a list of scopes: [Scope(tenant=…)]")
    for scope in shared:
        if not isinstance(scope, Scope):
            raise InputError(f"shared holds {scope!r}, expected scopes: [Scope(tenant=…)]")
    return tuple(dict.fromkeys(shared))
