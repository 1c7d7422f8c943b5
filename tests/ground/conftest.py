"""What holds for the tests of the ground floor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_shared import FORMAT

from ragopt.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Callable[..., Database]]:
    """Open databases that are closed at the end."""
    with contextlib.ExitStack() as closing:

        def connect(name: str | Path = "ledger.db", **options: Any) -> Database:
            opened = Database(tmp_path / name, **{"format": FORMAT, **options})
            closing.callback(opened.close)
            return opened

        yield connect
