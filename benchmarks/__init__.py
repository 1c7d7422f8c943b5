"""Measuring savings at held quality: corpora, questions, traffic, levers, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragopt.benchmarks.evidence import EvalItem
    from ragopt.benchmarks.savings import measure_savings
    from ragopt.benchmarks.savings_report import Load, SavingsOptions, SavingsReport
    from ragopt.benchmarks.traffic import Traffic, zipf_traffic

_HOMES = {
    "EvalItem": "ragopt.benchmarks.evidence",
    "Load": "ragopt.benchmarks.savings_report",
    "SavingsOptions": "ragopt.benchmarks.savings_report",
    "SavingsReport": "ragopt.benchmarks.savings_report",
    "Traffic": "ragopt.benchmarks.traffic",
    "measure_savings": "ragopt.benchmarks.savings",
    "zipf_traffic": "ragopt.benchmarks.traffic",
}

__all__ = [
    "EvalItem",
    "Load",
    "SavingsOptions",
    "SavingsReport",
    "Traffic",
    "measure_savings",
    "zipf_traffic",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'ragopt.benchmarks' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
