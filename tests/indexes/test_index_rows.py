"""Rows on disk at the seams of their pages."""

from __future__ import annotations

import resource
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragopt.indexes.rows import PAGE_BYTES, ROW_DTYPES, RowFile

# Dimensions whose rows fit a page many times, 1365.3 times, once, once to the byte, or not at all.
DIMS = [1, 3, 100, 384, 1023, 1024, 1025, 1500, 2047, 2048, 2049, 4100]


def rows_of(count: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def rows_a_page(dim: int, dtype: str) -> int:
    return max(1, PAGE_BYTES // (dim * ROW_DTYPES[dtype].itemsize))


@pytest.fixture(params=["f16", "f32"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("dim", DIMS)
def test_rows_come_back_as_their_dtype_holds_them(dim: int, dtype: str) -> None:
    seam = rows_a_page(dim, dtype)
    for count in {1, 2, seam - 1, seam, seam + 1, 3 * seam} - {0}:
        rows = rows_of(count, dim)
        file = RowFile(dim, dtype)
        file.append(rows)
        kept = rows.astype(ROW_DTYPES[dtype]).astype(np.float32)
        order = np.random.default_rng(1).permutation(count)
        assert np.array_equal(file.read(order), kept[order])
        assert file.read(order).dtype == np.float32
        assert file.read(np.empty(0, dtype=np.int64)).shape == (0, dim)


@pytest.mark.parametrize("dim", DIMS)
def test_no_row_that_fits_a_page_crosses_one(dim: int, dtype: str) -> None:
    """Found in the bytes themselves: every row holds its own number, everywhere."""
    count = 2 * rows_a_page(dim, dtype) + 1
    numbers = np.arange(1, count + 1) % 2000 + 1
    file = RowFile(dim, dtype)
    file.append(np.repeat(numbers[:, None], dim, axis=1).astype(np.float32))
    content = file.content().view(ROW_DTYPES[dtype])
    row_bytes = dim * ROW_DTYPES[dtype].itemsize
    place = 0
    for number in numbers.tolist():
        while content[place] == 0:  # padding
            place += 1
        assert (content[place : place + dim] == number).all()
        first = place * ROW_DTYPES[dtype].itemsize
        crossed = (first + row_bytes - 1) // PAGE_BYTES - first // PAGE_BYTES
        assert crossed == (0 if row_bytes <= PAGE_BYTES else (row_bytes - 1) // PAGE_BYTES)
        place += dim
    assert (content[place:] == 0).all()
    assert file.disk_bytes == content.nbytes
    assert file.disk_bytes % PAGE_BYTES == 0


@pytest.mark.parametrize("dim", [1, 3, 100, 1024, 1500])
def test_many_appends_equal_one(dim: int, dtype: str) -> None:
    seam = rows_a_page(dim, dtype)
    rows = rows_of(4 * seam + 3, dim)
    whole = RowFile(dim, dtype)
    whole.append(rows)
    pieces = RowFile(dim, dtype)
    cuts = sorted({0, 1, seam - 1, seam, seam + 1, 2 * seam, 3 * seam + 1, len(rows)})
    for start, stop in pairwise(cuts):
        pieces.append(rows[start:stop])
        pieces.append(rows[:0])
        assert pieces.count == stop
        assert np.array_equal(pieces.read(np.arange(stop)), whole.read(np.arange(stop)))
    assert np.array_equal(pieces.content(), whole.content())


def test_appending_more_than_a_block_at_once(dtype: str) -> None:
    rows = rows_of(4096 + 5, 1500)  # a block is 4,096 pages
    file = RowFile(1500, dtype)
    file.append(rows)
    some = np.array([0, 2047, 2048, 4095, 4096, 4100])
    assert np.array_equal(file.read(some), rows[some].astype(ROW_DTYPES[dtype]).astype(np.float32))


@pytest.mark.parametrize("dim", [3, 1024, 1500])
def test_appending_to_an_opened_file_leaves_it_alone(dim: int, dtype: str, tmp_path: Path) -> None:
    rows = rows_of(rows_a_page(dim, dtype) + 2, dim)
    first = RowFile(dim, dtype)
    first.append(rows)
    path = tmp_path / "rows"
    path.write_bytes(first.content().tobytes())
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    opened = RowFile(dim, dtype, path=path, count=len(rows))
    assert np.array_equal(opened.content(), first.content())
    opened.append(rows[:3])
    first.append(rows[:3])
    assert np.array_equal(opened.read(np.arange(opened.count)), first.read(np.arange(first.count)))
    assert np.array_equal(opened.content(), first.content())
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)


def test_an_empty_file() -> None:
    file = RowFile(7, "f32")
    file.append(np.empty((0, 7), dtype=np.float32))
    assert (file.count, file.disk_bytes, file.content().size) == (0, 0, 0)


@pytest.mark.parametrize(
    ("dim", "positions", "pages"),
    [
        (1024, [], 0),
        (1024, [0], 1),
        (1024, [0, 1, 2, 9], 4),
        (1025, [0, 1, 9], 6),
        (100, [0, 9], 1),
        (100, [9, 10], 2),
        (100, [0, 1, 2, 3, 35, 36, 37], 2),
        (3, [0, 340, 341], 2),
    ],
)
def test_pages_are_counted_once_each(dim: int, positions: list[int], pages: int) -> None:
    file = RowFile(dim, "f32")
    file.append(rows_of(400, dim))
    assert file.prefetch(np.array(positions, dtype=np.int64)) == pages


@pytest.mark.parametrize("dim", [100, 1500])
def test_a_full_disk_changes_nothing(
    dim: int, dtype: str, run_script: Callable[..., str], tmp_path: Path
) -> None:
    """In a process of its own: the limit on file sizes stands for a full disk."""
    printed = run_script(
        """
import resource, sys
import numpy as np
from ragopt.errors import StorageError
from ragopt.indexes.rows import RowFile

dim, dtype = int(sys.argv[1]), sys.argv[2]
rows = np.random.default_rng(0).standard_normal((45, dim)).astype(np.float32)
file = RowFile(dim, dtype)
file.append(rows)
before, size = file.read(np.arange(45)), file.disk_bytes
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192 + 100, hard))
try:
    file.append(np.concatenate([rows] * 20))
except StorageError as error:
    print(type(error).__name__, "ulimit" in str(error))
assert file.count == 45 and np.array_equal(file.read(np.arange(45)), before)
assert file.disk_bytes == file.content().nbytes == size
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
file.append(rows[:3])
assert np.array_equal(file.read(np.arange(48)), np.concatenate([before, before[:3]]))
whole = RowFile(dim, dtype)
whole.append(np.concatenate([rows, rows[:3]]))
assert np.array_equal(file.content(), whole.content())
""",
        dim,
        dtype,
    )
    assert printed == "StorageError True"


def test_temporary_files_do_not_stay_open(tmp_path: Path) -> None:
    limit: Any = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limit[0]), limit[1]))
        for _ in range(400):
            RowFile(4, "f32").append(rows_of(3, 4))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
