"""A lock that many searches share and a change of what they search holds alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["SharedLock"]


class SharedLock:
    """Shared by readers, exclusive to a writer, who waits for the readers before it; not reentrant.

    A waiting writer holds up new readers, so it is never starved.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._mutex = threading.Lock()
        self._idle = threading.Condition(self._mutex)
        self._readers = 0

    def acquire(self) -> None:
        """Hold it together with other readers."""
        with self._gate, self._mutex:
            self._readers += 1

    def release(self) -> None:
        """End what `acquire` began."""
        with self._mutex:
            self._readers -= 1
            if not self._readers:
                self._idle.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold it alone."""
        with self._gate, self._mutex:
            while self._readers:
                self._idle.wait()
            yield
