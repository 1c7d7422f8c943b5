"""Chunks within a token budget: whole, shortened or left out; the floor's never left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragopt.rerank.knapsack import choose
from ragopt.rerank.tightened import Kept

__all__ = ["Item", "pack"]

# Share of its worth that a shortened chunk keeps. The extractive compressor leaves 81 % (MuSiQue)
# to 99.7 % (HotpotQA) of the marked evidence at half the tokens; this is the least of four sets.
_SHORTER_WORTH = 0.8


@dataclass(frozen=True, slots=True)
class Item:
    """A chunk that wants to go in.

    Args:
        whole: as it is.
        worth: of the whole chunk, 0 or more.
        shorter: as a compressor leaves it; None where there is no shorter form.
        forced: it may be shortened, not left out.
    """

    whole: Kept
    worth: float
    shorter: Kept | None
    forced: bool


def pack(items: Sequence[Item], budget: int, *, between: int) -> list[Kept | None]:
    """What goes in of each item, of the highest worth within a budget.

    Forced items come first: they are shortened only where they do not fit whole by themselves, and
    all others go before that. Where even their shortest forms are too much, these are returned,
    and the budget is exceeded.

    Args:
        items: in any order.
        budget: tokens.
        between: tokens between two chunks.

    Returns:
        A form for each item; None where it is left out.
    """
    # Each item pays for the blank line after it; the last one has none.
    room = budget + between
    forced = [place for place, item in enumerate(items) if item.forced]
    free = [place for place, item in enumerate(items) if not item.forced]
    found: list[Kept | None] = [None] * len(items)
    whole = sum(items[place].whole.tokens + between for place in forced)
    if whole <= room:
        for place in forced:
            found[place] = items[place].whole
        _fill(found, items, free, room - whole, between)
    elif not _fill(found, items, forced, room, between):
        for place in forced:
            found[place] = _shortest(items[place])
    return found


def _fill(
    found: list[Kept | None], items: Sequence[Item], places: Sequence[int], room: int, between: int
) -> bool:
    """Choose forms for some items within the room; False where nothing fits."""
    rows = [_forms(items[place], between) for place in places]
    if not rows:
        return True
    costs = np.array([row[0] for row in rows], dtype=np.int64)
    values = np.array([row[1] for row in rows], dtype=np.float64)
    chosen = choose(costs, values, room)
    if chosen is None:
        return False
    for place, form in zip(places, chosen.tolist(), strict=True):
        found[place] = (None, items[place].shorter, items[place].whole)[form]
    return True


def _forms(item: Item, between: int) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Costs and values of the three forms; a negative cost where there is none."""
    short = -1 if item.shorter is None else item.shorter.tokens + between
    return (
        (-1 if item.forced else 0, short, item.whole.tokens + between),
        (0.0, _SHORTER_WORTH * item.worth, item.worth),
    )


def _shortest(item: Item) -> Kept:
    return item.shorter or item.whole
