"""Prompt compression: shorter contexts that keep numbers, links and code as the source has them."""

from ragopt.compress.auto import AutoBudget, LabelledContext
from ragopt.compress.base import Compressed, CompressedChunk, Compressor, CountTokens, Span
from ragopt.compress.break_even import BreakEven, BreakEvenGate, break_even
from ragopt.compress.dedup import Dedup
from ragopt.compress.extractive import Extractive, ExtractiveOptions
from ragopt.compress.lingua import LLMLinguaCompressor
from ragopt.compress.lint import Finding, LintReport, PromptLint
from ragopt.compress.prefix import (
    PrefixChange,
    PrefixLayout,
    PrefixPrompt,
    PromptPart,
    stable_json,
)
from ragopt.compress.prune import StopwordPruner
from ragopt.compress.score import Weights
from ragopt.compress.segment import Segment, segment
from ragopt.compress.summarize import Summarize
from ragopt.compress.truncate import RandomSentences, Truncate

__all__ = [
    "AutoBudget",
    "BreakEven",
    "BreakEvenGate",
    "Compressed",
    "CompressedChunk",
    "Compressor",
    "CountTokens",
    "Dedup",
    "Extractive",
    "ExtractiveOptions",
    "Finding",
    "LLMLinguaCompressor",
    "LabelledContext",
    "LintReport",
    "PrefixChange",
    "PrefixLayout",
    "PrefixPrompt",
    "PromptLint",
    "PromptPart",
    "RandomSentences",
    "Segment",
    "Span",
    "StopwordPruner",
    "Summarize",
    "Truncate",
    "Weights",
    "break_even",
    "segment",
    "stable_json",
]
