"""The nearest of many candidates: by heap, by histogram, and in the order of their places."""

from __future__ import annotations

import numpy as np

from ragopt.indexes.tiered.kernels.machine import F32, I64, inner, part, summing

__all__ = [
    "BUCKETS",
    "keep_nearest",
    "nearest_lists",
    "offer",
    "order_places",
    "sort_heap",
]

BUCKETS = 64
"""Length of the scratch that `keep_nearest` counts in."""


# Heaps ------------------------------------------------------------------------------------


@inner
def offer(distances: F32, places: I64, size: int, distance: np.float32, place: int) -> int:
    """Offer a candidate to a heap that keeps the nearest, the farthest of them on top.

    Equal distances keep the lower place, so that the order of offers does not matter.

    Args:
        distances: (capacity,) f32.
        places: (capacity,) i64.
        size: candidates in it.
        distance: of the one offered.
        place: of the one offered.

    Returns:
        The new size. O(log capacity).
    """
    capacity = distances.shape[0]
    if size == capacity:
        if _farther(distances[0], places[0], distance, place):
            _sink(distances, places, capacity, distance, place)
        return size
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if not _farther(distance, place, distances[parent], places[parent]):
            break
        distances[child], places[child] = distances[parent], places[parent]
        child = parent
    distances[child], places[child] = distance, place
    return size + 1


@part
def _farther(one: np.float32, place: int, other: np.float32, other_place: int) -> bool:
    return bool(one > other or (one == other and place > other_place))


@inner
def _sink(distances: F32, places: I64, size: int, distance: np.float32, place: int) -> None:
    """Put a candidate on top and let it sink to where it belongs."""
    parent = np.int64(0)
    while 2 * parent + 1 < size:
        child = 2 * parent + 1
        if child + 1 < size and _farther(
            distances[child + 1], places[child + 1], distances[child], places[child]
        ):
            child += 1
        if not _farther(distances[child], places[child], distance, place):
            break
        distances[parent], places[parent] = distances[child], places[child]
        parent = child
    distances[parent], places[parent] = distance, place


@inner
def sort_heap(distances: F32, places: I64, size: int) -> None:
    """Put the first ``size`` candidates of a heap in order, nearest first."""
    for last in range(size - 1, 0, -1):
        distance, place = distances[last], places[last]
        distances[last], places[last] = distances[0], places[0]
        _sink(distances, places, last, distance, place)


# By histogram -----------------------------------------------------------------------------


@inner
def keep_nearest(
    distances: F32, bounds: F32, places: I64, size: int, wanted: int, counts: I64, edge: F32
) -> float:
    """Bring the ``wanted`` nearest of ``size`` candidates to the front, in their order.

    By a histogram: to compare random numbers costs a mispredicted branch each, to count them does
    not. Only those in the one bucket that the border runs through are compared. Of equal distances
    the first stay. O(size), and the square of that bucket.

    Args:
        distances: (at least size,) f32, by which they are chosen; all finite.
        bounds: (at least size,) f32, moved along; or empty.
        places: (at least size,) i64, moved along.
        size: candidates, at least ``wanted``.
        wanted: how many to keep, at least 1.
        counts: (64,) i64, scratch.
        edge: (at least size + 1,) f32, scratch.

    Returns:
        The distance of the farthest kept.
    """
    least, most = _extremes(distances, size)
    if size == wanted:
        return most
    # In f64 no difference of two distances is infinite, nor is the scale; a bucket is one of 64
    # whatever happens.
    scale, origin = np.float64(0), np.float64(least)
    if least < most:
        scale = (BUCKETS - 1) / (np.float64(most) - origin)
    for bucket in range(BUCKETS):
        counts[bucket] = 0
    for entry in range(size):
        counts[np.int64((distances[entry] - origin) * scale) & (BUCKETS - 1)] += 1
    border, before = np.int64(0), np.int64(0)
    while border < BUCKETS - 1 and before + counts[border] < wanted:
        before += counts[border]
        border += 1
    edges = np.int64(0)
    for entry in range(size):
        edge[edges] = distances[entry]
        edges += np.int64((distances[entry] - origin) * scale) & (BUCKETS - 1) == border
    limit, ties = _of_rank(edge, edges, wanted - before)
    kept = np.int64(0)
    for entry in range(size):
        distance = distances[entry]
        tied = distance == limit
        distances[kept], places[kept] = distance, places[entry]
        if bounds.shape[0] > 0:
            bounds[kept] = bounds[entry]
        kept += (distance < limit) | (tied & (ties > 0))
        ties -= tied
        if kept == wanted:
            break
    return limit


@summing
def _extremes(distances: F32, size: int) -> tuple[float, float]:
    least, most = distances[0], distances[0]
    for entry in range(size):
        least, most = min(least, distances[entry]), max(most, distances[entry])
    return least, most


@part
def _of_rank(values: F32, size: int, rank: int) -> tuple[float, int]:
    """The value of a rank, from 1 on, and how many that equal it rank no higher; sorts them."""
    for end in range(1, size):
        value, at = values[end], end
        while at > 0 and values[at - 1] > value:
            values[at] = values[at - 1]
            at -= 1
        values[at] = value
    found, equal = values[rank - 1], np.int64(1)
    while equal < rank and values[rank - 1 - equal] == found:
        equal += 1
    return found, equal


# Lists ------------------------------------------------------------------------------------

_GROUPS_A_PROBE = 4
_FEW = 64


@inner
def nearest_lists(
    products: F32,
    order: F32,
    sums: F32,
    probed: I64,
    probes: int,
    counts: I64,
    edge: F32,
    minima: F32,
) -> None:
    """The lists to scan, nearest first, of equally near ones the first.

    O(lists + probes log probes).

    Args:
        products: (at least lists,) f32, -2 <q, c>.
        order: (lists,) f32, what is added.
        sums: (at least lists,) f32, scratch.
        probed: (at least lists,) i64, written: the first ``probes`` count.
        probes: how many, at most as many as there are lists.
        counts: (64,) i64, scratch.
        edge: (at least lists + 1,) f32, scratch.
        minima: (at least lists,) f32, scratch.
    """
    lists = order.shape[0]
    for place in range(lists):
        # What is no number, of vectors too long for f32, must not be lost: lists were then missing.
        total = products[place] + order[place]
        sums[place] = total if total < np.inf else np.float32(np.inf)
    # As many groups as lists are wanted have their nearest list within the limit: so have lists.
    groups = min(_GROUPS_A_PROBE * probes, lists)
    _minima_of_groups(sums, lists, groups, minima)
    limit = keep_nearest(minima, minima[:0], probed, groups, probes, counts, edge)
    size = np.int64(0)
    for place in range(lists):
        distance = sums[place]
        sums[size], probed[size] = distance, place
        size += distance <= limit
    keep_nearest(sums, sums[:0], probed, size, probes, counts, edge)
    _sort(sums, probed, probes)


@part
def _minima_of_groups(values: F32, size: int, groups: int, minima: F32) -> None:
    """Least of the values whose places are the same modulo ``groups``."""
    for group in range(groups):
        minima[group] = values[group]
    for start in range(groups, size, groups):
        for group in range(min(groups, size - start)):
            minima[group] = min(minima[group], values[start + group])


@part
def _sort(distances: F32, places: I64, size: int) -> None:
    """Nearest first, of equal ones the lower place."""
    if size > _FEW:
        for entry in range(size):
            offer(distances, places, entry, distances[entry], places[entry])
        sort_heap(distances, places, size)
        return
    for end in range(1, size):
        distance, place, at = distances[end], places[end], end
        while at > 0 and _farther(distances[at - 1], places[at - 1], distance, place):
            distances[at], places[at] = distances[at - 1], places[at - 1]
            at -= 1
        distances[at], places[at] = distance, place


# In order of places -----------------------------------------------------------------------


@inner
def order_places(distances: F32, bounds: F32, places: I64, size: int, order: I64) -> int:
    """Candidates in order of their places; of those with the same place one, at its best.

    Args:
        distances: (at least size,) f32; of candidates with the same place the lower counts.
        bounds: (at least size,) f32, likewise.
        places: (at least size,) i64, below 2^47.
        size: candidates, at most 65,536.
        order: (at least size,) i64, written: which candidates remain.

    Returns:
        How many remain. O(size^2) at worst: there are some dozens, in runs that are sorted.
    """
    for entry in range(size):
        key, at = places[entry] << 16 | entry, entry
        while at > 0 and order[at - 1] > key:
            order[at] = order[at - 1]
            at -= 1
        order[at] = key
    kept: int = 0
    last = np.int64(0)
    for entry in range(size):
        chosen = order[entry] & 0xFFFF
        if kept > 0 and places[chosen] == places[last]:
            distances[last] = min(distances[last], distances[chosen])
            bounds[last] = min(bounds[last], bounds[chosen])
        else:
            order[kept], last = chosen, chosen
            kept += 1
    return kept
