"""Kernels that score rows and find their way in tables, against a few lines of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiered_kernels_numpy import F32, I64, normal, opened, planes_of, words_of

from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.kernels import scoring, tables

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
