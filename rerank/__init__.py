"""From many retrieved chunks to a tight top-k: scorers, fusion, and where to cut."""

from ragopt.rerank.base import Reranker, rerank, scorer_id
from ragopt.rerank.bm25 import BM25Reranker, CorpusStatistics
from ragopt.rerank.calibration import ScoreCalibration
from ragopt.rerank.conformal import ConformalFloor, Evidence
from ragopt.rerank.cosine import CosineReranker
from ragopt.rerank.cross_encoder import CrossEncoderReranker
from ragopt.rerank.cut import Cut, FixedK, LargestGap, ScoreRatio
from ragopt.rerank.fusion import ConvexReranker, FusionReranker, reciprocal_rank_fusion
from ragopt.rerank.tighten import LabelledQuery, Tighten, TightenOptions
from ragopt.rerank.tightened import Kept, Reason, Tightened

__all__ = [
    "BM25Reranker",
    "ConformalFloor",
    "ConvexReranker",
    "CorpusStatistics",
    "CosineReranker",
    "CrossEncoderReranker",
    "Cut",
    "Evidence",
    "FixedK",
    "FusionReranker",
    "Kept",
    "LabelledQuery",
    "LargestGap",
    "Reason",
    "Reranker",
    "ScoreCalibration",
    "ScoreRatio",
    "Tighten",
    "TightenOptions",
    "Tightened",
    "reciprocal_rank_fusion",
    "rerank",
    "scorer_id",
]
