"""What the tokens of a pipeline cost, and the ledger it is written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from ragopt.cost.events import frozen_tags
from ragopt.cost.model_prices import Usage

if TYPE_CHECKING:
    from ragopt.cost.ledger import Ledger
    from ragopt.cost.model_prices import ModelPrice
    from ragopt.cost.prices import PriceSheet
    from ragopt.cost.tokens import TokenCounter
    from ragopt.llm.base import Completion, Message

__all__ = ["Billing"]


class Billing:
    """What tokens cost, and where it is written down.

    Args:
        model: name in the price sheet, such as ``"gpt-5-mini"``; without one nothing is priced.
        prices: the sheet; the shipped one by default.
        ledger: every question is recorded there; questions and answers are not.
        tags: written with every record (team, feature, environment, …).
        counter: of tokens, where the provider reports none; the best at hand for ``model``.

    Raises:
        UnknownPrice: the sheet does not know the model.
        InputError: a tag that the ledger would refuse.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        prices: PriceSheet | None = None,
        ledger: Ledger | None = None,
        tags: Mapping[str, str] | None = None,
        counter: TokenCounter | None = None,
    ) -> None:
        from ragopt.cost.tokens import token_counter

        self.model = model
        self.price: ModelPrice | None = None
        if model is not None:
            from ragopt.cost.prices import PriceSheet

            self.price = (prices or PriceSheet.default()).model(model)
        self.ledger = ledger
        self.tags = frozen_tags(tags or {})
        self.counter = counter or token_counter(model)

    def usd(self, usage: Usage) -> Decimal:
        """US dollars for tokens; 0 without a priced model."""
        return self.price.cost(usage) if self.price is not None else Decimal(0)

    def usage_of(self, messages: Sequence[Message], completion: Completion) -> tuple[Usage, str]:
        """Tokens of a call and who counted them: the provider first, else the counter."""
        if completion.usage is not None:
            return completion.usage, "provider"
        count = self.counter.count
        asked = sum(count(message.content) for message in messages)
        return Usage(input=asked, output=count(completion.text)), self.counter.method
