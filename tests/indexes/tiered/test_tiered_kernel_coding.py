"""Kernels that rotate rows, code them and scan their codes, against a few lines of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import hadamard
from tiered_kernels_numpy import (
    F32,
    I64,
    Array,
    centred,
    coded,
    levels_of,
    normal,
    opened,
    planes_of,
    quantized,
    signs,
)

from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.kernels import coding

DIMS = [64, 128, 192, 384, 768]

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
