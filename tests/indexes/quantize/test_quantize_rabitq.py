"""RaBitQ against the papers: the estimate, its bias, its bounds, the choice of codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragopt.errors import InputError
from ragopt.indexes.quantize import PCA, RaBitQ
from ragopt.indexes.quantize.packing import unpack

Array = NDArray[Any]
BITS = range(1, 9)


def pair(dim: int, seed: int = 5) -> tuple[Array, Array]:
    """A centred pair of rows (so that the centre is 0) and a query with product 0.6 to the first.

    All of length one.
    """
    rng = np.random.default_rng(seed)
    row, other = rng.standard_normal((2, dim))
    row /= np.linalg.norm(row)
    other -= (other @ row) * row
    query = 0.6 * row + 0.8 * other / np.linalg.norm(other)
    return np.stack([row, -row]).astype(np.float32), query.astype(np.float32)


class Reference:
    """Section 3 of Gao and Long (2024), grid points as of Gao et al. (2025), in float64."""

    def __init__(self, fitted: RaBitQ, codes: Array) -> None:
        state = fitted._state
        self.centre, self.rotation = (
            side.astype(np.float64) for side in (state.centre, state.rotation)
        )
        levels = unpack(np.ascontiguousarray(codes[:, :-8]), fitted.dim, fitted.bits)
        grid = levels.astype(np.float64) - (2**fitted.bits - 1) / 2
        self.grid = grid / np.linalg.norm(grid, axis=1, keepdims=True)

    def rotated(self, rows: Array) -> Array:
        return (rows.astype(np.float64) - self.centre) @ self.rotation

    def products(self, queries: Array, rows: Array) -> Array:
        """<q, c> + |o| <x, q> / <x, o>, o the residual's direction."""
        inverse = self.rotated(rows)
        length = np.linalg.norm(inverse, axis=1)
        cosine = (self.grid * inverse).sum(axis=1) / length
        rotated = queries.astype(np.float64) @ self.rotation
        return (queries @ self.centre)[:, None] + (rotated @ self.grid.T) * length / cosine

    def squares(self, queries: Array, rows: Array) -> Array:
        inner, residual = queries - self.centre, self.rotated(rows)
        products = self.products(inner, rows) - (inner @ self.centre)[:, None]
        ends = (inner**2).sum(axis=1)[:, None] + (residual**2).sum(axis=1)
        return np.maximum(ends - 2 * products, 0)


def exhaustive(residual: Array, bits: int) -> float:
    """The largest cosine of any grid point: every scale at which a coordinate changes level."""
    half, sizes = 1 << (bits - 1), np.abs(residual).astype(np.float64)
    edges = np.unique(np.concatenate([[0.0], *(np.arange(1, half)[:, None] / sizes)]))
    scales = np.append((edges[1:] + edges[:-1]) / 2, edges[-1] * 1.01 + 1)
    grid = np.minimum(np.floor(scales[:, None] * sizes), half - 1) + 0.5
    cosines = (grid @ sizes) / np.linalg.norm(grid, axis=1) / np.linalg.norm(sizes)
    return float(cosines.max())


# Estimates --------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [1, 2, 7, 8, 9, 33])
def test_scores_are_those_of_the_papers(bits: int, dim: int) -> None:
    rng = np.random.default_rng(dim)
    rows = (rng.standard_normal((60, dim)) * 2 + 1).astype(np.float32)
    queries = rng.standard_normal((5, dim)).astype(np.float32)
    fitted = RaBitQ(bits, seed=3).fit(rows)
    codes = fitted.encode(rows)
    reference = Reference(fitted, codes)
    np.testing.assert_allclose(
        fitted.similarities(queries, codes), reference.products(queries, rows), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        fitted.distances(queries, codes), reference.squares(queries, rows), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("bits", BITS)
def test_decoded_rows_are_the_nearest_along_the_code(bits: int, sample: Array) -> None:
    fitted = RaBitQ(bits).fit(sample)
    codes = fitted.encode(sample)
    reference = Reference(fitted, codes)
    along = (reference.grid * reference.rotated(sample)).sum(axis=1, keepdims=True)
    wanted = reference.centre + (along * reference.grid) @ reference.rotation.T
    np.testing.assert_allclose(fitted.decode(codes), wanted, atol=1e-4)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_estimates_are_unbiased_and_decoded_products_are_not(bits: int) -> None:
    """Over rotations the mean is the product itself, within four standard errors."""
    rows, query = pair(dim=32)
    estimates, decoded, squares = [], [], []
    for seed in range(600):
        fitted = RaBitQ(bits, seed=seed).fit(rows)
        codes = fitted.encode(rows)
        estimates.append(fitted.similarities(query, codes)[0, 0])
        squares.append(fitted.distances(query, codes)[0, 0])
        decoded.append(fitted.decode(codes)[0] @ query)
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - 0.6) < 4 * error
    assert abs(np.mean(squares) - 0.8) < 8 * error
    assert np.mean(decoded) < 0.6 - 4 * np.std(decoded) / np.sqrt(len(decoded))


def test_errors_shrink_with_dimensions_as_the_theorem_says() -> None:
    """O(1 / sqrt(dim)): 16 times the dimensions, a quarter of the error."""
    spreads = []
    for dim in (24, 384):
        rows = np.random.default_rng(0).standard_normal((2000, dim)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        fitted = RaBitQ(1).fit(rows)
        found = fitted.similarities(rows[:50], fitted.encode(rows))
        spreads.append(np.std(found - rows[:50] @ rows.T))
    assert spreads[0] / spreads[1] == pytest.approx(4, rel=0.1)


def test_a_bit_more_halves_the_error(sample: Array) -> None:
    errors = []
    for bits in BITS:
        fitted = RaBitQ(bits).fit(sample)
        found = fitted.similarities(sample[:40], fitted.encode(sample))
        errors.append(np.std(found - sample[:40] @ sample.T))
    ratios = np.array(errors[:-1]) / errors[1:]
    assert (ratios > 1.5).all()
    assert np.exp(np.log(ratios).mean()) == pytest.approx(2, rel=0.15)


# Bounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("bits", [1, 3, 6])
@pytest.mark.parametrize("of", ["similarities", "distances"])
def test_bounds_hold_as_often_as_they_say(confidence: float, bits: int, of: Any) -> None:
    rng = np.random.default_rng(bits)
    rows = (rng.standard_normal((1500, 48)) + 0.2).astype(np.float32)
    queries = (rng.standard_normal((60, 48)) * 2).astype(np.float32)
    fitted = RaBitQ(bits).fit(rows)
    codes = fitted.encode(rows)
    exact, gap = rows.astype(np.float64), 0.0
    if of == "similarities":
        gap = fitted.similarities(queries, codes) - queries @ exact.T
    else:
        squares = ((queries[:, None, :] - exact[None]) ** 2).sum(axis=2)
        gap = fitted.distances(queries, codes) - squares
    bounds = fitted.error_bounds(queries, codes, of=of, confidence=confidence)
    assert bounds.shape == (60, 1500)
    held = (np.abs(gap) <= bounds).mean()
    # Not far above either: the query's share along the residual is all that is given away.
    assert confidence - 0.01 <= held <= confidence + 0.25 * (1 - confidence) + 0.01


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [1, 2, 8])
def test_bounds_hold_in_few_dimensions(dim: int, bits: int) -> None:
    rng = np.random.default_rng(dim)
    rows = rng.standard_normal((200, dim)).astype(np.float32)
    held = []
    for seed in range(20):
        fitted = RaBitQ(bits, seed=seed).fit(rows)
        codes = fitted.encode(rows)
        gap = np.abs(fitted.similarities(rows[:20], codes) - rows[:20] @ rows.T)
        held.append((gap <= fitted.error_bounds(rows[:20], codes, confidence=0.9)).mean())
    assert np.mean(held) >= 0.89


@pytest.mark.parametrize("confidence", [0, 1, 1.5, float("nan")])
def test_bounds_refuse_no_confidence(confidence: float, sample: Array) -> None:
    fitted = RaBitQ().fit(sample)
    codes = fitted.encode(sample)
    with pytest.raises(InputError, match="expected between 0 and 1"):
        fitted.error_bounds(sample[0], codes, confidence=confidence)
    with pytest.raises(InputError, match="of='norms': expected 'similarities' or 'distances'"):
        fitted.error_bounds(sample[0], codes, of="norms")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not fitted"):
        RaBitQ().error_bounds(sample[0], codes)


# Codes ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    bits=st.integers(2, 5), dim=st.integers(16, 64), seed=st.integers(0, 999), heavy=st.booleans()
)
def test_codes_are_near_the_best_of_all(bits: int, dim: int, seed: int, heavy: bool) -> None:
    rng = np.random.default_rng(seed)
    row = rng.standard_normal(dim) ** (3 if heavy else 1)
    rows = np.stack([row, -row]).astype(np.float32)
    fitted = RaBitQ(bits).fit(rows)
    cosine = float(fitted.encode(rows)[:1, -4:].copy().view("<f4")[0, 0])
    best = exhaustive((rows @ fitted._state.rotation)[0], bits)
    assert cosine <= best + 1e-5
    assert 1 - cosine**2 <= 1.5 * (1 - best**2) + 2e-3


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_the_smallest_numbers_there_are_lie_at_the_centre(bits: int) -> None:
    rows = np.random.default_rng(0).integers(-2, 3, (50, 6)).astype(np.float32)
    rows *= np.finfo(np.float32).smallest_subnormal
    fitted = RaBitQ(bits).fit(rows)
    codes = fitted.encode(rows)
    np.testing.assert_allclose(fitted.decode(codes), 0, atol=1e-37)
    queries = np.eye(6)
    np.testing.assert_allclose(fitted.similarities(queries, codes), 0, atol=1e-37)
    np.testing.assert_allclose(fitted.distances(queries, codes), 1)


def test_one_bit_is_the_sign() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 20)).astype(np.float32)
    rows -= rows.mean(axis=0)
    fitted = RaBitQ(1).fit(rows)
    signs = unpack(np.ascontiguousarray(fitted.encode(rows)[:, :-8]), 20, 1)
    np.testing.assert_array_equal(signs, (rows - fitted._state.centre) @ fitted._state.rotation > 0)


@pytest.mark.parametrize("dim", [1, 2, 5, 64])
def test_the_rotation_is_one_and_goes_by_the_seed(dim: int) -> None:
    rows = np.ones((2, dim))
    turned = [RaBitQ(seed=seed).fit(rows)._state.rotation for seed in (0, 0, 1, 2, 3, 4, 5)]
    np.testing.assert_allclose(turned[0] @ turned[0].T, np.eye(dim), atol=1e-5)
    np.testing.assert_array_equal(turned[0], turned[1])
    assert any((other != turned[0]).any() for other in turned[2:])


def test_scores_do_not_depend_on_where_the_origin_is() -> None:
    rng = np.random.default_rng(1)
    rows, queries = rng.standard_normal((200, 16)), rng.standard_normal((4, 16))
    near, far = RaBitQ(2).fit(rows), RaBitQ(2).fit(rows + 50)
    np.testing.assert_allclose(
        far.distances(queries + 50, far.encode(rows + 50)),
        near.distances(queries, near.encode(rows)),
        rtol=1e-2,
        atol=0.05,
    )


def test_behind_a_reducer_the_estimate_is_that_of_the_reduced(sample: Array) -> None:
    chain = (PCA(10) | RaBitQ(3)).fit(sample)
    pca = PCA(10).fit(sample)
    reduced = pca.decode(pca.encode(sample)).astype(np.float64)
    codes, queries = chain.encode(sample), sample[:30]
    wanted = ((queries[:, None, :] - reduced[None]) ** 2).sum(axis=2)
    gap = chain.distances(queries, codes) - wanted
    assert abs(gap.mean()) < 0.02 * wanted.mean()
    assert np.std(gap) < 0.1 * np.std(wanted)
