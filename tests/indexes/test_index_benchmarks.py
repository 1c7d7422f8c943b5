"""Times of searches: ``pytest --benchmark-only tests/indexes``. Results are checked first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.indexes import build
from ragopt.indexes.lexical import LexicalIndex
from ragopt.indexes.rows import RowFile

Array = NDArray[Any]

ROWS, DIM = 20_000, 384
SPECS = [
    "flat",
    "flat(dtype=f16)",
    "hnsw(ef_construction=100)",
    "hnswlib(ef_construction=100)",
    "rabitq",
    "rabitq(bits=4)+rescore(f32)",
]


@pytest.fixture(scope="module")
def data(clustered: Callable[..., tuple[Array, Array]]) -> tuple[Array, Array]:
    rows, queries = clustered(ROWS, DIM)
    return rows, queries


@pytest.mark.parametrize("batch", [1, 40])
@pytest.mark.parametrize("spec", SPECS)
def test_search(benchmark: Any, data: tuple[Array, Array], spec: str, batch: int) -> None:
    index, queries = build(spec, data[0]), data[1][:batch]
    truth = index.exact(data[1], 10).ids.tolist()
    found = index.search(data[1], 10).ids.tolist()
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)])
    assert recall >= 0.9
    benchmark.extra_info.update(
        recall_at_10=float(recall), ram_bytes_a_vector=index.footprint().ram_bytes / ROWS
    )
    benchmark(index.search, queries, 10)


@pytest.mark.parametrize("dtype", ["f16", "f32"])
def test_reading_rows(benchmark: Any, data: tuple[Array, Array], dtype: str) -> None:
    file = RowFile(DIM, dtype)
    file.append(data[0])
    some = np.sort(np.random.default_rng(0).permutation(ROWS)[:40])
    np.testing.assert_allclose(file.read(some), data[0][some], rtol=1e-3, atol=1e-6)

    def prefetch_and_read() -> Array:
        file.prefetch(some)
        return file.read(some)

    benchmark(prefetch_and_read)


def test_lexical_search(benchmark: Any, tmp_path: Path) -> None:
    words = np.array([f"word{number}" for number in range(5000)])
    drawn = np.random.default_rng(0).zipf(1.3, (ROWS, 60)) % 5000
    LexicalIndex.build(" ".join(row) for row in words[drawn].tolist()).save(tmp_path)
    index = LexicalIndex.open(tmp_path)
    found = index.search("word17 word423 word4000", 10)
    assert np.isin(drawn[found.ids[0]], [17, 423, 4000]).any(axis=1).all()
    benchmark(index.search, "word17 word423 word4000", 10)
