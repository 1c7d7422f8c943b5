"""The llmlingua package, made to run offline and with today's transformers.

Jiang et al. (2023), "LLMLingua" (arXiv 2310.05736); Jiang et al. (2024), "LongLLMLingua" (arXiv
2310.06839); Pan et al. (2024), "LLMLingua-2" (arXiv 2403.12968).

llmlingua 0.2.2 needs three things done for it, none of which touches how it chooses words:

- its constructor downloads a tokenizer to report token numbers with: ours counts for it;
- it trusts code that comes with a model unless told otherwise: told otherwise;
- it hands the model key and value caches as plain lists, which transformers 5 takes no more: lists
  are turned into a cache on the way in and back on the way out.

LLMLingua-2 knows its model family by name: the name or folder must contain
``xlm-roberta-large`` or ``bert-base-multilingual-cased``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal, get_args

from ragopt.compress.base import CountTokens
from ragopt.errors import InputError
from ragopt.optional import import_backend

__all__ = ["VARIANTS", "Variant", "check_family", "load_package"]

Variant = Literal["llmlingua", "longllmlingua", "llmlingua2"]

VARIANTS: tuple[Variant, ...] = get_args(Variant)
_PURPOSE = "compressing with LLMLingua"
_FAMILIES = ("xlm-roberta-large", "bert-base-multilingual-cased")


def check_family(model: str, variant: Variant) -> None:
    """Refuse a model whose words LLMLingua-2 could not tell apart.

    Raises:
        InputError: LLMLingua-2 with a model that has no family's name in its own.
    """
    if variant == "llmlingua2" and not any(family in model for family in _FAMILIES):
        raise InputError(
            f"model {model!r}: LLMLingua-2 tells words apart by the model's name; expected one "
            f"that contains {' or '.join(_FAMILIES)}"
        )


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


def load_package(model: str, variant: Variant, count: CountTokens, device: str) -> Any:
    """The package's compressor, made without its constructor, which downloads.

    Args:
        model: hub name or local folder.
        variant: which of the three.
        count: counts the tokens that the package reports.
        device: of the model.

    Raises:
        BackendMissing: llmlingua is not installed.
        InputError: the model cannot be loaded.
    """
    kind = import_backend("llmlingua", "llmlingua", _PURPOSE).PromptCompressor
    second = variant == "llmlingua2"
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
