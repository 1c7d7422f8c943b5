"""Labelled pairs in parts that share no question, so that one part knows nothing of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ragopt.cache.text import normalise

__all__ = ["components", "parts"]


def components(edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Which connected component each text is in, by the texts that edges join."""
    parent: dict[str, str] = {}
    for one, other in edges:
        first, second = _root(parent, one), _root(parent, other)
        parent[second] = first
    numbers: dict[str, int] = {}
    return {text: numbers.setdefault(_root(parent, text), len(numbers)) for text in list(parent)}


def parts(
    pairs: Iterable[tuple[str, str]], shares: Sequence[float], *, seed: int
) -> list[NDArray[np.int64]]:
    """Places of pairs by part; pairs that share a text, normalised, stay together.

    Args:
        pairs: of texts.
        shares: of the pairs in each part; they add up to 1.
        seed: of the draw.
    """
    joined = [(normalise(one), normalise(other)) for one, other in pairs]
    of = components(joined)
    number = np.array([of[one] for one, _ in joined], dtype=np.int64)
    sizes = np.bincount(number, minlength=1)
    order = np.random.default_rng(seed).permutation(len(sizes))
    ends = np.cumsum(shares) * len(joined)
    # by the middle of each component, so that no part is a component short on average
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    part_of = np.empty(len(sizes), dtype=np.int64)
    part_of[order] = np.minimum(np.searchsorted(ends, middle, side="left"), len(shares) - 1)
    return [np.flatnonzero(part_of[number] == part) for part in range(len(shares))]


def _root(parent: dict[str, str], text: str) -> str:
    parent.setdefault(text, text)
    root = text
    while parent[root] != root:
        root = parent[root]
    while parent[text] != root:
        parent[text], text = root, parent[text]
    return root
