"""The file format of model prices: read with every mistake named, written one model a line.

The shipped snapshot and a user's own file share it. Rates are US dollars per **million** tokens,
as providers quote them::

    {
      "source": "our contract", "as_of": "2026-11-01",
      "models": {
        "gpt-4o": {"provider": "openai", "mode": "chat", "input": 2.5, "cached_input": 1.25,
                   "output": 10, "batch": {"input": 1.25, "output": 5},
                   "above": {"200000": {"input": 5, "output": 15}}},
        "my-reranker": {"provider": "me", "mode": "rerank", "per_search": "0.002"}
      }
    }

A rate that is left out is unknown, never $0; a true 0 is written as 0. ``region``, ``source``,
``as_of`` and ``confidence`` stand once for the file and may stand again in a model's row.
"""

from __future__ import annotations

import datetime
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from ragopt.cost.model_prices import (
    TOKEN_CLASSES,
    LongContext,
    ModelPrice,
    Rates,
    rate_mapping,
    to_decimal,
)
from ragopt.errors import InputError

__all__ = ["PriceFile", "format_row", "format_rows", "parse_rows"]

MODES = ("chat", "completion", "responses", "embedding", "rerank")
UNIT = "USD per million tokens"
_SHARED = ("source", "as_of", "region", "confidence")
_HEADER = (*_SHARED, "about", "license", "unit", "currency", "models")
_ROW = (*TOKEN_CLASSES, *_SHARED, "provider", "mode", "batch", "above", "per_search")
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_TO_TOKEN = -6  # a million tokens to one, as a shift of the decimal point: exact


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceFile:
    """What a price file holds.

    Args:
        source: the list its rows come from.
        as_of: date of that list.
        rows: one per model, in the order of the file.
    """

    source: str
    as_of: str
    rows: tuple[ModelPrice, ...]


def parse_rows(text: str, *, where: str, confidence: str = "user") -> PriceFile:
    """Read a price file.

    Args:
        text: its JSON.
        where: what to call it in errors.
        confidence: of rows that state none.

    Raises:
        InputError: no JSON, a model given twice, an unknown field, a rate that is no number from
            0 up, a missing date; the message names the model and the field.
    """
    content = _load(text, where)
    _check_fields(content, _HEADER, where)
    for name, expected in (("unit", UNIT), ("currency", "USD")):
        if content.get(name, expected) != expected:
            raise InputError(f"{where}: {name}={content[name]!r}: expected {expected!r}")
    defaults = {"source": where, "region": "global", "confidence": confidence}
    defaults |= {name: content[name] for name in _SHARED if name in content}
    if not _is_date(defaults.get("as_of")):
        raise InputError(
            f"{where}: as_of={defaults.get('as_of')!r}: expected the date of these prices, "
            'such as "2026-11-22"'
        )
    models = content.get("models")
    if not isinstance(models, dict) or not models:
        raise InputError(f'{where}: expected "models": {{name: {{...}}}} with at least one model')
    rows = tuple(
        _parse_row(name, row, f"{where}, model {name!r}", defaults) for name, row in models.items()
    )
    return PriceFile(source=defaults["source"], as_of=defaults["as_of"], rows=rows)


def _load(text: str, where: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1}) if names else []
        if len(set(names)) != len(names):
            raise InputError(f"{where}: {twice[0]!r} is given twice; keep one of them")
        return dict(pairs)

    def refuse(constant: str) -> NoReturn:
        raise InputError(f"{where}: {constant} is no price; expected a finite number")

    try:
        content = json.loads(
            text, parse_float=Decimal, parse_constant=refuse, object_pairs_hook=unique
        )
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not valid JSON ({error}); see ragopt.cost.price_rows") from None
    if not isinstance(content, dict):
        raise InputError(f"{where}: expected a JSON object, got {type(content).__name__}")
    return content


def _is_date(value: Any) -> bool:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return False
    try:
        datetime.date.fromisoformat((value + "-01-01")[:10])
    except ValueError:
        return False
    return True


def _check_fields(row: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for name in row:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise InputError(f"{where}: unknown field {name!r}; {hint}")


def _parse_row(name: str, row: Any, where: str, defaults: Mapping[str, str]) -> ModelPrice:
    _check_object(row, where)
    _check_fields(row, _ROW, where)
    if row.get("mode") not in MODES:
        raise InputError(f"{where}: mode={row.get('mode')!r}: expected one of {', '.join(MODES)}")
    if "as_of" in row and not _is_date(row["as_of"]):
        raise InputError(f"{where}: as_of={row['as_of']!r}: expected a date, YYYY-MM-DD")
    shared = {field: _text({**defaults, **row}, field, where) for field in _SHARED}
    per_search = row.get("per_search")
    price = ModelPrice(
        name=name,
        mode=row["mode"],
        provider=_text(row, "provider", where),
        above=_parse_above(row.get("above", {}), where),
        per_search=None if per_search is None else to_decimal(per_search, f"{where}: per_search"),
        source=shared["source"],
        as_of=shared["as_of"],
        region=shared["region"],
        confidence=shared["confidence"],
        **_parse_rates(row, where),
    )
    if not rate_mapping(price) and per_search is None:
        raise InputError(f"{where}: no price at all; give at least input or per_search")
    return price


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value:
        raise InputError(f"{where}: {field}={value!r}: expected a non-empty string")
    return value


def _check_object(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object of rates, got {value!r}")


def _parse_rates(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    batch = row.get("batch", {})
    _check_object(batch, f"{where}, batch")
    _check_fields(batch, TOKEN_CLASSES, f"{where}, batch")
    rates: dict[str, Any] = {name: row[name] for name in TOKEN_CLASSES if name in row}
    rates |= {f"batch_{name}": value for name, value in batch.items()}
    return {
        name: to_decimal(value, f"{where}: {name}").scaleb(_TO_TOKEN)
        for name, value in rates.items()
    }


def _parse_above(above: Any, where: str) -> tuple[LongContext, ...]:
    _check_object(above, f"{where}, above")
    tiers = []
    for threshold, rates in above.items():
        here = f"{where}, above {threshold}"
        if not re.fullmatch(r"[1-9][0-9]{0,9}", threshold):
            raise InputError(f"{here}: expected a number of tokens, such as {'200000'!r}")
        _check_object(rates, here)
        _check_fields(rates, (*TOKEN_CLASSES, "batch"), here)
        tiers.append(LongContext(above_tokens=int(threshold), **_parse_rates(rates, here)))
    return tuple(sorted(tiers, key=lambda tier: tier.above_tokens))


def format_rows(header: Mapping[str, str], rows: Iterable[ModelPrice]) -> str:
    """Write a price file: sorted, one model a line, what the header says left out of the rows."""
    head = "".join(f"{_quote(name)}: {_quote(value)},\n" for name, value in header.items())
    ordered = sorted(rows, key=lambda row: row.name)
    body = ",\n".join(f"{_quote(row.name)}: {format_row(row, header)}" for row in ordered)
    return f'{{\n{head}"models": {{\n{body}\n}}\n}}\n'


def format_row(row: ModelPrice, shared: Mapping[str, str]) -> str:
    """One row as canonical JSON: equal prices give equal text, however they were written."""
    fields = [f'"provider":{_quote(row.provider)}', f'"mode":{_quote(row.mode)}']
    fields += [
        f"{_quote(name)}:{_quote(getattr(row, name))}"
        for name in _SHARED
        if getattr(row, name) != shared.get(name, {"region": "global"}.get(name))
    ]
    fields += _format_rates(row)
    if row.per_search is not None:
        fields.append(f'"per_search":{_number(row.per_search)}')
    if row.above:
        tiers = [f'"{tier.above_tokens}":{{{",".join(_format_rates(tier))}}}' for tier in row.above]
        fields.append(f'"above":{{{",".join(tiers)}}}')
    return f"{{{','.join(fields)}}}"


def _format_rates(rates: Rates) -> list[str]:
    per_million = {
        name: _number(rate.scaleb(-_TO_TOKEN)) for name, rate in rate_mapping(rates).items()
    }
    fields = [f'"{name}":{value}' for name, value in per_million.items() if name in TOKEN_CLASSES]
    batch = [
        f'"{name.removeprefix("batch_")}":{value}'
        for name, value in per_million.items()
        if name not in TOKEN_CLASSES
    ]
    return [*fields, f'"batch":{{{",".join(batch)}}}'] if batch else fields


def _number(value: Decimal) -> str:
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
