from __future__ import annotations

from collections.abc import Iterator

import pytest
from cache_bench_made import paired

from ragopt.benchmarks.cache.services import Services
from ragopt.benchmarks.datasets.types import PairSet


@pytest.fixture(scope="session")
def pairs() -> PairSet:
    """200 pairs in 100 groups of three questions: the same ones nearer than the others."""
    return paired(100)


@pytest.fixture
def services() -> Iterator[Services]:
    with Services() as services:
        yield services
