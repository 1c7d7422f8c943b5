"""Hot, warm and cold lists: what stands in RAM under a budget.

A hot list has codes and rows in RAM, a warm one codes, a cold one nothing but its centroid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragopt.indexes.rows import PAGE_BYTES
from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.segment import Segment

__all__ = ["COLD", "HOT", "OBJECT_BYTES", "WARM", "Residence", "Tiers", "choose_tiers"]

COLD, WARM, HOT = 0, 1, 2
Tiers = NDArray[np.uint8]
"""(segments, lists) of these."""

_LINE_BYTES = 64
OBJECT_BYTES = 400  # a block's array, its entry in a dictionary, and the allocator's share


def choose_tiers(
    segments: Sequence[Segment], heat: NDArray[np.float32], budget: int | None, row_bytes: int
) -> Tiers:
    """The tiers that save most pages for the bytes.

    Greedy by pages saved a byte, which is at most one list away from the best choice. Without any
    counts all lists weigh the same.

    Args:
        segments: that share the lists.
        heat: (2, lists), how often each was scanned and how many of its rows were read.
        budget: bytes for blocks and rows; None to keep all codes and no rows in RAM.
        row_bytes: of one row.
    """
    shape = (len(segments), segments[0].table.shape[0] if segments else 0)
    tiers = np.zeros(shape, dtype=np.uint8)
    if budget is None:
        tiers[:] = WARM
        return tiers
    scanned, read = heat + np.float32(1e-3)  # a list without counts is better in RAM than no list
    code_bytes = np.stack([segment.sizes for segment in segments]).astype(np.float64)
    own = np.stack([segment.table[:, kernels.OWN] for segment in segments]).astype(np.float64)
    share = own / np.maximum(own.sum(axis=0), 1)
    pages = -(-code_bytes // PAGE_BYTES)
    steps = []
    for tier, saved, sizes in (
        (WARM, scanned * pages, code_bytes),
        (HOT, read * share, own * row_bytes),
    ):
        worth = saved / np.maximum(sizes, 1)
        steps += [
            (-float(worth[place]), tier, place, float(sizes[place])) for place in np.ndindex(shape)
        ]
    left = float(budget)
    for _, tier, place, size in sorted(steps):
        fits = size + OBJECT_BYTES <= left
        if fits and tiers[place] == tier - 1:  # rows only where the codes are
            tiers[place] = tier
            left -= size + OBJECT_BYTES
    return tiers


@dataclass(frozen=True, slots=True, eq=False)
class Residence:
    """What stands in RAM, and the tables that say where.

    Args:
        tiers: of the lists.
        tables: (lists, 6) of each segment, by `kernels.LIST_COLUMNS`.
        blocks: by segment number, list and tier, the bytes behind the tables.
    """

    tiers: Tiers
    tables: tuple[NDArray[np.int64], ...]
    blocks: dict[tuple[int, int, int], NDArray[np.uint8]]

    @classmethod
    def none(cls, segments: Sequence[Segment]) -> Residence:
        """Everything cold."""
        lists = segments[0].table.shape[0] if segments else 0
        tables = tuple(segment.table.copy() for segment in segments)
        return cls(np.zeros((len(segments), lists), dtype=np.uint8), tables, {})

    def without(self, segments: Sequence[Segment], tiers: Tiers | None) -> Residence:
        """What stays in RAM of this one for these segments, when no more than ``tiers`` shall."""
        known = self._known(segments)
        wanted = known if tiers is None else np.minimum(known, tiers)
        return self._with(segments, wanted, self.blocks)

    def sizes(self) -> dict[str, int]:
        """Bytes by part."""
        names = {WARM: "codes", HOT: "hot rows"}
        sizes = dict.fromkeys(names.values(), 0)
        for (_, _, tier), block in self.blocks.items():
            sizes[names[tier]] += block.nbytes + OBJECT_BYTES
        return sizes

    def load(self, segments: Sequence[Segment], tiers: Tiers, *, together: bool) -> Residence:
        """This one and what ``tiers`` want besides, read from the files.

        Args:
            segments: that share the lists.
            tiers: wanted.
            together: take memory in one piece a segment, which is faster to scan and less of it,
                but goes back only as a whole.
        """
        blocks = dict(self.blocks)
        for at, segment in enumerate(segments):
            for tier in (WARM, HOT):
                missing = [
                    int(place)
                    for place in np.flatnonzero(tiers[at] >= tier)
                    if (segment.number, int(place), tier) not in blocks
                    and segment.bytes_of(int(place), rows=tier == HOT)
                ]
                blocks |= _read(segment, missing, tier, together)
        return self._with(segments, tiers, blocks)

    @property
    def ram_bytes(self) -> int:
        """Of blocks and rows."""
        return sum(block.nbytes + OBJECT_BYTES for block in self.blocks.values())

    def _known(self, segments: Sequence[Segment]) -> Tiers:
        """The present tiers of these segments; new ones are cold."""
        known = np.zeros(
            (len(segments), max((len(s.table) for s in segments), default=0)), np.uint8
        )
        for number, place, tier in self.blocks:
            for at, segment in enumerate(segments):
                if segment.number == number:
                    known[at, place] = max(known[at, place], tier)
        return known

    @classmethod
    def _with(
        cls,
        segments: Sequence[Segment],
        tiers: Tiers,
        blocks: dict[tuple[int, int, int], NDArray[np.uint8]],
    ) -> Residence:
        kept, tables = {}, []
        for at, segment in enumerate(segments):
            table = segment.table.copy()
            for tier, column in ((WARM, kernels.RAM), (HOT, kernels.HOT)):
                for place in np.flatnonzero(tiers[at] >= tier):
                    block = blocks.get((segment.number, int(place), tier))
                    if block is not None:
                        kept[segment.number, int(place), tier] = block
                        table[place, column] = block.ctypes.data
            tables.append(table)
        return cls(tiers, tuple(tables), kept)


def _read(
    segment: Segment, places: Sequence[int], tier: int, together: bool
) -> dict[tuple[int, int, int], NDArray[np.uint8]]:
    sizes = [segment.bytes_of(place, rows=tier == HOT) for place in places]
    padded = [-(-size // _LINE_BYTES) * _LINE_BYTES for size in sizes]
    arena = np.empty(sum(padded) + _LINE_BYTES if together else 0, dtype=np.uint8)
    start = -arena.ctypes.data % _LINE_BYTES
    blocks = {}
    for place, size, step in zip(places, sizes, padded, strict=True):
        block = arena[start : start + size] if together else np.empty(size, dtype=np.uint8)
        segment.read(place, block, rows=tier == HOT)
        blocks[segment.number, place, tier] = block
        start += step
    return blocks
