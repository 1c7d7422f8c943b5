"""The knapsack against trying every choice."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.rerank import knapsack
from ragopt.rerank.knapsack import DYNAMIC_ITEMS, STEP_TOKENS, choose

item = st.tuples(
    st.integers(1, 120), st.integers(-1, 60), st.booleans(), st.floats(0.01, 1), st.floats(0.01, 1)
)


def table(items: list[tuple[int, int, bool, float, float]]) -> tuple[np.ndarray, np.ndarray]:
    costs = [[-1 if forced else 0, short, whole] for whole, short, forced, _, _ in items]
    values = [[0.0, share * worth, worth] for _, _, _, worth, share in items]
    return np.array(costs, dtype=np.int64), np.array(values, dtype=np.float64)


def every_choice(costs: np.ndarray, values: np.ndarray, budget: int) -> float | None:
    """The highest value of all choices within the budget; None where there is none."""
    best = None
    for forms in product(*(np.flatnonzero(row >= 0).tolist() for row in costs)):
        places = np.arange(len(costs)), np.array(forms)
        if costs[places].sum() <= budget:
            value = float(values[places].sum())
            best = value if best is None else max(best, value)
    return best


@given(st.lists(item, min_size=1, max_size=6), st.integers(0, 400))
def test_it_is_within_the_budget_and_no_worse_than_the_best_in_whole_steps(
    items: list[tuple[int, int, bool, float, float]], budget: int
) -> None:
    costs, values = table(items)
    found = choose(costs, values, budget)
    best = every_choice(costs, values, budget)
    if best is None:
        assert found is None
        return
    assert found is not None
    places = np.arange(len(costs)), found
    assert (costs[places] >= 0).all()
    assert costs[places].sum() <= budget
    stepped = np.where(costs < 0, -1, -(-costs // STEP_TOKENS) * STEP_TOKENS)
    in_steps = every_choice(stepped, values, budget // STEP_TOKENS * STEP_TOKENS)
    value = float(values[places].sum())
    assert value <= best + 1e-9
    assert in_steps is None or value >= in_steps - 1e-9


@given(st.lists(item, min_size=1, max_size=6), st.integers(0, 25))
def test_costs_in_whole_steps_are_packed_best(
    items: list[tuple[int, int, bool, float, float]], steps: int
) -> None:
    costs, values = table(items)
    costs = np.where(costs < 0, costs, costs * STEP_TOKENS)
    found = choose(costs, values, steps * STEP_TOKENS)
    best = every_choice(costs, values, steps * STEP_TOKENS)
    if found is None:
        assert best is None
    else:
        assert float(values[np.arange(len(costs)), found].sum()) == pytest.approx(best)


def test_room_that_the_steps_leave_over_is_filled() -> None:
    costs = np.array([[0, -1, 17], [0, -1, 15]])
    values = np.array([[0, 0, 1.0], [0, 0, 0.1]])
    assert choose(costs, values, 32).tolist() == [2, 2]  # 17 tokens are two steps of 16


@pytest.mark.parametrize("items", [DYNAMIC_ITEMS - 1, DYNAMIC_ITEMS, DYNAMIC_ITEMS + 1, 300])
def test_many_items_stay_within_the_budget(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(items)
    whole = rng.integers(50, 300, items)
    costs = np.column_stack([np.zeros(items, dtype=np.int64), whole // 2, whole])
    worth = rng.random(items)
    values = np.column_stack([np.zeros(items), 0.8 * worth, worth])
    budget = int(whole.sum() // 3)
    found = choose(costs, values, budget)
    assert found is not None
    spent = int(costs[np.arange(items), found].sum())
    assert budget - 300 <= spent <= budget
    monkeypatch.setattr(knapsack, "DYNAMIC_ITEMS", 1_000)
    exact = choose(costs, values, budget)
    assert exact is not None
    gained, best = (float(values[np.arange(items), one].sum()) for one in (found, exact))
    assert gained >= 0.97 * best  # density is near the best where items are many and small


def test_nothing_to_choose() -> None:
    none = np.empty((0, 3), dtype=np.int64)
    assert choose(none, np.empty((0, 3)), 0).tolist() == []
    assert choose(np.array([[-1, -1, 5]]), np.array([[0, 0, 1.0]]), 4) is None
    assert choose(np.array([[0, -1, 5]]), np.array([[0, 0, 0.0]]), 9).tolist() == [0]
