"""A persistent text-to-vector store: no text is embedded, or paid for, twice."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragopt.database import Database, DatabaseFormat
from ragopt.embed.base import Embedder
from ragopt.errors import InputError

__all__ = ["StoredEmbedder"]

_FORMAT = DatabaseFormat(
    name="embedding store",
    application_id=0x72_61_67_65,  # "rage"
    version=1,
    schema=(
        """CREATE TABLE vectors (
            key BLOB PRIMARY KEY, vector BLOB NOT NULL, crc32 INTEGER NOT NULL
        ) WITHOUT ROWID""",
    ),
)
_KEYS_A_QUERY = 500  # SQLite allows 999 parameters in its oldest supported builds
_TEXTS_A_BATCH = 512  # between commits, so that an interrupted run resumes near where it stopped


class StoredEmbedder:
    """Another embedder behind a SQLite file of its vectors.

    Vectors are keyed by the embedder's id and the text's SHA-256, so several embedders share a
    file safely and no text is stored. A long job that was interrupted resumes: what was embedded
    is there. Several processes may use one file. A damaged entry is embedded anew.

    Args:
        embedder: does the work for texts not seen before.
        path: SQLite file, made when missing.

    Attributes:
        hits: texts answered from the file so far.
        misses: texts embedded so far.

    Raises:
        IndexCorrupt: the file is damaged or no database.
        StorageError: it cannot be written.
    """

    def __init__(self, embedder: Embedder, path: Path | str) -> None:
        self._embedder = embedder
        self._database = Database(path, format=_FORMAT)
        self.hits = 0
        self.misses = 0

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._embedder.dim

    @property
    def id(self) -> str:
        """The inner embedder's id: the vectors are the same."""
        return self._embedder.id

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, dim), stored ones first, the others through the inner embedder.

        Raises:
            InputError: the inner embedder returned another shape than (n, dim), NaN or infinity.
            IndexCorrupt: the file was damaged in the meantime.
            StorageError: it cannot be written.
        """
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_A_BATCH):
            stop = start + _TEXTS_A_BATCH
            vectors[start:stop] = self._embed_batch(texts[start:stop])
        return vectors

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _embed_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        keys = [self._key(text) for text in texts]
        known = self._read(keys)
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if new:
            fresh = dict(zip(new, self._embed_new(list(new.values())), strict=True))
            self._write(fresh)
            known |= fresh
        self.misses += len(new)
        self.hits += len(texts) - len(new)
        return np.stack([known[key] for key in keys])

    def _embed_new(self, texts: list[str]) -> NDArray[np.float32]:
        vectors = np.asarray(self._embedder.embed(texts), dtype=np.float32)
        if vectors.shape != (len(texts), self.dim) or not np.isfinite(vectors).all():
            raise InputError(
                f"embedder {self.id!r} returned shape {vectors.shape}, expected finite numbers of "
                f"shape {(len(texts), self.dim)}; nothing was stored"
            )
        return vectors

    def _key(self, text: str) -> bytes:
        owner = hashlib.sha256(self.id.encode()).digest()
        return hashlib.sha256(owner + text.encode("utf-8", "surrogatepass")).digest()

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        found = {}
        unique = list(dict.fromkeys(keys))
        for start in range(0, len(unique), _KEYS_A_QUERY):
            part = unique[start : start + _KEYS_A_QUERY]
            marks = ",".join("?" * len(part))
            rows = self._database.read(
                f"SELECT key, vector, crc32 FROM vectors WHERE key IN ({marks})",  # noqa: S608
                part,
            )
            for key, blob, crc32 in rows:
                if len(blob) == 4 * self.dim and zlib.crc32(blob) == crc32:
                    found[key] = np.frombuffer(blob, dtype="<f4").astype(np.float32)
        return found

    def _write(self, vectors: dict[bytes, NDArray[np.float32]]) -> None:
        blobs = {key: vector.astype("<f4").tobytes() for key, vector in vectors.items()}
        with self._database.write() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)",
                [(key, blob, zlib.crc32(blob)) for key, blob in blobs.items()],
            )

    def __repr__(self) -> str:
        return f"StoredEmbedder({self._embedder!r}, {str(self._database.path)!r})"
