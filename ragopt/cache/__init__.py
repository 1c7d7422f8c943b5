"""Answers that need not be paid for twice: exact and semantic cache, scopes and guards."""

from ragopt.cache.exact import ExactCache
from ragopt.cache.guards import (
    DEFAULT_GUARDS,
    Asking,
    ContentWords,
    Entities,
    Guard,
    Numbers,
    Polarity,
    Reversal,
)
from ragopt.cache.results import CacheHit, CacheStats
from ragopt.cache.scope import Scope
from ragopt.cache.semantic import SemanticCache
from ragopt.cache.text import normalise
from ragopt.cache.vectors import FlatVectors, VectorStore

__all__ = [
    "DEFAULT_GUARDS",
    "Asking",
    "CacheHit",
    "CacheStats",
    "ContentWords",
    "Entities",
    "ExactCache",
    "FlatVectors",
    "Guard",
    "Numbers",
    "Polarity",
    "Reversal",
    "Scope",
    "SemanticCache",
    "VectorStore",
    "normalise",
]
