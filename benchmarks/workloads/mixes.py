"""Mixes of insert, delete and search over a vector set, with what must be found after each step.

An index that forgets a delete, or finds what was deleted before, shows against the truth that
every operation carries: the ids that live once it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import InputError

__all__ = ["Mix", "MixOptions", "Operation", "mix", "not_live"]

Kind = Literal["insert", "delete", "search"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixOptions:
    """What the mix is made of.

    Args:
        initial: vectors that live before the first operation, at least 1.
        operations: how many batches, at least 1.
        batch: vectors or queries in each, at least 1.
        insert: weight of inserts, 0 or more; the three are shares of their sum.
        delete: of deletes.
        search: of searches.
        keep: no delete leaves fewer than these alive, at least 1.
        seed: of everything drawn.

    Raises:
        InputError: a figure out of range.
    """

    initial: int
    operations: int = 100
    batch: int = 64
    insert: float = 1.0
    delete: float = 1.0
    search: float = 2.0
    keep: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("initial", "operations", "batch", "keep"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: expected at least 1")
        weights = (self.insert, self.delete, self.search)
        if not np.isfinite(weights).all() or min(weights) < 0 or sum(weights) <= 0:
            raise InputError(
                f"insert, delete, search = {weights}: expected weights of 0 or more, one above 0"
            )


@dataclass(frozen=True, slots=True)
class Operation:
    """One batch.

    Args:
        kind: what to do.
        rows: (b,) int64, no two alike: rows of the vector set to insert (their ids are their row
            numbers) or to delete; for a search, rows of the queries, where one may come twice.
        live: (m,) int64, ascending: ids that live once it is done.
    """

    kind: Kind
    rows: NDArray[np.int64]
    live: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mix:
    """A seeded sequence of operations; iterate as often as you like, it is the same each time.

    Args:
        vectors: in the set.
        queries: to search with.
        options: what it is made of.
    """

    vectors: int
    queries: int
    options: MixOptions

    @property
    def initial(self) -> NDArray[np.int64]:
        """(initial,) ascending rows that live before the first operation."""
        rng = np.random.default_rng([self.options.seed, 0])
        return np.sort(rng.permutation(self.vectors)[: self.options.initial]).astype(np.int64)

    def __iter__(self) -> Iterator[Operation]:
        rng = np.random.default_rng([self.options.seed, 1])
        alive = np.zeros(self.vectors, bool)
        alive[self.initial] = True
        options = self.options
        weights = np.array([options.insert, options.delete, options.search], float)
        for _ in range(options.operations):
            kind, most = self._next(rng, weights, int(alive.sum()))
            size = min(options.batch, most)
            if kind == "search":
                rows = rng.integers(self.queries, size=options.batch)
            else:
                free = np.flatnonzero(alive == (kind == "delete"))
                rows = rng.choice(free, size=size, replace=False)
                alive[rows] = kind == "insert"
            yield Operation(kind, rows.astype(np.int64), np.flatnonzero(alive).astype(np.int64))

    def _next(
        self, rng: np.random.Generator, weights: NDArray[Any], alive: int
    ) -> tuple[Kind, int]:
        """Kind of the next batch, and the most that it may touch.

        What cannot be done (all live, or only those to be kept) gives way to its opposite.
        """
        kind: Kind = ("insert", "delete", "search")[rng.choice(3, p=weights / weights.sum())]
        room, spare = self.vectors - alive, alive - self.options.keep
        if kind == "insert" and room <= 0:
            kind = "delete" if spare > 0 else "search"
        elif kind == "delete" and spare <= 0:
            kind = "insert" if room > 0 else "search"
        return kind, {"insert": room, "delete": spare, "search": self.options.batch}[kind]


def mix(vectors: int, queries: int, options: MixOptions) -> Mix:
    """Operations over a vector set; ids are row numbers, and a deleted row may come back.

    Args:
        vectors: rows in the set, more than ``options.initial`` if inserts are to find any.
        queries: rows to search with; at least 1.
        options: what it is made of.

    Raises:
        InputError: fewer vectors than are to live at first, or to be kept; no queries.
    """
    if vectors < max(options.initial, options.keep) or queries < 1:
        raise InputError(
            f"{vectors} vectors and {queries} queries: expected at least {options.initial} vectors "
            f"(initial), {options.keep} (keep) and one query"
        )
    return Mix(vectors, queries, options)


def not_live(returned: NDArray[np.int64], live: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ids that a search returned and that do not live: stale, or never there.

    Args:
        returned: any shape; -1 stands for nothing.
        live: ids that live, as an operation carries them.

    Returns:
        Ascending, each once.
    """
    return np.setdiff1d(returned[returned != -1], live)
