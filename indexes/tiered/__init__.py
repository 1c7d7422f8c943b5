"""Codes in RAM, rows on disk, lists between them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragopt.indexes.tiered.index import TieredIndex
    from ragopt.indexes.tiered.options import TieredOptions

__all__ = ["TieredIndex", "TieredOptions"]


_HOMES = {"TieredIndex": "index", "TieredOptions": "options"}


def __getattr__(name: str) -> Any:
    """Import numba and faiss on first use only (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
