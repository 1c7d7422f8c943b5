"""An index planted in memory for the kernel that searches, and what numpy finds in it."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
from tiered_kernels_numpy import (
    F32,
    I64,
    Array,
    centred,
    coded,
    levels_of,
    normal,
    planes_of,
    signs,
)

from ragopt.indexes.rows import ROW_DTYPES, RowFile
from ragopt.indexes.tiered import kernels

LISTS, PROBES = 7, 4
ENDLESS = 1 << 62


@dataclass(frozen=True)
class Entry:
    """What a list says of a row."""

    place: int
    code: Array
    constant: float
    scale: float


@dataclass(frozen=True)
class Planted:
    """Tables of an index in memory and on disk, and the same as numpy sees it."""

    by_square: bool
    bits: int
    rows: Array
    flips: Array
    centroids: Array
    order: Array
    segments: Array
    tables: list[Array]
    entries: list[list[list[Entry]]]
    fresh: Array
    layout: Array
    kept: list[Any]

    def search(self, queries: Array, k: int, **given: Any) -> tuple[Array, Array, Array]:
        """Places, scores and costs."""
        knobs = KNOBS | given
        places = np.full((len(queries), k), 99, dtype=I64)
        scores = np.full((len(queries), k), 99, dtype=F32)
        costs = np.full((len(queries), 3), 99, dtype=I64)
        kernels.search(
            *(queries, self.flips, self.centroids.view(np.uint16), self.squares, self.order),
            *(self.segments, self.fresh, knobs["may"], self.layout, self.by_square, self.bits),
            *(knobs["query_bits"], knobs["probes"], knobs["enough"], knobs["candidates"]),
            *(knobs["at_once"], knobs["slack"], knobs["heat"], places, scores, costs),
        )
        return places, scores, costs

    @property
    def squares(self) -> Array:
        return (self.centroids.astype(F32) ** 2).sum(axis=1)

    def address(self, place: int) -> tuple[int, bool]:
        """Where a row stands, and whether it is hot."""
        segment = int(np.searchsorted(self.segments[:, kernels.BASE], place, side="right")) - 1
        row, table = place - self.segments[segment, kernels.BASE], self.tables[segment]
        at = np.flatnonzero(
            (table[:, kernels.FIRST] <= row)
            & (row < table[:, kernels.FIRST] + table[:, kernels.OWN])
        )[0]
        slot, within = divmod(row, self.layout[0])
        start = self.segments[segment, kernels.ROWS]
        address = start + slot * self.layout[1] + within * self.layout[2]
        return int(address), bool(table[at, kernels.HOT])


KNOBS: dict[str, Any] = {
    "query_bits": 4,
    "probes": PROBES,
    "enough": ENDLESS,
    "candidates": 20,
    "at_once": 8,
    "slack": 0.2,
    "may": np.empty(0, dtype=np.uint8),
    "heat": np.zeros((2, 0), dtype=F32),
}


def planted(
    dim: int,
    *,
    bits: int = 1,
    dtype: str = "f16",
    by_square: bool = True,
    counts: tuple[int, ...] = (90, 40),
    fresh: int = 4,
    hot: tuple[int, ...] = (),
    cold: tuple[int, ...] = (),
) -> Planted:
    """Random rows; of each three one stands in a second list, too."""
    padded = -(-dim // 64) * 64
    flips = signs(padded)
    stored = normal(sum(counts) + fresh, dim).astype(ROW_DTYPES[dtype])
    centroids = (normal(LISTS, padded, seed=9) / 2).astype(np.float16)
    middles = centroids.astype(F32)
    kept, tables, entries, bases, ends = [], [], [], [], [0]
    for count in counts:
        base = ends[-1]
        ends.append(base + count)
        turned = turn(stored[base : ends[-1]], flips)
        near = np.argsort(((turned[:, None] - middles) ** 2).sum(axis=2), axis=1)
        by_list = np.argsort(near[:, 0], kind="stable")  # own rows stand list after list
        stored[base : ends[-1]] = stored[base : ends[-1]][by_list]
        turned, near = turned[by_list], near[by_list]
        second = np.where(np.arange(count) % 3 == 0, near[:, 1], -1)
        members = [
            np.concatenate([np.flatnonzero(near[:, 0] == at), np.flatnonzero(second == at)])
            for at in range(LISTS)
        ]
        entries.append(
            [
                coded_in(turned[rows] - middles[at], middles[at], bits, by_square, base + rows)
                for at, rows in enumerate(members)
            ]
        )
        own = np.bincount(near[:, 0], minlength=LISTS)
        file = RowFile(dim, dtype)
        file.append(stored[base : ends[-1]].astype(F32))
        tables.append(
            table_of(
                entries[-1], own, base=base, bits=bits, hot=hot, cold=cold, stored=stored, kept=kept
            )
        )
        kept.append(file)
        bases.append((base, count, tables[-1].ctypes.data, file.address))
    late = np.ascontiguousarray(stored[ends[-1] :])
    kept.append(late)
    return Planted(
        by_square=by_square,
        bits=bits,
        rows=stored,
        flips=flips,
        centroids=centroids,
        order=(middles**2).sum(axis=1),
        segments=np.array(bases, dtype=I64).reshape(-1, 4),
        tables=tables,
        entries=entries,
        fresh=np.array([ends[-1], fresh, 0, late.ctypes.data], dtype=I64),
        layout=np.array(RowFile(dim, dtype).layout, dtype=I64),
        kept=kept,
    )


def turn(rows: Array, flips: Array) -> Array:
    """Rows, padded and rotated."""
    turned = np.zeros((len(rows), flips.shape[1]), dtype=F32)
    turned[:, : rows.shape[1]] = rows
    kernels.rotate(turned, flips)
    return turned


def coded_in(
    residuals: Array, centroid: Array, bits: int, by_square: bool, places: Array
) -> list[Entry]:
    """With x = c + r: |x - q|^2 - |q|^2 or -2 <x, q>, less |c|^2 - 2 <c, q> and 2 <r, q>."""
    codes, scales, _ = coded(residuals, bits)
    constants = np.full(len(residuals), -(centroid**2).sum())
    if by_square:
        constants = (residuals**2).sum(axis=1) + 2 * residuals @ centroid
    return [
        Entry(int(place), code, F32(constant), F32(2 * scale))
        for place, code, constant, scale in zip(places, codes, constants, scales, strict=True)
    ]


def table_of(
    entries: list[list[Entry]],
    own: Array,
    *,
    base: int,
    bits: int,
    hot: tuple[int, ...],
    cold: tuple[int, ...],
    stored: Array,
    kept: list[Any],
) -> Array:
    """A segment's lists: those not cold in RAM, rows of hot ones, too; all of them in a map."""
    table = np.zeros((LISTS, len(kernels.LIST_COLUMNS)), dtype=I64)
    table[:, kernels.OWN], table[:, kernels.FIRST] = own, np.cumsum(own) - own
    for at, members in enumerate(entries):
        if not members:
            continue
        table[at, kernels.SPILLED] = len(members) - own[at]
        parts = [
            planes_of(np.stack([entry.code for entry in members]), bits),
            np.array([entry.constant for entry in members], dtype=F32),
            np.array([entry.scale for entry in members], dtype=F32),
            np.array([entry.place - base for entry in members[own[at] :]], dtype=np.int32),
        ]
        block = b"".join(part.tobytes() for part in parts)
        file = mmap.mmap(-1, len(block))
        file.write(block)
        mapped, in_ram = np.frombuffer(file, dtype=np.uint8), np.frombuffer(block, dtype=np.uint8)
        first = base + table[at, kernels.FIRST]
        rows = stored[first : first + own[at]].copy()
        kept += [mapped, in_ram, rows]
        table[at, kernels.FILE] = mapped.ctypes.data
        table[at, kernels.RAM] = 0 if at in cold else in_ram.ctypes.data
        table[at, kernels.HOT] = rows.ctypes.data if at in hot else 0
    return table


def estimated(index: Planted, query: Array, knobs: dict[str, Any]) -> tuple[list[Any], list[int]]:
    """(estimate, bound, place) of all codes of the lists probed, nearest first; and costs."""
    rotated = turn(query[None], index.flips)[0]
    level, step = levels_of(rotated, knobs["query_bits"])
    square = float((rotated.astype(np.float64) ** 2).sum())
    products = -2 * index.centroids.astype(np.float64) @ rotated
    probed = np.argsort(products + index.order, kind="stable")[: knobs["probes"]]
    found, codes, pages, may = [], 0, 0, knobs["may"]
    away = [
        table[at, kernels.FILE] > 0 and table[at, kernels.RAM] == 0
        for at in probed
        for table in index.tables
    ]
    for at in probed:
        base = products[at] + index.squares[at]
        error = knobs["slack"] * np.sqrt(max(base + square, 0))
        for entries, table in zip(index.entries, index.tables, strict=True):
            codes += len(entries[at])
            pages += pages_of(index, table[at], len(rotated))
            for entry in entries[at]:
                if not len(may) or may[entry.place]:
                    product = step * (centred(entry.code, index.bits) @ level)
                    estimate = entry.constant + base - entry.scale * product
                    bound = estimate - error * entry.scale
                    bound = bound + square if index.by_square else bound / 2
                    found.append((estimate, bound, entry.place))
        if len(found) >= knobs["enough"]:
            break
    return sorted(found, key=lambda candidate: candidate[0]), [codes, pages, int(any(away))]


def pages_of(index: Planted, entry: Array, padded: int) -> int:
    """Pages of a list that is read from its map."""
    own, spilled = entry[kernels.OWN], entry[kernels.SPILLED]
    size = (own + spilled) * (index.bits * padded // 8 + 8) + 4 * spilled
    return 0 if entry[kernels.RAM] else -(-int(size) // 4096)


def reference(index: Planted, query: Array, k: int, **given: Any) -> tuple[list[Any], list[int]]:
    """Nearest first (distance, place), and costs; steps as the kernel's docstring names them."""
    knobs = KNOBS | given
    found, (codes, pages, rounds) = estimated(index, query, knobs)
    best: dict[int, tuple[float, float]] = {}
    for estimate, bound, place in found[: knobs["candidates"]]:
        before = best.get(place, (np.inf, np.inf))
        best[place] = min(estimate, before[0]), min(bound, before[1])
    exact, may = index.rows.astype(np.float64), knobs["may"]
    distances = ((exact - query) ** 2).sum(axis=1) if index.by_square else -(exact @ query)
    first, count = index.fresh[kernels.BASE], index.fresh[kernels.COUNT]
    fresh = [place for place in range(first, first + count) if not len(may) or may[place]]
    results = sorted((distances[place], place) for place in fresh)[:k]
    last = sorted(estimate for estimate, _ in best.values())[: knobs["at_once"]][-1:]
    early = sorted(place for place, (estimate, _) in best.items() if estimate <= last[0])
    for late in (False, True):
        read = early
        if late:
            worst = results[-1][0] if len(results) == k else np.inf
            read = sorted(p for p in best if p not in early and best[p][1] < worst)
        touched = [where // 4096 for where, is_hot in map(index.address, read) if not is_hot]
        rounds += bool(touched)
        pages += len(set(touched)) * -(-int(index.layout[2]) // 4096)
        results = sorted(results + [(distances[place], place) for place in read])[:k]
    return results, [codes, pages, rounds]
