"""From many retrieved chunks to a tight top-k: scorers, fusion, and where to cut."""

from ragopt.rerank.base import Reranker, rerank, scorer_id
from ragopt.rerank.bm25 import BM25Reranker, CorpusStatistics
from ragopt.rerank.calibration import ScoreCalibration
from ragopt.rerank.cascade import Cascade
from ragopt.rerank.conformal import ConformalFloor, Evidence
from ragopt.rerank.convex_weights import ConvexWeights, GradedQuery, fit_convex
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
from ragopt.rerank.tighten import LabelledQuery, Tighten, TightenOptions
from ragopt.rerank.tightened import Kept, Reason, Tightened
from ragopt.rerank.windows import Windowed

__all__ = [
    "BM25Reranker",
    "BreakEven",
    "Cascade",
    "ConformalFloor",
    "ConvexReranker",
    "ConvexWeights",
    "CorpusStatistics",
    "CosineReranker",
    "CrossEncoderReranker",
    "Cut",
    "Deduplicated",
    "Evidence",
    "FixedK",
    "FusionReranker",
    "GradedQuery",
    "Kept",
    "LLMReranker",
    "LabelledQuery",
    "LargestGap",
    "LateInteraction",
    "MMRReranker",
    "Reason",
    "RemoteReranker",
    "Reranked",
    "Reranker",
    "ScoreCalibration",
    "ScoreRatio",
    "Scores",
    "TellingReranker",
    "Tighten",
    "TightenOptions",
    "Tightened",
    "WhenItPays",
    "Windowed",
    "fit_convex",
    "near_duplicates",
    "pays",
    "reciprocal_rank_fusion",
    "rerank",
    "reranked",
    "scorer_id",
]
