"""Text to vectors: LSA fitted on the corpus, sentence-transformers, any callable, and a store."""

from ragopt.embed.base import CallableEmbedder, Embedder
from ragopt.embed.lsa import LSAEmbedder
from ragopt.embed.stored import StoredEmbedder
from ragopt.embed.tokens import TokenEmbedder, TokenVectors
from ragopt.embed.transformer import SentenceTransformerEmbedder

__all__ = [
    "CallableEmbedder",
    "Embedder",
    "LSAEmbedder",
    "SentenceTransformerEmbedder",
    "StoredEmbedder",
    "TokenEmbedder",
    "TokenVectors",
]
