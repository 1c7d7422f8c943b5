"""Vector sets grown for the index bench: queries stay real and apart, the file is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragopt.benchmarks.datasets.types import VectorSet
from ragopt.benchmarks.index.grown import grown
from ragopt.errors import InputError


@pytest.fixture
def real() -> VectorSet:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 24))
    drawn = centres[rng.integers(20, size=600)] + 0.3 * rng.standard_normal((600, 24))
    unit = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return VectorSet(name="drawn", vectors=unit.astype(np.float32), data_hash="drawn-600")


def test_queries_are_real_rows_that_nothing_grew_from(real: VectorSet, tmp_path: Path) -> None:
    larger, growth = grown(real, 1_200, folder=tmp_path, seed=1)
    assert larger.vectors.shape == (1_200, 24)
    assert larger.name == "drawn grown to 1,200"
    assert larger.queries is not None
    assert larger.queries.shape == (150, 24)
    every = {row.tobytes() for row in real.vectors}
    asked = {row.tobytes() for row in larger.queries}
    assert len(asked) == 150
    assert asked < every
    kept = {row.tobytes() for row in np.asarray(larger.vectors, dtype=np.float32)}
    halved = {row.astype(np.float16).astype(np.float32).tobytes() for row in larger.queries}
    assert not kept & halved
    assert (growth["real"], growth["rows"]) == (450, 1_200)
    assert 0 <= growth["ks_nearest"] <= 1
    assert "path" not in growth


def test_a_set_s_own_queries_stay(real: VectorSet, tmp_path: Path) -> None:
    own = np.random.default_rng(2).standard_normal((300, 24)).astype(np.float32)
    source = VectorSet(name="own", vectors=real.vectors, queries=own, data_hash="own")
    larger, _ = grown(source, 900, folder=tmp_path)
    assert larger.queries is own
    assert len(larger.vectors) == 900


def test_the_grown_file_is_used_again(real: VectorSet, tmp_path: Path) -> None:
    first, told = grown(real, 900, folder=tmp_path / "work")
    (file,) = (tmp_path / "work").glob("grown-*.npy")
    before = file.stat().st_mtime_ns
    again, same = grown(real, 900, folder=tmp_path / "work")
    assert file.stat().st_mtime_ns == before
    assert told == same
    assert first.data_hash == again.data_hash
    other, _ = grown(real, 900, folder=tmp_path / "work", seed=1)
    assert other.data_hash != first.data_hash
    assert len(list((tmp_path / "work").glob("grown-*.npy"))) == 2


def test_a_set_cannot_grow_smaller(real: VectorSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="300"):
        grown(real, 300, folder=tmp_path)
    assert not list(tmp_path.glob("grown-*.npy"))
