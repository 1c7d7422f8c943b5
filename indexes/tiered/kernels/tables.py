"""Where a search finds lists and rows: columns of the tables it takes, and how lists are laid out.

Addresses are those of arrays and maps that the caller keeps alive. A list is a block: bit planes as
`scan` takes them, constants f32, scales f32, and i32 rows of those that spilled into it from other
lists. Its own rows stand side by side, from row ``first`` of its segment on.
"""

from __future__ import annotations

import numpy as np

from ragopt.indexes.rows import PAGE_BYTES
from ragopt.indexes.tiered.kernels.machine import (
    F32,
    I32,
    I64,
    U64,
    compiled,
    inner,
    part,
    table_at,
)

__all__ = [
    "BASE",
    "CODES",
    "COSTS",
    "COUNT",
    "FILE",
    "FIRST",
    "HOT",
    "LAYOUT_COLUMNS",
    "LISTS",
    "LIST_COLUMNS",
    "NOWHERE",
    "OWN",
    "PAGES",
    "PAGE_BYTES",
    "RAM",
    "ROUNDS",
    "ROWS",
    "ROWS_A_PAGE",
    "ROW_BYTES",
    "SEGMENT_COLUMNS",
    "SLOT_BYTES",
    "SPILLED",
    "WORD",
    "block_bytes",
    "list_of",
    "lists_at",
    "pages_of",
    "place_codes",
    "segment_of",
]

SEGMENT_COLUMNS = ("base", "count", "lists", "rows")
BASE, COUNT, LISTS, ROWS = range(4)
LIST_COLUMNS = ("ram", "file", "own", "spilled", "first", "hot")
RAM, FILE, OWN, SPILLED, FIRST, HOT = range(6)
LAYOUT_COLUMNS = ("rows_a_page", "page_bytes", "row_bytes")
ROWS_A_PAGE, SLOT_BYTES, ROW_BYTES = range(3)
COSTS = ("codes", "pages", "rounds")
CODES, PAGES, ROUNDS = range(3)

WORD = 64
"""Dimensions in a word of a bit plane."""
NOWHERE = 0
"""The address of what is not in RAM."""

lists_at = table_at(len(LIST_COLUMNS))
"""A segment's table (lists, 6) i64, of its address and the lists."""


@part
def block_bytes(own: int, spilled: int, code_words: int) -> int:
    """Size of a list's block: bit planes, two f32 factors an entry, an i32 row a spilled one."""
    return (own + spilled) * (8 * code_words + 8) + 4 * spilled


@part
def pages_of(size: int) -> int:
    """Pages that so many bytes take, from a page boundary on."""
    return (size + PAGE_BYTES - 1) // PAGE_BYTES


@compiled
def place_codes(
    blocks: U64,
    offsets: I64,
    totals: I64,
    lists: I32,
    entries: I64,
    words: U64,
    constants: F32,
    scales: F32,
) -> None:
    """Put codes where they belong among the blocks of a segment.

    Args:
        blocks: (size,) u64, written.
        offsets: (lists,) i64, the word at which each list's block begins.
        totals: (lists,) i64, entries of each list.
        lists: (n,) i32, the list of each code.
        entries: (n,) i64, its place there.
        words: (n, bits * words) u64.
        constants: (n,) f32.
        scales: (n,) f32.
    """
    code_words = words.shape[1]
    factors = blocks.view(np.float32)
    for code in range(lists.shape[0]):
        start, n = offsets[lists[code]], totals[lists[code]]
        for word in range(code_words):
            blocks[start + word * n + entries[code]] = words[code, word]
        first = 2 * (start + code_words * n) + entries[code]
        factors[first] = constants[code]
        factors[first + n] = scales[code]


@inner
def list_of(lists: I64, row: int) -> int:
    """The list whose own rows include this row of a segment. O(log lists).

    Args:
        lists: (lists, 6) i64 by `LIST_COLUMNS`; those without rows of their own are passed over.
        row: of the segment.
    """
    low, high = 0, lists.shape[0]
    while high - low > 1:
        middle = (low + high) >> 1
        if lists[middle, FIRST] <= row:
            low = middle
        else:
            high = middle
    return low


@part
def segment_of(segments: I64, place: int) -> int:
    """The segment (by `SEGMENT_COLUMNS`) that a place belongs to; there are few."""
    segment = segments.shape[0] - 1
    while place < segments[segment, BASE]:
        segment -= 1
    return int(segment)
