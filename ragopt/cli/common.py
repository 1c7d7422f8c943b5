"""Options that several commands share, and the model they bill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ragopt.errors import StorageError, UnknownPrice
from ragopt.report.figures import clean

if TYPE_CHECKING:
    from ragopt.pipeline import Billing

__all__ = [
    "DEFAULT_MODEL",
    "Arrivals",
    "Html",
    "Interrupted",
    "Json",
    "Model",
    "Monthly",
    "Prices",
    "Quiet",
    "Requests",
    "Seed",
    "Threshold",
    "Traffic",
    "Zipf",
    "billing_for",
    "message",
]

DEFAULT_MODEL = "gpt-5-mini"


class Interrupted(Exception):
    """Ctrl-C in a command that has its own to say about what is kept."""


Json: TypeAlias = Annotated[
    Path | None, typer.Option("--json", help="Write every figure to this file.", metavar="FILE")
]
Html: TypeAlias = Annotated[
    Path | None,
    typer.Option("--html", help="Write a self-contained report page.", metavar="FILE"),
]
Model: TypeAlias = Annotated[
    str, typer.Option(help="Model whose token prices are used.", metavar="NAME")
]
Prices: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Your own prices (JSON), over the shipped sheet.", metavar="FILE"),
]
Monthly: TypeAlias = Annotated[
    int,
    typer.Option(
        help="Load: questions a month that the bill is worked out for.", min=1, metavar="N"
    ),
]
Requests: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Requests in the replayed traffic; twice the wordings by default.",
        min=1,
        metavar="N",
        show_default=False,
    ),
]
Traffic: TypeAlias = Annotated[
    str,
    typer.Option(
        help="How questions repeat: 'zipf', 'once' (nobody repeats), or as in a query log "
        "(its name or file).",
        metavar="NAME|FILE",
    ),
]
Arrivals: TypeAlias = Annotated[
    str,
    typer.Option(
        help="Bill the busiest minute and the answers of this trace (its name or file).",
        metavar="NAME|FILE",
        show_default=False,
    ),
]
Zipf: TypeAlias = Annotated[
    float,
    typer.Option(
        help="Zipf exponent of the traffic; 0 asks all questions alike.", min=0, metavar="X"
    ),
]
Threshold: TypeAlias = Annotated[
    float,
    typer.Option(
        help="Least cosine at which the semantic cache serves.", min=0, max=1, metavar="X"
    ),
]
Seed: TypeAlias = Annotated[
    int,
    typer.Option(help="Of split, traffic and bounds.", min=0, metavar="N"),
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


def billing_for(model: str, prices: Path | None) -> Billing:
    """The billing of a model at the shipped prices, with the user's own over them.

    Raises:
        InputError: the user's prices cannot be used.
        UnknownPrice: no such model, or one that has no price for answers (one that embeds or
            reranks): what has no price would be billed $0.
    """
    from ragopt.cost.model_prices import Usage
    from ragopt.cost.prices import PriceSheet
    from ragopt.pipeline import Billing

    sheet = PriceSheet.default()
    if prices is not None:
        sheet = sheet.merged(PriceSheet.from_json(prices))
    try:
        billing = Billing(model, prices=sheet)
        billing.usd(Usage(input=1, output=1))
    except UnknownPrice as error:
        raise UnknownPrice(f"--model: {error} (here: --prices FILE)") from error
    return billing


def message(error: Exception) -> str:
    """What an error says, on one line, without the number that an `OSError` puts before it."""
    told = error.strerror if isinstance(error, StorageError) else None
    return clean(told or error)
