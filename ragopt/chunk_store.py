"""Chunks in a SQLite file: texts stay on disk, the index keeps only their numbers."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from ragopt.chunk import Chunk
from ragopt.errors import IndexCorrupt, InputError
from ragopt.storage import Database, DatabaseFormat

__all__ = ["ChunkStore"]

_FORMAT = DatabaseFormat(
    name="chunk store",
    application_id=0x72_61_67_63,  # "ragc"
    version=1,
    schema=(
        """CREATE TABLE chunks (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL,
            source TEXT NOT NULL, title TEXT NOT NULL, start INTEGER NOT NULL,
            metadata TEXT NOT NULL, crc32 INTEGER NOT NULL
        )""",
    ),
)
_INSERT = (
    "INSERT INTO chunks (number, id, text, source, title, start, metadata, crc32)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_SELECT = "SELECT id, text, source, title, start, metadata, crc32 FROM chunks WHERE number = ?"


class ChunkStore(Sequence[Chunk]):
    """A sequence of chunks whose place is their id in the vector index.

    Args:
        path: SQLite file, made when missing; ``":memory:"`` for none.

    Raises:
        IndexCorrupt: the file is damaged or no database.
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._database = Database(path, format=_FORMAT)

    def extend(self, chunks: Iterable[Chunk]) -> None:
        """Append chunks: all of them or, when one is refused, none.

        Raises:
            InputError: an id that is in the store, twice in the batch, or metadata that JSON
                cannot hold.
            StorageError: the disk is full.
        """
        with self._database.write() as connection:
            first = connection.execute("SELECT count(*) FROM chunks").fetchone()[0]
            for number, chunk in enumerate(chunks, first):
                taken = connection.execute("SELECT 1 FROM chunks WHERE id = ?", (chunk.id,))
                if taken.fetchone():
                    raise InputError(f"chunk id {chunk.id!r} is already in the store")
                connection.execute(_INSERT, (number, *_to_row(chunk)))

    @overload
    def __getitem__(self, number: int) -> Chunk: ...
    @overload
    def __getitem__(self, number: slice) -> list[Chunk]: ...

    def __getitem__(self, number: int | slice) -> Chunk | list[Chunk]:
        """The chunk of a number.

        Raises:
            IndexError: there are fewer chunks.
            IndexCorrupt: its row was altered.
        """
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        place = int(number) + (len(self) if number < 0 else 0)
        rows = self._database.read(_SELECT, (place,))
        if not rows:
            raise IndexError(f"chunk {number}: the store holds {len(self)} chunks")
        return self._chunk(rows[0])

    def __len__(self) -> int:
        return int(self._database.read("SELECT count(*) FROM chunks")[0][0])

    def __iter__(self) -> Iterator[Chunk]:
        for number in range(len(self)):
            yield self[number]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _chunk(self, row: tuple[object, ...]) -> Chunk:
        chunk_id, text, source, title, start, metadata, crc32 = row
        if _crc(row[:-1]) != crc32:
            raise IndexCorrupt(
                f"{self._database.path}: chunk {chunk_id!r} was altered; build the folder again"
            )
        return Chunk(
            id=str(chunk_id),
            text=str(text),
            source=str(source),
            title=str(title),
            start=int(str(start)),
            metadata=json.loads(str(metadata)),
        )

    def __repr__(self) -> str:
        return f"ChunkStore({str(self._database.path)!r}, {len(self):,} chunks)"


def _to_row(chunk: Chunk) -> tuple[object, ...]:
    try:
        metadata = json.dumps(dict(chunk.metadata), sort_keys=True)
    except TypeError as error:
        raise InputError(
            f"chunk {chunk.id!r}: its metadata cannot be kept as JSON ({error}); use plain values"
        ) from error
    row = (chunk.id, chunk.text, chunk.source, chunk.title, chunk.start, metadata)
    return (*row, _crc(row))


def _crc(row: tuple[object, ...]) -> int:
    return zlib.crc32(json.dumps(row).encode())
