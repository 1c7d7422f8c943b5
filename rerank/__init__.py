"""From many retrieved chunks to a tight top-k: scorers, fusion, and where to cut."""

from ragopt.rerank.base import Reranker, rerank
from ragopt.rerank.bm25 import BM25Reranker, CorpusStatistics
from ragopt.rerank.cosine import CosineReranker
from ragopt.rerank.cross_encoder import CrossEncoderReranker
from ragopt.rerank.cut import Cut, FixedK, LargestGap, ScoreRatio
from ragopt.rerank.fusion import ConvexReranker, FusionReranker, reciprocal_rank_fusion

__all__ = [
    "BM25Reranker",
    "ConvexReranker",
    "CorpusStatistics",
    "CosineReranker",
    "CrossEncoderReranker",
    "Cut",
    "FixedK",
    "FusionReranker",
    "LargestGap",
    "Reranker",
    "ScoreRatio",
    "reciprocal_rank_fusion",
    "rerank",
]
