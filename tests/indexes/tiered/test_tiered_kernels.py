"""Each kernel against a few lines of numpy."""

from __future__ import annotations

import functools
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import hadamard

from ragopt.indexes.rows import ROW_DTYPES, RowFile
from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.kernels import coding, machine, scoring, selecting, tables

Array = NDArray[Any]
DIMS = [64, 128, 192, 384, 768]
I64, F32 = np.int64, np.float32


@functools.cache
def opened(kernel: Any, *, checked: bool = True) -> Any:
    """A kernel that only others call, with a way in from Python; checks every index it uses."""
    options = {k: v for k, v in kernel.targetoptions.items() if k != "no_cpython_wrapper"}
    return numba.jit(**(options | {"boundscheck": checked}))(kernel.py_func)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(F32)


def signs(dim: int, seed: int = 0) -> Array:
    drawn = np.random.default_rng(seed).integers(0, 2, size=(4, dim))
    return (2 * drawn - 1).astype(F32)


# Rotation ------------------------------------------------------------------------------------


def rotated(rows: Array, flips: Array) -> Array:
    """Written out as matrices."""
    dim = rows.shape[1]
    width = 1 << (dim.bit_length() - 1)
    whole = hadamard(width) / np.sqrt(width)
    out = rows.astype(np.float64)
    for turn, flip in enumerate(flips):
        out = out * flip
        part = slice(0, width) if turn % 2 == 0 else slice(dim - width, dim)
        out[:, part] = out[:, part] @ whole.T
        if width != dim:
            left, right = out[:, : dim // 2].copy(), out[:, dim // 2 :].copy()
            out = np.concatenate([left + right, left - right], axis=1) / np.sqrt(2)
    return out


@pytest.mark.parametrize("dim", DIMS)
def test_rotation(dim: int) -> None:
    rows, flips = normal(5, dim), signs(dim)
    found = rows.copy()
    kernels.rotate(found, flips)
    np.testing.assert_allclose(found, rotated(rows, flips), rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(found @ found.T, rows @ rows.T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dim", DIMS)
def test_rotation_spreads_what_stands_in_one_dimension(dim: int) -> None:
    """A code of signs needs it: a row along an axis must not stay there."""
    found = np.eye(dim, dtype=F32)
    kernels.rotate(found, signs(dim))
    assert np.abs(found).max() < 0.5
    assert (np.abs(found) < 1e-6).mean() < 0.2


def test_no_rows_are_rotated_into_no_rows() -> None:
    kernels.rotate(np.empty((0, 64), dtype=F32), signs(64))


# Codes ---------------------------------------------------------------------------------------


def coded(rows: Array, bits: int) -> tuple[Array, Array, Array]:
    codes = np.zeros(rows.shape, dtype=np.uint8)
    scales, cosines = np.zeros(len(rows), dtype=F32), np.zeros(len(rows), dtype=F32)
    kernels.encode(rows, bits, codes, scales, cosines)
    return codes, scales, cosines


def centred(codes: Array, bits: int) -> Array:
    return codes.astype(np.float64) - (2**bits - 1) / 2


def words_of(codes: Array, bits: int) -> Array:
    """Of each code, bit by bit, its words."""
    planes = [
        np.packbits((codes >> bit) & 1, axis=1, bitorder="little").view("<u8")
        for bit in range(bits)
    ]
    return np.ascontiguousarray(np.concatenate(planes, axis=1))


def planes_of(codes: Array, bits: int) -> Array:
    """As `scan` takes them: bit by bit, word by word, the words of all codes."""
    return np.ascontiguousarray(words_of(codes, bits).T).reshape(-1)


def test_one_bit_is_the_sign() -> None:
    rows = normal(20, 128)
    codes, scales, cosines = coded(rows, 1)
    np.testing.assert_array_equal(codes, rows >= 0)
    y = centred(codes, 1)
    dots = (rows * y).sum(axis=1)
    np.testing.assert_allclose(scales, (rows**2).sum(axis=1) / dots, rtol=1e-5)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(y, axis=1)
    np.testing.assert_allclose(cosines, dots / lengths, rtol=1e-5)


@pytest.mark.parametrize(("bits", "least"), [(1, 0.75), (2, 0.91), (4, 0.985), (8, 0.9999)])
def test_more_bits_point_more_nearly_along_the_residual(bits: int, least: float) -> None:
    rows = normal(50, 384)
    codes, scales, cosines = coded(rows, bits)
    assert cosines.min() > least
    y = centred(codes, bits)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(y, axis=1)
    np.testing.assert_allclose(cosines, (rows * y).sum(axis=1) / norms, rtol=1e-4)
    # what is estimated for r itself is exact: scale * <y, r> = |r|^2
    np.testing.assert_allclose(scales * (rows * y).sum(axis=1), (rows**2).sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_estimates_are_unbiased_and_as_wide_as_said(bits: int) -> None:
    """Gao and Long, 2024, theorem 3.2: the error of an estimate over random rotations."""
    dim, trials = 128, 4_000
    row, query = normal(2, dim, seed=1)
    wrong = []
    cosine = 0.0
    for seed in range(trials):
        both = np.stack([row, query])
        kernels.rotate(both, signs(dim, seed))
        codes, scales, cosines = coded(both[:1], bits)
        wrong.append(float(scales[0] * (centred(codes, bits)[0] @ both[1])) - float(row @ query))
        cosine += float(cosines[0]) / trials
    lengths = float(np.linalg.norm(row) * np.linalg.norm(query))
    said = lengths * np.sqrt(1 / cosine**2 - 1) / np.sqrt(dim - 1)
    assert abs(np.mean(wrong)) < 4 * said / np.sqrt(trials)
    assert 0.8 * said < np.std(wrong) < 1.1 * said


@pytest.mark.parametrize("bits", [1, 4])
def test_a_residual_of_nothing_estimates_nothing(bits: int) -> None:
    codes, scales, cosines = coded(np.zeros((1, 64), dtype=F32), bits)
    assert (scales[0], cosines[0]) == (0, 1)
    assert not codes.any()


# Levels of a query ---------------------------------------------------------------------------


def levels_of(query: Array, bits: int) -> tuple[Array, np.float32]:
    """Whole numbers of two's complement, and their step."""
    beyond = 1 << (bits - 1)
    largest = np.abs(query).max()
    step = largest / F32(beyond) if largest else F32(1)
    level = np.clip(np.floor(query / step + F32(0.5)), -beyond, beyond - 1)
    return level.astype(I64), step


def quantized(query: Array, bits: int) -> tuple[Array, float, int]:
    planes = np.zeros((bits, len(query) // kernels.WORD), dtype=np.uint64)
    step, total = opened(coding.quantize_query)(query, np.zeros(64, dtype=I64), planes)
    return planes, step, total


@pytest.mark.parametrize("query_bits", [4, 8])
@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
def test_a_query_in_levels(query_bits: int, scale: float) -> None:
    query = normal(192) * F32(scale)
    planes, step, total = quantized(query, query_bits)
    level, expected_step = levels_of(query, query_bits)
    bits = np.unpackbits(planes.view(np.uint8), axis=-1, bitorder="little").astype(I64)
    worth = 1 << np.arange(query_bits)
    worth[-1] *= -1
    np.testing.assert_array_equal(worth @ bits, level)
    assert (step, total) == (expected_step, level.sum())
    apart = np.abs(step * level - query)
    assert apart.max() <= step * 1.001
    assert np.median(apart) < step / 2


def test_a_query_of_nothing_has_levels_of_nothing() -> None:
    planes, step, total = quantized(np.zeros(64, dtype=F32), 4)
    assert (step, total, planes.any()) == (1, 0, False)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("query_bits", [4, 8])
@pytest.mark.parametrize(("count", "dim"), [(0, 64), (1, 64), (29, 192), (70, 128)])
def test_scan(bits: int, query_bits: int, count: int, dim: int) -> None:
    """Counts are whole numbers: nothing is lost."""
    codes = np.random.default_rng(0).integers(0, 2**bits, size=(count, dim)).astype(np.uint8)
    query = normal(dim, seed=3)
    planes, _, _ = quantized(query, query_bits)
    found = np.full(count, 7, dtype=I64)
    opened(coding.scan)(planes_of(codes, bits), planes, bits, found)
    np.testing.assert_array_equal(found, codes.astype(I64) @ levels_of(query, query_bits)[0])


# Heaps ---------------------------------------------------------------------------------------

FEW_VALUES = st.integers(-5, 5).map(float)
DISTANCES = FEW_VALUES | st.floats(-(2.0**100), 2.0**100, width=32)


@given(st.lists(DISTANCES | st.just(float("inf")), max_size=60), st.integers(1, 12))
def test_heaps_keep_the_nearest_in_order(distances: list[float], capacity: int) -> None:
    kept, places = np.zeros(capacity, dtype=F32), np.zeros(capacity, dtype=I64)
    size = 0
    for place, distance in enumerate(distances):
        size = opened(selecting.offer)(kept, places, size, F32(distance), place)
    opened(selecting.sort_heap)(kept, places, size)
    expected = sorted(zip(distances, range(len(distances)), strict=True))[:capacity]
    assert list(zip(kept[:size].tolist(), places[:size].tolist(), strict=True)) == expected


# Selection -----------------------------------------------------------------------------------


@st.composite
def selections(draw: st.DrawFn) -> tuple[list[float], int]:
    distances = draw(st.lists(DISTANCES, min_size=1, max_size=150))
    return distances, draw(st.integers(1, len(distances)))


def kept_of(distances: list[float], wanted: int, *, bounded: bool) -> tuple[float, Array, Array]:
    size = len(distances)
    moved, places = np.array(distances, dtype=F32), np.arange(size, dtype=I64)
    bounds = np.array(distances, dtype=F32) - 1 if bounded else np.empty(0, dtype=F32)
    limit = opened(selecting.keep_nearest)(
        moved, bounds, places, size, wanted, np.empty(64, I64), np.empty(size + 1, F32)
    )
    if bounded:
        np.testing.assert_array_equal(bounds[:wanted], moved[:wanted] - 1)
    return limit, moved[:wanted], places[:wanted]


@given(selections(), st.booleans())
def test_the_nearest_are_kept_in_their_order(drawn: tuple[list[float], int], bounded: bool) -> None:
    distances, wanted = drawn
    limit, moved, places = kept_of(distances, wanted, bounded=bounded)
    values = np.array(distances, dtype=F32)
    expected = np.sort(np.argsort(values, kind="stable")[:wanted])
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_array_equal(moved, values[expected])
    assert limit == values[expected].max()


@pytest.mark.parametrize(
    "distances",
    [
        [3.4e38, -3.4e38, 0.0, 1.0],  # their difference is no f32
        [0.0, 1e-45, 0.0, 1e-45],  # nor is the inverse of this one
        [0.0, -0.0, 0.0],
        [5.0] * 200,
    ],
)
def test_selection_at_the_ends_of_the_scale(distances: list[float]) -> None:
    for wanted in range(1, len(distances) + 1):
        _, _, places = kept_of(distances, wanted, bounded=False)
        expected = np.argsort(np.array(distances, dtype=F32), kind="stable")[:wanted]
        np.testing.assert_array_equal(places, np.sort(expected))


def test_selection_stays_within_bounds_whatever_stands_there() -> None:
    """Nothing but its own scratch is written, also for what no caller should hand over."""
    for odd in (np.inf, -np.inf, np.nan):
        distances = [1.0, odd, 2.0, odd, 3.0, 0.5]
        _, _, places = kept_of(distances, 3, bounded=True)
        assert set(places.tolist()) <= set(range(6))


@given(
    st.lists(st.tuples(FEW_VALUES, FEW_VALUES), min_size=1, max_size=200),
    st.data(),
)
def test_the_nearest_lists_in_order(drawn: list[tuple[float, float]], data: st.DataObject) -> None:
    probes = data.draw(st.integers(1, len(drawn)))
    products, order = (np.array(side, dtype=F32) for side in zip(*drawn, strict=True))
    lists = len(drawn)
    probed, sums = np.full(lists, -1, dtype=I64), np.empty(lists, F32)
    opened(selecting.nearest_lists)(
        *(products, order, sums, probed, probes),
        *(np.empty(64, I64), np.empty(lists + 1, F32), np.empty(lists, F32)),
    )
    expected = np.argsort(products + order, kind="stable")[:probes]
    np.testing.assert_array_equal(probed[:probes], expected)


def test_lists_of_no_distance_are_lists_all_the_same() -> None:
    products = np.array([np.nan, 1, np.inf, np.nan], dtype=F32)
    probed = np.full(4, 99, dtype=I64)
    opened(selecting.nearest_lists)(
        *(products, np.zeros(4, F32), np.empty(4, F32), probed, 4),
        *(np.empty(64, I64), np.empty(5, F32), np.empty(4, F32)),
    )
    assert probed.tolist() == [1, 0, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 12), FEW_VALUES, FEW_VALUES), max_size=60))
def test_candidates_in_order_of_places(drawn: list[tuple[int, float, float]]) -> None:
    places = np.array([place for place, _, _ in drawn], dtype=I64) << 40
    distances = np.array([distance for _, distance, _ in drawn], dtype=F32)
    bounds = np.array([bound for _, _, bound in drawn], dtype=F32)
    order = np.zeros(len(drawn), dtype=I64)
    size = opened(selecting.order_places)(distances, bounds, places, len(drawn), order)
    remain = order[:size]
    best = {
        place: tuple(min(row[side] for row in drawn if row[0] == place) for side in (1, 2))
        for place in {place for place, _, _ in drawn}
    }
    assert (places[remain] >> 40).tolist() == sorted(best)
    pairs = zip(distances[remain].tolist(), bounds[remain].tolist(), strict=True)
    assert list(pairs) == [best[place] for place in sorted(best)]


# Distances -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by_square", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("dim", [1, 48, 384])
def test_the_score_of_a_row(dtype: Any, by_square: bool, dim: int) -> None:
    row, query = normal(dim).astype(dtype), normal(dim, seed=1)
    found = opened(scoring.score)(row.ctypes.data, dtype is np.float16, query, by_square)
    exact = row.astype(np.float64)
    expected = ((exact - query) ** 2).sum() if by_square else -(exact @ query)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("lists", [0, 1, 3, 4, 9])
def test_products_with_centroids(lists: int) -> None:
    centroids, query = normal(lists, 128).astype(np.float16), normal(128, seed=1)
    found = np.full(lists + 2, 7, dtype=F32)
    opened(scoring.list_products)(centroids.view(np.uint16), query, found)
    expected = -2 * (centroids.astype(np.float64) @ query)
    np.testing.assert_allclose(found[:lists], expected, rtol=1e-4, atol=1e-4)
    assert found[lists:].tolist() == [7, 7]


# Tables --------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12).filter(any))
def test_the_list_of_a_row(owns: list[int]) -> None:
    table = np.zeros((len(owns), len(kernels.LIST_COLUMNS)), dtype=I64)
    table[:, kernels.OWN] = owns
    table[:, kernels.FIRST] = np.cumsum(owns) - owns
    found = [opened(tables.list_of)(table, row) for row in range(sum(owns))]
    assert found == np.repeat(np.arange(len(owns)), owns).tolist()


def test_the_segment_of_a_place() -> None:
    table = np.zeros((3, len(kernels.SEGMENT_COLUMNS)), dtype=I64)
    table[:, kernels.BASE] = [0, 5, 6]
    found = [opened(tables.segment_of)(table, place) for place in range(8)]
    assert found == [0, 0, 0, 0, 0, 1, 2, 2]


@pytest.mark.parametrize("bits", [1, 4])
def test_codes_in_their_places(bits: int) -> None:
    """Written out of order, two lists of three and two entries look as `scan` takes them."""
    codes = np.random.default_rng(0).integers(0, 2**bits, size=(5, 128)).astype(np.uint8)
    lists, entries = np.array([1, 0, 0, 1, 0], dtype=np.int32), np.array([1, 0, 2, 0, 1])
    constants, scales = normal(5), normal(5, seed=1)
    totals, words = np.array([3, 2]), 2 * bits
    offsets = np.array([0, 3 * words + 3])
    blocks = np.zeros(5 * words + 5, dtype=np.uint64)
    kernels.place_codes(
        *(blocks, offsets, totals, lists, entries, words_of(codes, bits), constants, scales)
    )
    for place, members in enumerate(([1, 4, 2], [3, 0])):
        n = len(members)
        block = blocks[offsets[place] :][: n * words + n]
        np.testing.assert_array_equal(block[: n * words], planes_of(codes[members], bits))
        factors = block[n * words :].view(F32)
        np.testing.assert_array_equal(factors, [*constants[members], *scales[members]])
    assert opened(tables.block_bytes)(3, 2, words) == 5 * (8 * words + 8) + 4 * 2


# Search --------------------------------------------------------------------------------------

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


def check(index: Planted, queries: Array, k: int, **given: Any) -> Array:
    places, scores, costs = index.search(queries, k, **given)
    for query, place, score, cost in zip(queries, places, scores, costs, strict=True):
        results, expected = reference(index, query, k, **given)
        missing = k - len(results)
        assert place.tolist() == [p for _, p in results] + [-1] * missing
        nearness = [-distance for distance, _ in results]
        np.testing.assert_allclose(score[: len(results)], nearness, rtol=1e-3, atol=1e-3)
        assert (score[len(results) :] == -np.inf).all()
        assert cost.tolist() == expected
    return costs


@pytest.mark.parametrize("by_square", [True, False])
@pytest.mark.parametrize(
    ("dim", "dtype", "bits"),
    [(40, "f16", 1), (64, "f32", 2), (192, "f16", 4), (200, "f32", 1), (1100, "f32", 1)],
)
def test_search(dim: int, dtype: str, bits: int, by_square: bool) -> None:
    """Also of rows that are longer than a page, and dimensions that are no multiple of 64."""
    index = planted(dim, bits=bits, dtype=dtype, by_square=by_square)
    query_bits = 4 if bits <= 2 else 8
    check(index, normal(6, dim, seed=5), 5, query_bits=query_bits)


@pytest.mark.parametrize("k", [1, 8, 150])
@pytest.mark.parametrize("probes", [1, LISTS])
@pytest.mark.parametrize(("candidates", "at_once"), [(1, 1), (8, 8), (20, 3), (500, 250)])
def test_search_at_its_limits(k: int, probes: int, candidates: int, at_once: int) -> None:
    index = planted(64)
    queries = normal(3, 64, seed=5)
    check(index, queries, k, probes=probes, candidates=candidates, at_once=at_once)


@pytest.mark.parametrize("slack", [0.0, 10.0])
def test_the_second_round_reads_what_may_still_be_nearer(slack: float) -> None:
    index = planted(64)
    queries = normal(4, 64, seed=5)
    costs = check(index, queries, 3, slack=slack, at_once=5)
    if slack:
        assert (costs[:, kernels.ROUNDS] == 2).all()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("enough", [1, 25, ENDLESS])
def test_what_must_not_be_found_is_not(share: float, enough: int) -> None:
    index = planted(64)
    may = (np.random.default_rng(2).random(len(index.rows)) < share).astype(np.uint8)
    queries = normal(4, 64, seed=5)
    check(index, queries, 5, may=may, probes=LISTS, enough=enough)
    places, _, _ = index.search(queries, 5, may=may, probes=LISTS, enough=enough)
    assert may[places[places >= 0]].all()


@pytest.mark.parametrize("dtype", ["f16", "f32"])
@pytest.mark.parametrize(
    ("hot", "cold"), [((0, 1, 2, 3, 4, 5, 6), ()), ((1, 3), (0, 2, 6)), ((), (0, 1, 2, 3, 4, 5, 6))]
)
def test_tiers_change_costs_and_nothing_else(
    hot: tuple[int, ...], cold: tuple[int, ...], dtype: str
) -> None:
    index = planted(96, dtype=dtype, hot=hot, cold=cold)
    queries = normal(5, 96, seed=5)
    heat = np.zeros((2, LISTS), dtype=F32)
    costs = check(index, queries, 5, heat=heat)
    if len(hot) == LISTS:
        assert not costs[:, [kernels.PAGES, kernels.ROUNDS]].any()
    warm = planted(96, dtype=dtype).search(queries, 5)
    tiered = index.search(queries, 5, heat=np.zeros((2, LISTS), dtype=F32))
    assert [side.tobytes() for side in warm[:2]] == [side.tobytes() for side in tiered[:2]]


def test_heat_counts_lists_scanned_and_rows_read() -> None:
    index, heat = planted(64, counts=(90,)), np.zeros((2, LISTS), dtype=F32)
    query = normal(1, 64, seed=5)
    _, _, costs = index.search(query, 5, heat=heat, at_once=20)
    rotated = turn(query, index.flips)[0]
    near = np.argsort(index.order - 2 * index.centroids.astype(F32) @ rotated, kind="stable")
    assert np.flatnonzero(heat[0]).tolist() == sorted(near[:PROBES].tolist())
    assert heat[0].max() == 1
    scanned = sum(len(index.entries[0][at]) for at in near[:PROBES])
    assert scanned == costs[0, kernels.CODES]
    assert 5 <= heat[1].sum() <= 20


@pytest.mark.parametrize("counts", [(), (1,), (3, 1, 2)])
@pytest.mark.parametrize("fresh", [0, 1, 9])
def test_small_and_empty_indexes(counts: tuple[int, ...], fresh: int) -> None:
    index = planted(64, counts=counts, fresh=fresh)
    if counts:
        check(index, normal(3, 64, seed=5), 4)
        return
    places, scores, costs = index.search(normal(3, 64, seed=5), 4)
    assert (places[:, min(fresh, 4) :] == -1).all()
    assert np.isfinite(scores[:, : min(fresh, 4)]).all()
    assert not costs.any()


def test_equal_rows_are_found_in_order_of_their_places() -> None:
    index = planted(64, counts=(), fresh=6)
    same = np.ascontiguousarray(np.repeat(index.rows[:1], 6, axis=0))
    index.fresh[kernels.ROWS] = same.ctypes.data
    places, _, _ = index.search(normal(1, 64, seed=5), 4)
    assert places[0].tolist() == [0, 1, 2, 3]


def test_a_search_gives_the_same_bits_alone_and_in_company() -> None:
    index, queries = planted(192, cold=(1, 2)), normal(20, 192, seed=5)
    together = [side.tobytes() for side in index.search(queries, 5)]
    again = [side.tobytes() for side in index.search(queries, 5)]
    alone = [index.search(queries[at : at + 1], 5) for at in range(20)]
    one_by_one = [np.concatenate(side).tobytes() for side in zip(*alone, strict=True)]
    assert together == again == one_by_one


def test_a_query_of_nothing_and_a_far_one() -> None:
    index = planted(64)
    check(index, np.zeros((1, 64), dtype=F32), 5)
    check(index, normal(1, 64, seed=5) * F32(1e4), 5)
    places, _, _ = index.search(np.full((1, 64), 3e38, dtype=F32), 5)
    assert ((places >= -1) & (places < len(index.rows))).all()


def test_machine_code_is_kept_until_a_module_changes() -> None:
    """A caller contains what it calls: the age of its own module alone says too little."""
    package = Path(machine.__file__).parent
    stamped = {name for name, _, _ in kernels.search._cache._cache_file._source_stamp}
    assert stamped == {path.name for path in package.glob("*.py")}


# Kept by pytest-benchmark, never judged ------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_scanning_a_list(benchmark: Any, bits: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2**bits, size=(272, 384)).astype(np.uint8)
    query = normal(384)
    levels, _, _ = quantized(query, 4)
    counts, planes = np.zeros(272, dtype=I64), planes_of(codes, bits)
    benchmark(opened(coding.scan, checked=False), planes, levels, bits, counts)
    np.testing.assert_array_equal(counts, codes.astype(I64) @ levels_of(query, 4)[0])


@pytest.mark.parametrize("dim", [384, 1024])
def test_rotating_a_query(benchmark: Any, dim: int) -> None:
    row, flips = normal(1, dim), signs(dim)
    length = np.linalg.norm(row)
    benchmark(kernels.rotate, row, flips)
    np.testing.assert_allclose(np.linalg.norm(row), length, rtol=1e-2)


def test_coding_a_thousand_rows(benchmark: Any) -> None:
    rows = normal(1000, 384)
    out = np.zeros(rows.shape, np.uint8), np.zeros(1000, F32), np.zeros(1000, F32)
    benchmark(kernels.encode, rows, 1, *out)
    np.testing.assert_array_equal(out[0], rows >= 0)


def test_quantizing_a_query(benchmark: Any) -> None:
    query, planes, levels = normal(384), np.zeros((4, 6), np.uint64), np.zeros(64, I64)
    _, total = benchmark(opened(coding.quantize_query, checked=False), query, levels, planes)
    assert total == levels_of(query, 4)[0].sum()


def test_products_with_five_hundred_centroids(benchmark: Any) -> None:
    centroids, query = normal(500, 384).astype(np.float16), normal(384, seed=1)
    found = np.zeros(500, dtype=F32)
    kernel = opened(scoring.list_products, checked=False)
    benchmark(kernel, centroids.view(np.uint16), query, found)
    assert found.argmin() == (centroids.astype(F32) @ query).argmax()


def test_the_nearest_of_five_hundred_lists(benchmark: Any) -> None:
    products, order, probed = normal(500), normal(500, seed=1), np.zeros(500, dtype=I64)
    scratch = np.empty(64, I64), np.empty(501, F32), np.empty(500, F32)
    kernel = opened(selecting.nearest_lists, checked=False)
    benchmark(kernel, products, order, np.empty(500, F32), probed, 16, *scratch)
    np.testing.assert_array_equal(probed[:16], np.argsort(products + order)[:16])


def test_keeping_the_nearest(benchmark: Any) -> None:
    distances, places = normal(150), np.arange(150)
    expected = np.sort(distances)[35]
    scratch = np.empty(64, I64), np.empty(151, F32)
    kernel = opened(selecting.keep_nearest, checked=False)

    def keep() -> float:
        return float(kernel(distances.copy(), distances.copy(), places, 150, 36, *scratch))

    assert benchmark(keep) == expected


def test_ordering_candidates(benchmark: Any) -> None:
    distances, order = normal(36), np.zeros(36, dtype=I64)
    places = np.random.default_rng(0).permutation(1000)[:36]
    kernel = opened(selecting.order_places, checked=False)
    assert benchmark(kernel, distances, distances, places, 36, order) == 36
    np.testing.assert_array_equal(places[order], np.sort(places))


def test_offering_to_a_heap(benchmark: Any) -> None:
    kept, places = np.full(10, np.inf, dtype=F32), np.zeros(10, dtype=I64)
    kernel = opened(selecting.offer, checked=False)
    for size in range(10):
        kernel(kept, places, size, F32(size), size)
    assert benchmark(kernel, kept, places, 10, F32(3.5), 11) == 10


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_scoring_a_row(benchmark: Any, dtype: Any) -> None:
    row, query = normal(384).astype(dtype), normal(384, seed=1)
    kernel = opened(scoring.score, checked=False)
    found = benchmark(kernel, row.ctypes.data, dtype is np.float16, query, False)
    assert found == pytest.approx(-float(row.astype(F32) @ query), rel=1e-4)


def test_placing_codes(benchmark: Any) -> None:
    words, n = np.random.default_rng(0).integers(0, 2**60, (1000, 6)).astype(np.uint64), 1000
    blocks = np.zeros(n * 7, dtype=np.uint64)
    offsets, totals = np.zeros(1, dtype=I64), np.array([n])
    place = np.zeros(n, np.int32), np.arange(n)
    benchmark(kernels.place_codes, blocks, offsets, totals, *place, words, normal(n), normal(n))
    np.testing.assert_array_equal(blocks[: 6 * n].reshape(6, n).T, words)


def test_searching_planted_rows(benchmark: Any) -> None:
    index, queries = planted(384, counts=(1000,)), normal(40, 384, seed=5)
    places, _, _ = benchmark(index.search, queries, 10)
    results, _ = reference(index, queries[0], 10)
    assert places[0].tolist() == [place for _, place in results]
