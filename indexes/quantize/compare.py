"""What each quantizer costs in recall on one's own vectors, before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from ragopt.errors import InputError
from ragopt.indexes.base import SearchResult, SearchStats
from ragopt.indexes.checks import check_count, check_vectors, to_array
from ragopt.indexes.quantize.base import Codes, Quantizer, check_integer, row_blocks
from ragopt.indexes.quantize.comparison import QuantizerComparison, QuantizerRow, RecallAt
from ragopt.indexes.quantize.product import ProductQuantizer
from ragopt.indexes.quantize.rabitq import RaBitQ
from ragopt.indexes.quantize.reduce import PCA
from ragopt.indexes.quantize.scalar import Binary, Int4, Int8
from ragopt.indexes.scoring import (
    BestOf,
    Metric,
    Positions,
    Vectors,
    exact_scores,
    score_block,
    unit_length,
)
from ragopt.indexes.tuning import recall_per_query
from ragopt.quality import data_hash, mean_lower

__all__ = ["compare_quantizers", "default_quantizers"]

CONFIDENCE = 0.95
OVERSAMPLING = (2, 4, 10)
"""Candidates rescored with exact rows, in multiples of k."""

_HELD_OUT = 500
_HELD_OUT_SHARE = 5  # at most one row in so many becomes a query
_FEWEST_HELD_OUT = 20
_BLOCK_CELLS = 1 << 22  # scores held at a time: 16 MB
_MOST_BLOCK_ROWS = 8192
_ROUNDING = float(np.finfo(np.float32).eps)
_LARGEST_SEED = (1 << 31) - 2

Progress: TypeAlias = Callable[[str, int, int], object]


def compare_quantizers(
    vectors: ArrayLike,
    queries: ArrayLike | None = None,
    *,
    quantizers: Iterable[Quantizer[Any]] | None = None,
    k: int = 10,
    metric: Metric = "cosine",
    seed: int = 0,
    progress: Progress | None = None,
) -> QuantizerComparison:
    """Bytes, reconstruction error and recall of quantizers on one's own vectors.

    Every code is scanned, so the recall of the codes alone is what quantization leaves, apart
    from whatever an index in front of it would miss: its ceiling. Recall is tie-tolerant as that
    of `ragopt.indexes.tune`; the truth is an exact scan. The bounds of all quantizers hold
    together, so that the one that `QuantizerComparison.best` picks keeps its own.

    Cost: for each quantizer a fit, an encoding and a scan, O(queries n dim). 5,000 vectors of 384
    dimensions and 500 queries take seven seconds on one core for all of the default quantizers,
    five of them the k-means of the product quantizer.

    Args:
        vectors: (n, dim); a sample of some ten thousand says enough.
        queries: (nq, dim) like those of the application, none of them among the vectors. Without
            them a fifth of the vectors, at most 500, are taken out: neither fitted nor found.
        quantizers: to compare; they are fitted as copies. By default `default_quantizers`.
        k: results a query.
        metric: ``"cosine"`` (everything is scaled to length one), ``"ip"`` or ``"l2"``.
        seed: of the queries drawn and of the bounds; quantizers have their own.
        progress: called with a quantizer's name, how many are done, and how many there are.

    Raises:
        InputError: unusable vectors or queries, too few of them for k, nothing to compare, the
            same quantizer twice, or one that does not fit the vectors.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> result = compare_quantizers(rng.normal(size=(300, 16)), quantizers=[Int8()])
        >>> result.rows[0].bytes_per_vector
        16
    """
    if metric not in get_args(Metric):
        raise InputError(f"metric={metric!r}: expected one of {get_args(Metric)}")
    check_integer("seed", seed, 0, _LARGEST_SEED)
    k = check_count("k", k)
    rows, asked = _split(vectors, queries, seed)
    if k > len(rows):
        raise InputError(f"k={k} exceeds the {len(rows)} vectors to search; lower k")
    if metric == "cosine":
        rows, asked = unit_length(rows), unit_length(asked)
    chosen = _chosen(quantizers, rows)
    truth = _result(*_scan(asked, rows, k, lambda block: score_block(asked, block, metric)))
    alone = 1 - (1 - CONFIDENCE) / len(chosen)  # Bonferroni: then all of a column hold together
    measured = []
    for done, quantizer in enumerate(chosen):
        if progress is not None:
            progress(str(quantizer), done, len(chosen))
        measured.append(
            _measure(quantizer, rows, asked, truth, metric=metric, confidence=alone, seed=seed)
        )
    if progress is not None:
        progress("compared", len(chosen), len(chosen))
    return QuantizerComparison(
        rows=tuple(measured),
        k=k,
        metric=metric,
        vectors=len(rows),
        dim=rows.shape[1],
        queries=len(asked),
        held_out=queries is None,
        confidence=CONFIDENCE,
        data_hash=data_hash(rows, asked),
        seed=seed,
    )


def default_quantizers(count: int, dim: int) -> list[Quantizer[Any]]:
    """Quantizers worth a look for ``count`` vectors of ``dim`` dimensions.

    Those that cannot be fitted on so few vectors are left out.
    """
    chosen: list[Quantizer[Any]] = [Int8(), Int4(), Binary()]
    chosen += [RaBitQ(bits) for bits in (1, 2, 4)]
    if count >= 1 << ProductQuantizer().bits:
        chosen.append(ProductQuantizer())
    half = dim // 2
    if 0 < half < count:
        chosen += [PCA(half) | Int8(), PCA(half) | RaBitQ(4), PCA(half) | RaBitQ(1)]
    return chosen


def _split(vectors: ArrayLike, queries: ArrayLike | None, seed: int) -> tuple[Vectors, Vectors]:
    """Vectors to search, and queries that are not among them."""
    rows = check_vectors("vectors", vectors)
    if queries is not None:
        asked = check_vectors("queries", np.atleast_2d(to_array("queries", queries)))
        if asked.shape[1] != rows.shape[1]:
            raise InputError(
                f"queries: {asked.shape[1]} dimensions, the vectors have {rows.shape[1]}; embed "
                "both with one model"
            )
        if not len(asked):
            raise InputError("queries: got none; leave them out to have some vectors held out")
        return rows, asked
    count = min(_HELD_OUT, len(rows) // _HELD_OUT_SHARE)
    if count < _FEWEST_HELD_OUT:
        raise InputError(
            f"{len(rows)} vectors: expected at least {_FEWEST_HELD_OUT * _HELD_OUT_SHARE} to hold "
            "queries out of them; give more, or queries"
        )
    held_out = np.zeros(len(rows), dtype=bool)
    held_out[np.random.default_rng(seed).choice(len(rows), count, replace=False)] = True
    return rows[~held_out], rows[held_out]


def _chosen(quantizers: Iterable[Quantizer[Any]] | None, rows: Vectors) -> Sequence[Quantizer[Any]]:
    chosen = default_quantizers(*rows.shape) if quantizers is None else list(quantizers)
    if not chosen:
        raise InputError("quantizers: got none, expected some, such as [Int8(), RaBitQ(4)]")
    for place, quantizer in enumerate(chosen):
        if not isinstance(quantizer, Quantizer):
            raise InputError(f"quantizers: got {quantizer!r}, expected such as Int8()")
        if quantizer in chosen[:place]:
            raise InputError(f"quantizers: {quantizer} is there twice")
    return chosen


def _measure(
    quantizer: Quantizer[Any],
    rows: Vectors,
    queries: Vectors,
    truth: SearchResult,
    *,
    metric: Metric,
    confidence: float,
    seed: int,
) -> QuantizerRow:
    fitted = copy(quantizer).fit(rows)
    codes = fitted.encode(rows)
    k = truth.ids.shape[1]
    depths = sorted({min(len(rows), k * times) for times in (1, *OVERSAMPLING)})

    def score(block: Codes) -> Vectors:
        if metric == "l2":
            return -fitted.distances(queries, block)
        return fitted.similarities(queries, block)

    found, _ = _scan(queries, codes, depths[-1], score)
    exact = np.stack(
        [
            exact_scores(query, rows[places], metric)
            for query, places in zip(queries, found, strict=True)
        ]
    )
    ceiling, *further = (
        _recall_at(found[:, :depth], exact[:, :depth], truth, confidence=confidence, seed=seed)
        for depth in depths
    )
    return QuantizerRow(
        name=str(quantizer),
        quantizer=quantizer,
        bytes_per_vector=fitted.bytes_per_vector,
        compression=rows.itemsize * rows.shape[1] / fitted.bytes_per_vector,
        reconstruction_error=_error(fitted, rows, codes),
        ceiling=ceiling,
        rescored=tuple(further),
    )


def _scan(
    queries: Vectors, content: Any, k: int, score: Callable[[Any], Vectors]
) -> tuple[Positions, Vectors]:
    """Positions and scores (nq, k) of the best of all rows or codes, block by block."""
    best = BestOf(len(queries), k)
    size = min(_MOST_BLOCK_ROWS, max(1, _BLOCK_CELLS // len(queries)))
    places = np.arange(len(content))
    for block in row_blocks(len(content), size):
        best.offer(places[block], score(content[block]))
    return best.positions, best.scores


def _recall_at(
    found: Positions, exact: Vectors, truth: SearchResult, *, confidence: float, seed: int
) -> RecallAt:
    """Recall of the k candidates with the best exact scores."""
    order = np.argsort(-exact, axis=1, kind="stable")[:, : truth.ids.shape[1]]
    best = _result(
        np.take_along_axis(found, order, axis=1), np.take_along_axis(exact, order, axis=1)
    )
    recalls = recall_per_query(best, truth)
    return RecallAt(
        candidates=found.shape[1],
        recall=float(recalls.mean()),
        lower=mean_lower(recalls, confidence=confidence, seed=seed),
    )


def _result(positions: Positions, scores: Vectors) -> SearchResult:
    return SearchResult(positions, scores, SearchStats())


def _error(fitted: Quantizer[Any], rows: Vectors, codes: Codes) -> float:
    """Squared error of decoded rows as a share of their variance.

    Where rows hardly vary the share is of what float32 rounds off them: it stays finite.
    """
    lost = varying = squares = 0.0
    mean = rows.mean(axis=0, dtype=np.float64)
    for block in row_blocks(len(rows)):
        full = rows[block].astype(np.float64)
        lost += float(((full - fitted.decode(codes[block])) ** 2).sum())
        varying += float(((full - mean) ** 2).sum())
        squares += float((full**2).sum())
    return lost / max(varying, squares * _ROUNDING**2) if squares else lost
