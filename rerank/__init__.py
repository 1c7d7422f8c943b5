"""From many retrieved chunks to a tight top-k: scorers, fusion, and where to cut."""

from ragopt.rerank.base import Reranker, rerank
from ragopt.rerank.bm25 import BM25Reranker, CorpusStatistics
from ragopt.rerank.calibrated import ConvexWeights, Labelled, fit_convex
from ragopt.rerank.cascade import Cascade
from ragopt.rerank.cosine import CosineReranker
from ragopt.rerank.cross_encoder import CrossEncoderReranker
from ragopt.rerank.cut import Cut, FixedK, LargestGap, ScoreRatio
from ragopt.rerank.duplicates import Deduplicated, MMRReranker, near_duplicates
from ragopt.rerank.fusion import ConvexReranker, FusionReranker, reciprocal_rank_fusion
from ragopt.rerank.late_interaction import LateInteraction
from ragopt.rerank.llm import LLMReranker
from ragopt.rerank.pays import BreakEven, WhenItPays, pays
from ragopt.rerank.remote import RemoteReranker
from ragopt.rerank.scores import Reranked, Scores, TellingReranker, reranked
from ragopt.rerank.windows import Windowed

__all__ = [
    "BM25Reranker",
    "BreakEven",
    "Cascade",
    "ConvexReranker",
    "ConvexWeights",
    "CorpusStatistics",
    "CosineReranker",
    "CrossEncoderReranker",
    "Cut",
    "Deduplicated",
    "FixedK",
    "FusionReranker",
    "LLMReranker",
    "Labelled",
    "LargestGap",
    "LateInteraction",
    "MMRReranker",
    "RemoteReranker",
    "Reranked",
    "Reranker",
    "ScoreRatio",
    "Scores",
    "TellingReranker",
    "WhenItPays",
    "Windowed",
    "fit_convex",
    "near_duplicates",
    "pays",
    "reciprocal_rank_fusion",
    "rerank",
    "reranked",
]
