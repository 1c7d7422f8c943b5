"""Whether reranking pays: what it costs against the input tokens that it saves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ragopt.chunk import Chunk
from ragopt.cost.model_prices import ModelPrice, Usage
from ragopt.errors import InputError
from ragopt.rerank.base import Reranker
from ragopt.rerank.scores import quote_of

__all__ = ["BreakEven", "WhenItPays", "pays"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """The sum of one reranked question.

    Args:
        cost_usd: of the reranking; None where it is billed and no price is known.
        saved_usd: of the input tokens that are not sent.
        tokens_saved: how many these are.
        tokens_needed: how many would pay for the reranking; None where its cost is unknown, or
            input tokens are free.
    """

    cost_usd: Decimal | None
    saved_usd: Decimal
    tokens_saved: int
    tokens_needed: int | None

    @property
    def net_usd(self) -> Decimal | None:
        """What is saved after the reranking is paid; negative where it costs more."""
        return None if self.cost_usd is None else self.saved_usd - self.cost_usd

    @property
    def pays(self) -> bool:
        """Whether it saves at least what it costs; a cost that nobody knows does not."""
        return self.cost_usd is not None and self.cost_usd <= self.saved_usd

    def __str__(self) -> str:
        if self.cost_usd is None:
            return f"costs an unknown amount, saves ${self.saved_usd:f}"
        said = f"costs ${self.cost_usd:f}, saves ${self.saved_usd:f}"
        needed = "no number of" if self.tokens_needed is None else f"{self.tokens_needed:,}"
        return f"{said} ({self.tokens_saved:,} tokens; {needed} would pay for it)"


def pays(cost_usd: Decimal | None, price: ModelPrice, *, tokens_saved: int) -> BreakEven:
    """What reranking costs against what it saves at a model's price.

    Args:
        cost_usd: of reranking for one question.
        price: of the model that answers; its rate for ordinary, uncached input counts.
        tokens_saved: input tokens that the tighter context spares.

    Raises:
        InputError: a number of tokens below 0.
        UnknownPrice: no price of the model's input is known.
    """
    if type(tokens_saved) is not int or tokens_saved < 0:
        raise InputError(f"tokens_saved={tokens_saved!r}: expected a whole number from 0 up")
    each = price.cost(Usage(input=1))
    needed = None if cost_usd is None or not each else math.ceil(cost_usd / each)
    return BreakEven(
        cost_usd=cost_usd,
        saved_usd=price.cost(Usage(input=tokens_saved)),
        tokens_saved=tokens_saved,
        tokens_needed=needed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WhenItPays:
    """Reranks only where that saves at least what it costs.

    Args:
        price: of the model that answers.
        tokens_saved: input tokens a question that the reranked context spares beside the plain
            one, as measured (``ragopt bench rerank``), 0 or more.

    Raises:
        InputError: a number of tokens below 0.
        UnknownPrice: no price of the model's input is known.
    """

    price: ModelPrice
    tokens_saved: int

    def __post_init__(self) -> None:
        pays(None, self.price, tokens_saved=self.tokens_saved)

    def decide(self, reranker: Reranker, query: str, chunks: Sequence[Chunk]) -> BreakEven:
        """The sum for a question; a scorer that quotes nothing runs here and is billed nothing."""
        cost = quote_of(reranker, query, chunks)
        return pays(cost, self.price, tokens_saved=self.tokens_saved)
