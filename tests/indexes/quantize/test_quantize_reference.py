"""Each quantizer but RaBitQ against its definition in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ragopt.errors import InputError
from ragopt.indexes.quantize import (
    PCA,
    Binary,
    Chain,
    Int4,
    Int8,
    ProductQuantizer,
    RaBitQ,
    Truncate,
)
from ragopt.indexes.quantize.packing import pack, packed_bytes, unpack

Array = NDArray[Any]
matrices = arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 9)),
    elements=st.floats(-1e6, 1e6, width=32),
)


# Packing ----------------------------------------------------------------------------------


@given(
    bits=st.integers(1, 8), shape=st.tuples(st.integers(0, 5), st.integers(1, 20)), data=st.data()
)
def test_packing_loses_nothing(bits: int, shape: tuple[int, int], data: st.DataObject) -> None:
    numbers = data.draw(arrays(np.uint8, shape, elements=st.integers(0, (1 << bits) - 1)))
    packed = pack(numbers, bits)
    assert packed.shape == (shape[0], packed_bytes(shape[1], bits))
    np.testing.assert_array_equal(unpack(packed, shape[1], bits), numbers)
    for row, code in zip(numbers, packed, strict=True):
        whole = sum(int(number) << (place * bits) for place, number in enumerate(row))
        assert code.tobytes() == whole.to_bytes(packed.shape[1], "little")


# Scalars ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("quantizer", "levels"), [(Int8(), 256), (Int4(clip_ratio=0), 16)])
@given(rows=matrices)
def test_no_value_moves_by_more_than_half_a_step(quantizer: Any, levels: int, rows: Array) -> None:
    fitted = type(quantizer)(clip_ratio=0).fit(rows)
    back = fitted.decode(fitted.encode(rows))
    spans = rows.max(axis=0).astype(np.float64) - rows.min(axis=0)
    rounding = 1e-6 * np.abs(rows).max(axis=0) + 1e-42  # steps among the smallest numbers there are
    assert (np.abs(back - rows) <= spans / (levels - 1) / 2 + rounding).all()


@pytest.mark.parametrize("quantizer", [Int8(clip_ratio=0.04), Int4(), Int4(clip_ratio=0.3)])
def test_levels_are_those_of_the_quantiles(quantizer: Any, sample: Array) -> None:
    fitted = type(quantizer)(clip_ratio=quantizer.clip_ratio).fit(sample)
    tail = quantizer.clip_ratio / 2
    low, high = np.quantile(sample.astype(np.float64), [tail, 1 - tail], axis=0)
    top = 2**quantizer.bits - 1
    step = (high - low) / top
    safe = np.where(step > 0, step, 1)
    places = np.clip(np.round((sample - low) / safe), 0, top)
    gap = np.abs(fitted.decode(fitted.encode(sample)) - (low + places * step))
    # Half-way values may round to either side.
    assert (gap > 1e-4).mean() < 0.01
    assert (gap <= step + 1e-4).all()


def test_values_beyond_what_was_fitted_stop_at_the_ends() -> None:
    fitted = Int8().fit([[0.0, -1.0], [1.0, 1.0]])
    codes = fitted.encode([[-9.0, 0.0], [1e18, 5.0]])
    np.testing.assert_allclose(fitted.decode(codes), [[0, 0], [1, 1]], atol=0.005)


def test_clipping_pays_where_values_are_rare() -> None:
    rows = np.random.default_rng(0).standard_t(3, size=(3000, 8))
    lost = [
        ((fitted.decode(fitted.encode(rows)) - rows) ** 2).mean()
        for fitted in (Int4(clip_ratio=share).fit(rows) for share in (0.0, 0.01))
    ]
    assert lost[1] < 0.6 * lost[0]


@pytest.mark.parametrize("centred", [True, False])
def test_binary_is_the_side_times_the_mean_deviation(centred: bool, sample: Array) -> None:
    fitted = Binary(centred=centred).fit(sample)
    exact = sample.astype(np.float64)
    centre = exact.mean(axis=0) if centred else np.zeros(exact.shape[1])
    spread = np.abs(exact - centre).mean(axis=0)
    wanted = centre + np.where(exact > centre, 1, -1) * spread
    np.testing.assert_allclose(fitted.decode(fitted.encode(sample)), wanted, rtol=1e-4, atol=1e-5)


# Product quantization ---------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 4, 8, 9, 12])
def test_product_codes_name_the_nearest_centroid_of_each_part(bits: int) -> None:
    rows = np.random.default_rng(bits).standard_normal((1 << max(bits, 6), 6)).astype(np.float32)
    fitted = ProductQuantizer(3, bits=bits).fit(rows)
    some = rows[:100]
    back = fitted.decode(fitted.encode(some))
    for part in range(3):
        cut = slice(2 * part, 2 * part + 2)
        gaps = ((some[:, None, cut] - fitted._state[part][None]) ** 2).sum(axis=2)
        found = ((some[:, cut] - back[:, cut]) ** 2).sum(axis=1)
        np.testing.assert_allclose(found, gaps.min(axis=1), rtol=1e-3, atol=1e-5)


def test_product_quantizers_of_another_seed_differ(sample: Array) -> None:
    one, other = (ProductQuantizer(4, bits=4, seed=seed).fit(sample) for seed in (0, 1))
    assert (one._state != other._state).any()


@pytest.mark.parametrize(("dim", "parts"), [(384, 48), (24, 3), (7, 1), (1, 1), (13, 1), (100, 10)])
def test_product_parts_keep_eight_dimensions(dim: int, parts: int) -> None:
    rows = np.random.default_rng(0).standard_normal((16, dim))
    assert ProductQuantizer(bits=1).fit(rows).bytes_per_vector == (parts + 7) // 8
    assert ProductQuantizer(bits=4).fit(rows).bytes_per_vector == (parts + 1) // 2


# Reducers ---------------------------------------------------------------------------------


def test_pca_is_the_best_projection(sample: Array) -> None:
    exact = sample.astype(np.float64)
    mean = exact.mean(axis=0)
    _, values, axes = np.linalg.svd(exact - mean, full_matrices=False)
    for dims in (1, 4, 9):
        fitted = PCA(dims).fit(sample)
        back = fitted.decode(fitted.encode(sample))
        wanted = mean + (exact - mean) @ axes[:dims].T @ axes[:dims]
        np.testing.assert_allclose(back, wanted, atol=1e-4)
        assert ((back - exact) ** 2).sum() == pytest.approx((values[dims:] ** 2).sum(), rel=1e-3)


def test_pca_sees_every_block_of_rows() -> None:
    """The last of 4,100 rows lies in a block of its own, and far out."""
    rows = np.zeros((4100, 3))
    rows[:, 0] = np.tile([1.0, -1.0], 2050)
    rows[4099, 1] = rows[0, 1] = 300
    fitted = PCA(1).fit(rows)
    np.testing.assert_allclose(np.abs(fitted._state.rows), [[0, 1, 0]], atol=0.02)
    rows[0, 1] = rows[4099, 1] = 0
    fitted.fit(rows)
    np.testing.assert_allclose(np.abs(fitted._state.rows), [[1, 0, 0]], atol=1e-6)
    many = np.random.default_rng(0).standard_normal((4100, 3)) * [3, 1, 0.1]
    many[4096:] = 0  # a block that says nothing
    np.testing.assert_allclose(np.abs(fitted.fit(many)._state.rows), [[1, 0, 0]], atol=0.02)


def test_all_directions_lose_nothing(sample: Array) -> None:
    for quantizer in (PCA(24), Truncate(24), Truncate(24, keep_length=False)):
        fitted = quantizer.fit(sample)
        np.testing.assert_allclose(fitted.decode(fitted.encode(sample)), sample, atol=1e-4)


def test_truncated_rows_keep_their_length_or_do_not(sample: Array) -> None:
    rows = sample.copy()
    rows[0] = 0
    rows[1, :6] = 0  # nothing is left of it to stretch
    plain = Truncate(6, keep_length=False).fit(rows)
    long = Truncate(6).fit(rows)
    back, kept = (fitted.decode(fitted.encode(rows)) for fitted in (long, plain))
    np.testing.assert_array_equal(kept[:, :6], rows[:, :6])
    assert not kept[:, 6:].any()
    assert not back[:, 6:].any()
    assert not back[:2].any()
    np.testing.assert_allclose(
        np.linalg.norm(back[2:], axis=1), np.linalg.norm(rows[2:], axis=1), rtol=1e-5
    )
    ratio = back[2:, :6] / rows[2:, :6]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-3)


# Chains -----------------------------------------------------------------------------------


def test_chains_flatten_and_equal() -> None:
    left = (Truncate(20) | PCA(10)) | RaBitQ(4)
    right = Truncate(20) | (PCA(10) | RaBitQ(4))
    assert left == right == Chain((Truncate(20), PCA(10), RaBitQ(4)))
    assert hash(left) == hash(right)
    assert left != Truncate(20) | PCA(10) | RaBitQ(3)
    assert Chain((Int8(),)).parts == (Int8(),)


def test_chains_leave_their_parts_unfitted(sample: Array) -> None:
    pca, int8 = PCA(4), Int8()
    (pca | int8).fit(sample)
    for part in (pca, int8):
        with pytest.raises(InputError, match="is not fitted"):
            part.encode(sample)


@pytest.mark.parametrize(
    "coder", [Int8(), Int4(), Binary(), ProductQuantizer(5, bits=4), RaBitQ(1), RaBitQ(5)], ids=str
)
def test_a_chain_is_its_parts_by_hand(coder: Any, sample: Array) -> None:
    chain = (PCA(10) | coder).fit(sample)
    pca = PCA(10).fit(sample)
    reduced = pca.encode(sample).view("<f4")
    alone = type(coder)(**{name: getattr(coder, name) for name in vars(coder) if name != "_fitted"})
    alone.fit(reduced)
    codes = alone.encode(reduced)
    np.testing.assert_array_equal(chain.encode(sample), codes)
    axes, mean = pca._state.rows, pca._state.mean
    np.testing.assert_allclose(chain.decode(codes), mean + alone.decode(codes) @ axes, atol=1e-4)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((Int8(), PCA(4)), r"PCA\(4\) cannot stand behind Int8\(\), whose codes are no vectors"),
        ((PCA(4), Int8(), RaBitQ()), r"RaBitQ\(1\) cannot stand behind Int8\(\)"),
        ((PCA(4), Truncate(5)), r"Truncate\(5\) cannot keep more dimensions than PCA\(4\) leaves"),
        ((), "expected a tuple of at least one quantizer"),
        ([PCA(4), Int8()], "expected a tuple"),
        ((PCA(4), "int8"), "got 'int8', expected quantizers such as"),
    ],
)
def test_parts_that_cannot_follow_are_refused(parts: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Chain(parts)


def test_only_quantizers_chain() -> None:
    with pytest.raises(TypeError):
        PCA(4) | 3  # type: ignore[operator]
