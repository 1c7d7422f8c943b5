"""Vector indexes behind one interface: `build` one from a spec string, `open` a saved one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragopt.indexes.base import Footprint, SearchResult, SearchStats, VectorIndex
from ragopt.indexes.registry import Family, build, families, open  # noqa: A004
from ragopt.indexes.tuning import tune
from ragopt.lazy import lazily

if TYPE_CHECKING:
    from ragopt.indexes.quantize.compare import compare_quantizers
    from ragopt.indexes.quantize.comparison import QuantizerComparison

__all__ = [
    "Family",
    "Footprint",
    "QuantizerComparison",
    "SearchResult",
    "SearchStats",
    "VectorIndex",
    "build",
    "compare_quantizers",
    "families",
    "open",
    "tune",
]

_HOMES = {
    "QuantizerComparison": ".quantize.comparison",
    "compare_quantizers": ".quantize.compare",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
