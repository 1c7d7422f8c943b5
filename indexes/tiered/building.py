"""Long builds: rows that never stand in RAM together, and steps that a killed build need not redo.

What is unfinished stands in the folder ``building`` of the index: the plan, the lists, where every
row belongs, and the half-written segment. A build of the same rows goes on from there; a build of
others begins anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import InputError
from ragopt.indexes.checks import check_vectors
from ragopt.indexes.scoring import Metric
from ragopt.indexes.tiered.coding import NO_LIST, Coder, Rotation
from ragopt.indexes.tiered.segment import PARTS, Assignment, SegmentFiles, numbered
from ragopt.indexes.tiered.sources import MappedRows
from ragopt.storage import StoredPart, allocate, atomic_write, storage_errors

__all__ = ["Progress", "build_segment", "forget", "rows_of"]

Progress: TypeAlias = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is, and how much there is."""

_WORK = "building"
_CHECKPOINT_S = 10.0
_SAMPLED = 256  # rows that tell one set of vectors from another


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How far a build has come.

    Args:
        fingerprint: of rows, ids and options.
        coder: what `Coder.about` says; None before the lists are trained.
        assigned: rows whose lists are known.
        laid_out: whether the files of the segment have their size.
        written: rows in them.
    """

    fingerprint: str
    coder: Mapping[str, Any] | None = None
    assigned: int = 0
    laid_out: bool = False
    written: int = 0

    @classmethod
    def load(cls, work: Path, fingerprint: str) -> Plan:
        """The plan of a build that was interrupted, or a new one in an empty folder."""
        try:
            plan = cls(**json.loads((work / "plan.json").read_text("utf-8")))
            if plan.fingerprint == fingerprint:
                return plan
        except (OSError, ValueError, TypeError):
            pass
        _clear(work)
        return cls(fingerprint=fingerprint)

    def save(self, work: Path) -> Plan:
        """Write it, durably."""
        atomic_write(work / "plan.json", json.dumps(asdict(self)).encode())
        return self


def rows_of(
    vectors: ArrayLike | Iterable[ArrayLike],
    folder: Path,
    *,
    metric: Metric,
    dtype: str,
    progress: Progress | None,
) -> MappedRows:
    """Rows to build from: an array, mapped or not, as it is; blocks of an iterator through a file.

    Args:
        vectors: (n, dim), or an iterator over such blocks.
        folder: of the index.
        metric: of the index.
        dtype: of the rows on disk.
        progress: told of rows that were taken from the iterator; how many come is not known (0).

    Raises:
        InputError: unusable blocks, or none.
        StorageError: the disk is full.
    """
    given: Any = vectors
    if isinstance(given, Iterable) and not hasattr(given, "__len__"):
        given = _spooled(given, folder / _WORK, progress)
    rows = given if isinstance(given, np.ndarray) else check_vectors("vectors", given)
    if rows.ndim != 2 or not rows.shape[1] or rows.dtype.kind not in "fiu":
        check_vectors("vectors", rows)  # says what is wrong
    return MappedRows(rows, metric, dtype)


def _spooled(
    blocks: Iterable[ArrayLike], work: Path, progress: Progress | None
) -> NDArray[np.float32]:
    path, count, dim = work / "spooled.f4", 0, None
    with storage_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for number, block in enumerate(blocks):
                rows = check_vectors(f"vectors, block {number}", block, dim=dim)
                dim = rows.shape[1]
                file.write(rows.astype("<f4").tobytes())
                count += len(rows)
                if progress is not None:
                    progress("read", count, 0)
    if dim is None:
        raise InputError("vectors: the iterator gave no block, expected arrays (n, dim)")
    if not count:
        return np.empty((0, dim), dtype=np.float32)
    return np.memmap(path, dtype="<f4", mode="r", shape=(count, dim))


def build_segment(
    folder: Path,
    number: int,
    source: MappedRows,
    ids: NDArray[np.int64],
    train: Callable[[], Coder],
    *,
    about: Mapping[str, Any],
    progress: Progress | None,
) -> tuple[Coder, dict[str, StoredPart]]:
    """Train lists and write the segment of all rows, going on with an interrupted build.

    Reads the rows twice. Memory: 20 bytes a row, the training sample, and a few blocks of rows.

    Args:
        folder: of the index; the caller is its writer and calls `forget` once it has committed.
        number: of the segment.
        source: rows.
        ids: (n,) of the rows.
        train: makes the lists.
        about: options and whatever else decides what comes out.
        progress: told of ``"train"``, ``"assign"`` and ``"write"``.

    Raises:
        InputError: unusable rows.
        StorageError: the disk is full; the build can go on once it is not.
    """
    work = folder / _WORK
    with storage_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        plan = Plan.load(work, _fingerprint(source, ids, about))
        report = progress or _ignore
        coder, plan = _coder(work, plan, source, train, bits=about["bits"], report=report)
        assignment, plan = _assigned(work, plan, source, coder, report)
        files = SegmentFiles({part: work / part for part in PARTS}, source.dtype)
        whole = all((work / part).exists() for part in ("codes", "rows"))
        plan = replace(plan, laid_out=plan.laid_out and whole)
        plan = plan if plan.laid_out else replace(plan, written=0)
        files.begin(ids, coder, assignment, again=plan.laid_out)
        plan = replace(plan, laid_out=True).save(work)
        last = monotonic()
        for start, block in numbered(source.blocks(plan.written), plan.written):
            files.put(start, block)
            plan = replace(plan, written=start + len(block))
            report("write", plan.written, len(source))
            if monotonic() - last > _CHECKPOINT_S:
                files.sync()
                plan.save(work)
                last = monotonic()
        return coder, files.finish(folder, number)


def forget(folder: Path) -> None:
    """Remove what an unfinished build needed."""
    shutil.rmtree(folder / _WORK, ignore_errors=True)


def _coder(
    work: Path,
    plan: Plan,
    source: MappedRows,
    train: Callable[[], Coder],
    *,
    bits: int,
    report: Progress,
) -> tuple[Coder, Plan]:
    if plan.coder is not None:
        signs, centroids = (np.load(work / f"{name}.npy") for name in ("signs", "centroids"))
        dim = source.rows.shape[1]
        return Coder.restored(plan.coder, dim, Rotation(signs), centroids, bits), plan
    report("train", 0, 1)
    coder = train()
    for name, array in (("signs", coder.rotation.signs), ("centroids", coder.centroids)):
        written = io.BytesIO()  # np.save to a file would not notice a full disk
        np.save(written, array)
        atomic_write(work / f"{name}.npy", written.getbuffer())
    plan = replace(plan, coder=coder.about()).save(work)
    report("train", 1, 1)
    return coder, plan


def _assigned(
    work: Path, plan: Plan, source: MappedRows, coder: Coder, report: Progress
) -> tuple[Assignment, Plan]:
    path, shape = work / "assignment.i4", (2, len(source))
    if plan.assigned and path.exists() and path.stat().st_size == 8 * len(source):
        lists = np.memmap(path, dtype="<i4", mode="r+", shape=shape)
    else:
        plan = replace(plan, assigned=0)
        with path.open("wb") as file:
            allocate(file.fileno(), 8 * len(source))
        lists = np.memmap(path, dtype="<i4", mode="r+", shape=shape)
        lists[1] = NO_LIST
    last = monotonic()
    for start, block in numbered(source.blocks(plan.assigned), plan.assigned):
        part = slice(start, start + len(block))
        lists[0, part], lists[1, part] = coder.assign(coder.rotation(block))
        plan = replace(plan, assigned=part.stop)
        report("assign", plan.assigned, len(source))
        if monotonic() - last > _CHECKPOINT_S or plan.assigned == len(source):
            lists.flush()
            plan.save(work)
            last = monotonic()
    return Assignment(lists[0], lists[1]), plan


def _fingerprint(source: MappedRows, ids: NDArray[np.int64], about: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(dict(about), sort_keys=True, default=str).encode())
    rows = source.rows
    digest.update(f"{rows.shape} {rows.dtype}".encode())
    digest.update(np.ascontiguousarray(ids).tobytes())
    if len(rows):
        chosen = np.unique(np.linspace(0, len(rows) - 1, _SAMPLED).astype(np.int64))
        digest.update(np.ascontiguousarray(rows[chosen]).tobytes())
    return digest.hexdigest()


def _clear(work: Path) -> None:
    """Remove all but rows that were read from an iterator just now."""
    for path in work.iterdir():
        if path.name != "spooled.f4":
            path.unlink(missing_ok=True)


def _ignore(stage: str, done: int, total: int) -> None:
    """Nobody watches."""
