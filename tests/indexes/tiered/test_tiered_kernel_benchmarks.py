"""Times of each kernel: kept by pytest-benchmark, never judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiered_kernels_numpy import F32, I64, levels_of, normal, opened, planes_of, quantized, signs
from tiered_kernels_planted import planted, reference

from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.kernels import coding, scoring, selecting


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
