"""Making files cold, and proving that they are.

A latency is cold only if the pages were not in RAM. `drop` throws the pages of files out of the
page cache by the best means this user has, and then counts with ``mincore`` how many stayed.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ragopt.benchmarks.measure.support import Unmeasurable, libc, page_size
from ragopt.errors import InputError, StorageError

__all__ = ["COLD_RATIO", "CacheState", "drop", "resident_pages", "resident_ratio"]

COLD_RATIO = 0.01
"""Files of which no more than this share is in RAM count as cold."""

Method = Literal["drop_caches", "fadvise", "none"]

_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_MAP_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ +(/.*)")
_MADV_DONTNEED, _MADV_PAGEOUT = 4, 21


@dataclass(frozen=True, slots=True)
class CacheState:
    """How files stood in the page cache after `drop`.

    Args:
        method: what was done; ``"none"`` where nothing could be.
        resident_ratio: share of their pages that is still in RAM.
        size_bytes: of all files together.
    """

    method: Method
    resident_ratio: float
    size_bytes: int

    @property
    def cold(self) -> bool:
        """Whether a figure measured now may be called cold."""
        return self.resident_ratio <= COLD_RATIO


def drop(paths: Iterable[Path | str], *, whole_machine: bool = True) -> CacheState:
    """Write files back, throw their pages out of the page cache, and count what stayed.

    As root the page cache of the whole machine goes (``/proc/sys/vm/drop_caches``), which takes
    the file system's own tables along; otherwise the pages of these files alone
    (``posix_fadvise``). Pages that this process has mapped are let go first; those that another
    process has mapped stay, and so does all of a tmpfs, and the result says so.

    Args:
        paths: files, or folders with all that is below them.
        whole_machine: False leaves the cached files of all other programs alone.

    Raises:
        InputError: no files, or a path that does not exist.
        StorageError: a file cannot be opened.
        Unmeasurable: what is resident cannot be counted here.
    """
    files = _files(paths)
    for file in files:
        _write_back(file)
    _let_go_of_mappings(files)
    method: Method = "none"
    if hasattr(os, "posix_fadvise"):
        for file in files:
            _advise_away(file)
        method = "fadvise"
    if whole_machine and _drop_everything():
        method = "drop_caches"
    return CacheState(method, resident_ratio(files), sum(file.stat().st_size for file in files))


def resident_ratio(paths: Iterable[Path | str]) -> float:
    """Share of the pages of files that is in RAM, whoever read them; 0 for empty files.

    Linux tells the truth about files that this user owns or may write, and calls all others
    resident.

    Args:
        paths: files, or folders with all that is below them.

    Raises:
        InputError: no files, or a path that does not exist.
        StorageError: a file cannot be opened.
        Unmeasurable: no ``mincore`` here.
    """
    counts = [_count(file) for file in _files(paths)]
    pages = sum(total for _, total in counts)
    return sum(resident for resident, _ in counts) / pages if pages else 0.0


def _files(paths: Iterable[Path | str]) -> list[Path]:
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    found: dict[Path, None] = {}
    for path in map(Path, given):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; expected what is to be made cold")
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        found.update(dict.fromkeys(file.resolve() for file in below if file.is_file()))
    if not found:
        raise InputError(f"{[str(path) for path in given]}: no files there; expected at least one")
    return list(found)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[int]:
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise StorageError(error.errno, f"{file}: cannot be opened ({error.strerror})") from error
    try:
        yield handle
    finally:
        os.close(handle)


def _write_back(file: Path) -> None:
    # What is dirty cannot be dropped; what could not be written stays, and is counted.
    with _opened(file) as handle, contextlib.suppress(OSError):
        os.fsync(handle)


def _advise_away(file: Path) -> None:
    with _opened(file) as handle, contextlib.suppress(OSError):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def _drop_everything() -> bool:
    try:
        _DROP_CACHES.write_text("1", "ascii")
    except OSError:  # not root, not Linux, or a container
        return False
    return True


def _let_go_of_mappings(files: list[Path]) -> None:
    """Empty this process's page tables of these files: what is mapped in is never dropped."""
    try:
        lines = Path("/proc/self/maps").read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    places = {str(file) for file in files}
    for match in filter(None, map(_MAP_LINE.fullmatch, lines)):
        begin, end = int(match[1], 16), int(match[2], 16)
        if match[4] not in places:
            continue
        # Pages of a private mapping may be changes that exist nowhere else: those are only asked
        # to leave, while a shared one may simply be emptied and is read anew.
        advice = _MADV_DONTNEED if match[3].endswith("s") else _MADV_PAGEOUT
        libc().madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), advice)


def resident_pages(handle: int, size_bytes: int) -> tuple[int, int]:
    """Pages of an open file that are in RAM, and all its pages.

    Raises:
        Unmeasurable: no ``mincore`` here.
    """
    mincore = getattr(libc(), "mincore", None) if os.name == "posix" else None
    if mincore is None:
        raise Unmeasurable("what is in the page cache cannot be counted: there is no mincore here")
    if size_bytes == 0:
        return 0, 0
    flags = np.zeros(-(-size_bytes // page_size()), np.uint8)
    with mmap.mmap(handle, size_bytes, access=mmap.ACCESS_READ) as mapping:
        view = np.frombuffer(mapping, np.uint8)
        failed = mincore(
            ctypes.c_void_p(view.ctypes.data),
            ctypes.c_size_t(size_bytes),
            ctypes.c_void_p(flags.ctypes.data),
        )
        del view  # a mapping that is looked at cannot be closed
    if failed:
        raise Unmeasurable(
            "what is in the page cache cannot be counted: mincore failed "
            f"({os.strerror(ctypes.get_errno())})"
        )
    return int((flags & 1).sum()), len(flags)


def _count(file: Path) -> tuple[int, int]:
    with _opened(file) as handle:
        return resident_pages(handle, os.fstat(handle).st_size)
