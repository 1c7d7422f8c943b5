"""The graph on disk: either distribution, or none, and files that others take away."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragopt.errors import BackendMissing, IndexCorrupt, InputError, StorageError
from ragopt.indexes import build
from ragopt.indexes import open as open_index
from ragopt.indexes.diskann_graph import DiskGraph

SPEC = "diskann(fresh_rows=40)"
ROWS = np.random.default_rng(0).standard_normal((150, 16)).astype(np.float32)

installed = pytest.mark.skipif(
    find_spec("diskannpy") is None, reason="diskannpy (extra diskann) is not installed"
)


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diskannpy", None)
    with pytest.raises(BackendMissing, match=r"pip install 'ragopt\[diskann\]'"):
        build("diskann", ROWS[:3])  # before rows have come that only the package can hold


@installed
def test_not_installed_where_an_index_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build(SPEC, ROWS, path=tmp_path)
    monkeypatch.setitem(sys.modules, "diskannpy", None)
    with pytest.raises(BackendMissing, match="diskannpy"):
        open_index(tmp_path)


@installed
def test_an_index_of_the_other_distribution(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build(SPEC, ROWS, path=tmp_path)
    mine = DiskGraph.check_installed()
    other = {"diskannpy-rust": "diskannpy", "diskannpy": "diskannpy-rust"}[mine]
    monkeypatch.setattr(DiskGraph, "check_installed", staticmethod(lambda: other))
    with pytest.raises(InputError, match=f"built by {mine}, installed is {other}; install {mine}"):
        open_index(tmp_path)


@installed
def test_an_index_on_another_disk_outlives_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Hard links reach no further than their disk."""

    def refuse(*_: Any) -> None:
        raise OSError("another disk")

    build(SPEC, ROWS, path=tmp_path / "index")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    index = open_index(tmp_path / "index")
    before = index.search(ROWS[:9], 5)
    build("flat", ROWS, path=tmp_path / "index")
    assert np.array_equal(index.search(ROWS[:9], 5).ids, before.ids)
    index.save(tmp_path / "elsewhere")
    found = open_index(tmp_path / "elsewhere").search(ROWS[:9], 5)
    assert np.array_equal(found.ids, before.ids)


@installed
def test_temporary_files_go_with_the_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    index = build(SPEC, ROWS)
    (folder,) = tmp_path.iterdir()
    if hasattr(os, "fork"):
        child = os.fork()
        if not child:
            del index
            gc.collect()
            os._exit(0)
        os.waitpid(child, 0)
        assert folder.exists(), "a child took the files of its parent away"
    assert index.search(ROWS[7], 1).ids.tolist() == [[7]]
    del index
    gc.collect()
    assert not list(tmp_path.iterdir())


@installed
def test_a_build_that_fails_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    index = build(SPEC, ROWS[:60])
    before, size = index.search(ROWS[:9], 5), index.footprint()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StorageError, match=r"could not build the graph.*exit status 1"):
        index.add(ROWS[60:])
    assert (len(index), index.footprint()) == (60, size)
    assert np.array_equal(index.search(ROWS[:9], 5).ids, before.ids)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert index.add(ROWS[60:]).tolist() == list(range(60, 150))
    assert index.search(ROWS, 1).ids[:, 0].tolist() == list(range(150))


@installed
@pytest.mark.parametrize("ending", ["disk.index", "metadata.bin", "pq_pivots.bin"])
def test_graph_files_that_the_package_cannot_read(ending: str, tmp_path: Path) -> None:
    """Whole files by the checksum, which is not looked at, but of something else."""
    build(SPEC, ROWS, path=tmp_path)
    (path,) = tmp_path.glob(f"*{ending}-*.bin")
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(IndexCorrupt, match="cannot read it"):
        open_index(tmp_path, verify=False)


@installed
def test_work_is_reported() -> None:
    stats = build(SPEC, ROWS).search(ROWS[:9], 3, complexity=10).stats
    assert stats.pages_read >= 9
    assert stats.bytes_read == 4096 * stats.pages_read
    counted = DiskGraph.check_installed() == "diskannpy-rust"
    assert (stats.codes_scanned > 0, stats.read_rounds > 1) == (counted, counted)
