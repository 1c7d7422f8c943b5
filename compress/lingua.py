"""LLMLingua, LongLLMLingua and LLMLingua-2 behind the compressor protocol, with fences."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from ragopt.chunk import Hit
from ragopt.compress.base import (
    Compressed,
    CountTokens,
    check_request,
    default_count,
    render_context,
    unchanged,
)
from ragopt.compress.layout import Layout
from ragopt.compress.lingua_package import VARIANTS, Variant, check_family, load_package
from ragopt.compress.rewriting import rewritten
from ragopt.compress.whole_words import Source, aligned
from ragopt.errors import InputError

__all__ = ["LLMLinguaCompressor"]

_log = logging.getLogger(__name__)

_Engine = Callable[[str, list[str], int], str]
# LongLLMLingua's own settings, from its documentation; but passages stay in the order of the hits.
_LONG: Mapping[str, Any] = {
    "rank_method": "longllmlingua",
    "condition_in_question": "after_condition",
    "reorder_context": "original",
    "dynamic_context_compression_ratio": 0.3,
    "condition_compare": True,
    "context_budget": "+100",
}
_MARGIN = 0.95
_LEAST_STEP = 0.2
_LEAST_FREE_TOKENS = 8


class LLMLinguaCompressor:
    """One of the three with one model, through the package ``llmlingua``.

    The model sees prose alone. Code, JSON, tables, headings, links and citations are fenced off
    and put back byte for byte; titles, the question and the instructions are never compressed. What
    the model gives back is aligned with the source, so that the result holds whole words of the
    source in their order, and a negation wherever words of its sentence are left: pieces of words
    and numbers, which these models leave behind, never reach the prompt.

    Whatever fails (the package or model is missing, the device is out of memory, the model raises)
    skips compression, and `Compressed.skipped_reason` says why; `load` raises it instead. The
    result has no spans, since words inside sentences are missing.

    Args:
        model: hub name or local folder: a causal model for LLMLingua and LongLLMLingua, a token
            classifier of the paper's two families for LLMLingua-2.
        variant: ``"llmlingua"``, ``"longllmlingua"`` (looks at the question) or ``"llmlingua2"``.
        device: of the model: ``"cpu"``, ``"cuda"``, ``"mps"``.
        keep_ratio: budget as a share of the tokens that came in, when the call names none.
        attempts: calls to get within a budget, 1 or more; the package keeps to none. The longest
            result within it is returned, else the shortest of all.
        count: token counter; by default ragopt's estimate.

    Raises:
        InputError: an unknown variant, a model of no family that LLMLingua-2 knows, or settings
            out of range. The model is loaded by the first call, or by `load`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        variant: Variant = "llmlingua2",
        device: str = "cpu",
        keep_ratio: float = 0.5,
        attempts: int = 3,
        count: CountTokens | None = None,
    ) -> None:
        if variant not in VARIANTS:
            raise InputError(f"variant={variant!r}: expected one of {', '.join(VARIANTS)}")
        check_family(str(model), variant)
        if not 0 < keep_ratio <= 1:
            raise InputError(f"keep_ratio={keep_ratio!r}: expected above 0, at most 1")
        if attempts < 1:
            raise InputError(f"attempts={attempts!r}: expected 1 or more")
        self.model = str(model)
        self.variant = variant
        self.device = device
        self.keep_ratio = keep_ratio
        self.attempts = attempts
        self._count = count
        self._engine: _Engine | None = None
        self._lock = threading.Lock()

    def load(self) -> None:
        """Load the model now, rather than with the first question.

        Raises:
            BackendMissing: llmlingua is not installed.
            InputError: the model cannot be loaded.
        """
        with self._lock:
            self._loaded()

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        """Compress the prose of the hits; never raises for what the model does.

        Args:
            query: the question; LLMLingua-2 does not look at it.
            hits: what was found; their order is kept.
            max_tokens: budget of the rendered context, fenced pieces and titles included;
                ``None`` takes ``keep_ratio`` of what came in.

        Raises:
            InputError: an unusable ``max_tokens``, a NaN score, or one chunk id with two texts.

        Cost: up to ``attempts`` passes of the model over the prose, one question at a time.
        """
        check_request(hits, max_tokens)
        count = self._count = self._count or default_count()
        tokens_before = count(Layout(hits).full_text())
        budget = max_tokens or math.ceil(self.keep_ratio * tokens_before)
        sources = [Source(hit.chunk.text) for hit in hits]
        if tokens_before <= budget:
            return unchanged(hits, count, f"{tokens_before} tokens are within the budget")
        if not any(source.free for source in sources):
            return unchanged(hits, count, "there is no prose to compress")
        started = perf_counter()
        try:
            with self._lock:
                result = self._within(query, hits, sources, budget, tokens_before)
        except Exception as error:  # noqa: BLE001 - whatever the model does must not fail a question
            _log.warning("%r skipped: %s", self, error)
            return unchanged(hits, count, f"{self.variant} failed: {error!r}")
        if result is None:
            return unchanged(hits, count, "what may not be compressed is over the budget")
        if result.tokens_saved < 1:
            return unchanged(hits, count, "nothing would be saved")
        ms = (perf_counter() - started) * 1e3
        return Compressed(result.chunks, result.text, tokens_before, result.tokens_after, ms=ms)

    def _within(
        self,
        query: str,
        hits: Sequence[Hit],
        sources: list[Source],
        budget: int,
        tokens_before: int,
    ) -> Compressed | None:
        """The best of several attempts; ``None`` where fences leave no room."""
        fixed = self._rendered(hits, sources, [set() for _ in sources], tokens_before)
        room = budget - fixed.tokens_after
        if room < _LEAST_FREE_TOKENS:
            return None
        engine = self._loaded()
        seen = [source for source in sources if source.free]
        target = float(room)
        tried: list[Compressed] = []
        for _ in range(self.attempts):
            output = engine(query, [source.free_text for source in seen], max(1, int(target)))
            kept = iter(aligned(output, seen))
            choice = [next(kept) if source.free else set() for source in sources]
            tried.append(self._rendered(hits, sources, choice, tokens_before))
            if tried[-1].tokens_after <= budget:
                break
            used = max(1, tried[-1].tokens_after - fixed.tokens_after)
            target *= max(_LEAST_STEP, _MARGIN * room / used)
        within = [one for one in tried if one.tokens_after <= budget]
        if within:
            return max(within, key=lambda one: one.tokens_after)
        return min(tried, key=lambda one: one.tokens_after)

    def _rendered(
        self, hits: Sequence[Hit], sources: list[Source], kept: list[set[int]], before: int
    ) -> Compressed:
        count = self._count or default_count()
        texts = [source.render(choice) for source, choice in zip(sources, kept, strict=True)]
        chunks = tuple(
            rewritten(hit.chunk, text) for hit, text in zip(hits, texts, strict=True) if text
        )
        text = render_context(chunks)
        return Compressed(chunks, text, before, count(text))

    def _loaded(self) -> _Engine:
        if self._engine is None:
            count = self._count or default_count()
            package = load_package(self.model, self.variant, count, self.device)
            self._engine = _engine(package, self.variant)
        return self._engine

    def __repr__(self) -> str:
        return f"LLMLinguaCompressor({self.model!r}, {self.variant!r}, device={self.device!r})"


def _engine(package: Any, variant: Variant) -> _Engine:
    """The package as a function from question, passages and target to its output."""

    def compress(question: str, passages: list[str], target: int) -> str:
        if variant == "llmlingua2":
            answer = package.compress_prompt(list(passages), target_token=target)
        else:
            answer = package.compress_prompt(
                list(passages),
                question=question,
                target_token=target,
                concate_question=False,
                **(_LONG if variant == "longllmlingua" else {}),
            )
        return str(answer["compressed_prompt"])

    return compress
