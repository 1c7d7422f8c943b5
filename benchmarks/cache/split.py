"""Labelled pairs in parts that share no question: one fits a threshold, the other reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.datasets.types import LabelledPair
from ragopt.cache import normalise
from ragopt.errors import InputError

__all__ = ["Halves", "check_apart", "components", "halves", "parts"]


@dataclass(frozen=True, slots=True)
class Halves:
    """Places of the pairs (ascending) that fit, and of those that report."""

    fit: NDArray[np.int64]
    report: NDArray[np.int64]


def components(edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Which connected component each text is in, by the texts that edges join."""
    parent: dict[str, str] = {}
    for one, other in edges:
        first, second = _root(parent, one), _root(parent, other)
        parent[second] = first
    numbers: dict[str, int] = {}
    return {text: numbers.setdefault(_root(parent, text), len(numbers)) for text in list(parent)}


def parts(
    pairs: Sequence[LabelledPair], shares: Sequence[float], *, seed: int
) -> list[NDArray[np.int64]]:
    """Places of pairs by part; pairs that share a text, normalised, stay together.

    Args:
        pairs: labelled.
        shares: of the pairs in each part; they add up to 1.
        seed: of the draw.
    """
    joined = [(normalise(pair.text_a), normalise(pair.text_b)) for pair in pairs]
    of = components(joined)
    number = np.array([of[one] for one, _ in joined], dtype=np.int64)
    sizes = np.bincount(number, minlength=1)
    order = np.random.default_rng(seed).permutation(len(sizes))
    ends = np.cumsum(shares) * len(pairs)
    # by the middle of each component, so that no part is a component short on average
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    part_of = np.empty(len(sizes), dtype=np.int64)
    part_of[order] = np.minimum(np.searchsorted(ends, middle, side="left"), len(shares) - 1)
    return [np.flatnonzero(part_of[number] == part) for part in range(len(shares))]


def halves(pairs: Sequence[LabelledPair], *, seed: int) -> Halves:
    """Half of the pairs to fit and half to report, no text in both."""
    fit, report = parts(pairs, (0.5, 0.5), seed=seed)
    return Halves(fit, report)


def check_apart(pairs: Sequence[LabelledPair], split: Halves) -> None:
    """Refuse to report on what was fitted on: such figures flatter.

    Raises:
        InputError: a text, normalised, is in both halves; or there is nothing in one of them.
    """
    if not len(split.fit) or not len(split.report):
        raise InputError(
            f"{len(split.fit)} pairs to fit and {len(split.report)} to report; expected some of "
            "both, in at least two groups of questions without a question in common"
        )
    fitted = {normalise(text) for place in split.fit for text in _texts(pairs[place])}
    for place in split.report:
        for text in _texts(pairs[place]):
            if normalise(text) in fitted:
                raise InputError(
                    f"{text[:80]!r} is in the half that fits and in the half that reports; "
                    "expected no question in both"
                )


def _texts(pair: LabelledPair) -> tuple[str, str]:
    return pair.text_a, pair.text_b


def _root(parent: dict[str, str], text: str) -> str:
    parent.setdefault(text, text)
    root = text
    while parent[root] != root:
        root = parent[root]
    while parent[text] != root:
        parent[text], text = root, parent[text]
    return root
