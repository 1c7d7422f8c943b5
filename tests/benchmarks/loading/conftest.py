"""Files in hand-made formats, and the folder of the real data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from ragopt.benchmarks.datasets import data_folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The evaluation data; see `tests/conftest.py`."""
    folder = data_folder()
    if folder is None:
        pytest.skip("RAGOPT_DATA is not set and ../shared/data is not there")
    return folder


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[[str, Iterable[Any]], Path]:
    """Write JSON lines; the path is returned."""

    def write(name: str, rows: Iterable[Any]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path

    return write
