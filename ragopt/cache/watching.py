"""Learning from what the model says: what would have been served is compared with a fresh answer.

A look-up that is to be compared is answered with a miss. The model is asked, its answer is put into
the cache, and then a judge compares it with the entry that would have been served; beside the
request, not in its way. Observations stand in the store, so that all processes learn from all.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ragopt.cache.checks import is_number
from ragopt.cache.drift import DriftMonitor, LiveError
from ragopt.cache.judging import Judge, JudgingThread
from ragopt.cache.policies.base import Candidate, Observation, Policy
from ragopt.cache.policies.static import Off
from ragopt.cache.stores.base import Entry, EntryStore, Put
from ragopt.errors import IndexCorrupt, InputError

__all__ = ["Audit", "Expected", "Watch"]

_MOST_PENDING = 1000
_SETTING = "watched policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """How hits are watched over.

    Args:
        share: of the hits that are answered afresh and compared.
        max_error: share of wrong hits that is tolerated; the policy's own when None.
        confidence: that an alarm is not false.
        on_drift: what an alarm does: ``"tighten"`` the policy step by step until it serves nothing,
            or turn it ``"off"`` at once.

    Raises:
        InputError: a value outside its range.
    """

    share: float = 0.02
    max_error: float | None = None
    confidence: float = 0.95
    on_drift: Literal["tighten", "off"] = "tighten"

    def __post_init__(self) -> None:
        if not is_number(self.share) or not 0 < self.share <= 1:
            raise InputError(f"share={self.share!r}, expected a share above 0, at most 1")
        if self.on_drift not in ("tighten", "off"):
            raise InputError(f"on_drift={self.on_drift!r}, expected 'tighten' or 'off'")


class _Learner(Protocol):
    def learn(self, observations: Iterable[Observation]) -> None: ...


@dataclass(frozen=True, slots=True)
class Expected:
    """What would have been served, and how similar its question was."""

    entry: Entry
    similarity: float
    audit: bool


class Watch:
    """The policy in force, and what it learns.

    Args:
        store: keeps the observations.
        policy: to begin with.
        judge: compares answers; None where nothing is to be compared.
        audit: how hits are watched over; None for not at all.
        seed: of which hits are audited; drawn from the system when None.

    Raises:
        InputError: a policy that learns or an audit without a judge; an audit of a policy that
            names no tolerated error.
    """

    def __init__(
        self,
        store: EntryStore,
        policy: Policy,
        *,
        judge: Judge | None,
        audit: Audit | None,
        seed: int | None = None,
    ) -> None:
        self._store = store
        self._given = self.policy = policy
        self._judge = judge
        self._audit = audit
        self.learns = bool(getattr(policy, "learns", False))
        """Whether it does; what says the same as an entry is then no candidate beside it."""
        self._thread = JudgingThread()
        self._pending: OrderedDict[tuple[bytes, bytes], Expected] = OrderedDict()
        self._lock = threading.Lock()
        self._random = random.Random(seed)  # noqa: S311 - no secret hangs on it
        self._read_to = self._begun_at = 0
        self.alarms = 0
        if judge is not None and not callable(judge):
            raise InputError(
                f"judge is {judge!r}, expected a function of question, cached and fresh answer"
            )
        if audit is not None and not isinstance(audit, Audit):
            raise InputError(f"audit is {audit!r}, expected a ragopt.cache.Audit, or None")
        if judge is None and (self.learns or audit is not None):
            raise InputError(
                "a policy that learns, or an audit, needs judge=: ragopt.cache.same_words, an "
                "LLMJudge, or a function of question, cached and fresh answer"
            )
        self._monitor = None if audit is None else _monitor(audit, policy)
        if self._monitor is not None:
            self._begun_at = self._begun()

    @property
    def compares(self) -> bool:
        """Whether anything is learnt from fresh answers."""
        return self.learns or self._audit is not None

    @property
    def live(self) -> LiveError | None:
        """What audits say of the policy in force; None without audits."""
        return None if self._monitor is None else self._monitor.state()

    @property
    def judge_failures(self) -> int:
        """Comparisons that gave no label, because the judge failed or could not keep up."""
        return self._thread.failures + self._thread.dropped

    def follow(self) -> None:
        """Take in what any process has compared since."""
        with self._lock:
            news = self._store.observations(self._read_to)
            for number, observation in news:
                self._read_to = number
                if observation.audit and number > self._begun_at and self._monitor is not None:
                    self._monitor.observe([observation.correct])
                    self._react()
            if news and self.learns:
                learner: Any = self._given
                learner.learn([observation for _, observation in news])

    def decide(self, candidate: Candidate) -> str:
        """``"serve"``, ``"miss"``, or one of ``"ask"`` and ``"audit"``: a miss to compare."""
        decision = self.policy.decide(candidate)
        if decision == "serve" and self._audit is not None:
            return "audit" if self._random.random() < self._audit.share else "serve"
        return decision

    def observed(self, entry_id: int) -> tuple[Observation, ...]:
        """What the policy knows of an entry, where it learns."""
        return self._store.observed(entry_id) if self.learns else ()

    def expect(
        self, key: bytes, exact: bytes, entry: Entry, similarity: float, *, audit: bool
    ) -> None:
        """Remember what would have been served, until a fresh answer comes."""
        with self._lock:
            self._pending[key, exact] = Expected(entry, similarity, audit)
            if len(self._pending) > _MOST_PENDING:
                self._pending.popitem(last=False)

    def awaits(self, key: bytes, exact: bytes) -> bool:
        """Whether a fresh answer to this question is to be compared."""
        with self._lock:
            return (key, exact) in self._pending

    def expected(self, key: bytes, exact: bytes) -> Expected | None:
        """What a fresh answer to this question is to be compared with, once."""
        with self._lock:
            return self._pending.pop((key, exact), None)

    def compare(
        self, expected: Expected, question: str, answer: str, otherwise: Put | None = None
    ) -> None:
        """Have a fresh answer compared.

        Args:
            expected: what would have been served.
            question: that was asked.
            answer: the fresh one.
            otherwise: stored if it says something else: the entry, for similar questions too.
        """
        judge = self._judge
        if judge is None:
            return

        def work() -> None:
            correct = bool(judge(question, expected.entry.answer.decode(), answer))
            if not correct and otherwise is not None:
                self._store.put(otherwise)
            self._store.observe(
                [Observation(expected.entry.id, expected.similarity, correct, expected.audit)]
            )

        self._thread.submit(work)

    def finish(self) -> None:
        """Wait for all comparisons, and learn from them."""
        self._thread.finish()
        self.follow()

    def close(self) -> None:
        """Wait for all comparisons, and end the thread."""
        self._thread.close()

    def _react(self) -> None:
        """On an alarm: a stricter policy, watched over from its beginning."""
        monitor, audit = self._monitor, self._audit
        if monitor is None or audit is None or not monitor.state().alarmed:
            return
        self.alarms += 1
        stricter = getattr(self.policy, "stricter", None) if audit.on_drift == "tighten" else None
        self.policy = (stricter() if callable(stricter) else None) or Off()
        if not isinstance(self.policy, Off):
            self._monitor = _monitor(audit, self._given)

    def _begun(self) -> int:
        """The observation after which this policy was begun with: others are of other policies."""
        identity = _identity(self._given)
        kept = self._store.setting(_SETTING)
        if kept is not None:
            try:
                found = json.loads(kept)
                policy, after = found["policy"], int(found["after"])
            except (KeyError, TypeError, ValueError) as error:
                raise IndexCorrupt(
                    f"{self._store.name}: what was kept of its audits is damaged ({error}); "
                    "begin a new cache"
                ) from error
            if policy == identity:
                return after
        last = max((number for number, _ in self._store.observations()), default=0)
        self._store.set(_SETTING, json.dumps({"policy": identity, "after": last}).encode())
        return last


def _monitor(audit: Audit, policy: Policy) -> DriftMonitor:
    tolerated = getattr(policy, "max_error", None) if audit.max_error is None else audit.max_error
    if tolerated is None:
        raise InputError(f"{policy} names no tolerated error; say Audit(max_error=…), such as .05")
    return DriftMonitor(tolerated, confidence=audit.confidence)


def _identity(policy: Policy) -> str:
    content = policy.to_dict() if hasattr(policy, "to_dict") else repr(policy)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
