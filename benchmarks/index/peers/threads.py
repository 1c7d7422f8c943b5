"""Hold what runs in this process to a stated number of threads, whatever library runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["BlasThreads", "LibraryThreads", "faiss_threads", "held_to_cores"]


def held_to_cores(count: int) -> AbstractContextManager[None]:
    """Hold every thread of this process to ``count`` cores; for libraries that take no count.

    Two system calls a thread; one in all where no more cores are allowed anyway. Without effect
    where the system cannot do it.
    """
    if not hasattr(os, "sched_setaffinity") or count >= len(os.sched_getaffinity(0)):
        return nullcontext()
    return _pinned(count)


@contextmanager
def _pinned(count: int) -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    _pin(set(sorted(allowed)[-count:]))
    try:
        yield
    finally:
        _pin(allowed)


def _pin(cores: set[int]) -> None:
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # a thread that has ended meanwhile
            os.sched_setaffinity(int(task.name), cores)


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """OpenMP threads of faiss, and of the BLAS that it brings along; 0.4 us."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@cache
def _controller() -> Any:
    """Of the libraries that are loaded; to look for them takes two milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class BlasThreads:
    """Threads of numpy's BLAS: changed when the count does, since a change costs some 12 us."""

    def __init__(self) -> None:
        self._count = 0
        self._limit: Any = None

    def use(self, count: int) -> None:
        """Use this many from now on, until `restore`."""
        if count == self._count:
            return
        self.restore()
        self._limit = _controller().limit(limits=count, user_api="blas")
        self._count = count

    def restore(self) -> None:
        """Use as many as before the first `use`."""
        if self._limit is not None:
            self._limit.restore_original_limits()
        self._limit, self._count = None, 0


class LibraryThreads:
    """Threads of BLAS and of faiss's OpenMP, changed when the count does.

    To set and restore them around every query would cost it some microseconds.
    """

    def __init__(self) -> None:
        self._blas = BlasThreads()
        self._count = 0
        self._before = 0

    def use(self, count: int) -> None:
        """Use this many from now on, until `restore`."""
        if count == self._count:
            return
        import faiss

        self.restore()
        self._before = faiss.omp_get_max_threads()
        self._blas.use(count)
        faiss.omp_set_num_threads(count)
        self._count = count

    def restore(self) -> None:
        """Use as many as before the first `use`."""
        self._blas.restore()
        if self._count:
            import faiss

            faiss.omp_set_num_threads(self._before)
        self._count = 0
