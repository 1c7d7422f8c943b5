"""The files of a DiskANN graph, built and searched by either distribution of ``diskannpy``."""

from __future__ import annotations

import importlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragopt.errors import BackendMissing, IndexCorrupt, InputError, StorageError
from ragopt.indexes.base import SearchStats
from ragopt.indexes.rows import PAGE_BYTES, RowFile
from ragopt.indexes.scoring import MISSING, Metric, Positions, Vectors
from ragopt.storage import storage_errors

if TYPE_CHECKING:
    from ragopt.indexes.diskann import DiskannOptions

__all__ = ["DiskGraph"]

_DIMENSIONS_A_BYTE = 4
_ALIGNED = 8  # the Rust one panics at 100 dimensions; the C++ one fills up by itself
_GIB = float(1 << 30)
_LEAST_BUILD_GIB = 2.0
_BLOCK_ROWS = 1 << 14
_NEEDLESS = ("_mem.index.data", "_sample_data.bin", "_sample_ids.bin")  # the C++ one's, never read
_RUST, _CPP = "diskannpy-rust", "diskannpy"

# In a process of its own: it writes to standard output, and its memory goes back at the end.
_BUILD = """
import json, sys
import numpy
import diskannpy
diskannpy.build_disk_index(vector_dtype=numpy.float32, **json.loads(sys.argv[1]))
"""


class DiskGraph:
    """A graph in a folder of its own, which goes when the graph does.

    Args:
        folder: with the files, named as the package expects them.
        package: the distribution that wrote them.
        beam: nodes read in one round.

    Raises:
        IndexCorrupt: the package cannot read the files.
    """

    def __init__(self, folder: Path, package: str, beam: int) -> None:
        self._folder, self._package, self._beam = folder, package, beam
        self._finalizer = weakref.finalize(self, _remove, folder, os.getpid())
        try:
            self.rows, self._width = _shape(folder / f"{package}_metadata.bin")
            # Mapped now, since an index saved over this one takes away what soft links lead to.
            self._files = {
                path.name: np.memmap(path, np.uint8, "r") for path in sorted(folder.iterdir())
            }
            self._engine = self._opened()
        except Exception as error:  # the package raises no narrower one
            first, _, _ = str(error).partition("\n")
            raise IndexCorrupt(f"{folder}: {package} cannot read it ({first})") from error

    @staticmethod
    def check_installed() -> str:
        """The installed one of the two distributions.

        Raises:
            BackendMissing: there is none.
        """
        for name in (_RUST, _CPP):
            try:
                distribution(name)
                _module()
            except (PackageNotFoundError, ImportError):
                continue
            return name
        raise BackendMissing(_RUST, "diskann", "the index family 'diskann'")

    @classmethod
    def build(cls, file: RowFile, options: DiskannOptions, metric: Metric) -> DiskGraph:
        """Build the graph of all rows of a file.

        Raises:
            StorageError: the package failed, most often since the temporary folder is full.
        """
        package = cls.check_installed()
        with storage_errors(Path(tempfile.gettempdir())):
            folder = Path(tempfile.mkdtemp(prefix="ragopt-diskann-"))
        try:
            with storage_errors(folder):
                width = _write_vectors(folder / "rows.bin", file, metric)
            _run_build(folder, package, file, width, options)
            (folder / "rows.bin").unlink()
            for ending in _NEEDLESS:
                (folder / f"{package}{ending}").unlink(missing_ok=True)
            return cls(folder, package, options.beam)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @classmethod
    def open(cls, parts: Mapping[str, Path], options: DiskannOptions) -> DiskGraph:
        """Open files that were saved under other names, through links with their own.

        Raises:
            InputError: the other distribution built them.
            IndexCorrupt: the package cannot read them.
        """
        installed = cls.check_installed()
        package = next(iter(parts)).partition("_")[0]
        if package != installed:
            raise InputError(
                f"{next(iter(parts.values())).parent}: built by {package}, installed is "
                f"{installed}; install {package} in its place or build the index again"
            )
        with storage_errors(Path(tempfile.gettempdir())):
            folder = Path(tempfile.mkdtemp(prefix="ragopt-diskann-"))
            for name, path in parts.items():
                _link(path.absolute(), folder / name)
        return cls(folder, package, options.beam)

    def parts(self) -> dict[str, Any]:
        """Content of the files, by name."""
        return dict(self._files)

    @property
    def ram_bytes(self) -> int:
        """Of codes and codebooks, which the package reads whole."""
        kept = ("_pq_compressed.bin", "_pq_pivots.bin")
        return sum(content.nbytes for name, content in self._files.items() if name.endswith(kept))

    @property
    def disk_bytes(self) -> int:
        """Of all files."""
        return sum(content.nbytes for content in self._files.values())

    def search(self, queries: Vectors, k: int, breadth: int) -> tuple[Positions, SearchStats]:
        """Positions (nq, k), -1 where fewer were reached, and what the walk cost.

        The older distribution does not count its work.
        """
        padded = np.pad(queries, ((0, 0), (0, self._width - queries.shape[1])))
        special = {} if self._package == _RUST else {"beam_width": self._beam}
        threads = min(_cores(), len(padded))
        result = self._engine.batch_search(padded, k, max(k, breadth), threads, **special)
        found = np.full((len(padded), k), MISSING, dtype=np.int64)
        found[:, : result.identifiers.shape[1]] = result.identifiers
        stats = self._counted(getattr(result, "search_stats", {}), len(padded))
        return np.where(found < self.rows, found, MISSING), stats

    def _counted(self, means: Mapping[str, float], queries: int) -> SearchStats:
        """Of the means a query; the start node is read alone, then ``beam`` a round at best."""
        if not means:
            return SearchStats()
        pages = round(means["mean_ios"] * queries)
        return SearchStats(
            codes_scanned=round(means["mean_comps"] * queries),
            pages_read=pages,
            bytes_read=pages * PAGE_BYTES,
            read_rounds=1 + math.ceil((means["mean_hops"] - 1) / self._beam),
        )

    def _opened(self) -> Any:
        special = {"beam_width": self._beam} if self._package == _RUST else {"cache_mechanism": 0}
        return _module().StaticDiskIndex(
            index_directory=str(self._folder),
            index_prefix=self._package,
            num_threads=_cores(),
            num_nodes_to_cache=0,
            **special,
        )


def _shape(metadata: Path) -> tuple[int, int]:
    """Rows and their width, as the package wrote them down."""
    rows, width = np.fromfile(metadata, dtype="<u8")[2:4].tolist()
    if not rows or not width:
        raise ValueError("its metadata speak of no rows")
    return rows, width


def _run_build(
    folder: Path, package: str, file: RowFile, width: int, options: DiskannOptions
) -> None:
    codes = options.pq_bytes or max(1, file.dim // _DIMENSIONS_A_BYTE)
    compression: dict[str, float] = {"num_of_pq_chunks": codes}
    if package == _CPP:  # which reads six digits only
        least = math.ceil(file.count * (codes + 0.5) / _GIB * 1e6) / 1e6
        compression = {"search_memory_maximum": least}
    arguments = {
        "data": str(folder / "rows.bin"),
        "distance_metric": "l2",
        "index_directory": str(folder),
        "index_prefix": package,
        "complexity": options.build_complexity,
        "graph_degree": options.r,
        # Less than three times the rows, and the graph is built in pieces and merged.
        "build_memory_maximum": max(_LEAST_BUILD_GIB, 12 * file.count * width / _GIB),
        "num_threads": _cores(),
        **compression,
    }
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _BUILD, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode or not (folder / f"{package}_disk.index").exists():
        said = (done.stdout + done.stderr)[-500:]
        raise StorageError(
            None,
            f"{folder}: {package} could not build the graph (exit status {done.returncode}); is "
            f"the temporary folder full? It said: {said}",
        )


def _write_vectors(path: Path, file: RowFile, metric: Metric) -> int:
    """Rows in DiskANN's own format; returns their width, a multiple of 8.

    The graph is one of squared distances. For products a further dimension makes all rows equally
    long, so that both have one order (Bachrach et al., 2014, section 3); where they are already,
    as rows for cosine are but for zero rows, there is none.
    """
    lengths = _squared_lengths(file) if metric != "l2" else np.zeros(file.count)
    missing = lengths.max(initial=0) - lengths
    filled = bool(missing.max(initial=0) > 1e-5 * lengths.max(initial=0))
    width = _ALIGNED * -(-(file.dim + filled) // _ALIGNED)
    with path.open("wb") as target:
        target.write(np.array([file.count, width], dtype="<u4").tobytes())
        for start in range(0, file.count, _BLOCK_ROWS):
            block = np.arange(start, min(start + _BLOCK_ROWS, file.count))
            rows = np.zeros((len(block), width), dtype="<f4")
            rows[:, : file.dim] = file.read(block)
            if filled:
                rows[:, file.dim] = np.sqrt(missing[block])
            target.write(rows.tobytes())
    return width


def _squared_lengths(file: RowFile) -> Any:
    lengths = np.empty(file.count, dtype=np.float64)
    for start in range(0, file.count, _BLOCK_ROWS):
        rows = file.read(np.arange(start, min(start + _BLOCK_ROWS, file.count)))
        lengths[start : start + len(rows)] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return lengths


def _link(source: Path, target: Path) -> None:
    """A hard link survives that an index is saved over this one; else a soft one, else a copy."""
    for way in (target.hardlink_to, target.symlink_to):
        try:
            way(source)
        except OSError:
            continue
        return
    shutil.copyfile(source, target)


def _remove(folder: Path, owner: int) -> None:
    """A forked child lets go of the graph, too, and must leave the files alone."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _module() -> Any:
    os.environ.setdefault("RUST_LOG", "error")  # else it writes two lines a query
    return importlib.import_module("diskannpy")
