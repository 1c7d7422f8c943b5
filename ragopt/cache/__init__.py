"""Answers that need not be paid for twice: exact and semantic cache, scopes, guards, policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragopt.cache.admission import PII, Admission, personal_data
from ragopt.cache.calls import AsyncCachedLLM, CachedLLM, SingleFlight, cached
from ragopt.cache.drift import DriftMonitor, LiveError
from ragopt.cache.exact import ExactCache
from ragopt.cache.guards import (
    DEFAULT_GUARDS,
    SAFETY_GUARDS,
    Asking,
    ContentWords,
    Entities,
    Guard,
    Numbers,
    Polarity,
    Reversal,
)
from ragopt.cache.indexed import IndexedVectors
from ragopt.cache.judging import LLMJudge, same_words
from ragopt.cache.lifetimes import LIFETIMES_S, Lifetimes, content_class
from ragopt.cache.policies import Calibrated, PerEntry, Policy, Static, calibrate
from ragopt.cache.results import CacheHit, CacheStats
from ragopt.cache.safety import Safety
from ragopt.cache.scope import Scope
from ragopt.cache.semantic import SemanticCache
from ragopt.cache.stores import Limits, Quota
from ragopt.cache.text import normalise
from ragopt.cache.vectors import FlatVectors, VectorStore
from ragopt.cache.watching import Audit
from ragopt.lazy import lazily

if TYPE_CHECKING:
    from ragopt.cache.retrieval import CachedRetriever, RetrievalStats
    from ragopt.cache.support import Support, Supported

__all__ = [
    "DEFAULT_GUARDS",
    "LIFETIMES_S",
    "PII",
    "SAFETY_GUARDS",
    "Admission",
    "Asking",
    "AsyncCachedLLM",
    "Audit",
    "CacheHit",
    "CacheStats",
    "CachedLLM",
    "CachedRetriever",
    "Calibrated",
    "ContentWords",
    "DriftMonitor",
    "Entities",
    "ExactCache",
    "FlatVectors",
    "Guard",
    "IndexedVectors",
    "LLMJudge",
    "Lifetimes",
    "Limits",
    "LiveError",
    "Numbers",
    "PerEntry",
    "Polarity",
    "Policy",
    "Quota",
    "RetrievalStats",
    "Reversal",
    "Safety",
    "Scope",
    "SemanticCache",
    "SingleFlight",
    "Static",
    "Support",
    "Supported",
    "VectorStore",
    "cached",
    "calibrate",
    "content_class",
    "normalise",
    "personal_data",
    "same_words",
]

# retrieval brings in all of reranking, support the compressors
_HOMES = {
    "CachedRetriever": ".retrieval",
    "RetrievalStats": ".retrieval",
    "Support": ".support",
    "Supported": ".support",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
