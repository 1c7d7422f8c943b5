"""What the tests of the indexes share: data, a reference in numpy, and scripts run beside us."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]


def reference_scores(queries: Array, rows: Array, metric: str) -> NDArray[np.float64]:
    """Scores (nq, n) by the definition of each metric, in float64."""
    left, right = (np.atleast_2d(np.asarray(side, dtype=np.float64)) for side in (queries, rows))
    if metric == "cosine":
        left, right = (
            side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-300)
            for side in (left, right)
        )
    if metric == "l2":
        return np.asarray(-((left[:, None, :] - right[None, :, :]) ** 2).sum(axis=2))
    return np.asarray(left @ right.T)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """On a busy machine the threads of OpenMP spend their time waiting for one another."""
    import faiss

    faiss.omp_set_num_threads(1)


@pytest.fixture(scope="session")
def scores_of() -> Callable[[Array, Array, str], NDArray[np.float64]]:
    return reference_scores


@pytest.fixture(scope="session")
def clustered() -> Callable[[int, int, int], tuple[Array, Array]]:
    """Rows (n, dim) around n / 20 centres and 40 queries drawn likewise."""

    def draw(count: int, dim: int, seed: int = 0) -> tuple[Array, Array]:
        rng = np.random.default_rng(seed)
        centres = rng.standard_normal((max(1, count // 20), dim))
        home = rng.integers(0, len(centres), count + 40)
        points = (centres[home] + 0.4 * rng.standard_normal((count + 40, dim))).astype(np.float32)
        return points[:count], points[count:]

    return draw


@pytest.fixture(scope="session")
def run_script() -> Callable[..., str]:
    """Run Python code in a process of its own and return what it printed."""

    def run(code: str, *arguments: object, timeout_s: float = 60) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    return run


@pytest.fixture(scope="session")
def running_script() -> Callable[..., AbstractContextManager[subprocess.Popen[str]]]:
    """A script at work, past its first line of output; killed at the end."""

    @contextmanager
    def start(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as running:
            try:
                assert running.stdout is not None
                assert running.stdout.readline()
                yield running
            finally:
                running.kill()

    return start
