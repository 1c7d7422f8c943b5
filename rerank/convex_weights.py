"""Weights of a convex fusion, fitted on labelled questions and kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk
from ragopt.errors import IndexCorrupt, InputError
from ragopt.quality import data_hash
from ragopt.rerank.base import Reranker, checked_scores, convex
from ragopt.rerank.fusion import ConvexReranker
from ragopt.storage import atomic_write

__all__ = ["ConvexWeights", "GradedQuery", "fit_convex"]

_TOP = 10
_VERSION = 1


@dataclass(frozen=True, slots=True)
class GradedQuery:
    """A question with its candidates and how relevant each of them is.

    Args:
        query: the question.
        chunks: its candidates, n of them.
        grades: (n,) from 0 up.
    """

    query: str
    chunks: tuple[Chunk, ...]
    grades: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvexWeights:
    """Weights of several scorers, and how well they did on questions that they were not fitted on.

    Args:
        weights: of each scorer by its name, from 0 to 1, 1 in all.
        fitted: mean nDCG@10 on the half that they were chosen on.
        held_out: on the other half.
        alone: on the other half, of each scorer by itself.
        equal: on the other half, of equal weights.
        n_fitted: questions chosen on.
        n_held_out: questions told on.
        step: of the grid.
        seed: of the halves.
        data_hash: of the questions, candidates' ids and grades.
    """

    weights: Mapping[str, float]
    fitted: float
    held_out: float
    alone: Mapping[str, float]
    equal: float
    n_fitted: int
    n_held_out: int
    step: float
    seed: int
    data_hash: str

    def reranker(self, rerankers: Mapping[str, Reranker]) -> ConvexReranker:
        """The scorers, fused with these weights; those of weight 0 are not asked.

        Raises:
            InputError: other names than those that the weights were fitted for.
        """
        if set(rerankers) != set(self.weights):
            raise InputError(
                f"scorers {sorted(rerankers)}: the weights were fitted for {sorted(self.weights)}"
            )
        used = {name: weight for name, weight in self.weights.items() if weight}
        return ConvexReranker([rerankers[name] for name in used], weights=list(used.values()))

    def save(self, path: Path | str) -> None:
        """Write as JSON, atomically.

        Raises:
            StorageError: the file cannot be written.
        """
        content = {"format": "ragopt convex weights", "version": _VERSION, **asdict(self)}
        atomic_write(Path(path), json.dumps(content, indent=2).encode())

    @classmethod
    def load(cls, path: Path | str) -> ConvexWeights:
        """Read what `save` wrote.

        Raises:
            InputError: there is no such file, or it is of a newer ragopt.
            IndexCorrupt: the file is damaged or holds something else.
        """
        try:
            text = Path(path).read_text("utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error})") from error
        except UnicodeDecodeError as error:
            raise IndexCorrupt(f"{path}: is no text ({error})") from error
        try:
            content = json.loads(text)
            version = content.pop("version")
            if content.pop("format") != "ragopt convex weights":
                raise IndexCorrupt(f"{path}: holds something else than convex weights")
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise IndexCorrupt(f"{path}: holds no convex weights ({error!r})") from error
        if version != _VERSION:
            raise InputError(f"{path}: version {version!r}, expected {_VERSION}; update ragopt")
        try:
            loaded = cls(**content)
            shares = list(loaded.weights.values())
            usable = all(0 <= share <= 1 for share in shares) and abs(sum(shares) - 1) < 1e-6
        except (TypeError, AttributeError) as error:
            raise IndexCorrupt(f"{path}: holds no convex weights ({error!r})") from error
        if not usable:
            raise IndexCorrupt(f"{path}: weights {shares}, expected shares that make 1")
        return loaded


def fit_convex(
    rerankers: Mapping[str, Reranker],
    labelled: Sequence[GradedQuery],
    *,
    step: float = 0.1,
    seed: int = 0,
) -> ConvexWeights:
    """Weights with the best mean nDCG@10 on one half of the questions, told on the other.

    Bruch, Gai and Ingber (2023), "An Analysis of Fusion Functions for Hybrid Retrieval": a convex
    sum beats ranks, and few labelled questions are enough for its weight. Scores are taken over
    their largest absolute one, as `ragopt.rerank.ConvexReranker` does.

    Args:
        rerankers: 2 or more, by a name that goes into the file.
        labelled: 4 questions or more; those of equal wording stand in one half.
        step: of the grid of weights, a share of 1.
        seed: of the halves.

    Raises:
        InputError: too few scorers or questions, a step that does not divide 1, no relevant
            candidate in a half, or a scorer without a number for each chunk.

    Cost: one call of each scorer a question, and (1 / step) ^ (scorers - 1) rankings of each.
    """
    if len(rerankers) < 2:
        raise InputError(f"{len(rerankers)} scorers: expected at least 2 to weigh")
    parts = round(1 / step) if 0 < step <= 0.5 else 0
    if not parts or abs(parts * step - 1) > 1e-9:
        raise InputError(f"step={step}: expected a share that divides 1, such as 0.1")
    for one in labelled:
        if len(one.chunks) != len(one.grades):
            raise InputError(
                f"{len(one.grades)} grades for {len(one.chunks)} chunks of {one.query[:60]!r}"
            )
    usable = [one for one in labelled if max(one.grades, default=0) > 0]
    fit_on, tell_on = _halves([one.query for one in usable], seed)
    tables = [_scores(rerankers, one) for one in usable]

    def mean(weights: Sequence[float], places: Sequence[int]) -> float:
        return float(np.mean([_gain(tables[at], usable[at], weights) for at in places]))

    count = len(rerankers)
    grid = [tuple(share / parts for share in shares) for shares in _shares(parts, count)]
    best = max(grid, key=lambda weights: mean(weights, fit_on))
    singles = np.eye(count).tolist()
    return ConvexWeights(
        weights=dict(zip(rerankers, best, strict=True)),
        fitted=mean(best, fit_on),
        held_out=mean(best, tell_on),
        alone={name: mean(one, tell_on) for name, one in zip(rerankers, singles, strict=True)},
        equal=mean([1 / count] * count, tell_on),
        n_fitted=len(fit_on),
        n_held_out=len(tell_on),
        step=step,
        seed=seed,
        data_hash=data_hash(*(part for one in usable for part in _told(one))),
    )


def _halves(queries: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    keys = [" ".join(query.casefold().split()) for query in queries]
    wordings = sorted(set(keys))
    if len(wordings) < 4:
        raise InputError(
            f"{len(wordings)} different questions with a relevant candidate: expected at least 4"
        )
    order = np.random.default_rng(seed).permutation(len(wordings))
    first = {wordings[at] for at in order[: len(wordings) // 2]}
    fit_on = [at for at, key in enumerate(keys) if key in first]
    return fit_on, [at for at, key in enumerate(keys) if key not in first]


def _scores(rerankers: Mapping[str, Reranker], one: GradedQuery) -> list[NDArray[np.float32]]:
    found = [checked_scores(each, one.query, one.chunks) for each in rerankers.values()]
    return [convex([values], [1.0]) for values in found]


def _gain(
    scores: Sequence[NDArray[np.float32]], one: GradedQuery, weights: Sequence[float]
) -> float:
    """nDCG@10 over the candidates: gain = grade, discount = log2(rank + 1)."""
    fused = sum(weight * values for weight, values in zip(weights, scores, strict=True))
    grades = np.array(one.grades, dtype=np.float64)
    ranked = grades[np.argsort(-np.asarray(fused), kind="stable")][:_TOP]
    ideal = np.sort(grades)[::-1][:_TOP]
    discounts = np.log2(np.arange(2, len(ideal) + 2))
    return float((ranked / discounts).sum() / (ideal / discounts).sum())


def _shares(parts: int, count: int) -> Iterator[tuple[int, ...]]:
    """All ways of giving a number of parts to so many."""
    if count == 1:
        yield (parts,)
        return
    for first in range(parts + 1):
        for rest in _shares(parts - first, count - 1):
            yield (first, *rest)


def _told(one: GradedQuery) -> list[str]:
    return [one.query, *(chunk.id for chunk in one.chunks), *(repr(grade) for grade in one.grades)]
