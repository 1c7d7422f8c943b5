"""The semantic cache: a question that asks the same in other words is answered once."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.cache.checks import is_number
from ragopt.cache.drift import LiveError
from ragopt.cache.exact import Asked, ExactCache
from ragopt.cache.following import VECTOR_DTYPE, FollowedVectors
from ragopt.cache.guards import DEFAULT_GUARDS, SAFETY_GUARDS, Guard
from ragopt.cache.indexed import IndexedVectors
from ragopt.cache.judging import Judge
from ragopt.cache.lifetimes import Lifetimes
from ragopt.cache.policies.base import Candidate, Policy
from ragopt.cache.policies.static import Static
from ragopt.cache.results import CacheHit, CacheStats
from ragopt.cache.safety import Safety
from ragopt.cache.scope import Scope
from ragopt.cache.stores import DamagedEntry, Entry, EntryStore, Put
from ragopt.cache.vectors import VectorStore
from ragopt.cache.watching import Audit, Expected, Watch
from ragopt.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from typing_extensions import Self

    from ragopt.embed import Embedder

__all__ = ["SemanticCache"]

_CANDIDATES = 5
_CHECKED = 4  # entries from the oldest to the newest, whose questions are embedded again
_SAME_VECTOR = 0.99  # half precision and batches of other sizes cost less than .001
_POLL_S = 0.02
_ROUNDING = 1e-6  # of float32 dot products: threshold=1.0 still finds the very same vector
_COARSE = 2e-3  # of the rows in half precision that candidates are found by


class SemanticCache(ExactCache):
    """Answers by meaning: exact text first, then the most similar questions of the same scope.

    Of the five most similar questions, the first is served that no guard refuses and that the
    policy serves. The plain policy is a threshold of their cosine; `calibrated` makes one with a
    bound on the share of wrong answers. Everything else is as in `ExactCache`.

    The embedder's id is part of every scope: what one embedder stored, another never reads. What
    other processes store in the file is seen at the next look-up, and what they remove is never
    served: only vectors are kept in memory, and each answer is read, checked and then served.

    Args:
        embedder: gives the vectors.
        threshold: least cosine, above 0 and at most 1; .95 without a policy.
        policy: decides instead of a threshold; see `ragopt.cache.policies`.
        exact: serve the same text without asking the embedder.
        semantic: serve similar questions; without it this is an `ExactCache`.
        guards: that must all agree before a similar question is served; `DEFAULT_GUARDS` when
            None, `SAFETY_GUARDS` for a policy with a verifier.
        judge: tells whether a cached answer would have done, for policies that learn and for
            audits: `same_words`, an `LLMJudge`, or a function of question, cached and fresh answer.
        audit: how hits are watched over; not at all when None.
        path: as in `ExactCache`.
        store: as in `ExactCache`.
        ttl_s: as in `ExactCache`.
        lifetimes: as in `ExactCache`.
        max_entries: as in `ExactCache`.
        max_bytes: as in `ExactCache`.
        safety: as in `ExactCache`.
        shared: as in `ExactCache`.
        secret: as in `ExactCache`.
        clock: as in `ExactCache`.
        vector_store: makes the index of a scope from the embedder's dim; `IndexedVectors` when
            None.

    Raises:
        InputError: a value outside its range, a policy calibrated with another embedder, or a file
            of another kind.
        RagoptError: as `ExactCache`.

    Cost: a look-up compares the vector with those of its scope up to some thousand entries and asks
    an index from there on, and reads one row of the file per candidate.

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
        threshold: float | None = None,
        policy: Policy | None = None,
        exact: bool = True,
        semantic: bool = True,
        guards: Sequence[Guard] | None = None,
        judge: Judge | None = None,
        audit: Audit | None = None,
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
        vector_store: Callable[[int], VectorStore] | None = None,
    ) -> None:
        if not (exact or semantic):
            raise InputError("exact=False and semantic=False leave nothing to serve; enable one")
        _check_embedder(embedder)
        policy = _checked_policy(policy, threshold, embedder)
        if guards is None:
            guards = DEFAULT_GUARDS if getattr(policy, "verifier", None) is None else SAFETY_GUARDS
        _check_guards(guards, policy)
        self._embedder = embedder
        self._dim = int(embedder.dim)
        self._embedder_id = f"{embedder.id}/{self._dim}"
        self._exact = exact
        self._semantic = semantic
        self._guards = tuple(guards)
        super().__init__(
            path=path,
            store=store,
            ttl_s=ttl_s,
            lifetimes=lifetimes,
            max_entries=max_entries,
            max_bytes=max_bytes,
            safety=safety,
            shared=shared,
            secret=secret,
            clock=clock,
        )
        self._vectors = FollowedVectors(
            self._store,
            self._dim,
            vector_store or IndexedVectors,
            lambda entry_id: self._doom(entry_id, "corrupt"),
        )
        try:
            self._watch = Watch(self._store, policy, judge=judge, audit=audit)
        except BaseException:
            self._store.close()
            raise

    @classmethod
    def calibrated(
        cls,
        embedder: Embedder,
        pairs: Iterable[Any],
        *,
        max_error: float = 0.05,
        confidence: float = 0.95,
        verify: bool | None = None,
        seed: int = 0,
        progress: Callable[[str, int, int], object] | None = None,
        **options: Any,
    ) -> Self:
        """A cache whose hits are wrong in at most ``max_error`` of the cases, certified.

        Where the pairs cannot certify that, similar questions are not served, and ``policy`` says
        so; the exact tier is not concerned.

        Args:
            embedder: gives the vectors.
            pairs: ``(text, text, same)`` each: questions like those that will be asked.
            max_error: tolerated share of wrong hits.
            confidence: with which it must hold.
            verify: as in `ragopt.cache.policies.calibrate`.
            seed: likewise.
            progress: likewise.
            **options: of the cache.

        Raises:
            InputError: as `ragopt.cache.policies.calibrate`.

        Example:
            >>> cache = SemanticCache.calibrated(embedder, pairs, max_error=0.05)  # doctest: +SKIP
            >>> print(cache.policy)                                                # doctest: +SKIP
        """
        from ragopt.cache.policies.calibration import calibrate

        policy = calibrate(
            embedder,
            pairs,
            max_error=max_error,
            confidence=confidence,
            guards=options.get("guards"),
            verify=verify,
            seed=seed,
            progress=progress,
        )
        return cls(embedder, policy=policy, **options)

    @property
    def embedder(self) -> Embedder:
        """The one that was given."""
        return self._embedder

    @property
    def policy(self) -> Policy:
        """What decides on similar questions; after an alarm of the audits, a stricter one."""
        return self._watch.policy

    def live_error(self) -> LiveError | None:
        """What the audits say of the policy in force; None without audits.

        Waits for the comparisons that are under way.
        """
        self._check_open()
        self._watch.finish()
        return self._watch.live

    @property
    def stats(self) -> CacheStats:
        """Counters of this object since it was opened."""
        return replace(super().stats, judge_failures=self._watch.judge_failures)

    def warm(
        self, scope: Scope | None = None, *, timeout_s: float = 600.0, check: bool = True
    ) -> bool:
        """Have the vectors of a scope in memory and its index made, before anybody asks.

        Without it the first look-up reads the vectors, and until a thread of its own has made the
        index the entries are compared one by one.

        A few stored questions are embedded again: an embedder that changed and kept its id would
        find nothing, or worse, serve at similarities that no policy was calibrated for.

        Args:
            scope: the empty one when None.
            timeout_s: how long to wait.
            check: embed four stored questions again; not for vectors that somebody else gave.

        Returns:
            Whether it is ready.

        Raises:
            InputError: the embedder gives another vector than the one that is stored.
        """
        self._check_open()
        if not is_number(timeout_s) or timeout_s < 0:
            raise InputError(f"timeout_s={timeout_s!r}, expected 0 or more seconds")
        key = self._scope_key(scope)
        vectors = self._vectors.of(key)
        if check:
            self._check_vectors(key, vectors.ids())
        deadline = time.monotonic() + timeout_s
        while not getattr(vectors, "settled", True):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _check_vectors(self, key: bytes, ids: NDArray[np.int64]) -> None:
        """Refuse an embedder that is another than the one the entries are from."""
        for place in np.linspace(0, len(ids) - 1, min(_CHECKED, len(ids)), dtype=int):
            entry = self._sound(int(ids[place]), key)
            if entry is None:
                continue
            similarity = _cosine(self._embedded(entry.question.decode()), entry)
            if similarity < _SAME_VECTOR:
                raise InputError(
                    f"{self._embedder_id} gives the question of entry {entry.id} a vector whose "
                    f"cosine to the stored one is {similarity:.3f}, expected 1: the embedder "
                    "changed and kept its id. Give it an id that names its revision, or purge what "
                    "the old one stored; check=False where the vectors are not the embedder's own"
                )

    @property
    def ram_bytes(self) -> int:
        """Memory that grows with the entries: the vectors, and all of a cache without a file."""
        return super().ram_bytes + self._vectors.nbytes

    def _more(self) -> str:
        live = self._watch.live
        return f", {self.policy}" + ("" if live is None else f", {live}")

    def close(self) -> None:
        """Write down the last hits and comparisons, and close the file; twice does nothing."""
        if not self._closed:
            self._watch.close()
        super().close()

    @property
    def _found_alone(self) -> bool:
        return self._watch.learns

    def _expected(self, key: bytes, exact: bytes) -> Expected | None:
        return self._watch.expected(key, exact)

    def _compare(
        self, expected: Expected | None, question: str, answer: str, otherwise: Put | None = None
    ) -> None:
        if expected is not None:
            self._watch.compare(expected, question, answer, otherwise)

    def _once(self, asked: Asked, unit: Any) -> Any:
        if unit is not None and not callable(unit):
            return unit
        return functools.cache(lambda: self._embedded(asked.question) if unit is None else unit())

    def _awaited(self, asked: Asked) -> bool:
        return self._watch.awaits(asked.home, asked.exact)

    def _look_up(
        self, asked: Asked, unit: NDArray[np.float32] | Callable[[], ArrayLike] | None
    ) -> CacheHit | None:
        hit = self._same_text(asked) if self._exact else None
        if hit is not None or not self._semantic:
            return hit
        if self._watch.compares:
            self._watch.follow()
        if self.policy.least > 1:
            return None
        vectors = self._vectors.of(asked.key)
        if not len(vectors):
            return None  # nothing to compare with: the embedder need not be asked
        if callable(unit):
            unit = self._checked_vector(unit())
        unit = self._embedded(asked.question) if unit is None else unit
        return self._similar(asked, vectors, unit) if unit.any() else None

    def _similar(
        self, asked: Asked, vectors: VectorStore, unit: NDArray[np.float32]
    ) -> CacheHit | None:
        """The most similar entry that is there, sound, in time, and may be served."""
        gone: set[int] = set()
        least = self.policy.least
        while True:
            stale = set()
            for entry_id, _ in vectors.search(unit, _CANDIDATES, least - _COARSE):
                entry = self._sound(entry_id, asked.key)
                if entry is None:
                    stale.add(entry_id)
                    continue
                similarity = _cosine(unit, entry)
                if similarity < least - _ROUNDING or not self._may_read(entry, asked.principal):
                    continue
                decision = self._decision(asked, entry, similarity)
                if decision == "serve":
                    return self._hit(entry, "semantic", similarity)
                if decision != "miss":
                    self._counters.count("compared")
                    self._watch.expect(
                        asked.home, asked.exact, entry, similarity, audit=decision == "audit"
                    )
                    return None
            if stale <= gone:
                return None
            gone |= stale
            self._vectors.forget(asked.key, stale)  # the next candidates come up in their places

    def _decision(self, asked: Asked, entry: Entry, similarity: float) -> str:
        cached = entry.question.decode()
        if not self._agreed(asked.question, cached):
            return "miss"
        observed = self._watch.observed(entry.id)
        candidate = Candidate(asked.question, cached, similarity, entry.id, observed)
        return self._watch.decide(candidate)

    def _sound(self, entry_id: int, key: bytes) -> Entry | None:
        try:
            entry = self._store.fetch(entry_id)
        except DamagedEntry:
            self._doom(entry_id, "corrupt")
            return None
        if entry is None or entry.scope != key or entry.vector is None or not self._alive(entry):
            return None
        return entry

    def _agreed(self, asked: str, cached: str) -> bool:
        for guard in self._guards:
            if not guard.agrees(asked, cached):
                self._counters.refuse(guard.name)
                return False
        return True

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
        return unit.astype(VECTOR_DTYPE).tobytes() if unit.any() else None

    def _made_key(self, scope: Scope) -> bytes:
        if scope.embedder_id not in ("", self._embedder.id):
            raise InputError(
                f"scope names the embedder {scope.embedder_id!r}, this cache has "
                f"{self._embedder.id!r}; leave embedder_id out"
            )
        return replace(scope, embedder_id=self._embedder_id).key(self._secret)


def _cosine(unit: NDArray[np.float32], entry: Entry) -> float:
    """Of the question's vector and an entry's as it is stored; at most 1."""
    row = np.frombuffer(entry.vector or b"", dtype=VECTOR_DTYPE)
    return min(1.0, float(unit @ row))


def _checked_policy(policy: Policy | None, threshold: float | None, embedder: Embedder) -> Policy:
    if policy is None:
        return Static() if threshold is None else Static(threshold)
    if threshold is not None:
        raise InputError(f"threshold={threshold!r} and a policy, which decides: give one of them")
    if not callable(getattr(policy, "decide", None)) or not hasattr(policy, "least"):
        raise InputError(f"policy is {policy!r}, expected one of ragopt.cache.policies")
    calibrated_with = getattr(policy, "embedder_id", "")
    if calibrated_with not in ("", embedder.id):
        raise InputError(
            f"the policy was calibrated with the embedder {calibrated_with!r}, this cache has "
            f"{embedder.id!r}: their similarities differ; calibrate again"
        )
    return policy


def _check_embedder(embedder: Any) -> None:
    dim, name = getattr(embedder, "dim", None), getattr(embedder, "id", None)
    if not callable(getattr(embedder, "embed", None)) or not isinstance(name, str):
        raise InputError(
            f"embedder is {type(embedder).__name__}, expected one of ragopt.embed: "
            "an object with dim, id and embed(texts)"
        )
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or dim < 1:
        raise InputError(f"embedder {name!r} has dim={dim!r}, expected 1 or more")


def _check_guards(guards: Sequence[Guard], policy: Policy) -> None:
    if not isinstance(guards, Iterable):
        raise InputError(f"guards is {guards!r}, expected several of ragopt.cache.guards")
    for guard in guards:
        if not isinstance(getattr(guard, "name", None), str) or not callable(
            getattr(guard, "agrees", None)
        ):
            raise InputError(
                f"guards holds {guard!r}, expected objects with a name and agrees(asked, cached)"
            )
    names = {guard.name for guard in guards}
    expected = getattr(policy, "guards", None)
    if expected is not None and set(expected) != names:
        raise InputError(
            f"the policy was calibrated with the guards {sorted(expected)}, this cache has "
            f"{sorted(names)}: its certificate speaks of other hits; calibrate again"
        )
