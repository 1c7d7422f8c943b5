"""Means with intervals, paired differences, and the packed columns that they are made from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import InputError
from ragopt.quality import mean_lower, paired_bootstrap

__all__ = ["bootstrap", "pack", "paired", "ratio_interval", "share", "spread", "unpack"]

Interval = tuple[float, float]

_RESAMPLES = 2_000
_ABSENT = "-"


def share(values: ArrayLike, clusters: Sequence[Hashable], *, seed: int) -> tuple[float, Interval]:
    """Mean of values in [0, 1] with 95 % bounds on either side, each cluster weighing the same.

    Raises:
        InputError: no values, or some outside [0, 1].
    """
    means = cluster_means(np.asarray(values, dtype=np.float64), clusters)
    lower = mean_lower(means, seed=seed)
    return float(means.mean()), (lower, 1.0 - mean_lower(1.0 - means, seed=seed))


def bootstrap(
    values: ArrayLike, clusters: Sequence[Hashable], *, seed: int
) -> tuple[float, Interval]:
    """Mean with a percentile bootstrap over clusters, 5 % in each tail."""
    array = np.asarray(values, dtype=np.float64)
    found = paired_bootstrap(np.zeros_like(array), array, clusters=clusters, seed=seed)
    return found.mean, (found.lower, found.upper) if array.any() else (0.0, 0.0)


def paired(
    before: ArrayLike, after: ArrayLike, clusters: Sequence[Hashable], *, seed: int
) -> dict[str, Any]:
    """Mean of ``after - before`` over the same questions, with its interval."""
    found = paired_bootstrap(before, after, clusters=clusters, seed=seed)
    return {
        "mean": found.mean,
        "lower": found.lower,
        "upper": found.upper,
        "better": found.better,
        "worse": found.worse,
        "n": found.n,
    }


def ratio_interval(
    numerators: ArrayLike, denominators: ArrayLike, *, seed: int
) -> tuple[float, Interval]:
    """Ratio of two sums over the same questions; percentile bootstrap, 5 % in each tail."""
    above = np.asarray(numerators, dtype=np.float64)
    below = np.asarray(denominators, dtype=np.float64)
    if above.size == 0 or not below.sum():
        raise InputError("a ratio over no tokens: expected questions with candidates")
    draws = np.random.default_rng(seed).integers(0, above.size, size=(_RESAMPLES, above.size))
    ratios = above[draws].sum(axis=1) / np.maximum(below[draws].sum(axis=1), 1e-12)
    lower, upper = np.quantile(ratios, [0.05, 0.95])
    return float(above.sum() / below.sum()), (float(lower), float(upper))


def spread(values: ArrayLike) -> tuple[float, Interval]:
    """Median with the quartiles, for times."""
    low, middle, high = np.quantile(np.asarray(values, dtype=np.float64), [0.25, 0.5, 0.75])
    return float(middle), (float(low), float(high))


def cluster_means(values: NDArray[np.float64], clusters: Sequence[Hashable]) -> NDArray[np.float64]:
    """Mean of each cluster, in the order in which the clusters first occur."""
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(label, len(numbers)) for label in clusters])
    return np.asarray(np.bincount(index, weights=values) / np.bincount(index))


def pack(values: Sequence[float | None]) -> str:
    """A column of numbers as one string, short in JSON; ``-`` where there is none."""
    return " ".join(_ABSENT if value is None else f"{value:.6g}" for value in values)


def unpack(column: str) -> list[float | None]:
    """Read what `pack` wrote.

    Raises:
        InputError: not such a column.
    """
    try:
        return [None if word == _ABSENT else float(word) for word in column.split()]
    except (AttributeError, ValueError) as error:
        raise InputError(f"not a packed column of numbers: {str(column)[:60]!r}") from error
