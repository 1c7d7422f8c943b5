"""What is measured: a policy takes answers in and serves them again, or does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ragopt.benchmarks.cache.services import Services
from ragopt.benchmarks.cache.unavailable import Unavailable
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.cache import Admission, ExactCache, Safety, SemanticCache
from ragopt.cache.policies import Calibrated, Verifier

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
    """A cache behind its own interface."""

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
        threshold: least cosine at which it is to serve.
        folder: empty, its own.
        services: that several policies share.
        verifier: gives the one that is fitted for this run, where there are pairs to fit it on.
    """

    table: VectorTable
    threshold: float
    folder: Path
    services: Services
    verifier: Callable[[], Verifier] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A policy that can be opened.

    Args:
        name: in rows.
        open: makes one, empty.
        default: least cosine at which it serves out of the box; None where it compares texts.
        peer: not ragopt's own.
        fits: a verifier is fitted for it, on pairs that it is then not asked.
        distributions: whose versions are recorded.
        about: how it is set up.
    """

    name: str
    open: Callable[[Opening], Policy]
    default: float | None
    peer: bool = False
    fits: bool = False
    distributions: tuple[str, ...] = ()
    about: str = field(default="", compare=False)


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
)
