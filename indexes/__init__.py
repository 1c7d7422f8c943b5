"""Vector indexes behind one interface: `build` one from a spec string, `open` a saved one."""

from ragopt.indexes.base import Footprint, SearchResult, SearchStats, VectorIndex
from ragopt.indexes.registry import Family, build, families, open  # noqa: A004
from ragopt.indexes.tuning import tune

__all__ = [
    "Family",
    "Footprint",
    "SearchResult",
    "SearchStats",
    "VectorIndex",
    "build",
    "families",
    "open",
    "tune",
]
