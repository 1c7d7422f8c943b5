"""How often each question was asked lately, in a few kilobytes."""

from __future__ import annotations

import threading

__all__ = ["Frequencies"]

_WIDTH = 1 << 14
_ROWS = 4
_MOST = 255
_AGE_AFTER = 10  # counts a cell; then all are halved
_HALVES = bytes(count // 2 for count in range(256))


class Frequencies:
    """Counts of digests by a sketch (Cormode and Muthukrishnan, 2005, conservative update), aged.

    Never too low but for the ageing, and too high with small probability. 64 kB.
    """

    def __init__(self) -> None:
        self._rows = [bytearray(_WIDTH) for _ in range(_ROWS)]
        self._added = 0
        self._lock = threading.Lock()

    def add(self, digest: bytes) -> None:
        """Count one; ``digest`` is of 16 random bytes or more."""
        places = _places(digest)
        with self._lock:
            least = min(map(bytearray.__getitem__, self._rows, places))
            if least < _MOST:
                for row, place in zip(self._rows, places, strict=True):
                    row[place] = max(row[place], least + 1)
            self._added += 1
            if self._added >= _AGE_AFTER * _WIDTH:
                self._rows = [row.translate(_HALVES) for row in self._rows]
                self._added //= 2

    def of(self, digest: bytes) -> int:
        """How often it was counted."""
        return min(map(bytearray.__getitem__, self._rows, _places(digest)))


def _places(digest: bytes) -> list[int]:
    whole = int.from_bytes(digest[: 2 * _ROWS], "little")
    return [(whole >> 16 * row) % _WIDTH for row in range(_ROWS)]
