"""Each kernel against a few lines of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import hadamard

from ragopt.indexes.tiered import kernels

Array = NDArray[Any]
DIMS = [64, 128, 192, 384, 768]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def signs(dim: int, seed: int = 0) -> Array:
    drawn = np.random.default_rng(seed).integers(0, 2, size=(4, dim))
    return (2 * drawn - 1).astype(np.float32)


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


def coded(rows: Array, bits: int) -> tuple[Array, Array, Array]:
    codes = np.zeros(rows.shape, dtype=np.uint8)
    scales, cosines = (np.zeros(len(rows), dtype=np.float32) for _ in range(2))
    kernels.encode(rows, bits, codes, scales, cosines)
    return codes, scales, cosines


def centred(codes: Array, bits: int) -> Array:
    return codes.astype(np.float64) - (2**bits - 1) / 2


def planes_of(codes: Array, bits: int) -> Array:
    """As `scan_kernel` takes them: bit by bit, word by word, the words of all codes."""
    planes = [
        np.packbits((codes >> bit) & 1, axis=1, bitorder="little").view("<u8").T
        for bit in range(bits)
    ]
    return np.ascontiguousarray(planes).reshape(-1)


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
    found = np.eye(dim, dtype=np.float32)
    kernels.rotate(found, signs(dim))
    assert np.abs(found).max() < 0.5
    assert (np.abs(found) < 1e-6).mean() < 0.2


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


def test_a_residual_of_nothing_estimates_nothing() -> None:
    _, scales, cosines = coded(np.zeros((1, 64), dtype=np.float32), 4)
    assert (scales[0], cosines[0]) == (0, 1)


@pytest.mark.parametrize("query_bits", [4, 6, 8])
def test_a_query_in_levels(query_bits: int) -> None:
    query = normal(192)
    planes, step, total = quantized(query, query_bits)
    level = levels_of(planes, query_bits)
    assert total == level.sum()
    near = step * (level - (2**query_bits - 1) / 2)
    assert np.abs(near - query).max() <= step * 1.001


def quantized(query: Array, bits: int) -> tuple[Array, float, float]:
    planes = np.zeros((bits + 1, len(query) // kernels.WORD), dtype=np.uint64)
    step, total = kernels.quantize_query(query, bits, planes)
    return planes, step, total


def levels_of(planes: Array, bits: int) -> Array:
    unpacked = np.unpackbits(planes[:bits].view(np.uint8), axis=-1, bitorder="little")
    return (unpacked.astype(np.int64) << np.arange(bits)[:, None]).sum(axis=0)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("query_bits", [4, 8])
def test_scan(bits: int, query_bits: int) -> None:
    count, dim = 29, 192
    codes = np.random.default_rng(0).integers(0, 2**bits, size=(count, dim)).astype(np.uint8)
    query = normal(dim, seed=3)
    planes, step, total = quantized(query, query_bits)
    found = np.zeros(count, dtype=np.float32)
    scan = kernels.scan_kernel(dim // kernels.WORD, bits, query_bits)
    weights = np.zeros(3, dtype=np.float32)
    kernels.scan_weights(step, total, dim, bits, query_bits, weights)
    scan(planes_of(codes, bits), planes, weights, np.zeros((2, 40), dtype=np.uint64), found)
    near = step * (levels_of(planes, query_bits) - (2**query_bits - 1) / 2)
    np.testing.assert_allclose(found, centred(codes, bits) @ near, rtol=1e-4, atol=1e-3)


@given(
    st.lists(st.integers(-5, 5).map(float), max_size=60),
    st.integers(1, 12),
)
def test_heaps_keep_the_nearest_in_order(distances: list[float], capacity: int) -> None:
    kept, places = np.zeros(capacity, dtype=np.float32), np.zeros(capacity, dtype=np.int64)
    size = 0
    for place, distance in enumerate(distances):
        size = kernels.offer(kept, places, size, np.float32(distance), place)
    kernels.sort_heap(kept, places, size)
    expected = sorted(zip(distances, range(len(distances)), strict=True))[:capacity]
    assert list(zip(kept[:size].tolist(), places[:size].tolist(), strict=True)) == expected


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_rescoring(half: bool, squared: bool) -> None:
    dim, count, page_rows = 48, 20, 3
    rows, queries = normal(count, dim), normal(4, dim, seed=1)
    stored = rows.astype(np.float16 if half else np.float32)
    page = page_rows * dim + 5  # values beyond the rows of a page mean nothing
    flat = np.full((-(-count // page_rows), page), 7, dtype=stored.dtype)
    for place, row in enumerate(stored):
        start = place % page_rows * dim
        flat[place // page_rows, start : start + dim] = row
    values = flat.reshape(-1).view(np.uint16) if half else flat.reshape(-1)
    found = np.tile(np.array([0, 1, 5, 6, 19, -1, 7, -1]), (4, 1))
    positions, scores = np.zeros((4, 7), dtype=np.int64), np.zeros((4, 7), dtype=np.float32)
    rescore = kernels.rescore_kernel(half, squared)
    rescore(queries, values, page_rows, page, found, positions, scores)
    for query, place, score in zip(queries, positions, scores, strict=True):
        exact = stored.astype(np.float64)
        nearness = -((exact - query) ** 2).sum(axis=1) if squared else exact @ query
        order = sorted([0, 1, 5, 6, 7, 19], key=lambda row: -nearness[row])
        assert place.tolist() == [*order, -1]
        np.testing.assert_allclose(score[:6], nearness[order], rtol=1e-4, atol=1e-4)
        assert score[6] == -np.inf


@pytest.mark.parametrize("bits", [1, 4])
def test_finding_is_scanning_and_sorting(bits: int) -> None:
    """The nearest by estimate among the lists probed, worked out with numpy."""
    dim, lists, rows = 64, 5, 60
    rng = np.random.default_rng(0)
    centroids = normal(lists, dim).astype(np.float16)
    counts = np.array([10, 0, 25, 5, 20])
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    codes = rng.integers(0, 2**bits, size=(rows, dim)).astype(np.uint8)
    constants, scales = normal(rows, seed=1), np.abs(normal(rows, seed=2))
    slots = rng.permutation(rows).astype(np.int32)
    slots[:3] = slots[30:33]  # these stand in two lists
    planes = np.concatenate(
        [planes_of(codes[a:b], bits) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    )
    middles = centroids.astype(np.float32)
    squares = (middles**2).sum(axis=1)
    queries = normal(3, dim, seed=4)
    allowed = (np.arange(rows) % 3 > 0).astype(np.uint8)
    for may in (np.empty(0, dtype=np.uint8), allowed):
        found, scanned = np.zeros((3, 12), dtype=np.int64), np.zeros(3, dtype=np.int64)
        find = kernels.find_kernel(1, bits, 8)
        find(
            *(queries, centroids.view(np.uint16), squares, squares, starts, planes),
            *(constants, scales, slots, may, 3, found, scanned),
        )
        for query, row, seen in zip(queries, found, scanned, strict=True):
            near = squares - 2 * middles @ query
            probed = np.argsort(near, kind="stable")[:3]
            assert seen == counts[probed].sum()
            levels, step, _ = quantized(query, 8)
            rounded = step * (levels_of(levels, 8) - 127.5)
            estimates = {}
            for place in probed:
                for entry in range(starts[place], starts[place + 1]):
                    dot = centred(codes[entry : entry + 1], bits)[0] @ rounded
                    estimates[entry] = constants[entry] + near[place] - scales[entry] * dot
            legal = [entry for entry in estimates if not len(may) or may[slots[entry]]]
            best = sorted(legal, key=lambda entry: estimates[entry])[:12]
            assert sorted({int(slots[entry]) for entry in best}) == row[row >= 0].tolist()


# Kept by pytest-benchmark, never judged ------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_scanning_a_list(benchmark: Any, bits: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2**bits, size=(136, 384)).astype(np.uint8)
    levels, step, total = quantized(normal(384), 4)
    weights, dots = np.zeros(3, dtype=np.float32), np.zeros(136, dtype=np.float32)
    kernels.scan_weights(step, total, 384, bits, 4, weights)
    scan, planes = kernels.scan_kernel(6, bits, 4), planes_of(codes, bits)
    benchmark(scan, planes, levels, weights, np.zeros((2, 136), dtype=np.uint64), dots)
    assert np.isfinite(dots).all()


def test_rotating_a_query(benchmark: Any) -> None:
    row, flips = normal(1, 384), signs(384)
    length = np.linalg.norm(row)
    benchmark(kernels.rotate, row, flips)
    np.testing.assert_allclose(np.linalg.norm(row), length, rtol=1e-2)


def test_coding_a_thousand_rows(benchmark: Any) -> None:
    rows = normal(1000, 384)
    out = np.zeros(rows.shape, np.uint8), np.zeros(1000, np.float32), np.zeros(1000, np.float32)
    benchmark(kernels.encode, rows, 1, *out)
    np.testing.assert_array_equal(out[0], rows >= 0)


def test_distances_to_a_thousand_half_rows(benchmark: Any) -> None:
    rows, query = normal(1000, 384).astype(np.float16), normal(384, seed=1)
    flat = rows.reshape(-1).view(np.uint16)
    found = np.arange(1000)[None]
    places, scores = np.zeros((1, 10), dtype=np.int64), np.zeros((1, 10), dtype=np.float32)
    rescore = kernels.rescore_kernel(True, False)
    benchmark(rescore, query[None], flat, 1, 384, found, places, scores)
    assert places[0, 0] == (rows.astype(np.float32) @ query).argmax()
