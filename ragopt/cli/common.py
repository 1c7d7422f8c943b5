"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = ["Html", "Json", "Model", "Prices", "Quiet", "Requests", "Seed", "Threshold", "Zipf"]

DEFAULT_MODEL = "gpt-5-mini"

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
    int, typer.Option(help="Load: questions a month that the bill is worked out for.", min=1)
]
Requests: TypeAlias = Annotated[int, typer.Option(help="Requests in the replayed traffic.", min=1)]
Zipf: TypeAlias = Annotated[
    float, typer.Option(help="Zipf exponent of the traffic; 0 asks all questions alike.", min=0)
]
Threshold: TypeAlias = Annotated[
    float, typer.Option(help="Least cosine at which the semantic cache serves.", min=0, max=1)
]
Seed: TypeAlias = Annotated[int, typer.Option(help="Of split, traffic and bootstrap.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
