"""Price changes apart from usage changes: HEAD's bill at BASE's prices, where bills allow it.

A savings result holds, of every lever, quantities (tokens, bytes, milliseconds) and what they
cost. Unit prices follow from those: each infrastructure part is one price times one quantity, and
the tokens of all levers are two prices (input, output) times two quantities each. A result whose
own bills such prices do not reproduce (cached-token rates, tiers) is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ragopt.benchmarks.diff.read import options_of
from ragopt.benchmarks.rows import BenchResult

__all__ = ["at_prices_of", "price_changes", "unit_prices"]

_TOKENS = ("input_tokens", "output_tokens")
_PARTS = {"ram": "ram_bytes_per_vector", "disk": "disk_bytes_per_vector", "vcpu": "ms"}
_TITLES = {
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "ram_bytes_per_vector": "RAM",
    "disk_bytes_per_vector": "disk",
    "ms": "vCPU",
}
_FIT = 1e-6
_ROUNDED = 2e-3  # whole bytes are billed: a share of up to this at the smallest loads


def price_changes(base: BenchResult, head: BenchResult) -> list[str]:
    """What differs between the prices of two results, in words; empty where nothing does."""
    before, after = _ids(base), _ids(head)
    found = [
        f"{name} {before.get(name, 'unknown')} → {after.get(name, 'unknown')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    old, new = _comparable(base, head)
    moved = [
        f"{_TITLES[name]} {new[name] / old[name] - 1:+.1%}"
        for name in _TITLES
        if old.get(name) and new.get(name)
        if abs(new[name] / old[name] - 1) > _ROUNDED
    ]
    return found + moved


def at_prices_of(base: BenchResult, head: BenchResult) -> dict[str, float]:
    """Dollar rows of HEAD as they would be at BASE's prices, by name; those that can be known."""
    prices, _ = _comparable(base, head)
    if not prices:
        return {}
    bills = {str(lever["name"]): _total(lever, prices) for lever in _levers(head)}
    baseline = bills.get("baseline")
    if not baseline:
        return {}
    return {
        f"savings/{name}/usd_ratio": total / baseline
        for name, total in bills.items()
        if total is not None
    }


def _comparable(base: BenchResult, head: BenchResult) -> tuple[dict[str, float], dict[str, float]]:
    """Unit prices of both; none where either's are not known, or hold for another load."""
    before, after = unit_prices(base), unit_prices(head)
    if before is None or after is None or _load(base) != _load(head):
        return {}, {}
    return before, after


def _load(result: BenchResult) -> dict[str, Any]:
    return {name: value for name, value in options_of(result).items() if name.startswith("load.")}


def unit_prices(result: BenchResult) -> dict[str, float] | None:
    """US dollars a month of one unit of each quantity at the result's load.

    Returns:
        None where the result holds no bills, or bills that unit prices do not reproduce.
    """
    try:
        levers = _levers(result)
        tokens = _token_prices(levers)
        parts = {quantity: _part_price(levers, part) for part, quantity in _PARTS.items()}
    except (KeyError, TypeError, ValueError):
        return None
    if tokens is None or not all(np.isfinite(price) for price in parts.values()):
        return None
    return {**tokens, **{name: price for name, price in parts.items() if price}}


def _levers(result: BenchResult) -> list[Mapping[str, Any]]:
    details = result.details
    if "baseline" not in details:
        return []
    return [
        details["baseline"],
        *details["levers"],
        details["combined"],
        details["without_cache"],
    ]


def _token_prices(levers: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    amounts = np.array([[float(lever[name]) for name in _TOKENS] for lever in levers])
    bills = np.array([float(lever["bill"]["tokens"]) for lever in levers])
    if len(levers) < 2 or not (np.isfinite(amounts).all() and np.isfinite(bills).all()):
        return None
    prices, _, rank, _ = np.linalg.lstsq(amounts, bills, rcond=None)
    misfit = float(np.abs(amounts @ prices - bills).max())
    if rank < len(_TOKENS) or misfit > _FIT * float(np.abs(bills).max()):
        return None
    return dict(zip(_TOKENS, (float(price) for price in prices), strict=True))


def _part_price(levers: Sequence[Mapping[str, Any]], part: str) -> float:
    """Of one unit; 0 where no lever has any of it, NaN where one price does not fit all."""
    amounts = np.array([float(lever[_PARTS[part]]) for lever in levers])
    bills = np.array([float(lever["bill"][part]) for lever in levers])
    most = int(np.argmax(amounts))
    if not amounts[most]:
        return 0.0 if not bills.any() else float("nan")
    price = bills[most] / amounts[most]
    fits = np.abs(amounts * price - bills).max() <= _ROUNDED * np.abs(bills).max()
    return float(price) if fits else float("nan")


def _total(lever: Mapping[str, Any], prices: Mapping[str, float]) -> float | None:
    """A bill at given prices; None where it has something without a price."""
    amounts = {name: float(lever[name]) for name in (*_TOKENS, *_PARTS.values())}
    if any(amount and name not in prices for name, amount in amounts.items()):
        return None
    return sum(amount * prices.get(name, 0.0) for name, amount in amounts.items())


def _ids(result: BenchResult) -> dict[str, str]:
    """Id and hash of the prices that a result was billed at."""
    prices = result.about.get("prices")
    named = {
        "price": result.about.get("price"),
        "price hash": prices.get("hash") if isinstance(prices, Mapping) else None,
    }
    return {name: str(value) for name, value in named.items() if value is not None}
