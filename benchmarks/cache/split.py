"""Labelled pairs in parts that share no question: one fits a threshold, the other reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.datasets.types import LabelledPair
from ragopt.cache import normalise
from ragopt.cache.policies.splitting import components
from ragopt.cache.policies.splitting import parts as parts_of_texts
from ragopt.errors import InputError

__all__ = ["Halves", "check_apart", "components", "halves", "parts"]


@dataclass(frozen=True, slots=True)
class Halves:
    """Places of the pairs (ascending) that fit, and of those that report."""

    fit: NDArray[np.int64]
    report: NDArray[np.int64]


def parts(
    pairs: Sequence[LabelledPair], shares: Sequence[float], *, seed: int
) -> list[NDArray[np.int64]]:
    """Places of pairs by part; see `ragopt.cache.policies.splitting.parts`."""
    return parts_of_texts([_texts(pair) for pair in pairs], shares, seed=seed)


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
