"""Model prices out of installed price lists: litellm's JSON file and the genai-prices package.

litellm is never imported (its import takes seconds and pulls in dozens of packages): its price
list is read as a file of the installed distribution.
"""

from __future__ import annotations

import datetime
import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ragopt.cost.model_prices import LongContext, ModelPrice
from ragopt.cost.price_rows import MODES
from ragopt.errors import BackendMissing, InputError

__all__ = ["genai_rows", "installed_file", "litellm_entries", "litellm_row", "litellm_rows"]

_LITELLM_FILE = re.compile(r"litellm/model_prices_and_context_window[^/]*\.json")

_LITELLM_RATES = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "output": "output_cost_per_token",
}
_LITELLM_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")

# Names of one biller under several labels of litellm.
_LITELLM_PROVIDERS = {
    "text-completion-openai": "openai",
    "azure_text": "azure",
    "bedrock_converse": "bedrock",
    "bedrock_mantle": "bedrock",
    "cohere_chat": "cohere",
    "fireworks_ai-embedding-models": "fireworks_ai",
}
_REGION = re.compile(
    r"(?:bedrock(?:_mantle)?/|azure(?:_ai)?/)?"
    r"(us-gov(?:-\w+-\d)?|(?:us|eu|ap|ca|sa|me|af)-\w+-\d|us|eu|apac|jp|au|ca|sa)[./]"
)


def installed_file(
    distribution: str, pattern: re.Pattern[str], *, extra: str, purpose: str, site: Path | None
) -> tuple[str, Path]:
    """Version of an installed distribution and the path of the file of it that matches.

    Args:
        distribution: its name.
        pattern: matched against its files' whole paths, POSIX style.
        extra: named in the error.
        purpose: named in the error.
        site: the folder it is installed in; the running interpreter's path when ``None``.

    Raises:
        BackendMissing: not installed.
        InputError: installed without such a file.
    """
    import importlib.metadata

    where = sys.path if site is None else [str(site)]
    found = next(iter(importlib.metadata.distributions(name=distribution, path=where)), None)
    if found is None:
        raise BackendMissing(distribution, extra, purpose)
    for file in sorted(found.files or (), key=str):
        path = Path(str(found.locate_file(file)))
        if pattern.fullmatch(file.as_posix()) and path.is_file():
            return found.version, path
    raise InputError(
        f"{distribution} {found.version} is installed but holds no file {pattern.pattern}; "
        "install another version of it"
    )


def litellm_entries(site: Path | None = None) -> tuple[str, dict[str, dict[str, Any]]]:
    """Version of the installed litellm and its raw price list, its numbers as `Decimal`.

    Raises:
        BackendMissing: litellm is not installed.
        InputError: its list is missing or no JSON object.
    """
    version, path = installed_file(
        "litellm", _LITELLM_FILE, extra="litellm", purpose="PriceSheet.from_litellm()", site=site
    )
    try:
        entries = json.loads(path.read_text("utf-8"), parse_float=Decimal)
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); install litellm again") from None
    if not isinstance(entries, dict):
        raise InputError(f"{path}: expected a JSON object; install another version of litellm")
    return version, {name: entry for name, entry in entries.items() if isinstance(entry, dict)}


def litellm_rows(
    entries: Mapping[str, Mapping[str, Any]], *, source: str, as_of: str
) -> Iterator[ModelPrice]:
    """The rows that entries of litellm's list give; entries without a usable price give none."""
    for name, entry in entries.items():
        row = litellm_row(name, entry, source=source, as_of=as_of)
        if row is not None:
            yield row


def litellm_row(
    name: str, entry: Mapping[str, Any], *, source: str, as_of: str
) -> ModelPrice | None:
    """One entry of litellm's list as a row, or ``None`` when it gives no usable price.

    Traps met on the way: 0.0 stands for "not per token" (rerankers, whose true price is per
    query) as well as for "free", so 0 is read as unknown; batch rates are taken only where they
    are listed; tiers listed as ``tiered_pricing`` are another scheme, so such entries are left
    out rather than priced by their first tier.
    """
    mode = entry.get("mode")
    provider = entry.get("litellm_provider")
    if mode not in MODES or not isinstance(provider, str) or "tiered_pricing" in entry:
        return None
    base = _litellm_rates(entry, "")
    if "cached_input" not in base and (hit := _positive(entry, "input_cost_per_token_cache_hit")):
        base["cached_input"] = hit
    per_search = _positive(entry, "input_cost_per_query") if mode == "rerank" else None
    if not ({"input", "output"} & base.keys()) and per_search is None:
        return None
    return ModelPrice(
        name=name,
        provider=_litellm_provider(provider),
        mode=mode,
        source=source,
        as_of=as_of,
        region=_region(name, provider),
        confidence="upper" if "off_peak_pricing" in entry else "listed",
        above=tuple(_litellm_above(entry, base)),
        per_search=per_search,
        **base,
    )


def _litellm_provider(label: str) -> str:
    return "vertex_ai" if label.startswith("vertex_ai") else _LITELLM_PROVIDERS.get(label, label)


def _region(name: str, provider: str) -> str:
    found = _REGION.match(name) if provider.startswith(("bedrock", "azure")) else None
    return found[1] if found else "global"


def _positive(entry: Mapping[str, Any], key: str) -> Decimal | None:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float):
        return None
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return number if number.is_finite() and number > 0 else None


def _litellm_rates(entry: Mapping[str, Any], above: str) -> dict[str, Any]:
    rates: dict[str, Any] = {}
    for name, key in _LITELLM_RATES.items():
        for prefix, suffix in (("", ""), ("batch_", "_batches")):
            if (value := _positive(entry, f"{key}{above}{suffix}")) is not None:
                rates[prefix + name] = value
    return rates


def _litellm_above(entry: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[LongContext]:
    found = (_LITELLM_ABOVE.fullmatch(key) for key in entry)
    for thousands in sorted({int(match[1]) for match in found if match}):
        rates = _litellm_rates(entry, f"_above_{thousands}k_tokens")
        # Some entries list a long-context price of a class that the model does not have.
        kept = {name: rate for name, rate in rates.items() if name in base}
        if kept:
            yield LongContext(above_tokens=thousands * 1000, **kept)


_GENAI_RATES = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "output": "output_mtok",
}
_GENAI_PROVIDERS = {
    "google": "gemini",
    "aws": "bedrock",
    "x-ai": "xai",
    "together": "together_ai",
    "fireworks": "fireworks_ai",
    "voyageai": "voyage",
}
# Makers of the models they sell: their rows carry the bare model name, resellers' a prefix.
_MAKERS = frozenset(
    {
        "anthropic",
        "cohere",
        "deepseek",
        "gemini",
        "mistral",
        "moonshotai",
        "openai",
        "voyage",
        "xai",
    }
)


def genai_rows(at: datetime.datetime) -> tuple[str, list[ModelPrice]]:
    """Version of the installed genai-prices and the rows in force at a moment.

    Args:
        at: genai-prices keeps the history of prices; this picks from it.

    Raises:
        BackendMissing: genai-prices is not installed.
    """
    try:
        providers = importlib.import_module("genai_prices.data").providers
    except ImportError as error:
        raise BackendMissing("genai-prices", "prices", "PriceSheet.from_genai_prices()") from error
    from importlib.metadata import version as version_of

    version = version_of("genai-prices")
    rows: dict[str, ModelPrice] = {}
    for provider in providers:
        biller = _GENAI_PROVIDERS.get(provider.id, provider.id)
        for model in provider.models:
            full = f"{biller}/{model.id}"
            name = model.id if biller in _MAKERS and model.id not in rows else full
            row = _genai_row(name, biller, model, at, source=f"genai-prices {version}")
            if row is not None:
                rows[name] = row
    return version, list(rows.values())


def _genai_row(
    name: str, biller: str, model: Any, at: datetime.datetime, *, source: str
) -> ModelPrice | None:
    prices = model.get_prices(at)
    if getattr(prices, "requests_kcount", None):
        return None  # billed per request on top: tokens alone would bill too little
    listed = _genai_listed(prices, "")
    for variant in getattr(model, "price_variants", None) or ():
        active = variant.constraint is None or variant.constraint.active(at)
        if active and variant.when == {"processing": "batch"}:
            listed = _genai_listed(variant.prices, "batch_") | listed
    if not ({"input", "output"} & listed.keys()):
        return None
    thresholds = {tier.start for price in listed.values() for tier in _tiers(price)} - {0}
    embeds = "output" not in listed and "embed" in model.id
    return ModelPrice(
        name=name,
        provider=biller,
        mode="rerank" if "rerank" in model.id else "embedding" if embeds else "chat",
        source=source,
        as_of=at.date().isoformat(),
        above=tuple(
            LongContext(above_tokens=start, **_genai_rates(listed, start))
            for start in sorted(thresholds)
        ),
        **_genai_rates(listed, 0),
    )


def _genai_listed(prices: Any, prefix: str) -> dict[str, Any]:
    """What a set of prices lists, by the names of our rates; per million tokens."""
    found = {prefix + name: getattr(prices, key, None) for name, key in _GENAI_RATES.items()}
    return {name: price for name, price in found.items() if price is not None}


def _tiers(price: Any) -> Sequence[Any]:
    return getattr(price, "tiers", ())


def _genai_rates(listed: Mapping[str, Any], above: int) -> dict[str, Any]:
    """Rates per token above a threshold; a class without tiers keeps its price at any length."""
    rates: dict[str, Any] = {}
    for name, price in listed.items():
        steps = [tier.price for tier in _tiers(price) if tier.start <= above]
        rates[name] = Decimal(steps[-1] if steps else getattr(price, "base", price)).scaleb(-6)
    return rates
