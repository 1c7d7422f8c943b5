"""Datasets by name or path: vectors, corpora, questions, pairs, intents, logs, traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragopt.lazy import lazily

if TYPE_CHECKING:
    from ragopt.benchmarks.datasets.loading import data_folder, describe, here, load, names
    from ragopt.benchmarks.datasets.types import (
        Context,
        ContextSet,
        Dataset,
        IntentSet,
        LabelledPair,
        PairSet,
        QueryLog,
        RetrievalSet,
        TraceSet,
        VectorSet,
    )

_LOADING = "ragopt.benchmarks.datasets.loading"
_TYPES = "ragopt.benchmarks.datasets.types"
_HOMES = {
    "Context": _TYPES,
    "ContextSet": _TYPES,
    "Dataset": _TYPES,
    "IntentSet": _TYPES,
    "LabelledPair": _TYPES,
    "PairSet": _TYPES,
    "QueryLog": _TYPES,
    "RetrievalSet": _TYPES,
    "TraceSet": _TYPES,
    "VectorSet": _TYPES,
    "data_folder": _LOADING,
    "describe": _LOADING,
    "here": _LOADING,
    "load": _LOADING,
    "names": _LOADING,
}

__all__ = [
    "Context",
    "ContextSet",
    "Dataset",
    "IntentSet",
    "LabelledPair",
    "PairSet",
    "QueryLog",
    "RetrievalSet",
    "TraceSet",
    "VectorSet",
    "data_folder",
    "describe",
    "here",
    "load",
    "names",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
