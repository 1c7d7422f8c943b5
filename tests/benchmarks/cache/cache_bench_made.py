"""Pairs with vectors made to measure, and policies that misbehave in one way each."""

from __future__ import annotations

import numpy as np

from ragopt.benchmarks.cache.options import CacheBenchOptions
from ragopt.benchmarks.cache.policies import Candidate, Opening, Served
from ragopt.benchmarks.datasets.types import LabelledPair, PairSet

DIM = 48
SMALL = CacheBenchOptions(
    pairs=400,
    peer_pairs=80,
    requests=80,
    thresholds=(0.9, 0.95),
    sizes=(20, 60),
    samples=10,
    protocols=("pairs", "stream"),
)


def paired(groups: int, *, seed: int = 0) -> PairSet:
    """Two pairs a group: one labelled the same of cosine .95 to .995, one other of .8 to .96."""
    rng = np.random.default_rng(seed)
    rows, texts, pairs = [], [], []
    for number in range(groups):
        base = _unit(rng.standard_normal(DIM))
        asked = [f"question {word} of group {_word(number)}" for word in ("one", "two", "three")]
        texts += asked
        rows += [base, _near(base, rng.uniform(0.95, 0.995), rng)]
        rows.append(_near(base, rng.uniform(0.8, 0.96), rng))
        pairs += [LabelledPair(asked[0], asked[1], True), LabelledPair(asked[0], asked[2], False)]
    places = {text: row for row, text in enumerate(texts)}
    matrix = np.stack(rows).astype(np.float16)
    return PairSet(name="made", pairs=tuple(pairs), vectors=(places, matrix), data_hash="made")


def _word(number: int) -> str:
    """A number in letters: guards compare figures."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def _near(base: np.ndarray, cosine: float, rng: np.random.Generator) -> np.ndarray:
    away = rng.standard_normal(DIM)
    away = _unit(away - (away @ base) * base)
    return cosine * base + np.sqrt(1 - cosine**2) * away


class Plain:
    """A sound cache in a dictionary, by cosine; others below break it in one way."""

    def __init__(self, opening: Opening) -> None:
        self.table, self.threshold = opening.table, opening.threshold
        self.stored: dict[str, str] = {}

    def put(self, question: str, answer: str) -> None:
        self.stored[question] = answer

    def get(self, question: str) -> Served | None:
        best = max(self.stored, key=lambda each: self.table.cosine(each, question), default=None)
        if best is None or self.table.cosine(best, question) < self.threshold:
            return None
        return Served(self.stored[best], self.table.cosine(best, question))

    def clear(self) -> None:
        self.stored.clear()

    def close(self) -> None:
        self.stored = {}


class Unforgetting(Plain):
    """Forgets nothing: answers of before the cache was emptied come back."""

    def clear(self) -> None:
        pass


class KeepsTheFirst(Plain):
    """Goes on serving an answer that was replaced."""

    def put(self, question: str, answer: str) -> None:
        self.stored.setdefault(question, answer)


class Inventive(Plain):
    """Answers out of the blue, with a similarity that looks true."""

    def get(self, question: str) -> Served | None:
        return Served("a likely answer", 0.96)


class Obliging(Plain):
    """Serves whatever is there and calls it the same."""

    def get(self, question: str) -> Served | None:
        answer = next(iter(self.stored.values()), None)
        return None if answer is None else Served(answer, 1.0)


class Boastful(Plain):
    """Says of every question that it is nearly the same, and serves by the true cosine."""

    def get(self, question: str) -> Served | None:
        served = super().get(question)
        return None if served is None else Served(served.answer, 0.99)


class Foreign(Plain):
    """Serves the answer to the question stored last, with the similarity of the nearest."""

    def get(self, question: str) -> Served | None:
        served = super().get(question)
        if served is None:
            return None
        return Served(list(self.stored.values())[-1], served.similarity)


class Tumbling(Plain):
    """Breaks at the third question."""

    def put(self, question: str, answer: str) -> None:
        super().put(question, answer)
        if len(self.stored) > 2:
            raise RuntimeError("the disk is on fire")


def candidate(policy: type[Plain], name: str = "made", *, peer: bool = False) -> Candidate:
    return Candidate(name=name, open=policy, default=0.95, peer=peer)
