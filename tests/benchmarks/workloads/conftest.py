"""The real evaluation data, where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ragopt.benchmarks.datasets import data_folder, load


@pytest.fixture(scope="session")
def real() -> Callable[[str], Any]:
    """Loads a dataset by name; skips where the folder is not there."""
    if data_folder() is None:
        pytest.skip("RAGOPT_DATA names no folder of evaluation data")
    return load
