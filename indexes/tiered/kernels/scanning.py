"""Lists to scan, and the candidates found in one."""

from __future__ import annotations

import numpy as np

from ragopt.indexes.tiered.kernels.coding import scan
from ragopt.indexes.tiered.kernels.machine import (
    F32,
    I32,
    I64,
    U8,
    U64,
    address_of,
    announce,
    f32_at,
    i32_at,
    i64_at,
    inner,
    part,
    prefetch,
    u64_at,
)
from ragopt.indexes.tiered.kernels.tables import (
    FILE,
    FIRST,
    LISTS,
    NOWHERE,
    OWN,
    RAM,
    SPILLED,
    block_bytes,
    lists_at,
)

__all__ = ["announce_lists", "prefetch_list", "scan_list"]

_BLOCK = 32  # estimates that are looked at together


@inner
def announce_lists(segments: I64, probed: I64, probes: int, lists: int, code_words: int) -> int:
    """Have lists that are not in RAM read side by side; how many there are.

    Args:
        segments: (segments, 4) i64 by `SEGMENT_COLUMNS`.
        probed: (at least probes,) i64.
        probes: how many lists are scanned.
        lists: of a segment.
        code_words: words of a code.
    """
    away = 0
    for segment in range(segments.shape[0]):
        table = lists_at(segments[segment, LISTS], lists)
        for probe in range(probes):
            entry = table[probed[probe]]
            if entry[RAM] == NOWHERE and entry[OWN] + entry[SPILLED] > 0:
                announce(entry[FILE], block_bytes(entry[OWN], entry[SPILLED], code_words))
                away += 1
    return away


@part
def prefetch_list(entry: I64, code_words: int) -> None:
    """Ask for a list, a row (6,) of its table, that is scanned next."""
    if entry[RAM] != NOWHERE:
        prefetch(entry[RAM], block_bytes(entry[OWN], entry[SPILLED], code_words))


@inner
def scan_list(
    entry: I64,
    start: int,
    bits: int,
    levels: U64,
    weight: float,
    offset: float,
    base: float,
    error: float,
    may: U8,
    limit: float,
    counts: I64,
    estimates: F32,
    distances: F32,
    bounds: F32,
    places: I64,
    size: int,
) -> tuple[int, int]:
    """Collect a list's codes that are estimated nearer than a limit.

    An estimate is constant + base - scale <y, q>, where <y, q> is weight * count + offset.

    Args:
        entry: (6,) i64 by `LIST_COLUMNS`, the list's row of its table.
        start: place of the segment's first row.
        bits: of a code.
        levels: (query_bits, words) u64, see `quantize_query`.
        weight: the query's step.
        offset: what centres the codes.
        base: |c|^2 - 2 <q, c>.
        error: standard error of an estimate, by scale.
        may: (places,) u8, 0 for what must not be found; empty where all may.
        limit: of estimates.
        counts: (at least the list's entries,) i64, scratch.
        estimates: likewise f32, scratch.
        distances: (room,) f32, estimates of candidates, added to; room for all of the list.
        bounds: (room,) f32, the same less a standard error.
        places: (room,) i64, theirs.
        size: candidates there.

    Returns:
        How many candidates there are now, and how many codes may be found.
    """
    own, spilled = entry[OWN], entry[SPILLED]
    n, code_words, first = own + spilled, bits * levels.shape[1], start + entry[FIRST]
    block = entry[RAM] if entry[RAM] != NOWHERE else entry[FILE]
    factors = block + 8 * code_words * n
    constants, scales = f32_at(factors, n), f32_at(factors + 4 * n, n)
    others = i32_at(factors + 8 * n, spilled)
    counted = i64_at(address_of(counts), n)
    scan(u64_at(block, n * code_words), levels, bits, counted)
    for code in range(n):
        product = weight * np.float32(counted[code]) + offset
        estimates[code] = constants[code] + base - scales[code] * product
    passed = n
    if may.shape[0] > 0:
        passed = _exclude(may, own, first, others, start, estimates)
    for begin in range(0, n, _BLOCK):
        end = min(begin + _BLOCK, n)
        near = np.int64(0)
        for code in range(begin, end):
            near += estimates[code] < limit
        if near == 0:  # as for most blocks, once a few lists are scanned
            continue
        for code in range(begin, end):
            distances[size] = estimates[code]
            bounds[size] = estimates[code] - error * scales[code]
            places[size] = first + code if code < own else start + others[code - own]
            size += estimates[code] < limit
    return size, passed


@part
def _exclude(may: U8, own: int, first: int, others: I32, start: int, estimates: F32) -> int:
    """Put codes that must not be found infinitely far away; how many may be found."""
    passed: int = 0
    for code in range(own + others.shape[0]):
        place = first + code if code < own else start + others[code - own]
        if 0 <= place < may.shape[0] and may[place]:
            passed += 1
        else:
            estimates[code] = np.float32(np.inf)
    return passed
