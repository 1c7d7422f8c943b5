"""LLMLingua, LongLLMLingua and LLMLingua-2 through the real package.

Jiang et al. (2023), "LLMLingua" (arXiv 2310.05736); Jiang et al. (2024), "LongLLMLingua" (arXiv
2310.06839); Pan et al. (2024), "LLMLingua-2" (arXiv 2403.12968).

As the package comes, so that it is measured and not what the library makes of it: without fences,
words in pieces and all (`ragopt.compress.LLMLinguaCompressor` mends both). Only that it does not
keep to a budget is made up for: it is asked again for less while it is over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ragopt.benchmarks.context.methods import Method
from ragopt.chunk import Hit
from ragopt.compress import Compressed, CountTokens
from ragopt.compress.base import check_request
from ragopt.compress.layout import Layout
from ragopt.compress.lingua_package import Variant, check_family, load_package
from ragopt.errors import InputError

__all__ = ["LINGUA_ENVIRONMENT", "LinguaCompressor", "lingua_methods"]

LINGUA_ENVIRONMENT: Mapping[str, str] = {
    "llmlingua": "RAGOPT_LLMLINGUA_MODEL",
    "longllmlingua": "RAGOPT_LLMLINGUA_MODEL",
    "llmlingua2": "RAGOPT_LLMLINGUA2_MODEL",
}
_NOTE = (
    "drops words inside sentences, so verbatim evidence is lost by construction; see answer_kept"
)
# LongLLMLingua's own settings, from its documentation.
_LONG: Mapping[str, Any] = {
    "rank_method": "longllmlingua",
    "condition_in_question": "after_condition",
    "reorder_context": "sort",
    "dynamic_context_compression_ratio": 0.3,
    "condition_compare": True,
    "context_budget": "+100",
}
_ATTEMPTS = 5
_MARGIN = 0.95


def lingua_methods(
    models: Mapping[str, str], count: CountTokens, *, device: str
) -> dict[str, Method]:
    """The three variants, by name.

    Args:
        models: variant to hub name or folder, before what the environment names.
        count: token counter.
        device: ``"cpu"``, ``"cuda"``, …
    """
    variants: tuple[Variant, ...] = ("llmlingua", "longllmlingua", "llmlingua2")
    return {
        variant: Method(
            make=partial(_make, variant, models.get(variant, ""), count, device),
            cost="model",
            notes={"": _NOTE},
        )
        for variant in variants
    }


def _make(variant: Variant, model: str, count: CountTokens, device: str) -> LinguaCompressor:
    variable = LINGUA_ENVIRONMENT[variant]
    named = model or os.environ.get(variable, "")
    if not named:
        raise InputError(
            f"no weights: name a model or a local folder in {variable} or in the options"
        )
    return LinguaCompressor(named, variant=variant, count=count, device=device)


class LinguaCompressor:
    """One variant with one model.

    Args:
        model: hub name or local folder.
        variant: which of the three.
        count: token counter; budgets are kept by it.
        device: of the model.
        attempts: calls to get within a budget; the longest output within it is returned, else the
            shortest of all.

    Raises:
        BackendMissing: llmlingua is not installed.
        InputError: the model cannot be loaded, or is of no family that LLMLingua-2 knows.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        variant: Variant,
        count: CountTokens,
        device: str = "cpu",
        attempts: int = _ATTEMPTS,
    ) -> None:
        self._variant = variant
        self._count = count
        self.attempts = attempts
        check_family(str(model), variant)
        self._package = load_package(str(model), variant, count, device)

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        """Compress to a budget, by default half of the tokens; the text is all there is."""
        check_request(hits, max_tokens)
        before = self._count(Layout(hits).full_text())
        budget = max_tokens or max(1, before // 2)
        passages = [_rendered(hit) for hit in hits]
        target = float(budget)
        texts: list[tuple[int, str]] = []
        for _ in range(self.attempts):
            text = self._call(query, passages, target)
            texts.append((self._count(text), text))
            if texts[-1][0] <= budget:
                break
            target *= max(0.2, _MARGIN * budget / texts[-1][0])
        within = [found for found in texts if found[0] <= budget]
        tokens, text = max(within) if within else min(texts)
        return Compressed((), text, before, tokens)

    def _call(self, query: str, passages: list[str], target: float) -> str:
        wanted = max(1, int(target))
        if self._variant == "llmlingua2":
            answer = self._package.compress_prompt(list(passages), target_token=wanted)
        else:
            settings = _LONG if self._variant == "longllmlingua" else {}
            answer = self._package.compress_prompt(
                list(passages),
                question=query,
                target_token=wanted,
                concate_question=False,
                **settings,
            )
        return str(answer["compressed_prompt"])

    def __repr__(self) -> str:
        return f"LinguaCompressor({self._variant!r})"


def _rendered(hit: Hit) -> str:
    title, text = hit.chunk.title, hit.chunk.text
    return f"{title}\n{text}" if title else text
