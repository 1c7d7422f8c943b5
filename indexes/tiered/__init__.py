"""Codes in RAM, rows on disk, lists between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragopt.lazy import lazily

if TYPE_CHECKING:
    from ragopt.indexes.tiered.index import TieredIndex
    from ragopt.indexes.tiered.options import TieredOptions

__all__ = ["TieredIndex", "TieredOptions"]

# numba and faiss are imported on first use only
_HOMES = {"TieredIndex": ".index", "TieredOptions": ".options"}

__getattr__, __dir__ = lazily(__name__, _HOMES)
