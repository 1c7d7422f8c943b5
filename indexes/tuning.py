"""Choose the cheapest search setting that keeps a recall floor, and certify it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import FloorNotMet, InputError
from ragopt.indexes.base import PositionIndex, SearchResult
from ragopt.indexes.checks import check_vectors, to_array
from ragopt.quality import Certificate, Floor, certify_mean, data_hash, mean_lower

__all__ = ["recall_per_query", "tune"]

TIE_TOLERANCE = 1e-3
"""A result worse than the k-th true score by this share of it counts as a tie."""
_ROUNDING = 1e-6  # of the largest score: two ways to compute a float32 score differ that much


def recall_per_query(found: SearchResult, truth: SearchResult) -> NDArray[np.float64]:
    """Tie-tolerant recall@k of each query, (nq,).

    A result counts when its score reaches the k-th true score up to a relative tolerance, that is
    the (1 + epsilon)-approximate recall of Aumüller, Bernhardsson and Faithfull (2020), section
    2.1; the scores must be exact ones of the same rows.
    """
    finite = np.isfinite(truth.scores)
    wanted = finite.sum(axis=1)
    last = np.where(finite, truth.scores, np.inf).min(axis=1, keepdims=True)
    last[wanted == 0] = 0
    rounding = _ROUNDING * np.abs(truth.scores[finite]).max(initial=0)
    slack = np.maximum(TIE_TOLERANCE * np.abs(last), rounding)
    good = (found.ids >= 0) & (found.scores >= last - slack)
    return np.asarray(np.minimum(good.sum(axis=1), wanted) / np.maximum(wanted, 1))


def tune(
    index: PositionIndex,
    queries: ArrayLike,
    *,
    recall: float = 0.95,
    k: int = 10,
    confidence: float = 0.95,
    seed: int = 0,
) -> Certificate:
    """Set the index's search knob to the cheapest value that keeps recall@k.

    The value is chosen on one half of the queries and certified on the other, against an exact
    scan of the rows that the index holds. When the certificate fails, dearer values are tried on
    the held-out half, the confidence corrected for the number of trials (Bonferroni).

    Args:
        index: its ``defaults`` and ``certificate`` are set; save it to keep them.
        queries: (nq, dim) like those of the application; 100 or more.
        recall: floor for the mean of recall@k.
        k: results a query.
        confidence: of the certificate.
        seed: of the split and the bootstrap.

    Raises:
        InputError: fewer than 20 queries, they do not fit the index, or it is empty.
        FloorNotMet: no value reaches the floor; the message names the nearest.
    """
    floor = Floor(metric=f"recall@{k}", at_least=recall, confidence=confidence)
    rows = check_vectors("queries", np.atleast_2d(to_array("queries", queries)), dim=index.dim)
    if len(rows) < 20:
        raise InputError(f"{len(rows)} queries: tuning needs at least 20, better 100 or more")
    if not len(index):
        raise InputError("the index is empty; add vectors before tuning")
    order = np.random.default_rng(seed).permutation(len(rows))
    choosing, judging = np.array_split(rows[order], 2)
    settings = _settings(index)
    truth = index.exact(choosing, k)
    while len(settings) > 1:
        recalls = recall_per_query(index.search(choosing, k, where=None, **settings[0]), truth)
        if mean_lower(recalls, confidence=confidence, seed=seed) >= recall:
            break
        settings.pop(0)
    index.certificate = _certify(index, judging, settings, floor, k=k, seed=seed)
    return index.certificate


def _settings(index: PositionIndex) -> list[dict[str, int]]:
    if not index.knobs:
        return [{}]
    ((knob, values),) = index.knobs.items()
    return [{knob: value} for value in values]


def _certify(
    index: PositionIndex,
    queries: NDArray[np.float32],
    settings: list[dict[str, int]],
    floor: Floor,
    *,
    k: int,
    seed: int,
) -> Certificate:
    truth = index.exact(queries, k)
    recalls = np.zeros(len(queries))
    for trials, setting in enumerate(settings, 1):
        recalls = recall_per_query(index.search(queries, k, where=None, **setting), truth)
        corrected = 1 - (1 - floor.confidence) / trials
        bound = mean_lower(recalls, confidence=corrected, seed=seed)
        if floor.admits(bound):
            index.defaults = setting
            evidence = certify_mean(recalls, floor, source=data_hash(queries), seed=seed)
            setting_text = ", ".join(f"{knob}={value}" for knob, value in setting.items())
            return Certificate(
                floor=floor,
                observed=evidence.observed,
                bound=bound,
                n=evidence.n,
                method=f"held-out queries, {evidence.method}, {setting_text or 'no knob'}, "
                f"{trials} trials",
                data_hash=evidence.data_hash,
                seed=seed,
                created=evidence.created,
            )
    raise FloorNotMet(
        f"{index.family}: no setting keeps {floor} on {len(queries)} held-out queries; the "
        f"nearest, {settings[-1]}, has recall {recalls.mean():.4f}; lower the floor, use more bits "
        "or rows of a finer precision, or give more queries"
    )
