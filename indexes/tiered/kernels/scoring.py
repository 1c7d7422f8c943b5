"""Distances of rows, in float16 or float32, and products with centroids."""

from __future__ import annotations

import numpy as np

from ragopt.indexes.tiered.kernels.machine import F32, U16, f32_at, half, inner, summing, u16_at

__all__ = ["inner_product", "list_products", "score"]


@summing
def list_products(centroids: U16, query: F32, products: F32) -> None:
    """-2 <q, c> of every centroid.

    One after the other: to convert float16 is what takes the time, and several centroids at once,
    which load the query less often, were measured to gain 1 %.

    Args:
        centroids: (lists, dim) u16, float16 as bits.
        query: (dim,) f32.
        products: (at least lists,) f32, written.
    """
    for place in range(centroids.shape[0]):
        total = np.float32(0)
        for column in range(query.shape[0]):
            total += half(centroids[place, column]) * query[column]
        products[place] = np.float32(-2) * total


@inner
def score(address: int, in_half: bool, query: F32, by_square: bool) -> np.float32:
    """Distance of a row, by where it stands: the squared one, or the product times -1.

    Args:
        address: of the row, aligned as its values.
        in_half: whether they are float16.
        query: (dim,) f32.
        by_square: which distance.
    """
    if in_half:
        total = _of_half(u16_at(address, query.shape[0]), query, by_square)
    else:
        total = inner_product(f32_at(address, query.shape[0]), query, by_square)
    return total if by_square else -total


@summing
def inner_product(row: F32, query: F32, of_difference: bool) -> np.float32:
    """Inner product of a row (dim,) f32 with a query, or of their difference with itself."""
    total: np.float32 = np.float32(0)
    for column in range(query.shape[0]):
        one, other = row[column], query[column]
        if of_difference:
            one = other = one - other
        total += one * other
    return total


@summing
def _of_half(row: U16, query: F32, of_difference: bool) -> np.float32:
    """The same of a row of float16, given as bits."""
    total: np.float32 = np.float32(0)
    for column in range(query.shape[0]):
        one, other = half(row[column]), query[column]
        if of_difference:
            one = other = one - other
        total += one * other
    return total
