"""Chunks in a SQLite file: texts stay on disk, the index keeps only their numbers."""

from __future__ import annotations

import contextlib
import json
import operator
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from ragopt.chunk import Chunk
from ragopt.database import Database, DatabaseFormat
from ragopt.errors import IndexCorrupt, InputError

__all__ = ["ChunkStore", "chunk_row"]

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
_NAMED = "SELECT number FROM chunks WHERE id = ?"
_LARGEST_NUMBER = 2**63 - 1

ChunkRow = tuple[str, str, str, str, int, str]


class ChunkStore(Sequence[Chunk]):
    """A sequence of chunks whose place is their id in the vector index.

    Args:
        path: SQLite file, made when missing; ``":memory:"`` for none.

    Raises:
        IndexCorrupt: the file is damaged or no database.
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._path = Path(path)
        with self._damage():
            self._database = Database(path, format=_FORMAT)

    def extend(self, chunks: Iterable[Chunk]) -> None:
        """Append chunks: all of them or, when one is refused, none.

        Raises:
            InputError: an id that is in the store, twice in the batch, or text or metadata that
                cannot be kept.
            StorageError: the disk is full.
        """
        rows = [chunk_row(chunk) for chunk in chunks]  # first: no slow source holds the lock
        with self._damage(), self._database.write() as connection:
            first = connection.execute("SELECT count(*) FROM chunks").fetchone()[0]
            _insert(connection, first, rows)

    def replace(self, chunks: Iterable[Chunk]) -> None:
        """Put chunks in the place of all that stand there, or, when one is refused, change nothing.

        Raises:
            InputError: as `extend`.
            StorageError: the disk is full.
        """
        rows = [chunk_row(chunk) for chunk in chunks]
        with self._damage(), self._database.write() as connection:
            connection.execute("DELETE FROM chunks")
            _insert(connection, 0, rows)

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
        place = operator.index(number)
        place += len(self) if place < 0 else 0
        rows = self._read(_SELECT, (place,)) if 0 <= place <= _LARGEST_NUMBER else []
        if not rows:
            raise IndexError(f"chunk {number}: the store holds {len(self)} chunks")
        return self._chunk(place, rows[0])

    def named(self, chunk_id: str) -> Chunk | None:
        """The chunk of an id, None where there is none.

        Raises:
            IndexCorrupt: its row was altered.
        """
        rows = self._read(_NAMED, (chunk_id,))
        return self[rows[0][0]] if rows else None

    def __len__(self) -> int:
        return int(self._read("SELECT count(*) FROM chunks")[0][0])

    def __iter__(self) -> Iterator[Chunk]:
        for number in range(len(self)):
            yield self[number]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _chunk(self, number: int, row: tuple[Any, ...]) -> Chunk:
        chunk_id, text, source, title, start, metadata, crc32 = row
        if _crc(number, row[:-1]) != crc32:
            raise self._altered(f"chunk {number} does not match its checksum")
        return Chunk(
            id=chunk_id,
            text=text,
            source=source,
            title=title,
            start=start,
            metadata=json.loads(metadata),
        )

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._damage():
            return self._database.read(sql, parameters)

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        """Faults that only a damaged file gives to these fixed statements, as `IndexCorrupt`."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # use after close()
        except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
            raise self._altered(str(error)) from error

    def _altered(self, what: str) -> IndexCorrupt:
        return IndexCorrupt(
            f"{self._path}: the chunk store was altered ({what}); build the folder again"
        )

    def __repr__(self) -> str:
        return f"ChunkStore({str(self._path)!r})"


def chunk_row(chunk: Chunk) -> ChunkRow:
    """A chunk's values as they are kept: id, text, source, title, start, metadata as JSON.

    Raises:
        InputError: metadata that JSON cannot hold, text with half a surrogate pair, no text at all.
    """
    try:
        metadata = json.dumps(dict(chunk.metadata), sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"chunk {chunk.id!r}: its metadata cannot be kept as JSON ({error}); use plain values"
        ) from error
    try:
        texts = (chunk.id, chunk.text, chunk.source, chunk.title)
        "".join(texts).encode()
        return (*texts, operator.index(chunk.start), metadata)
    except (TypeError, UnicodeEncodeError) as error:
        raise InputError(
            f"chunk {chunk.id!r}: expected Unicode text and a whole number for its start ({error})"
        ) from error


def _insert(connection: sqlite3.Connection, first: int, rows: Sequence[ChunkRow]) -> None:
    for number, row in enumerate(rows, first):
        if connection.execute("SELECT 1 FROM chunks WHERE id = ?", row[:1]).fetchone():
            raise InputError(f"chunk id {row[0]!r} is already in the store")
        connection.execute(_INSERT, (number, *row, _crc(number, row)))


def _crc(number: int, row: Sequence[Any]) -> int:
    """Of a row and its place: a chunk in another's place is another answer."""
    return zlib.crc32(json.dumps((number, *row), default=repr).encode())
