"""Token vectors of chunks as byte codes, kept in RAM within a budget and, if wanted, in a file."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragopt.database import Database, DatabaseFormat
from ragopt.errors import InputError

__all__ = ["TokenCodes", "TokenStore", "encode"]

_FORMAT = DatabaseFormat(
    name="token vectors",
    application_id=0x72_61_67_74,  # "ragt"
    version=1,
    schema=(
        """CREATE TABLE chunks (
            key BLOB PRIMARY KEY, tokens INTEGER NOT NULL, cut INTEGER NOT NULL,
            codes BLOB NOT NULL, crc32 INTEGER NOT NULL
        ) WITHOUT ROWID""",
    ),
)
_LEVELS = 127
_KEYS_A_QUERY = 500  # SQLite allows 999 parameters in its oldest supported builds
_ENTRY_BYTES = 400  # of the key, the dictionary and the array objects


@dataclass(frozen=True, slots=True)
class TokenCodes:
    """Token vectors at a byte a dimension: a vector is about its codes times its scale.

    Args:
        codes: (tokens, dim) int8.
        scales: (tokens,) float32.
        cut: the model read the text only in part.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    cut: bool

    @property
    def size_bytes(self) -> int:
        """RAM that it takes."""
        return self.codes.nbytes + self.scales.nbytes + _ENTRY_BYTES


def encode(vectors: NDArray[np.float32], *, cut: bool = False) -> TokenCodes:
    """Codes of vectors (tokens, dim): each over its largest absolute value, in 127 steps.

    The error of a code is at most half a step, so that cosines of unit vectors are off by some
    0.003 at 384 dimensions.
    """
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    scales = (np.where(largest > 0, largest, 1.0) / _LEVELS).astype(np.float32)
    codes = np.rint(vectors / scales[:, None]).astype(np.int8)
    return TokenCodes(np.ascontiguousarray(codes), scales, cut)


class TokenStore:
    """Token codes by text: those used last in RAM, all of them in a file where one is named.

    Several threads may share a store, and several processes a file. A damaged entry of the file is
    made anew.

    Args:
        ram_bytes: budget of what is kept in RAM; 0 keeps nothing there.
        path: SQLite file, made when missing; none by default.

    Attributes:
        hits: texts answered from RAM or file so far.
        misses: texts encoded so far.

    Raises:
        InputError: a budget below 0.
        IndexCorrupt: the file is damaged or no database.
        StorageError: it cannot be written.
    """

    def __init__(self, *, ram_bytes: int = 256 << 20, path: Path | str | None = None) -> None:
        if type(ram_bytes) is not int or ram_bytes < 0:
            raise InputError(
                f"ram_bytes={ram_bytes!r}: expected a whole number of bytes, 0 or more"
            )
        self._budget = ram_bytes
        self._database = None if path is None else Database(path, format=_FORMAT)
        self._kept: OrderedDict[bytes, TokenCodes] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    @property
    def ram_bytes(self) -> int:
        """RAM in use."""
        return self._used

    def codes(
        self,
        owner: str,
        texts: Sequence[str],
        make: Callable[[list[str]], Sequence[TokenCodes]],
    ) -> list[TokenCodes]:
        """Codes of each text; ``make`` is asked, once a text, for those that are not known.

        Args:
            owner: id of the embedder; codes of another one are not served.
            texts: to look up.
            make: encodes texts.

        Raises:
            IndexCorrupt: the file was damaged in the meantime.
            StorageError: it cannot be written.
        """
        keys = [_key(owner, text) for text in texts]
        found = self._known(keys)
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if new:
            fresh = dict(zip(new, make(list(new.values())), strict=True))
            self._write(fresh)
            found |= fresh
        with self._lock:
            self.misses += len(new)
            self.hits += len(texts) - len(new)
            for key in keys:
                self._keep(key, found[key])
        return [found[key] for key in keys]

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, TokenCodes]:
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        return found | self._read([key for key in dict.fromkeys(keys) if key not in found])

    def _keep(self, key: bytes, codes: TokenCodes) -> None:
        before = self._kept.pop(key, None)
        self._used -= 0 if before is None else before.size_bytes
        if codes.size_bytes > self._budget:
            return
        self._kept[key] = codes
        self._used += codes.size_bytes
        while self._used > self._budget:
            _, oldest = self._kept.popitem(last=False)
            self._used -= oldest.size_bytes

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, TokenCodes]:
        found: dict[bytes, TokenCodes] = {}
        if self._database is None:
            return found
        for start in range(0, len(keys), _KEYS_A_QUERY):
            part = keys[start : start + _KEYS_A_QUERY]
            marks = ",".join("?" * len(part))
            for key, tokens, cut, blob, crc32 in self._database.read(
                f"SELECT key, tokens, cut, codes, crc32 FROM chunks WHERE key IN ({marks})",  # noqa: S608
                part,
            ):
                codes = _from_blob(blob, tokens, bool(cut), crc32)
                if codes is not None:
                    found[key] = codes
        return found

    def _write(self, fresh: dict[bytes, TokenCodes]) -> None:
        if self._database is None:
            return
        rows = [(key, len(one.scales), one.cut, _blob(one)) for key, one in fresh.items()]
        with self._database.write() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?, ?)",
                [(*row, zlib.crc32(row[-1])) for row in rows],
            )

    def __repr__(self) -> str:
        path = None if self._database is None else str(self._database.path)
        return f"TokenStore(ram_bytes={self._budget}, path={path!r})"


def _key(owner: str, text: str) -> bytes:
    inner = hashlib.sha256(owner.encode()).digest()
    return hashlib.sha256(inner + text.encode("utf-8", "surrogatepass")).digest()


def _blob(codes: TokenCodes) -> bytes:
    """Scales, then codes; a text without tokens is empty."""
    return codes.scales.astype("<f4").tobytes() + codes.codes.tobytes()


def _from_blob(blob: bytes, tokens: int, cut: bool, crc32: int) -> TokenCodes | None:
    """What `_blob` wrote, or None where it is damaged."""
    if zlib.crc32(blob) != crc32 or len(blob) < 4 * tokens:
        return None
    if not tokens:
        return TokenCodes(np.empty((0, 0), np.int8), np.empty(0, np.float32), cut)
    if (len(blob) - 4 * tokens) % tokens:
        return None
    scales = np.frombuffer(blob, dtype="<f4", count=tokens).astype(np.float32)
    codes = np.frombuffer(blob, dtype=np.int8, offset=4 * tokens).reshape(tokens, -1)
    return TokenCodes(codes, scales, cut)
