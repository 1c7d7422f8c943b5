"""Vector indexes behind one interface: `build` one from a spec string, `open` a saved one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ragopt.indexes.base import Footprint, SearchResult, SearchStats, VectorIndex
from ragopt.indexes.registry import Family, build, families, open  # noqa: A004
from ragopt.indexes.tuning import tune

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
    "QuantizerComparison": "quantize.comparison",
    "compare_quantizers": "quantize.compare",
}


def __getattr__(name: str) -> Any:
    """Import what only some need on its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
