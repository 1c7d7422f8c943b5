"""LLMLingua, LongLLMLingua and LLMLingua-2 through the real package.

Jiang et al. (2023), "LLMLingua" (arXiv 2310.05736); Jiang et al. (2024), "LongLLMLingua" (arXiv
2310.06839); Pan et al. (2024), "LLMLingua-2" (arXiv 2403.12968).

llmlingua 0.2.2 needs four things done for it, none of which touches how it chooses words:

- its constructor downloads a tokenizer to report token numbers with: ours counts for it;
- it trusts code that comes with a model unless told otherwise: told otherwise;
- it hands the model key and value caches as plain lists, which transformers 5 takes no more: lists
  are turned into a cache on the way in and back on the way out;
- it does not keep to a budget: it is asked again for less while it is over.

LLMLingua-2 knows its model family by name: the name or folder must contain
``xlm-roberta-large`` or ``bert-base-multilingual-cased``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ragopt.benchmarks.context.methods import Method
from ragopt.chunk import Hit
from ragopt.compress import Compressed, CountTokens
from ragopt.compress.base import check_request
from ragopt.compress.layout import Layout
from ragopt.errors import BackendMissing, InputError

__all__ = ["LINGUA_ENVIRONMENT", "LinguaCompressor", "lingua_methods"]

Variant = Literal["llmlingua", "longllmlingua", "llmlingua2"]

LINGUA_ENVIRONMENT: Mapping[str, str] = {
    "llmlingua": "RAGOPT_LLMLINGUA_MODEL",
    "longllmlingua": "RAGOPT_LLMLINGUA_MODEL",
    "llmlingua2": "RAGOPT_LLMLINGUA2_MODEL",
}
_PURPOSE = "compressing with LLMLingua"
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
        name = str(model)
        if variant == "llmlingua2" and not any(
            family in name for family in ("xlm-roberta-large", "bert-base-multilingual-cased")
        ):
            raise InputError(
                f"model {name!r}: LLMLingua-2 tells words apart by the model's name; expected one "
                "that contains xlm-roberta-large or bert-base-multilingual-cased"
            )
        self._package = _package(name, variant == "llmlingua2", count, device)

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


class _Counted:
    """Stands for the tokenizer that the package counts with."""

    def __init__(self, count: CountTokens) -> None:
        self._count = count

    def encode(self, text: str) -> range:
        return range(self._count(text))


class _ListCaches:
    """A causal model that takes and gives key and value caches as plain lists."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, *args: Any, past_key_values: Any = None, **settings: Any) -> Any:
        cache = import_module("transformers").DynamicCache()
        for layer, (keys, values) in enumerate(past_key_values or ()):
            cache.update(keys, values, layer)
        answer = self._model(*args, past_key_values=cache, **settings)
        found = answer.past_key_values
        if hasattr(found, "layers"):
            answer.past_key_values = [[layer.keys, layer.values] for layer in found.layers]
        return answer


def _package(model: str, second: bool, count: CountTokens, device: str) -> Any:
    """The package's compressor, made without its constructor, which downloads."""
    try:
        kind = import_module("llmlingua").PromptCompressor
    except ImportError as error:
        raise BackendMissing("llmlingua", "models", _PURPOSE) from error
    package = kind.__new__(kind)
    package.model_name = model
    package.use_llmlingua2 = second
    package.retrieval_model = package.retrieval_model_name = None
    package.open_api_config = {}
    package.cache_bos_num, package.prefix_bos_num = 10, 100
    package.oai_tokenizer = _Counted(count)
    try:
        package.load_model(model, device, {"trust_remote_code": False})
        if second:
            package.init_llmlingua2()
        else:
            package.model = _ListCaches(package.model)
    except Exception as error:
        raise InputError(
            f"model {model!r} could not be loaded ({error}); expected a hub name that can be "
            "downloaded or is cached, or a folder with a saved model"
        ) from error
    return package
