"""Options of the tiered index."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, get_args

from ragopt.errors import InputError
from ragopt.indexes.rows import ROW_DTYPES
from ragopt.indexes.tiered.log import Durability

__all__ = ["TieredOptions", "budget_bytes"]

_BITS = (1, 2, 4, 8)
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMG]I?B|B)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TieredOptions:
    """Options of ``tiered``.

    Args:
        bits: of a code, per dimension: 1, 2, 4 or 8.
        rows: precision of the rows on disk that candidates are rescored with, ``"f16"`` or
            ``"f32"``; in a spec also ``+rescore(f16)``.
        spill: lists that a vector stands in on average, from 1 to 2. A second place costs as much
            RAM as the first and halves the lists that a search must scan. Between 1 and 2, the
            vectors nearest to a border get it.
        lists: inverted lists; 0 for about an eighth of rows^(3/4), see `coding.list_count`.
        fresh: rows that wait in RAM, scanned exactly, before they become a segment.
        ram_budget: what the index may take of RAM: bytes, ``"200MB"``, or a fraction of the rows as
            f32, such as 0.05. Without it all codes stand in RAM and no rows do.
        durability: when ``add`` and ``delete`` of an index with a folder return: ``"commit"`` once
            the record is on disk, ``"batch"`` once the system has it, ``"none"`` at once.
    """

    bits: int = 1
    rows: str = "f16"
    spill: float = 1.8
    lists: int = 0
    fresh: int = 1024
    ram_budget: int | float | str | None = None
    durability: Durability = "commit"

    def __post_init__(self) -> None:
        if type(self.bits) is not int or self.bits not in _BITS:
            raise InputError(f"tiered: bits={self.bits!r}, expected one of {_BITS}")
        if self.rows not in ROW_DTYPES:
            raise InputError(f"tiered: rows={self.rows!r}, expected one of {sorted(ROW_DTYPES)}")
        if type(self.spill) not in {int, float} or not 1 <= self.spill <= 2:
            raise InputError(f"tiered: spill={self.spill!r}, expected a number from 1 to 2")
        for name, least in (("lists", 0), ("fresh", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise InputError(
                    f"tiered: {name}={value!r}, expected an integer of at least {least}"
                )
        if self.durability not in get_args(Durability):
            raise InputError(
                f"tiered: durability={self.durability!r}, expected one of {get_args(Durability)}"
            )
        budget_bytes(self.ram_budget, 1)


def budget_bytes(budget: Any, raw_bytes: int) -> int | None:
    """Bytes that a budget allows; None for no budget.

    Args:
        budget: bytes, ``"200MB"``, a fraction of ``raw_bytes``, or None.
        raw_bytes: of the rows as f32.

    Raises:
        InputError: anything else.
    """
    if budget is None:
        return None
    match = _SIZE.fullmatch(budget) if isinstance(budget, str) else None
    if match is not None:
        return int(float(match[1]) * _UNITS[match[2].upper()])
    if type(budget) is int and budget >= 0:
        return budget
    if type(budget) is float and 0 <= budget <= 1:
        return int(budget * raw_bytes)
    raise InputError(
        f"tiered: ram_budget={budget!r}, expected bytes, a size such as '200MB', or a fraction "
        "from 0.0 to 1.0 of the rows as f32"
    )
