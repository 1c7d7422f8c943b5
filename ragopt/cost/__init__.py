"""What things cost: prices, tokens, and a ledger of what was spent and saved.

::

    sheet = PriceSheet.default()
    cost = sheet.model("gpt-4o").cost(Usage(input=12_000, cached_input=8_000, output=500))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragopt.lazy import lazily

if TYPE_CHECKING:
    from ragopt.cost.events import CostEvent, Totals
    from ragopt.cost.infrastructure import (
        FleetCost,
        Infrastructure,
        Instance,
        ManagedStore,
        MarginalCost,
        cheapest_instance,
        fleet_monthly,
        monthly_marginal,
    )
    from ragopt.cost.ledger import Ledger
    from ragopt.cost.model_prices import LongContext, ModelPrice, Usage, to_decimal
    from ragopt.cost.prices import PriceSheet
    from ragopt.cost.tokens import TokenCount, TokenCounter, token_counter

__all__ = [
    "CostEvent",
    "FleetCost",
    "Infrastructure",
    "Instance",
    "Ledger",
    "LongContext",
    "ManagedStore",
    "MarginalCost",
    "ModelPrice",
    "PriceSheet",
    "TokenCount",
    "TokenCounter",
    "Totals",
    "Usage",
    "cheapest_instance",
    "fleet_monthly",
    "monthly_marginal",
    "to_decimal",
    "token_counter",
]

_MODULES = {
    "events": "CostEvent Totals",
    "infrastructure": "FleetCost Infrastructure Instance ManagedStore MarginalCost "
    "cheapest_instance fleet_monthly monthly_marginal",
    "ledger": "Ledger",
    "model_prices": "LongContext ModelPrice Usage to_decimal",
    "prices": "PriceSheet",
    "tokens": "TokenCount TokenCounter token_counter",
}
_HOMES = {name: f".{module}" for module, names in _MODULES.items() for name in names.split()}

__getattr__, __dir__ = lazily(__name__, _HOMES)
