"""What several candidates need beside themselves: a Redis server, started when first asked for."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ragopt.benchmarks.cache.redis_server import REDIS_URL, RedisServer, start_redis
from ragopt.benchmarks.cache.unavailable import Unavailable
from ragopt.closing import Closing

__all__ = ["Services", "one_thread", "scratch"]

_RAM_DISK = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


class Services(Closing):
    """Started on first use, stopped on leaving the context."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._redis: RedisServer | Unavailable | None = None

    def redis(self, module: str) -> RedisServer:
        """A Redis server with a module (``"search"``, ``"ReJSON"``).

        Raises:
            Unavailable: there is none; says what was tried.
        """
        if self._redis is None:
            try:
                self._redis = self._stack.enter_context(start_redis())
            except Unavailable as reason:
                self._redis = reason
        if isinstance(self._redis, Unavailable):
            raise Unavailable(str(self._redis))
        if module not in self._redis.modules:
            raise Unavailable(_lacks(self._redis, module))
        return self._redis

    def close(self) -> None:
        """Stop what was started."""
        self._stack.close()
        self._redis = None


def _lacks(server: RedisServer, module: str) -> str:
    others = "".join(f"; passed over {reason}" for reason in server.passed_over)
    return (
        f"needs the Redis module {module!r}, and {server} has "
        f"{', '.join(sorted(server.modules)) or 'none'}{others}; name a server that has it in "
        f"{REDIS_URL}, or install Redis Stack or Redis 8"
    )


@contextlib.contextmanager
def scratch(*, timed: bool) -> Iterator[Path]:
    """An empty folder; in memory where no time is taken, for some peers commit at every look-up."""
    parent = None if timed or not _RAM_DISK.is_dir() else _RAM_DISK
    try:
        folder = tempfile.TemporaryDirectory(prefix="ragopt-bench-", dir=parent)
    except OSError:  # a memory disk that may not be written
        folder = tempfile.TemporaryDirectory(prefix="ragopt-bench-")
    with folder as name:
        yield Path(name)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Where no time is taken, threads that wait for each other only slow the bench down."""
    try:
        import faiss
    except ImportError:
        yield
        return
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
