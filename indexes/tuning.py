"""Choose the cheapest search setting that keeps a recall floor, and certify it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import FloorNotMet, InputError
from ragopt.indexes.base import PositionIndex, SearchResult
from ragopt.indexes.checks import check_vectors, to_array
from ragopt.quality import Certificate, Floor, certify_mean, data_hash

__all__ = ["recall_per_query", "tune"]

TIE_TOLERANCE = 1e-3
"""A result worse than the k-th true score by this share of it counts as a tie."""
_MARGIN = 2.0  # standard errors that a choice among many settings keeps from the floor
_BEYOND = 2  # times the values of the rung that keeps it, where combinations are sought
_DISK_WEIGHT = 4  # of a byte in pages of rows: even where they are cached, they lie scattered
_DEARER = (1.0, 1.15, 1.3, 1.5, 2.0, 3.0, 5.0, 10.0)
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
    held_out: ArrayLike | None = None,
    recall: float = 0.95,
    k: int = 10,
    confidence: float = 0.95,
    seed: int = 0,
) -> Certificate:
    """Set the index's search knobs to the cheapest values that keep recall@k.

    The queries say how cheap a value may seem; those held out certify, going down to it from the
    dearest while the floor holds. Testing in an order fixed beforehand and stopping
    at the first failure keeps the confidence for whichever value is reached (fixed-sequence
    testing; Maurer, Hothorn and Lehmacher, 1995). The truth is an exact scan of the rows that the
    index holds.

    Args:
        index: its ``defaults`` and ``certificate`` are set; save it to keep them.
        queries: (nq, dim) like those of the application; 100 or more.
        held_out: (n, dim) others to certify on; without them half of ``queries`` is held out. A
            floor of 0.95 at 95 % confidence needs 59 of them even where nothing is missed.
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
    judging = None
    if held_out is not None:
        others = np.atleast_2d(to_array("held_out", held_out))
        judging = check_vectors("held_out", others, dim=index.dim)
    count = len(rows) + (0 if judging is None else len(judging))
    if count < 20 or not len(rows):
        raise InputError(f"{count} queries: tuning needs at least 20, better 100 or more")
    if not len(index):
        raise InputError("the index is empty; add vectors before tuning")
    choosing = rows
    if judging is None:
        order = np.random.default_rng(seed).permutation(len(rows))
        choosing, judging = np.array_split(rows[order], 2)
    settings = _settings(index)
    truth = index.exact(choosing, k)
    settings = _cheapest(index, choosing, truth, settings, recall=recall, k=k)
    index.certificate = _certify(index, judging, settings, floor, k=k, seed=seed)
    return index.certificate


def _settings(index: PositionIndex) -> list[dict[str, int]]:
    """Rungs, cheapest first: several knobs rise together."""
    if not index.knobs:
        return [{}]
    ladder = index.ladder(index.options)
    return [dict(zip(ladder, values, strict=True)) for values in zip(*ladder.values(), strict=True)]


def _cheapest(
    index: PositionIndex,
    queries: NDArray[np.float32],
    truth: SearchResult,
    settings: list[dict[str, int]],
    *,
    recall: float,
    k: int,
) -> list[dict[str, int]]:
    """Settings to certify: the cheapest that seems to keep the recall, then dearer ones.

    Where there are several knobs, it is sought among their combinations around the rung that keeps
    it, by the bytes of codes and pages that a search moves, those from disk weighing more.
    """

    def measure(setting: dict[str, int]) -> tuple[float, float, float]:
        found = index.search(queries, k, where=None, **setting)
        recalls = recall_per_query(found, truth)
        error = _MARGIN * recalls.std() / np.sqrt(len(recalls))
        codes = index.code_bytes * found.stats.codes_scanned
        moved = codes + _DISK_WEIGHT * found.stats.bytes_read
        return recalls.mean(), recalls.mean() - error, moved

    first = 0
    while first < len(settings) - 1 and measure(settings[first])[0] < recall:
        first += 1
    rungs = settings[first:]
    if len(index.knobs) < 2:
        return rungs
    best, least = rungs[-1], np.inf
    (one, values), (other, others) = index.ladder(index.options).items()
    for value in [value for value in values if value <= _BEYOND * rungs[0][one]]:
        for beside in sorted(set(others)):
            setting = {one: value, other: beside}
            _, low, moved = measure(setting)
            if low >= recall and moved < least:
                best, least = setting, moved
            if low >= recall or moved > least or beside > _BEYOND * rungs[0][other]:
                break
    return [{knob: round(best[knob] * factor) for knob in best} for factor in _DEARER]


def _certify(
    index: PositionIndex,
    queries: NDArray[np.float32],
    settings: list[dict[str, int]],
    floor: Floor,
    *,
    k: int,
    seed: int,
) -> Certificate:
    """Go down from the dearest setting while the floor holds; certify the last that did."""
    truth = index.exact(queries, k)
    certified: tuple[dict[str, int], Certificate, float] | None = None
    source = data_hash(queries)
    for setting in reversed(settings):
        found = index.search(queries, k, where=None, **setting)
        recalls = recall_per_query(found, truth)
        certificate = certify_mean(recalls, floor, source=source, seed=seed)
        if not certificate.holds:
            break
        certified = setting, certificate, found.stats.pages_read / len(queries)
    if certified is None:
        raise FloorNotMet(
            f"{index.family}: no setting keeps {floor} on {len(queries)} held-out queries; the "
            f"nearest, {settings[-1]}, has recall {certificate.observed:.4f}, at least "
            f"{certificate.bound:.4f}; lower the floor, use more bits or rows of a finer "
            "precision, or give more queries"
        )
    index.defaults, certificate, pages = certified
    described = ", ".join(f"{knob}={value}" for knob, value in index.defaults.items()) or "no knob"
    predicted = index.predict_pages(k=k, **index.defaults)
    if predicted is not None:
        described += f", {pages:.1f} pages a query ({predicted:.1f} predicted)"
    return replace(certificate, method=f"{certificate.method}, held out, {described}")
