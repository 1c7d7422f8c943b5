"""Whether the rows of a result follow from its records, question by question."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ragopt.benchmarks.context.compress_rows import compress_rows
from ragopt.benchmarks.context.rerank_rows import rerank_rows
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.errors import InputError
from ragopt.report.serialise import plain

__all__ = ["recheck"]

_MAKERS = {"compress": compress_rows, "rerank": rerank_rows}
_DIGITS = 9


def recheck(result: BenchResult) -> list[str]:
    """Make the rows of a rerank or compress result again from its records; misfits in words.

    A row that is missing, was added or differs, records that do not fit together, and a cut that
    is reported on queries that it was tuned on. Seconds where the bench took minutes: nothing is
    ranked or compressed again.

    Returns:
        Empty where everything fits.
    """
    maker = _MAKERS.get(result.bench)
    if maker is None:
        return [f"a result of the {result.bench} bench: expected one of {sorted(_MAKERS)}"]
    try:
        dataset, seed = str(result.about["dataset"]), int(result.about["seed"])
        made = maker(result.details, dataset=dataset, seed=seed)
    except InputError as error:
        return [str(error)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return [f"records that no row can be made of: {error!r}"]
    return list(_complaints(result.rows, made))


def _complaints(given: Sequence[Row], made: Sequence[Row]) -> Iterator[str]:
    by_name = {row.name: row for row in made}
    names = [row.name for row in given]
    if sorted(names) != sorted(by_name):
        strange = sorted(set(names) ^ set(by_name)) or names
        yield f"rows and records do not name the same figures: {strange[:5]}"
    for row in given:
        other = by_name.get(row.name)
        if other is not None and _plain(row) != _plain(other):
            yield (
                f"{row.name}: {row.value} was reported, its records give {other.value}; "
                "measure again"
            )


def _plain(row: Row) -> Any:
    """A row as JSON reads it, without the last digits, which differ between processors."""
    return _rounded(json.loads(json.dumps(plain(row))))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
