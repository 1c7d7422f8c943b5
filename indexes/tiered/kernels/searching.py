"""A whole search: lists, codes, then rows in at most two rounds."""

from __future__ import annotations

import math

import numpy as np

from ragopt.indexes.tiered.kernels.coding import quantize_query
from ragopt.indexes.tiered.kernels.machine import F32, I64, U8, U16, U64, compiled, part
from ragopt.indexes.tiered.kernels.reading import read_rows, scan_fresh
from ragopt.indexes.tiered.kernels.rotation import rotate_row
from ragopt.indexes.tiered.kernels.scanning import announce_lists, prefetch_list, scan_list
from ragopt.indexes.tiered.kernels.scoring import inner_product, list_products
from ragopt.indexes.tiered.kernels.selecting import (
    BUCKETS,
    keep_nearest,
    nearest_lists,
    order_places,
    sort_heap,
)
from ragopt.indexes.tiered.kernels.tables import (
    BASE,
    CODES,
    COUNT,
    LISTS,
    NOWHERE,
    OWN,
    PAGES,
    RAM,
    ROUNDS,
    SPILLED,
    WORD,
    block_bytes,
    lists_at,
    pages_of,
)

__all__ = ["search"]

# Rows of the scratch arrays, by what stands in them.
_PRODUCTS, _SUMS, _MINIMA, _EDGE, _ROTATED, _SPARE, _ESTIMATES, _DISTANCES = range(8)
_BOUNDS, _RANKED, _FLOATS = 8, 9, 10
_PROBED, _BUCKETS, _LEVELS, _COUNTS, _PLACES, _ORDER, _CHOSEN, _ADDRESSES = range(8)
_SEEN, _WHOLES = 8, 9


@compiled
def search(
    queries: F32,
    signs: F32,
    centroids: U16,
    squares: F32,
    order: F32,
    segments: I64,
    fresh: I64,
    may: U8,
    layout: I64,
    by_square: bool,
    bits: int,
    query_bits: int,
    probes: int,
    enough: int,
    candidates: int,
    at_once: int,
    slack: float,
    heat: F32,
    found_places: I64,
    scores: F32,
    costs: I64,
) -> None:
    """The nearest rows of each query: lists, codes, then rows in at most two rounds.

    Estimates of the squared distance less |q|^2, or of -2 <x, q>, are constant + |c|^2 -
    2 <q, c> - scale <y, q>; their standard error goes with scale |c - q|.

    Args:
        queries: (nq, dim) f32.
        signs: (rounds, padded) f32, see `rotate`.
        centroids: (lists, padded) u16, float16 as bits, rotated.
        squares: (lists,) f32, of their lengths.
        order: (lists,) f32: what a list's place in the order of probing depends on besides
            -2 <q, c>.
        segments: (segments, 4) i64 by `SEGMENT_COLUMNS`; each names a table (lists, 6) i64 by
            `LIST_COLUMNS`.
        fresh: (4,) i64 by `SEGMENT_COLUMNS`: rows that are in no list yet, side by side.
        may: (places,) u8, 0 for what must not be found; empty where all may.
        layout: (3,) i64 by `LAYOUT_COLUMNS`.
        by_square: score by squared distance rather than by product.
        bits: of a code.
        query_bits: of a level of the query, 4 or 8.
        probes: lists to scan, at most as many as there are.
        enough: scanned codes that may be found, after which scanning ends early.
        candidates: rows to read at most.
        at_once: how many of them in the first round.
        slack: standard errors by which a candidate of the second round may be better than
            estimated, times the standard error at scale 1.
        heat: (2, lists) f32, counts how often lists are scanned and their rows read; or (2, 0).
        found_places: (nq, k) i64, written, best first; -1 where there are fewer.
        scores: (nq, k) f32, written.
        costs: (nq, 3) i64, written, by `COSTS`.
    """
    lists, dim = centroids.shape
    longest = _longest(segments, lists)
    span = lists + 2 * candidates + longest + dim + BUCKETS
    floats, wholes = np.empty((_FLOATS, span), np.float32), np.empty((_WHOLES, span), np.int64)
    levels = np.empty((query_bits, dim // WORD), np.uint64)
    rotated, spare = floats[_ROTATED, :dim], floats[_SPARE, :dim]
    for turn in range(queries.shape[0]):
        query, cost = queries[turn], costs[turn]
        best, winners = scores[turn], found_places[turn]
        cost[CODES], cost[PAGES], cost[ROUNDS] = 0, 0, 0
        found = scan_fresh(fresh, layout, may, query, by_square, best, winners)
        if segments.shape[0] > 0:
            _pad(query, rotated)
            rotate_row(rotated, spare, signs)
            square = inner_product(rotated, rotated, False)
            list_products(centroids, rotated, floats[_PRODUCTS])
            nearest_lists(
                floats[_PRODUCTS], order, floats[_SUMS], wholes[_PROBED], probes,
                wholes[_BUCKETS], floats[_EDGE], floats[_MINIMA],
            )  # fmt: skip
            size = _scan_lists(
                rotated, square, squares, segments, may, bits, levels, probes, enough,
                candidates, slack, heat, floats, wholes, cost,
            )  # fmt: skip
            found = _read_best(
                query, square, segments, lists, layout, by_square, size, at_once, heat, floats,
                wholes, best, winners, found, cost,
            )  # fmt: skip
        sort_heap(best, winners, found)
        _finish(best, winners, found)


@part
def _pad(query: F32, out: F32) -> None:
    """The query, and zeros after it."""
    for column in range(query.shape[0]):
        out[column] = query[column]
    for column in range(query.shape[0], out.shape[0]):
        out[column] = np.float32(0)


@part
def _finish(best: F32, winners: I64, found: int) -> None:
    """Turn distances into scores, and say where there are fewer than asked for."""
    for entry in range(found):
        best[entry] = -best[entry]
    for entry in range(found, best.shape[0]):
        best[entry], winners[entry] = np.float32(-np.inf), -1


@part
def _longest(segments: I64, lists: int) -> int:
    """Codes of the longest list of any segment."""
    longest: int = 0
    for segment in range(segments.shape[0]):
        table = lists_at(segments[segment, LISTS], lists)
        for place in range(lists):
            longest = max(longest, table[place, OWN] + table[place, SPILLED])
    return longest


@part
def _scan_lists(
    rotated: F32,
    square: np.float32,
    squares: F32,
    segments: I64,
    may: U8,
    bits: int,
    levels: U64,
    probes: int,
    enough: int,
    candidates: int,
    slack: float,
    heat: F32,
    floats: F32,
    wholes: I64,
    cost: I64,
) -> int:
    """Collect the candidates that are estimated nearest; how many there are.

    See `search`; ``square`` is |q|^2.
    """
    distances, bounds, places = floats[_DISTANCES], floats[_BOUNDS], wholes[_PLACES]
    estimates, counts = floats[_ESTIMATES], wholes[_COUNTS]
    products, probed = floats[_PRODUCTS], wholes[_PROBED]
    buckets, edge = wholes[_BUCKETS], floats[_EDGE]
    lists, code_words = squares.shape[0], bits * levels.shape[1]
    step, total = quantize_query(rotated, wholes[_LEVELS], levels)
    offset = np.float32(-0.5) * step * np.float32(((np.int64(1) << bits) - 1) * total)
    if announce_lists(segments, probed, probes, lists, code_words) > 0:
        cost[ROUNDS] += 1
    size, passed, limit = np.int64(0), np.int64(0), np.float32(np.inf)
    for probe in range(probes):
        at = probed[probe]
        if heat.shape[1] > 0:
            heat[0, at] += np.float32(1)
        base = products[at] + squares[at]
        error = np.float32(slack * math.sqrt(max(base + square, np.float32(0))))
        for segment in range(segments.shape[0]):
            table = lists_at(segments[segment, LISTS], lists)
            entry = table[at]
            n = entry[OWN] + entry[SPILLED]
            if n == 0:
                continue
            if probe + 1 < probes:
                prefetch_list(table[probed[probe + 1]], code_words)
            cost[CODES] += n
            if entry[RAM] == NOWHERE:
                cost[PAGES] += pages_of(block_bytes(entry[OWN], entry[SPILLED], code_words))
            size, may_be = scan_list(
                entry, segments[segment, BASE], bits, levels, step, offset, base, error, may,
                limit, counts, estimates, distances, bounds, places, size,
            )  # fmt: skip
            passed += may_be
            if size >= 2 * candidates:
                limit = keep_nearest(distances, bounds, places, size, candidates, buckets, edge)
                size = candidates
        if passed >= enough:
            break
    if size > candidates:
        keep_nearest(distances, bounds, places, size, candidates, buckets, edge)
        size = candidates
    return int(size)


@part
def _read_best(
    query: F32,
    square: np.float32,
    segments: I64,
    lists: int,
    layout: I64,
    by_square: bool,
    size: int,
    at_once: int,
    heat: F32,
    floats: F32,
    wholes: I64,
    best: F32,
    winners: I64,
    found: int,
    cost: I64,
) -> int:
    """Read the rows of candidates: first the nearest, then those that may still be nearer.

    See `search`; how many results there are. A place where no row is comes from a damaged list that
    nobody verified: it is passed over.
    """
    distances, bounds, places = floats[_DISTANCES], floats[_BOUNDS], wholes[_PLACES]
    beyond = segments[segments.shape[0] - 1, BASE] + segments[segments.shape[0] - 1, COUNT]
    ranked, order_of, addresses = floats[_RANKED], wholes[_ORDER], wholes[_ADDRESSES]
    chosen = wholes[_CHOSEN]
    size = order_places(distances, bounds, places, size, order_of)
    last = np.float32(np.inf)
    if size > at_once:
        for entry in range(size):
            ranked[entry] = distances[order_of[entry]]
        last = keep_nearest(
            ranked, ranked[:0], addresses, size, at_once, wholes[_BUCKETS], floats[_EDGE]
        )
    for late in range(2):
        count = np.int64(0)
        for turn in range(size):
            entry = order_of[turn]
            if (distances[entry] > last) != (late == 1) or not 0 <= places[entry] < beyond:
                continue
            bound = bounds[entry] + square if by_square else bounds[entry] * np.float32(0.5)
            if late == 0 or found < best.shape[0] or bound < best[0]:
                chosen[count] = places[entry]
                count += 1
        found = read_rows(
            segments, lists, layout, chosen, count, addresses, wholes[_SEEN], heat, query,
            by_square, best, winners, found, cost,
        )  # fmt: skip
    return int(found)
