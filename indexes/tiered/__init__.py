"""Codes in RAM, rows on disk, lists between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragopt.indexes.tiered.index import TieredIndex, TieredOptions

__all__ = ["TieredIndex", "TieredOptions"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ragopt.indexes.tiered' has no attribute {name!r}")
    from ragopt.indexes.tiered import index

    return getattr(index, name)
