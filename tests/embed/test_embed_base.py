"""Checking and scaling what a model returned, and the adapter for any callable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ragopt.embed import CallableEmbedder, Embedder
from ragopt.embed.base import unit_rows
from ragopt.errors import InputError


def lengths_and_ones(texts: Sequence[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=8),
        elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
    )
)
def test_rows_keep_their_direction_and_get_length_one(table: Any) -> None:
    rows = unit_rows(table, count=len(table), who="model")
    exact = table.astype(np.float64)
    lengths = np.sqrt((exact**2).sum(axis=1, keepdims=True))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, exact / np.where(lengths > 0, lengths, 1), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), (lengths > 0).ravel(), atol=1e-6)


def test_very_long_and_very_short_rows_are_scaled_too() -> None:
    rows = unit_rows([[3e30, 4e30], [3e-30, 4e-30]], count=2, who="model")
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)


def test_the_given_vectors_are_left_as_they_are() -> None:
    given_rows = np.array([[3.0, 4.0]], dtype=np.float32)
    unit_rows(given_rows, count=1, who="model")
    assert given_rows.tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        ([1.0, 2.0], r"shape \(2,\) for 2 texts"),
        ([[1.0, 2.0]], r"shape \(1, 2\) for 2 texts"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.zeros((2, 0)), r"shape \(2, 0\)"),
        (None, "for 2 texts"),
        ([[1.0], [1.0, 2.0]], "no table of numbers"),
        ([["a"], ["b"]], "no table of numbers"),
        ([[1.0], [math.nan]], "text number 1"),
        ([[math.inf], [1.0]], "text number 0"),
        ([[1.0], [1e300]], "text number 1"),
    ],
)
def test_what_is_no_table_of_numbers_is_rejected(returned: Any, complaint: str) -> None:
    embedder = CallableEmbedder(lambda texts: returned, id="broken", dim=1)
    with pytest.raises(InputError, match=f"embedder 'broken' returned .*{complaint}"):
        embedder.embed(["a", "b"])


def test_a_callable_becomes_an_embedder() -> None:
    embedder = CallableEmbedder(lengths_and_ones, id="length")
    assert isinstance(embedder, Embedder)
    assert (embedder.dim, embedder.id) == (2, "length")
    expected = np.array([[0, 1], [3 / math.sqrt(10), 1 / math.sqrt(10)]])
    np.testing.assert_allclose(embedder.embed(["", "abc"]), expected, rtol=1e-6)
    assert "length" in repr(embedder)


def test_the_dimension_is_asked_for_only_when_it_is_not_given() -> None:
    asked: list[list[str]] = []

    def record(texts: list[str]) -> list[list[float]]:
        asked.append(texts)
        return lengths_and_ones(texts)

    assert CallableEmbedder(record, id="given", dim=2).dim == 2
    assert asked == []
    assert CallableEmbedder(record, id="asked").dim == 2
    assert len(asked) == 1


def test_no_text_gives_no_row_and_asks_nobody() -> None:
    embedder = CallableEmbedder(lambda texts: 1 / 0, id="lazy", dim=3)
    assert embedder.embed([]).shape == (0, 3)


def test_another_dimension_than_before_is_rejected() -> None:
    embedder = CallableEmbedder(lambda texts: np.ones((len(texts), len(texts))), id="growing")
    with pytest.raises(InputError, match="'growing' returned 2 dimensions, expected 1"):
        embedder.embed(["a", "b"])


def test_the_callable_gets_a_list_whatever_sequence_was_given() -> None:
    def strict(texts: list[str]) -> list[list[float]]:
        assert type(texts) is list
        return lengths_and_ones(texts)

    embedder = CallableEmbedder(strict, id="strict", dim=2)
    np.testing.assert_array_equal(embedder.embed(("a", "b")), embedder.embed(["a", "b"]))
