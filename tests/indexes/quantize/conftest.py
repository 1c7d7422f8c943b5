"""Quantizers of every kind, and vectors of every awkward kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.indexes.quantize import PCA, Binary, Int4, Int8, ProductQuantizer, RaBitQ, Truncate

DIM = 24  # what KINDS are made for
KINDS = [
    Int8(),
    Int8(clip_ratio=0.1),
    Int4(),
    Binary(),
    Binary(centred=False),
    ProductQuantizer(4, bits=5),
    ProductQuantizer(3, bits=3),
    *(RaBitQ(bits) for bits in range(1, 9)),
    Truncate(9),
    Truncate(9, keep_length=False),
    PCA(10),
    PCA(10) | Int8(),
    PCA(11) | RaBitQ(4),
    Truncate(13) | Int4(),
    Truncate(13, keep_length=False) | ProductQuantizer(13, bits=4),
    Truncate(20) | PCA(15) | RaBitQ(2),
]


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Any:
    """An unfitted quantizer of each kind, also in chains."""
    return request.param


@pytest.fixture(params=[kind for kind in KINDS if "RaBitQ" not in str(kind)], ids=str)
def decoding_kind(request: pytest.FixtureRequest) -> Any:
    """Those whose scores are those of decoded rows, not estimates of those of the rows."""
    return request.param


@pytest.fixture(scope="session")
def sample() -> NDArray[np.float32]:
    """300 correlated vectors away from the origin, with some constant dimensions."""
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((300, 6)) @ rng.standard_normal((6, DIM))
    rows += 0.3 * rng.standard_normal((300, DIM)) + 2
    rows[:, 5] = -1.25
    return rows.astype(np.float32)


@pytest.fixture(scope="session")
def real() -> NDArray[np.float32]:
    """3,000 sentence vectors of 384 dimensions, length one."""
    path = Path(os.environ.get("RAGOPT_DATA", "")) / "vectors" / "qqp_minilm_384_f16.npy"
    if not path.is_file():
        pytest.skip("vectors/qqp_minilm_384_f16.npy is not in RAGOPT_DATA")
    rows = np.load(path, mmap_mode="r")
    drawn = np.random.default_rng(0).choice(len(rows), 3000, replace=False)
    return np.asarray(rows[np.sort(drawn)], dtype=np.float32)
