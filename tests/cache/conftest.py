"""A bag-of-words embedder: blind to order, as LSA is, and without anything to fit."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

STOPS = frozenset("a an the is are do does how what in on to of for i can with from and it".split())


class BagOfWords:
    """Hashed word counts; reversed questions have cosine 1."""

    def __init__(self, dim: int = 512, name: str = "bag-of-words") -> None:
        self.dim = dim
        self.id = name
        self.asked = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            self.asked += 1
            for word in re.findall(r"\w+", text.lower()):
                if word not in STOPS:
                    row[zlib.crc32(word.encode()) % self.dim] += 1
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(lengths > 0, lengths, 1)


class Clock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def embedder() -> BagOfWords:
    return BagOfWords()


@pytest.fixture(scope="session")
def make_embedder() -> type[BagOfWords]:
    return BagOfWords


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Of a real server, started here."""
    from ragopt.benchmarks.cache.redis_server import start_redis
    from ragopt.benchmarks.cache.unavailable import Unavailable

    try:
        with start_redis() as server:
            yield server.url
    except Unavailable as error:
        pytest.skip(str(error))
