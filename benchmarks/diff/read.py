"""Reading two runs to compare: both JSON forms, rechecked, and whether they may be compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.errors import InputError

__all__ = ["options_of", "read_run", "rechecked", "why_incomparable"]

SAVINGS = "ragopt savings"
"""``kind`` of the form that ``ragopt demo`` and ``ragopt savings`` write; it has no digest."""

_ROOMS = {
    "index": "ragopt.benchmarks.index",
    "cache": "ragopt.benchmarks.cache",
    "rerank": "ragopt.benchmarks.context",
    "compress": "ragopt.benchmarks.context",
}
_SAME = (
    "dataset",
    "data_hash",
    "seed",
    "half",
    "model",
    "queries",
    "queries_hash",
    "questions",
    "questions_hash",
    "token_counter",
    "tokens_counted_by",
)
_COMPARED_ELSEWHERE = {"only", "seed", "quick"}
_OF_THE_MACHINE = {
    *("threads", "passes", "timeout_s", "search_s", "cold_s", "zipf_s", "work", "fresh"),
    *("keep_indexes", "find_memory_limit"),
}
"""Options that change how long a run takes and what it leaves behind, not what it finds."""
_TOLERANCE = 1e-6


def read_run(path: Path | str) -> BenchResult:
    """A result of any bench, or of ``ragopt demo`` and ``ragopt savings``.

    Raises:
        InputError: no such file, not a result, or changed after it was written; the message
            names it.
    """
    try:
        return _result(json.loads(Path(path).read_text("utf-8")))
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; expected the file of --json") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, InputError) as error:
        raise InputError(f"{path}: {_said(error)}; expected the file of --json") from error


def _result(content: Any) -> BenchResult:
    if not isinstance(content, dict):
        raise InputError(f"got a {type(content).__name__}, expected an object")
    if content.get("kind") == SAVINGS:
        return _from_savings(content)
    rows, rest = content.get("rows"), [content.get(name) or {} for name in ("about", "details")]
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in (*rows, *rest)):
        raise InputError(f"kind={str(content.get('kind', ''))[:40]!r} without rows of figures")
    return BenchResult.from_dict(content)


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"not JSON ({error})" if isinstance(error, json.JSONDecodeError) else str(error)


def _from_savings(content: Mapping[str, Any]) -> BenchResult:
    """The rows of the older form as they are, what they rest on as details."""
    rows, about, options = (content.get(name) for name in ("rows", "about", "options"))
    if not (isinstance(rows, list) and isinstance(about, dict) and isinstance(options, dict)):
        raise InputError(f"kind={SAVINGS!r} without rows, about and options")
    return BenchResult(
        bench="savings",
        rows=tuple(_row(row) for row in rows),
        about={**about, "dataset": about.get("corpus", ""), "seed": options.get("seed")},
        details={
            name: value for name, value in content.items() if name not in ("kind", "rows", "about")
        },
    )


def _row(fields: Any) -> Row:
    if not isinstance(fields, dict):
        raise InputError(f"not a row: {str(fields)[:80]}; expected an object")
    if fields.get("value") is None and "name" in fields:
        return Row.missing(str(fields["name"]), "not measured")
    return Row.from_dict(fields)


# Rechecks ---------------------------------------------------------------------------------


def rechecked(result: BenchResult) -> list[str]:
    """What does not fit within a result: rows against what they rest on. Empty where all does.

    Each bench brings its own ``recheck``; savings, whose form is older, are worked out anew here.
    """
    if result.bench == "savings":
        return _savings_misfits(result) if "baseline" in result.details else []
    room = _ROOMS.get(result.bench)
    if room is None:
        return []
    try:
        problems: list[str] = import_module(room).recheck(result)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        return [f"details from which its rows do not follow ({error!r})"]
    return problems


def _savings_misfits(result: BenchResult) -> list[str]:
    details = result.details
    try:
        baseline = details["baseline"]
        levers = [*details["levers"], details["combined"], details["without_cache"]]
        expected = {
            f"savings/{lever['name']}/{ratio}": float(lever[figure]) / float(baseline[figure])
            for lever in levers
            for ratio, figure in (
                ("usd_ratio", "usd_per_1000"),
                ("input_tokens_ratio", "input_tokens"),
                ("ram_ratio", "ram_bytes_per_vector"),
            )
            if baseline[figure]
        }
    except (KeyError, TypeError, ValueError) as error:
        return [f"levers without the figures that the rows are made of ({error!r})"]
    return [
        f"{name} says {row.value}, its levers say {expected[name]:.6g}"
        for row in result.rows
        if (name := row.name) in expected
        and row.value is not None
        and not math.isclose(row.value, expected[name], rel_tol=_TOLERANCE, abs_tol=1e-12)
    ]


# May they be compared? --------------------------------------------------------------------


def why_incomparable(base: BenchResult, head: BenchResult) -> list[str]:
    """Why two results do not measure the same thing; empty where they do.

    Same bench, dataset, data, seed, length (``--quick``), billed model and options; which
    candidates ran (``--only``) may differ. An option that only one of them names is one that the
    other's release of ragopt did not have, or of a candidate's own: no reason.
    """
    if base.bench != head.bench:
        return [f"bench {base.bench} against {head.bench}"]
    found = [
        f"{name} {_short(base.about.get(name))} against {_short(head.about.get(name))}"
        for name in _SAME
        if base.about.get(name) != head.about.get(name)
    ]
    if _quick(base) != _quick(head):
        found.append(
            "a quick run against a full one" if _quick(base) else "a full run against a quick one"
        )
    before, after = options_of(base), options_of(head)
    found += [
        f"option {name} {_short(before[name])} against {_short(after[name])}"
        for name in before
        if name in after and before[name] != after[name]
    ]
    return found


def options_of(result: BenchResult) -> dict[str, Any]:
    """Options that figures depend on, nested ones by dotted names."""
    skipped = {*_COMPARED_ELSEWHERE, *_OF_THE_MACHINE}
    return {
        name: value
        for name, value in _flat(_given(result)).items()
        if name.rpartition(".")[2] not in skipped
    }


def _flat(options: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{above}{name}."))
        else:
            found[f"{above}{name}"] = value
    return found


def _given(result: BenchResult) -> Mapping[str, Any]:
    found = result.details.get("options") or result.about.get("options")
    return found if isinstance(found, Mapping) else {}


def _quick(result: BenchResult) -> bool:
    return bool(result.about.get("quick", _given(result).get("quick")))


def _short(value: object) -> str:
    return "unknown" if value is None else repr(value)[:60]
