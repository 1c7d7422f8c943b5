"""Numeric kernels of the tiered index: plain functions over arrays, compiled on first use.

Arrays are C-contiguous and of the dtype that a docstring names; callers check them, nobody here
does. Kernels release the GIL, take scratch from their callers and give the same bits in every run.
Machine code is kept on disk, beside this package or in ``NUMBA_CACHE_DIR``: only the first use on
a machine compiles, for some seconds.
"""

from ragopt.indexes.tiered.kernels.coding import encode
from ragopt.indexes.tiered.kernels.rotation import rotate
from ragopt.indexes.tiered.kernels.searching import search
from ragopt.indexes.tiered.kernels.tables import (
    BASE,
    CODES,
    COSTS,
    COUNT,
    FILE,
    FIRST,
    HOT,
    LAYOUT_COLUMNS,
    LIST_COLUMNS,
    LISTS,
    OWN,
    PAGE_BYTES,
    PAGES,
    RAM,
    ROUNDS,
    ROWS,
    SEGMENT_COLUMNS,
    SPILLED,
    WORD,
    place_codes,
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
    "OWN",
    "PAGES",
    "PAGE_BYTES",
    "RAM",
    "ROUNDS",
    "ROWS",
    "SEGMENT_COLUMNS",
    "SPILLED",
    "WORD",
    "encode",
    "place_codes",
    "rotate",
    "search",
]
