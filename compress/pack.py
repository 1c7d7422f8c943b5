"""Filling a token budget with segments, in the order in which they are wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ragopt.compress.base import Compressed, CountTokens, render_context
from ragopt.compress.duplicates import NearDuplicates
from ragopt.compress.layout import Layout

__all__ = ["Packer"]

_SEPARATOR_TOKENS = 1
# Estimated and exact prices of single sentences differ by about 10 % on average.
_DOUBT = 1.15
_SLACK_TOKENS = 4
_GREAT_DOUBT = 2.0
_MOST_NEAR_MISSES = 8
_WHOLE = -1


@dataclass(slots=True)
class Packer:
    """Takes segments while they fit.

    A first pass prices segments by their length, since counting each of them would cost more
    than all the rest; then the whole is counted, the least wanted is given back if it is too
    much, and a second pass fills what is left at exact prices.

    Args:
        layout: the segments to choose from.
        count: token counter.
        budget: tokens of the rendered context, titles and separators included.
        tokens_before: tokens of the whole context.
        duplicates: told about what is taken; what repeats it is passed over.
        companion: asked when a segment is taken; what it names goes along if it fits.
        companion_budget: tokens of ``budget`` that may go to companions.
    """

    layout: Layout
    count: CountTokens
    budget: int
    tokens_before: int
    duplicates: NearDuplicates | None = None
    companion: Callable[[int], int | None] = lambda number: None  # noqa: ARG005
    companion_budget: int = 0
    taken: set[int] = field(default_factory=set)
    _groups: list[tuple[list[int], int]] = field(default_factory=list)
    _chunk_uses: dict[int, int] = field(default_factory=dict)
    _densities: dict[int, float] = field(default_factory=dict)
    _used: int = 0
    _exact: int | None = None

    def price(self, members: Iterable[int]) -> int:
        """Estimated tokens that ``members`` add, titles of chunks not yet open included."""
        layout = self.layout
        total = 0.0
        opened: set[int] = set()
        for number in members:
            chunk = layout.chunk_of[number]
            found = layout.segments[number]
            chars = found.end - found.start
            if chunk not in self._chunk_uses and chunk not in opened:
                opened.add(chunk)
                chars += len(layout.chunks[chunk].title)
            total += chars * self._density(chunk) + _SEPARATOR_TOKENS
        return math.ceil(total)

    def fits_alone(self, number: int) -> bool:
        """Whether a segment with all it leads back to is within the budget, counted exactly."""
        members = self.layout.closure(number)
        if self.price(members) > self.budget * _GREAT_DOUBT:
            return False
        return self.count(render_context(self.layout.keep(members))) <= self.budget

    def take(self, number: int) -> None:
        """Take a segment and all it leads back to, whether it fits or not."""
        members = self._missing(number)
        self._take(members, self.price(members))
        self._take_companion(number)

    def fill(self, order: Sequence[int], *, stop_at_misfit: bool = False) -> None:
        """Take what fits of ``order``, best first.

        Args:
            order: numbers of segments, the most wanted first.
            stop_at_misfit: end at the first one that does not fit instead of passing over it.

        The first segment taken stays, even if it alone is over the budget.
        """
        self._fill(order, exact=False, stop_at_misfit=stop_at_misfit)
        self._give_back()
        self._used = self._count_taken()
        self._fill(order, exact=True, stop_at_misfit=stop_at_misfit)
        self._give_back()

    def result(self) -> Compressed:
        """The chunks with only what was taken."""
        chunks = self.layout.keep(self.taken)
        return Compressed(chunks, render_context(chunks), self.tokens_before, self._count_taken())

    def _fill(self, order: Sequence[int], *, exact: bool, stop_at_misfit: bool) -> None:
        near_misses = 0
        for number in order:
            if number in self.taken:
                continue
            left = self.budget - self._used
            if left <= 0 or near_misses == _MOST_NEAR_MISSES:
                return
            members = self._missing(number)
            price = self.price(members)
            if exact and price <= left * _DOUBT + _SLACK_TOKENS:
                price = self._exact_price(members)
                near_misses += price > left
            if price > left:
                # An estimate that is off by little is for the exact pass to decide.
                if stop_at_misfit or (not exact and price <= left * _GREAT_DOUBT):
                    return
            elif self.duplicates is None or number not in self.duplicates:
                self._take(members, price)
                self._take_companion(number)

    def _take_companion(self, number: int) -> None:
        companion = self.companion(number)
        if companion is None or companion in self.taken:
            return
        members = self._missing(companion)
        price = self.price(members)
        if price <= min(self.companion_budget, self.budget - self._used):
            self.companion_budget -= price
            self._take(members, price)

    def _missing(self, number: int) -> list[int]:
        return [one for one in self.layout.closure(number) if one not in self.taken]

    def _take(self, members: list[int], price: int) -> None:
        self._exact = None
        self._used += price
        self._groups.append((members, price))
        for number in members:
            self.taken.add(number)
            chunk = self.layout.chunk_of[number]
            self._chunk_uses[chunk] = self._chunk_uses.get(chunk, 0) + 1
            if self.duplicates is not None:
                self.duplicates.add(number)

    def _exact_price(self, members: list[int]) -> int:
        """Counted tokens of ``members``, all of one chunk."""
        part = self.layout.keep(members)[0]
        is_open = self.layout.chunk_of[members[0]] in self._chunk_uses
        return self.count(part.text if is_open else part.rendered) + _SEPARATOR_TOKENS

    def _density(self, chunk: int) -> float:
        """Tokens per character: of the whole context, or of a chunk in another script."""
        density = self._densities.get(chunk)
        if density is None:
            text = self.layout.chunks[chunk].text
            density = self._whole_density() if text.isascii() else self.count(text) / len(text)
            self._densities[chunk] = density
        return density

    def _whole_density(self) -> float:
        if _WHOLE not in self._densities:
            self._densities[_WHOLE] = self.tokens_before / len(self.layout.full_text())
        return self._densities[_WHOLE]

    def _count_taken(self) -> int:
        if self._exact is None:
            self._exact = self.count(render_context(self.layout.keep(self.taken)))
        return self._exact

    def _give_back(self) -> None:
        """Drop the least wanted groups until the exact count is within the budget."""
        while len(self._groups) > 1 and (over := self._count_taken() - self.budget) > 0:
            freed = 0
            while len(self._groups) > 1 and freed < over:
                members, price = self._groups.pop()
                freed += price
                self._drop(members)
            self._exact = None

    def _drop(self, members: list[int]) -> None:
        for number in members:
            self.taken.remove(number)
            if self.duplicates is not None:
                self.duplicates.discard(number)
            chunk = self.layout.chunk_of[number]
            self._chunk_uses[chunk] -= 1
            if not self._chunk_uses[chunk]:
                del self._chunk_uses[chunk]
