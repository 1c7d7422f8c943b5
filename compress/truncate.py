"""The controls at equal budget: what a compressor has to beat to be worth its trouble."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence

from ragopt.chunk import Hit
from ragopt.compress.base import (
    Compressed,
    CountTokens,
    check_request,
    default_count,
    unchanged,
)
from ragopt.compress.layout import Layout
from ragopt.compress.pack import Packer
from ragopt.errors import InputError

__all__ = ["RandomSentences", "Truncate"]


class _Control(ABC):
    """Fills the budget in an order that does not look at the query's words."""

    _stop_at_misfit = False

    def __init__(self, *, keep_ratio: float = 0.5, count: CountTokens | None = None) -> None:
        if not 0 < keep_ratio <= 1:
            raise InputError(f"keep_ratio={keep_ratio!r}: expected above 0, at most 1")
        self.keep_ratio = keep_ratio
        self._count = count

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        """Fill the budget; at least one segment is kept even if it is over the budget.

        Args:
            query: the question.
            hits: what was found; their order is kept.
            max_tokens: budget of the rendered context, at least 1; ``None`` takes
                ``keep_ratio`` of what came in.

        Raises:
            InputError: an unusable ``max_tokens``, a NaN score, or one chunk id with two texts.
        """
        check_request(hits, max_tokens)
        count = self._count = self._count or default_count()
        layout = Layout(hits)
        tokens_before = count(layout.full_text())
        budget = max_tokens or math.ceil(self.keep_ratio * tokens_before)
        if not layout:
            return unchanged(hits, count, "there is no text to compress")
        if tokens_before <= budget:
            return unchanged(hits, count, f"{tokens_before} tokens are within the budget")
        packer = Packer(layout, count, budget, tokens_before)
        order = self._order(query, len(layout))
        packer.take(order[0])
        packer.fill(order, stop_at_misfit=self._stop_at_misfit)
        return packer.result()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(keep_ratio={self.keep_ratio:g})"

    @abstractmethod
    def _order(self, query: str, segments: int) -> list[int]:
        """Numbers of all segments, the first wanted first."""


class Truncate(_Control):
    """Keeps the head of the context, cut at the last segment that fits.

    Args:
        keep_ratio: budget as a share of the tokens that came in, when the call names none.
        count: token counter; by default ragopt's estimate.
    """

    _stop_at_misfit = True

    def _order(self, query: str, segments: int) -> list[int]:  # noqa: ARG002
        return list(range(segments))


class RandomSentences(_Control):
    """Keeps segments drawn by chance; the same seed and query draw the same.

    Args:
        seed: seed of the draw.
        keep_ratio: budget as a share of the tokens that came in, when the call names none.
        count: token counter; by default ragopt's estimate.
    """

    def __init__(
        self, seed: int = 0, *, keep_ratio: float = 0.5, count: CountTokens | None = None
    ) -> None:
        super().__init__(keep_ratio=keep_ratio, count=count)
        self.seed = seed

    def __repr__(self) -> str:
        return f"RandomSentences(seed={self.seed}, keep_ratio={self.keep_ratio:g})"

    def _order(self, query: str, segments: int) -> list[int]:
        order = list(range(segments))
        random.Random(f"{self.seed}:{query}").shuffle(order)  # noqa: S311  a control, no secret
        return order
