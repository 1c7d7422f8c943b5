"""What holds for every quantizer, alone and in a chain."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragopt.errors import InputError, RagoptError
from ragopt.indexes import quantize
from ragopt.indexes.quantize import (
    PCA,
    Binary,
    Int4,
    Int8,
    ProductQuantizer,
    RaBitQ,
    Truncate,
)

Rows = NDArray[np.float32]


def fitted(kind: Any, rows: Rows) -> Any:
    return deepcopy(kind).fit(rows)


# Codes ------------------------------------------------------------------------------------


def test_codes_have_the_bytes_that_are_promised(kind: Any, sample: Rows) -> None:
    quantizer = fitted(kind, sample)
    codes = quantizer.encode(sample)
    assert codes.shape == (len(sample), quantizer.bytes_per_vector)
    assert codes.dtype == np.uint8
    assert len(codes.tobytes()) == len(sample) * quantizer.bytes_per_vector


@pytest.mark.parametrize(
    ("quantizer", "dim", "expected"),
    [
        (Int8(), 13, 13),
        (Int4(), 13, 7),
        (Binary(), 13, 2),
        (Binary(), 16, 2),
        (RaBitQ(), 13, 2 + 8),
        (RaBitQ(3), 13, 5 + 8),
        (RaBitQ(8), 1, 1 + 8),
        (ProductQuantizer(13, bits=3), 13, 5),
        (ProductQuantizer(bits=4), 16, 1),
        (Truncate(5), 13, 20),
        (PCA(5), 13, 20),
        (PCA(5) | RaBitQ(4), 13, 3 + 8),
        (Truncate(9) | PCA(5) | Binary(), 13, 1),
    ],
    ids=str,
)
def test_bytes_are_those_of_the_bits_rounded_up(quantizer: Any, dim: int, expected: int) -> None:
    rows = np.random.default_rng(0).standard_normal((40, dim))
    quantizer = fitted(quantizer, rows)
    assert quantizer.bytes_per_vector == expected
    assert quantizer.encode(rows).shape == (40, expected)


def test_decoding_is_better_than_the_mean(kind: Any, sample: Rows) -> None:
    quantizer = fitted(kind, sample)
    lost = ((quantizer.decode(quantizer.encode(sample)) - sample) ** 2).sum()
    if "Truncate" in str(kind):  # its first dimensions are no better than the others here
        assert lost < 1.5 * (sample**2).sum()
    elif kind != Binary(centred=False):
        assert lost < 0.8 * ((sample - sample.mean(axis=0)) ** 2).sum()


def test_rows_encode_alike_alone_and_in_blocks(
    kind: Any, sample: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantizer = fitted(kind, sample)
    whole = quantizer.encode(sample)
    query = sample[:3] + 0.1
    figures = [quantizer.decode(whole), quantizer.distances(query, whole)]
    monkeypatch.setattr(quantize.base.row_blocks, "__defaults__", (7,))
    np.testing.assert_allclose(quantizer.decode(whole), figures[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(quantizer.distances(query, whole), figures[1], rtol=1e-3, atol=1e-3)
    in_blocks = quantizer.encode(sample)
    # A product of matrices may round differently for other shapes: levels differ by one, rarely.
    agree = quantizer.decode(in_blocks) - figures[0]
    assert np.abs(agree).max() < 1.5
    assert (np.abs(agree) > 1e-4).mean() < 0.01


# Scores -----------------------------------------------------------------------------------


def test_scores_are_those_of_decoded_rows(decoding_kind: Any, sample: Rows) -> None:
    quantizer = fitted(decoding_kind, sample)
    codes = quantizer.encode(sample)
    rows = quantizer.decode(codes).astype(np.float64)
    queries = sample[:9] + np.float32(0.25)
    wanted = ((queries[:, None, :] - rows[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(quantizer.distances(queries, codes), wanted, rtol=2e-4, atol=2e-3)
    np.testing.assert_allclose(
        quantizer.similarities(queries, codes), queries @ rows.T, rtol=2e-4, atol=2e-3
    )


def test_distances_and_similarities_say_the_same(decoding_kind: Any, sample: Rows) -> None:
    """|q - r|^2 + 2 qr - |q|^2 is |r|^2: one number a row, whatever the query."""
    quantizer = fitted(decoding_kind, sample)
    codes = quantizer.encode(sample)
    queries = sample[:5] * np.float32(1.5)
    lengths = (queries.astype(np.float64) ** 2).sum(axis=1, keepdims=True)
    apart = quantizer.distances(queries, codes).astype(np.float64)
    squares = apart + 2.0 * quantizer.similarities(queries, codes) - lengths
    np.testing.assert_allclose(squares, np.broadcast_to(squares[:1], squares.shape), atol=0.02)


def test_one_query_may_be_flat(kind: Any, sample: Rows) -> None:
    quantizer = fitted(kind, sample)
    codes = quantizer.encode(sample)
    for score in (quantizer.distances, quantizer.similarities):
        assert score(sample[0], codes).shape == (1, len(sample))
        np.testing.assert_array_equal(score(sample[0], codes), score(sample[:1], codes))


def test_distances_are_never_negative(kind: Any, sample: Rows) -> None:
    quantizer = fitted(kind, sample)
    codes = quantizer.encode(sample)
    assert quantizer.distances(quantizer.decode(codes)[:20], codes).min() >= 0


def test_nothing_in_nothing_out(kind: Any, sample: Rows) -> None:
    quantizer = fitted(kind, sample)
    none = quantizer.encode(sample[:0])
    assert none.shape == (0, quantizer.bytes_per_vector)
    assert quantizer.decode(none).shape == (0, sample.shape[1])
    codes = quantizer.encode(sample[:4])
    for score in (quantizer.distances, quantizer.similarities):
        assert score(sample[:2], none).shape == (2, 0)
        assert score(sample[:0], codes).shape == (0, 4)


# What it is, and what it learned ----------------------------------------------------------


def test_pickles_say_the_same(kind: Any, sample: Rows) -> None:
    quantizer = fitted(kind, sample)
    again = pickle.loads(pickle.dumps(quantizer))
    assert again == quantizer == kind
    assert hash(again) == hash(kind)
    codes = quantizer.encode(sample)
    np.testing.assert_array_equal(again.encode(sample), codes)
    np.testing.assert_array_equal(again.decode(codes), quantizer.decode(codes))
    blank = pickle.loads(pickle.dumps(kind))
    with pytest.raises(InputError, match="is not fitted"):
        blank.encode(sample)


def test_fitting_twice_gives_the_same_codes(kind: Any, sample: Rows) -> None:
    one, other = fitted(kind, sample), fitted(kind, sample)
    np.testing.assert_array_equal(one.encode(sample), other.encode(sample))


def test_fitting_anew_forgets(kind: Any, sample: Rows) -> None:
    moved = sample[::-1] * 3 - 1
    quantizer = fitted(kind, sample).fit(moved)
    np.testing.assert_array_equal(quantizer.encode(sample), fitted(kind, moved).encode(sample))


def test_float64_half_and_lists_are_taken(kind: Any, sample: Rows) -> None:
    rough = sample.astype(np.float16)
    quantizer = fitted(kind, rough)
    codes = quantizer.encode(rough)
    np.testing.assert_array_equal(codes, quantizer.encode(rough.astype(np.float64)))
    np.testing.assert_array_equal(quantizer.encode(rough[:3].tolist()), quantizer.encode(rough[:3]))
    np.testing.assert_array_equal(codes, quantizer.encode(np.asfortranarray(rough)))


def test_options_are_frozen_and_the_name_is_what_one_types(kind: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        kind.bits = 7
    assert eval(str(kind), vars(quantize)) == kind
    assert eval(repr(kind), vars(quantize)) == kind


@pytest.mark.parametrize(
    ("quantizer", "name"),
    [
        (Int8(), "Int8()"),
        (Int4(clip_ratio=0.2), "Int4(clip_ratio=0.2)"),
        (RaBitQ(), "RaBitQ(1)"),
        (RaBitQ(4, seed=3), "RaBitQ(4, seed=3)"),
        (ProductQuantizer(), "ProductQuantizer()"),
        (ProductQuantizer(48, bits=6), "ProductQuantizer(48, bits=6)"),
        (PCA(256) | RaBitQ(4), "PCA(256) | RaBitQ(4)"),
    ],
)
def test_names(quantizer: Any, name: str) -> None:
    assert str(quantizer) == name


def test_the_room_exports_what_it_says() -> None:
    assert quantize.__all__ == sorted(quantize.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(quantize, name) for name in quantize.__all__)


# Refusals ---------------------------------------------------------------------------------


def test_unfitted_ones_say_so(kind: Any, sample: Rows) -> None:
    codes = np.zeros((2, 3), np.uint8)
    for use in (
        lambda: kind.encode(sample),
        lambda: kind.decode(codes),
        lambda: kind.distances(sample, codes),
        lambda: kind.similarities(sample, codes),
        lambda: kind.dim,
        lambda: kind.bytes_per_vector,
    ):
        with pytest.raises(InputError, match=r"is not fitted; call fit\(vectors\) first"):
            use()


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.zeros((0, 24)), "got no vectors, expected at least one"),
        (np.zeros(24), r"got shape \(24,\)"),
        (np.zeros((3, 0)), "at least one dimension"),
        ([[1.0, 2.0], [3.0]], "expected rows of one length"),
        ([["a", "b"]], "real numbers"),
        (np.full((3, 24), np.nan), "hold NaN, infinite or huge"),
        (np.full((3, 24), np.inf), "hold NaN, infinite or huge"),
        (np.full((3, 24), 1e30), "hold NaN, infinite or huge"),
        (np.ones((3, 24), bool), "real numbers"),
        (np.ones((3, 24), complex), "real numbers"),
    ],
)
def test_a_refused_fit_changes_nothing(kind: Any, sample: Rows, vectors: Any, said: str) -> None:
    quantizer = fitted(kind, sample)
    codes = quantizer.encode(sample)
    with pytest.raises(InputError, match=said):
        quantizer.fit(vectors)
    np.testing.assert_array_equal(quantizer.encode(sample), codes)


def test_vectors_of_another_model_are_refused(kind: Any, sample: Rows) -> None:
    quantizer = fitted(kind, sample)
    codes = quantizer.encode(sample)
    with pytest.raises(InputError, match=r"vectors: 23 dimensions, .* was fitted on 24; fit it"):
        quantizer.encode(sample[:, :23])
    for score in (quantizer.distances, quantizer.similarities):
        with pytest.raises(InputError, match="queries: 25 dimensions"):
            score(np.zeros(25), codes)
        with pytest.raises(InputError, match="queries: 1 rows hold NaN"):
            score(np.full(24, np.nan), codes)


def test_codes_of_another_shape_or_type_are_refused(kind: Any, sample: Rows) -> None:
    quantizer = fitted(kind, sample)
    codes = quantizer.encode(sample)
    for wrong in (codes[:, :-1], codes[0], codes.astype(np.int64), codes[None]):
        with pytest.raises(InputError, match=r"codes: got shape .* expected \(n, \d+\) of uint8"):
            quantizer.decode(wrong)
        with pytest.raises(InputError, match="codes: got shape"):
            quantizer.distances(sample[0], wrong)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RaBitQ(0), "bits=0: expected an integer from 1 to 8"),
        (lambda: RaBitQ(9), "bits=9: expected an integer from 1 to 8"),
        (lambda: RaBitQ(True), "bits=True"),
        (lambda: RaBitQ(2.0), "bits=2.0"),  # type: ignore[arg-type]
        (lambda: RaBitQ(seed=-1), "seed=-1: expected an integer of at least 0"),
        (lambda: Int8(clip_ratio=0.5), "clip_ratio=0.5: expected a share from 0 to below 0.5"),
        (lambda: Int8(clip_ratio=-0.1), "clip_ratio=-0.1"),
        (lambda: Int4(clip_ratio=float("nan")), "clip_ratio=nan"),
        (lambda: Int4(clip_ratio=False), "clip_ratio=False: expected a number"),
        (lambda: Int4(clip_ratio="no"), "clip_ratio='no': expected a number"),  # type: ignore[arg-type]
        (lambda: Binary(centred=1), "centred=1: expected True or False"),  # type: ignore[arg-type]
        (lambda: ProductQuantizer(0), "subspaces=0"),
        (lambda: ProductQuantizer(bits=13), "bits=13: expected an integer from 1 to 12"),
        (lambda: ProductQuantizer(seed=1 << 31), "seed=2147483648"),
        (lambda: Truncate(0), "dims=0: expected an integer of at least 1"),
        (lambda: Truncate(3, keep_length=None), "keep_length=None"),  # type: ignore[arg-type]
        (lambda: PCA(-2), "dims=-2"),
        (lambda: PCA("8"), "dims='8'"),  # type: ignore[arg-type]
    ],
)
def test_options_out_of_range_are_refused(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        make()
    assert isinstance(caught.value, (RagoptError, ValueError))


@pytest.mark.parametrize(
    ("quantizer", "shape", "said"),
    [
        (Truncate(7), (9, 6), r"Truncate\(7\): the vectors have 6 dimensions; keep at most"),
        (PCA(7), (9, 6), r"PCA\(7\): the vectors have 6 dimensions"),
        (PCA(5), (5, 6), r"5 vectors vary in at most 4 directions; give more than 5 or lower dims"),
        (ProductQuantizer(4, bits=2), (9, 6), r"6 dimensions cannot be cut into 4 equal parts; .*"),
        (ProductQuantizer(bits=4), (15, 6), "15 vectors are too few for 16 centroids; give at"),
        (PCA(4) | Truncate(3) | ProductQuantizer(2, bits=2), (9, 6), "3 dimensions cannot be cut"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_vectors_is_refused(
    quantizer: Any, shape: tuple[int, int], said: str
) -> None:
    rows = np.random.default_rng(0).standard_normal(shape)
    with pytest.raises(InputError, match=said):
        quantizer.fit(rows)
    with pytest.raises(InputError, match="is not fitted"):
        quantizer.encode(rows)


# Awkward vectors --------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    kind=st.sampled_from(
        [Int8(), Int4(), Binary(), *(RaBitQ(bits) for bits in (1, 2, 3, 5, 8)), PCA(1) | Int8()]
    ),
    shape=st.tuples(st.integers(2, 20), st.integers(1, 19)),
    exponent=st.integers(-44, 14),
    twist=st.sampled_from(["none", "constant", "zero rows", "one-hot", "far", "same rows"]),
    seed=st.integers(0, 99),
)
def test_awkward_vectors_come_back_near(
    kind: Any, shape: tuple[int, int], exponent: int, twist: str, seed: int
) -> None:
    rows = np.random.default_rng(seed).standard_normal(shape)
    if twist == "constant":
        rows[:] = rows[0, 0]
    elif twist == "zero rows":
        rows[::2] = 0
    elif twist == "one-hot":
        rows *= np.arange(shape[1]) == seed % shape[1]
    elif twist == "far":
        rows += 1000
    elif twist == "same rows":
        rows[:] = rows[0]
    rows = (rows * 10.0**exponent).astype(np.float32)
    quantizer = fitted(kind, rows)
    codes = quantizer.encode(rows)
    back = quantizer.decode(codes).astype(np.float64)
    spread = np.linalg.norm(rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64), axis=1)
    rounding = 1e-5 * np.abs(rows).max() * shape[1] + 1e-37
    assert np.linalg.norm(back - rows, axis=1).max() <= 2 * spread.max() + rounding
    if twist in ("constant", "same rows"):
        np.testing.assert_allclose(back, rows, rtol=1e-5, atol=rounding)
    for score in (quantizer.distances, quantizer.similarities):
        assert np.isfinite(score(rows[:2], codes)).all()


@pytest.mark.parametrize("kind", [Int8(), Int4(), Binary(), RaBitQ(1), RaBitQ(6)], ids=str)
def test_one_row_is_its_own_code(kind: Any) -> None:
    row = np.array([[0.0, -3.5, 2.25]], np.float32)
    quantizer = fitted(kind, row)
    codes = quantizer.encode(row)
    np.testing.assert_allclose(quantizer.decode(codes), row, rtol=1e-6)
    np.testing.assert_allclose(quantizer.distances(row, codes), [[0]], atol=1e-9)
    np.testing.assert_allclose(quantizer.similarities(row, codes), [[17.3125]], rtol=1e-6)


@pytest.mark.parametrize("kind", [Int8(), Int4(), Binary(), RaBitQ(1), RaBitQ(4)], ids=str)
def test_the_largest_vectors_allowed_give_finite_scores(kind: Any) -> None:
    rows = np.array([[6.5e18, 0, 0], [-6.5e18, 0, 0], [0, 6.5e18, 0]], np.float32)
    quantizer = fitted(kind, rows)
    codes = quantizer.encode(rows)
    assert np.isfinite(quantizer.decode(codes)).all()
    for row in rows:  # one by one: the exact reference itself is at its limit
        assert np.isfinite(quantizer.distances(row, codes)).all()
        assert np.isfinite(quantizer.similarities(row, codes)).all()


def test_product_codes_of_constant_and_huge_vectors() -> None:
    for rows in (np.full((40, 8), 3.5), np.zeros((40, 8)), np.full((40, 8), -1e17)):
        quantizer = ProductQuantizer(2, bits=3).fit(rows)
        back = quantizer.decode(quantizer.encode(rows))
        np.testing.assert_allclose(back, rows, rtol=1e-2)
