"""ragopt: the cheapest RAG that keeps its quality, with the confidence stated.

Public names are resolved on first use (PEP 562), so that ``import ragopt`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragopt.answer import Answer
    from ragopt.billing import Billing
    from ragopt.cache import ExactCache, Scope, SemanticCache
    from ragopt.chunk import Chunk, Document, Hit, chunk_documents
    from ragopt.compress import Extractive, ExtractiveOptions
    from ragopt.corpus import Corpus
    from ragopt.cost.ledger import Ledger
    from ragopt.cost.prices import PriceSheet
    from ragopt.documents import load_documents
    from ragopt.embed import CallableEmbedder, LSAEmbedder, SentenceTransformerEmbedder
    from ragopt.llm import Completion, ExtractiveAnswerer, Message, OpenAIClient
    from ragopt.pipeline import Pipeline
    from ragopt.quality import Certificate, Floor
    from ragopt.rerank import FixedK, LargestGap, ScoreRatio, Tighten, TightenOptions
    from ragopt.retrieve import Retriever

_HOMES = {
    "Answer": "ragopt.answer",
    "Billing": "ragopt.billing",
    "CallableEmbedder": "ragopt.embed",
    "Certificate": "ragopt.quality",
    "Chunk": "ragopt.chunk",
    "Completion": "ragopt.llm",
    "Corpus": "ragopt.corpus",
    "Document": "ragopt.chunk",
    "ExactCache": "ragopt.cache",
    "Extractive": "ragopt.compress",
    "ExtractiveAnswerer": "ragopt.llm",
    "ExtractiveOptions": "ragopt.compress",
    "FixedK": "ragopt.rerank",
    "Floor": "ragopt.quality",
    "Hit": "ragopt.chunk",
    "LSAEmbedder": "ragopt.embed",
    "LargestGap": "ragopt.rerank",
    "Ledger": "ragopt.cost.ledger",
    "Message": "ragopt.llm",
    "OpenAIClient": "ragopt.llm",
    "Pipeline": "ragopt.pipeline",
    "PriceSheet": "ragopt.cost.prices",
    "Retriever": "ragopt.retrieve",
    "Scope": "ragopt.cache",
    "ScoreRatio": "ragopt.rerank",
    "SemanticCache": "ragopt.cache",
    "SentenceTransformerEmbedder": "ragopt.embed",
    "Tighten": "ragopt.rerank",
    "TightenOptions": "ragopt.rerank",
    "chunk_documents": "ragopt.chunk",
    "load_documents": "ragopt.documents",
}

__all__ = [
    "Answer",
    "Billing",
    "CallableEmbedder",
    "Certificate",
    "Chunk",
    "Completion",
    "Corpus",
    "Document",
    "ExactCache",
    "Extractive",
    "ExtractiveAnswerer",
    "ExtractiveOptions",
    "FixedK",
    "Floor",
    "Hit",
    "LSAEmbedder",
    "LargestGap",
    "Ledger",
    "Message",
    "OpenAIClient",
    "Pipeline",
    "PriceSheet",
    "Retriever",
    "Scope",
    "ScoreRatio",
    "SemanticCache",
    "SentenceTransformerEmbedder",
    "Tighten",
    "TightenOptions",
    "__version__",
    "chunk_documents",
    "load_documents",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ragopt' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
