"""Where to cut the ranked chunks: settings tuned on one half of the queries, told on the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.context.rankings import Query, order_of
from ragopt.chunk import Hit
from ragopt.errors import InputError
from ragopt.rerank import Cut, FixedK, LargestGap, ScoreRatio

__all__ = [
    "BASELINE_K",
    "CUTS",
    "Ranked",
    "Table",
    "Tuned",
    "check_apart",
    "rank_hits",
    "split_queries",
]

BASELINE_K = 10
_DEPTHS = (5, 10, 15, 20, 30, 50)
_RESPLITS = 200
_TIGHTER = "tighten"


def _ratios() -> list[Cut]:
    shares = np.linspace(0.05, 0.95, 19).round(2).tolist()
    return [
        ScoreRatio(ratio=share, k_min=least, k_max=most)
        for share, least, most in product(shares, (1, 2, 3, 5), _DEPTHS)
    ]


def _gaps() -> list[Cut]:
    buffers = (0, 1, 2, 3, 5, 8, 12, 20)
    return [
        LargestGap(k_min=least, k_max=most, buffer=buffer)
        for least, most, buffer in product((1, 2, 3, 5, 8, 12, 20), _DEPTHS, buffers)
        if least <= most
    ]


CUTS: Mapping[str, Callable[[], list[Cut]]] = {
    # The library's best tight top-k.
    _TIGHTER: _ratios,
    "fixed-k": lambda: [FixedK(k) for k in range(1, 51)],
    "largest-gap": _gaps,
}
"""Candidate to the settings that are tried of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One query's candidates in a scorer's order.

    Args:
        hits: best first.
        tokens: (len(hits) + 1,) of the first k hits, k from 0.
        gold: (len(hits) + 1,) pieces of evidence among the first k hits.
        first_tokens: of the first stage's own top 10.
        first_gold: pieces of evidence in it.
        owed: pieces of evidence, among the candidates or not.
    """

    hits: tuple[Hit, ...]
    tokens: NDArray[np.int64]
    gold: NDArray[np.int64]
    first_tokens: int
    first_gold: int
    owed: int


def rank_hits(
    query: Query,
    scores: NDArray[Any],
    hits: Sequence[Hit],
    tokens: Sequence[int],
    *,
    gold_grade: int,
) -> Ranked:
    """The candidates of a query in the order of ``scores``."""
    order = order_of(scores)
    gold = np.array([grade >= gold_grade for grade in query.grades[: len(hits)]], dtype=np.int64)
    counts = np.array(tokens, dtype=np.int64)
    return Ranked(
        hits=tuple(Hit(hits[place].chunk, float(scores[place])) for place in order),
        tokens=np.concatenate([[0], np.cumsum(counts[order])]).astype(np.int64),
        gold=np.concatenate([[0], np.cumsum(gold[order])]).astype(np.int64),
        first_tokens=int(counts[:BASELINE_K].sum()),
        first_gold=int(gold[:BASELINE_K].sum()),
        owed=query.gold,
    )


def split_queries(keys: Sequence[str], *, seed: int) -> tuple[list[int], list[int]]:
    """Places of the queries to tune on and of those to report on; one wording, one half.

    Raises:
        InputError: fewer than two wordings.
    """
    wordings = sorted(set(keys))
    if len(wordings) < 2:
        raise InputError(f"{len(wordings)} wordings: tuning on some needs others to report on")
    order = np.random.default_rng([seed, 2]).permutation(len(wordings))
    tuned = {wordings[place] for place in order[: len(wordings) // 2]}
    places = range(len(keys))
    return (
        [place for place in places if keys[place] in tuned],
        [place for place in places if keys[place] not in tuned],
    )


def check_apart(tuned: Sequence[str], reported: Sequence[str]) -> None:
    """Refuse to report on what was tuned on.

    Raises:
        InputError: a wording stands in both halves, or one half is empty.
    """
    shared = set(tuned) & set(reported)
    if shared:
        raise InputError(
            f"{len(shared)} queries were tuned on and are reported on, such as "
            f"{sorted(shared)[0]!r}; expected other ones"
        )
    if not tuned or not reported:
        raise InputError("tuning and reporting need a query each; one half is empty")


@dataclass(frozen=True, slots=True)
class Tuned:
    """A setting and the wordings it was chosen on.

    Args:
        place: of the setting in its table.
        keys: wordings that it was chosen on.
        reached: whether it kept the floor there; the safest setting stands in where none did.
    """

    place: int
    keys: tuple[str, ...]
    reached: bool


class Table:
    """Tokens and evidence of every setting of one family for every query.

    Args:
        cuts: the settings.
        ranked: the queries.
        keys: wording of each query.
    """

    def __init__(self, cuts: Sequence[Cut], ranked: Sequence[Ranked], keys: Sequence[str]) -> None:
        self.cuts = list(cuts)
        self.keys = list(keys)
        kept = np.array([[cut.keep(one.hits) for one in ranked] for cut in cuts], dtype=np.intp)
        self.tokens = _looked_up([one.tokens for one in ranked], kept)
        self.gold = _looked_up([one.gold for one in ranked], kept)
        ceiling = np.array([one.gold[-1] for one in ranked], dtype=np.float64)
        # Where no evidence is among the candidates no cut can lose any.
        self.known = ceiling > 0
        self.recall = np.divide(self.gold, np.maximum(ceiling, 1.0))

    def tune(self, places: Sequence[int], floor: float) -> Tuned:
        """The setting of fewest tokens that keeps the floor in the mean over these queries."""
        place, reached = self._cheapest(np.asarray(places), floor)
        return Tuned(place, tuple(self.keys[one] for one in places), reached)

    def report(self, tuned: Tuned, places: Sequence[int]) -> tuple[list[float], list[float]]:
        """Tokens and evidence kept by a tuned setting on other queries.

        Raises:
            InputError: some of them were tuned on.
        """
        check_apart(tuned.keys, [self.keys[one] for one in places])
        row = tuned.place
        return self.tokens[row, list(places)].tolist(), self.gold[row, list(places)].tolist()

    def resplits(self, floor: float, *, seed: int) -> dict[str, float]:
        """How often a setting tuned on a random half keeps the floor on the other."""
        held, recalls, tokens = 0, [], []
        full = self.tokens.max(axis=0)
        for number in range(_RESPLITS):
            tune, rest = split_queries(self.keys, seed=seed + 1 + number)
            place, _ = self._cheapest(np.asarray(tune), floor)
            known = [one for one in rest if self.known[one]]
            recall = float(self.recall[place, known].mean()) if known else 1.0
            held += recall >= floor
            recalls.append(recall)
            tokens.append(self.tokens[place, rest].sum() / max(1.0, full[rest].sum()))
        return {
            "splits": _RESPLITS,
            "kept_the_floor": held / _RESPLITS,
            "evidence_recall_mean": float(np.mean(recalls)),
            "evidence_recall_p05": float(np.quantile(recalls, 0.05)),
            "tokens_kept_ratio_mean": float(np.mean(tokens)),
        }

    def front(
        self, tuned: Sequence[int], told: Sequence[int], *, chosen: int
    ) -> list[tuple[int, float, float]]:
        """Settings that no other beats on the tuning half, and the chosen one, told on the other.

        Returns:
            Place of the setting, mean tokens, mean evidence recall; by rising tokens.
        """
        tokens = self.tokens[:, list(tuned)].mean(axis=1)
        recall = self._mean_recall(np.asarray(tuned))
        best, found = -1.0, []
        for place in np.lexsort((-recall, tokens)):
            if recall[place] > best or place == chosen:
                best = max(best, float(recall[place]))
                found.append(int(place))
        recalls = self._mean_recall(np.asarray(told))
        means = self.tokens[:, list(told)].mean(axis=1)
        return sorted(
            ((one, float(means[one]), float(recalls[one])) for one in found), key=lambda at: at[1]
        )

    def _cheapest(self, places: NDArray[np.intp], floor: float) -> tuple[int, bool]:
        recall = self._mean_recall(places)
        tokens = self.tokens[:, places].sum(axis=1)
        keeping = np.flatnonzero(recall >= floor)
        if keeping.size:
            return int(keeping[np.argmin(tokens[keeping])]), True
        return int(np.lexsort((tokens, -recall))[0]), False

    def _mean_recall(self, places: NDArray[np.intp]) -> NDArray[np.float64]:
        known = places[self.known[places]]
        if not known.size:
            return np.ones(len(self.cuts))
        return np.asarray(self.recall[:, known].mean(axis=1))


def _looked_up(columns: Sequence[NDArray[np.int64]], kept: NDArray[np.intp]) -> NDArray[np.float64]:
    """(settings, queries) of what each query's column holds at the number kept."""
    found = [column[kept[:, place]] for place, column in enumerate(columns)]
    return np.stack(found, axis=1).astype(np.float64)
