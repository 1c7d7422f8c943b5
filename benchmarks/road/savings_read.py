"""A savings report from its JSON form, to print or draw it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ragopt.benchmarks.road.savings_report import (
    Bill,
    LeverResult,
    Load,
    SavingsOptions,
    SavingsReport,
    TuningPoint,
)
from ragopt.errors import InputError
from ragopt.quality import Certificate, PairedDifference

__all__ = ["read_report"]


def read_report(content: Mapping[str, Any]) -> SavingsReport:
    """The report that `SavingsReport.to_dict` wrote.

    Raises:
        InputError: a part is missing, unknown or of another kind.
    """
    try:
        options = content["options"]
        return SavingsReport(
            baseline=_lever(content["baseline"]),
            levers=tuple(_lever(each) for each in content["levers"]),
            combined=_lever(content["combined"]),
            without_cache=_lever(content["without_cache"]),
            steps=tuple(_lever(each) for each in content["steps"]),
            tuning=tuple(_point(each) for each in content["tuning"]),
            traps=content["traps"],
            traffic=str(content["traffic"]),
            about=content["about"],
            options=SavingsOptions(
                **{
                    **options,
                    "load": Load(**options["load"]),
                    "levers": tuple(options.get("levers", ())),
                }
            ),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise InputError(
            f"not a savings report: {error!r}; expected the JSON form of one"
        ) from error


def _lever(fields: Mapping[str, Any]) -> LeverResult:
    certificate = fields.get("certificate")
    bill: dict[str, Any] = {
        name: value if name == "instance" else Decimal(str(value))
        for name, value in fields["bill"].items()
    }
    return LeverResult(
        **{
            **fields,
            "bill": Bill(**bill),
            "usd_per_1000": Decimal(str(fields["usd_per_1000"])),
            "evidence_recall": _known(fields["evidence_recall"]),
            "answer_kept": _known(fields["answer_kept"]),
            "differences": {
                name: PairedDifference(**each) for name, each in fields["differences"].items()
            },
            "certificate": Certificate.from_dict(dict(certificate)) if certificate else None,
        }
    )


def _point(fields: Mapping[str, Any]) -> TuningPoint:
    interval = fields.get("interval")
    return TuningPoint(**{**fields, "interval": tuple(interval) if interval else None})


def _known(value: float | None) -> float:
    """JSON has no word for NaN: null stands for what is not known."""
    return math.nan if value is None else float(value)
