"""Prompt compression: shorter contexts whose every word stood in the source."""

from ragopt.compress.base import Compressed, CompressedChunk, Compressor, CountTokens, Span
from ragopt.compress.extractive import Extractive, ExtractiveOptions
from ragopt.compress.score import Weights
from ragopt.compress.segment import Segment, segment
from ragopt.compress.truncate import RandomSentences, Truncate

__all__ = [
    "Compressed",
    "CompressedChunk",
    "Compressor",
    "CountTokens",
    "Extractive",
    "ExtractiveOptions",
    "RandomSentences",
    "Segment",
    "Span",
    "Truncate",
    "Weights",
    "segment",
]
