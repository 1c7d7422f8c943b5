"""What is measured: a policy takes answers in and serves them again, or does not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ragopt.benchmarks.cache.services import Services
from ragopt.benchmarks.cache.unavailable import Unavailable
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.cache import Admission, ExactCache, Safety, SemanticCache
from ragopt.cache.judging import Judge
from ragopt.cache.policies import Calibrated, PerEntry, Verifier

__all__ = ["OWN", "Candidate", "Opening", "Policy", "Served", "fill"]


@dataclass(frozen=True, slots=True)
class Served:
    """What a policy answered.

    Args:
        answer: as it came back.
        similarity: cosine of the two questions as the policy reads it (1.0 for the same text);
            None where its interface does not say, and the embedder's is taken.
    """

    answer: str
    similarity: float | None = None


class Policy(Protocol):
    """A cache behind its own interface.

    One that learns counts in ``compared`` the misses that it makes for that; ``said`` is what a
    policy that was fitted or has learnt says of itself. Others have neither.
    """

    def put(self, question: str, answer: str) -> None:
        """Store an answer."""
        ...

    def get(self, question: str) -> Served | None:
        """The stored answer to this question, if it serves one."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...

    def close(self) -> None:
        """Give back files and connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a policy is opened with.

    Args:
        table: the embedder, the same for all.
        threshold: least cosine at which it is to serve, for those that take one.
        folder: empty, its own.
        services: that several policies share.
        verifier: gives the one that is fitted for this run, where there are pairs to fit it on.
        max_error: tolerated, for those that take this instead of a threshold.
        calibrated: gives the policy certified for such an error, with a verifier or on cosines
            alone, on pairs that have no question in common with what is asked.
        judge: the truth about two answers; None where nobody knows.
        seed: of what a policy draws.
    """

    table: VectorTable
    threshold: float
    folder: Path
    services: Services
    verifier: Callable[[], Verifier] | None = None
    max_error: float = 0.05
    calibrated: Callable[[float, bool], Calibrated] | None = None
    judge: Judge | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A policy that can be opened.

    Args:
        name: in rows.
        open: makes one, empty.
        default: least cosine at which it serves out of the box; None where it compares texts.
        peer: not ragopt's own.
        fits: a verifier is fitted for it, on pairs that it is then not asked.
        takes: what it is given: a least similarity, or an error that it may make; the latter takes
            part in the stream alone.
        asks: it makes misses in order to learn.
        distributions: whose versions are recorded.
        about: how it is set up.
    """

    name: str
    open: Callable[[Opening], Policy]
    default: float | None
    peer: bool = False
    fits: bool = False
    takes: Literal["threshold", "max_error"] = "threshold"
    asks: bool = False
    distributions: tuple[str, ...] = ()
    about: str = field(default="", compare=False)

    @property
    def embeds(self) -> str:
        """Of what it is asked: ``"never"``, ``"always"``, or only ``"unseen"`` texts."""
        if self.default is None:
            return "never"
        return "always" if self.peer else "unseen"


def fill(policy: Policy, questions: Sequence[str], answers: Sequence[str]) -> None:
    """Store many answers: with the policy's own call for that where it has one."""
    many = getattr(policy, "fill", None)
    if many is not None:
        many(questions, answers)
        return
    for question, answer in zip(questions, answers, strict=True):
        policy.put(question, answer)


class _Ragopt:
    """A cache of `ragopt.cache` in a file."""

    def __init__(self, cache: ExactCache) -> None:
        self._cache = cache

    def put(self, question: str, answer: str) -> None:
        self._cache.put(question, answer)

    def get(self, question: str) -> Served | None:
        hit = self._cache.get(question)
        return None if hit is None else Served(hit.answer, hit.similarity)

    def fill(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        for question, answer in zip(questions, answers, strict=True):
            self._cache.put(question, answer)
        if isinstance(self._cache, SemanticCache):
            self._cache.warm()

    def clear(self) -> None:
        self._cache.purge()

    def close(self) -> None:
        self._cache.close()


class _Verified(_Ragopt):
    """Its scores are the verifier's probabilities, not cosines."""

    def __init__(self, cache: ExactCache, verifier: Verifier) -> None:
        super().__init__(cache)
        self._verifier = verifier

    def get(self, question: str) -> Served | None:
        hit = self._cache.get(question)
        if hit is None or hit.tier == "exact":
            return None if hit is None else Served(hit.answer, 1.0)
        return Served(
            hit.answer, self._verifier.probability(question, hit.question, hit.similarity)
        )


class _Deciding(_Ragopt):
    """Its policy was certified, or learns."""

    def __init__(self, cache: SemanticCache) -> None:
        super().__init__(cache)
        self._semantic = cache

    @property
    def compared(self) -> int:
        return self._semantic.stats.compared

    @property
    def said(self) -> str:
        return str(self._semantic.policy)

    def put(self, question: str, answer: str) -> None:
        super().put(question, answer)
        self._semantic.live_error()  # what is compared is known before the next request


# Answers here are tokens drawn at random, some of which look like a card or a key.
_ANYTHING = Safety(admission=Admission(pii=None))


def _exact(opening: Opening) -> Policy:
    return _Ragopt(ExactCache(path=opening.folder / "cache.db", safety=_ANYTHING))


def _static(opening: Opening) -> Policy:
    return _Ragopt(
        SemanticCache(
            opening.table,
            threshold=opening.threshold,
            guards=(),
            path=opening.folder / "cache.db",
            safety=_ANYTHING,
        )
    )


def _guarded(opening: Opening) -> Policy:
    return _Ragopt(
        SemanticCache(
            opening.table,
            threshold=opening.threshold,
            path=opening.folder / "cache.db",
            safety=_ANYTHING,
        )
    )


def _verified(opening: Opening) -> Policy:
    if opening.verifier is None:
        raise Unavailable("no labelled pairs to fit a verifier on")
    verifier = opening.verifier()
    policy = Calibrated(
        threshold=opening.threshold, certificate=None, verifier=verifier, least=_LEAST
    )
    cache = SemanticCache(
        opening.table, policy=policy, path=opening.folder / "cache.db", safety=_ANYTHING
    )
    return _Verified(cache, verifier)


def _calibrated(opening: Opening, *, verify: bool) -> Policy:
    if opening.calibrated is None:
        raise Unavailable("no labelled pairs to certify a threshold on")
    policy = opening.calibrated(opening.max_error, verify)
    return _Deciding(
        SemanticCache(
            opening.table, policy=policy, path=opening.folder / "cache.db", safety=_ANYTHING
        )
    )


def _online(opening: Opening) -> Policy:
    if opening.judge is None:
        raise Unavailable("nobody says which answers are right, so that nothing can be learnt")
    most = max(opening.max_error, PerEntry().max_hit_error)
    policy = PerEntry(max_error=opening.max_error, max_hit_error=most, seed=opening.seed)
    return _Deciding(
        SemanticCache(
            opening.table,
            policy=policy,
            judge=opening.judge,
            path=opening.folder / "cache.db",
            safety=_ANYTHING,
        )
    )


_LEAST = 0.5  # cosine below which a verifier is not asked

OWN = (
    Candidate(name="exact", open=_exact, default=None, about="ragopt ExactCache in a file"),
    Candidate(
        name="static",
        open=_static,
        default=0.95,
        about="ragopt SemanticCache in a file, without guards",
    ),
    Candidate(
        name="guarded",
        open=_guarded,
        default=0.95,
        about="ragopt SemanticCache in a file, with its default guards",
    ),
    Candidate(
        name="verified",
        open=_verified,
        default=0.95,
        fits=True,
        about="ragopt SemanticCache in a file, with its safety guards and a verifier, whose "
        "probability stands in the place of the cosine; fitted on half of the pairs that fit",
    ),
    Candidate(
        name="certified",
        open=functools.partial(_calibrated, verify=False),
        default=0.95,
        takes="max_error",
        about="ragopt SemanticCache in a file with the policy of `calibrate(verify=False)`: a "
        "threshold of the cosine behind the default guards, its share of wrong hits certified",
    ),
    Candidate(
        name="certified-trees",
        open=functools.partial(_calibrated, verify=True),
        default=0.95,
        takes="max_error",
        about="likewise, of `calibrate(verify=True)`: of the probability of a verifier",
    ),
    Candidate(
        name="online",
        open=_online,
        default=0.95,
        takes="max_error",
        asks=True,
        about="ragopt SemanticCache in a file with `PerEntry`, which asks and compares until an "
        "entry is known well enough; its judge is the truth of the data, and its error is a share "
        "of the requests, not of the hits",
    ),
)
