"""Rows of fresh and sealed segments, offered by their exact distances."""

from __future__ import annotations

import numpy as np

from ragopt.indexes.tiered.kernels.machine import (
    F32,
    I64,
    U8,
    announce,
    in_memory,
    inner,
    part,
    prefetch,
)
from ragopt.indexes.tiered.kernels.scoring import score
from ragopt.indexes.tiered.kernels.selecting import offer
from ragopt.indexes.tiered.kernels.tables import (
    BASE,
    COUNT,
    FIRST,
    HOT,
    LISTS,
    NOWHERE,
    PAGE_BYTES,
    PAGES,
    ROUNDS,
    ROW_BYTES,
    ROWS,
    ROWS_A_PAGE,
    SLOT_BYTES,
    list_of,
    lists_at,
    pages_of,
    segment_of,
)

__all__ = ["read_rows", "scan_fresh"]

_ROWS_AHEAD = 3  # rows that are on their way from memory while one is scored


@inner
def scan_fresh(
    fresh: I64, layout: I64, may: U8, query: F32, by_square: bool, best: F32, winners: I64
) -> int:
    """Offer rows that are in no list yet; how many results there are.

    Args:
        fresh: (4,) i64 by `SEGMENT_COLUMNS`.
        layout: (3,) i64 by `LAYOUT_COLUMNS`.
        may: (places,) u8, 0 for what must not be found; empty where all may.
        query: (dim,) f32.
        by_square: see `score`.
        best: (k,) f32, a heap, see `offer`.
        winners: (k,) i64.
    """
    found, k, size = np.int64(0), best.shape[0], layout[ROW_BYTES]
    in_half, base = size == 2 * query.shape[0], fresh[BASE]
    for row in range(fresh[COUNT]):
        if may.shape[0] == 0 or may[base + row]:
            distance = score(fresh[ROWS] + row * size, in_half, query, by_square)
            if found < k or distance < best[0]:
                found = offer(best, winners, found, distance, base + row)
    return int(found)


@inner
def read_rows(
    segments: I64,
    lists: int,
    layout: I64,
    chosen: I64,
    count: int,
    addresses: I64,
    seen: I64,
    heat: F32,
    query: F32,
    by_square: bool,
    best: F32,
    winners: I64,
    found: int,
    cost: I64,
) -> int:
    """Offer rows by their exact distances, all of them asked for at once.

    Args:
        segments: (segments, 4) i64 by `SEGMENT_COLUMNS`.
        lists: of a segment.
        layout: (3,) i64 by `LAYOUT_COLUMNS`.
        chosen: (at least count,) i64, places in rising order.
        count: how many.
        addresses: (at least count,) i64, scratch.
        seen: (at least 1,) i64, scratch.
        heat: (2, lists) f32, counts how often rows are read; or (2, 0), where none is hot.
        query: (dim,) f32.
        by_square: see `score`.
        best: (k,) f32, a heap, see `offer`.
        winners: (k,) i64.
        found: results in it.
        cost: (3,) i64 by `COSTS`, added to.

    Returns:
        How many results there are now.
    """
    size, in_half = layout[ROW_BYTES], layout[ROW_BYTES] == 2 * query.shape[0]
    cold = _locate(segments, lists, layout, chosen, count, addresses, heat, cost)
    if cold > 0:
        cost[ROUNDS] += 1
        _announce_rows(addresses, count, cold, size, seen)
    for entry in range(min(_ROWS_AHEAD, count)):
        prefetch(abs(addresses[entry]), size)
    for entry in range(count):
        if entry + _ROWS_AHEAD < count:
            prefetch(abs(addresses[entry + _ROWS_AHEAD]), size)
        distance = score(abs(addresses[entry]), in_half, query, by_square)
        if found < best.shape[0] or distance <= best[0]:
            found = offer(best, winners, found, distance, chosen[entry])
    return int(found)


@part
def _locate(
    segments: I64,
    lists: int,
    layout: I64,
    chosen: I64,
    count: int,
    addresses: I64,
    heat: F32,
    cost: I64,
) -> int:
    """Addresses of rows, those of hot ones negative; how many are not hot."""
    size = layout[ROW_BYTES]
    page, cold = -1, 0
    for entry in range(count):
        segment = segment_of(segments, chosen[entry])
        row = chosen[entry] - segments[segment, BASE]
        if heat.shape[1] > 0:
            table = lists_at(segments[segment, LISTS], lists)
            at = list_of(table, row)
            heat[1, at] += np.float32(1)
            if table[at, HOT] != NOWHERE:
                addresses[entry] = -(table[at, HOT] + (row - table[at, FIRST]) * size)
                continue
        slot, place = row // layout[ROWS_A_PAGE], row % layout[ROWS_A_PAGE]
        address = segments[segment, ROWS] + slot * layout[SLOT_BYTES] + place * size
        addresses[entry] = address
        if address // PAGE_BYTES != page:
            page = address // PAGE_BYTES
            cost[PAGES] += pages_of(size)
        cold += 1
    return cold


@part
def _announce_rows(addresses: I64, count: int, cold: int, size: int, seen: I64) -> None:
    """Have rows that are not hot read side by side, unless one of them is in memory already.

    To ask costs a microsecond a page. Where all are on disk, the one in the middle stands for them;
    where most are hot, few are asked for.
    """
    if cold == count and in_memory(addresses[count // 2], seen):
        return
    for entry in range(count):
        if addresses[entry] > 0:
            announce(addresses[entry], size)
