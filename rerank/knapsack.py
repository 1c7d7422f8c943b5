"""Which chunks go into a token budget, and in which form: a multiple-choice knapsack."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["DYNAMIC_ITEMS", "STEP_TOKENS", "choose"]

STEP_TOKENS = 16
DYNAMIC_ITEMS = 64
_NO = np.iinfo(np.int64).max // 4  # the cost of a form that an item does not have


def choose(
    costs: NDArray[np.int64], values: NDArray[np.float64], budget: int
) -> NDArray[np.int64] | None:
    """One form for each item, of the highest value within a budget.

    A dynamic program over steps of `STEP_TOKENS`, each cost rounded up, for up to `DYNAMIC_ITEMS`
    items (Kellerer, Pferschy and Pisinger, 2004, "Knapsack Problems", section 11.5); by density
    beyond, as what the rounding leaves over is filled. Time is linear in items times steps.

    Args:
        costs: (n, forms) tokens; negative for a form that the item does not have. An item that may
            be left out has a form of no cost and no value.
        values: (n, forms), 0 or more.
        budget: tokens.

    Returns:
        (n,) places of the forms; None where even the cheapest forms exceed the budget.
    """
    priced = np.where(costs < 0, _NO, costs)
    cheapest: NDArray[np.int64] = priced.argmin(axis=1).astype(np.int64)
    if not len(costs) or priced[np.arange(len(costs)), cheapest].sum() > budget:
        return None if len(costs) else cheapest
    start = cheapest
    if len(costs) <= DYNAMIC_ITEMS:
        start = _dynamic(priced, values, budget, cheapest)
    return _filled(priced, values, budget, start)


def _dynamic(
    costs: NDArray[np.int64],
    values: NDArray[np.float64],
    budget: int,
    cheapest: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The best forms in whole steps; the cheapest ones where rounding leaves no room for any."""
    # Beyond the sum of the dearest forms no step changes anything.
    dearest = np.where(costs < _NO, costs, 0).max(axis=1)
    steps = min(budget // STEP_TOKENS, int((-(-dearest // STEP_TOKENS)).sum()))
    weights = np.where(costs < _NO, -(-costs // STEP_TOKENS), _NO)
    best = np.zeros(steps + 1)
    taken = np.empty((len(costs), steps + 1), dtype=np.int64)
    for item in range(len(costs)):
        options = np.full((costs.shape[1], steps + 1), -math.inf)
        for form, weight in enumerate(weights[item].tolist()):
            if weight <= steps:
                options[form, weight:] = best[: steps + 1 - weight] + values[item, form]
        taken[item] = options.argmax(axis=0)
        best = options.max(axis=0)
    if not math.isfinite(best[steps]):
        return cheapest
    chosen = np.empty(len(costs), dtype=np.int64)
    left = steps
    for item in range(len(costs) - 1, -1, -1):
        chosen[item] = taken[item, left]
        left -= int(weights[item, chosen[item]])
    return chosen


def _filled(
    costs: NDArray[np.int64],
    values: NDArray[np.float64],
    budget: int,
    start: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Take up dearer forms while they fit, each time the one that gains most a token."""
    chosen: NDArray[np.int64] = start.copy()
    items = np.arange(len(costs))
    left = budget - int(costs[items, chosen].sum())
    while True:
        more = costs - costs[items, chosen][:, None]
        gain = values - values[items, chosen][:, None]
        fits = (more <= left) & (gain > 0)
        if not fits.any():
            return chosen
        density = np.where(fits, gain / np.maximum(more, 1e-9), -1.0)
        item, form = np.unravel_index(int(density.argmax()), density.shape)
        left -= int(more[item, form])
        chosen[item] = form
