"""Reading a dataset's files: bytes, text, rows and fields; everything read is hashed.

What is wrong with a file is said with its name and, where it has lines, the line.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragopt.errors import InputError
from ragopt.textfile import decode, json_lines, json_object

__all__ = ["Source", "at", "integer", "objects", "opened", "string", "strings"]

_BLOCK_BYTES = 1 << 20


class Source:
    """The files of one dataset, read once each.

    Args:
        name: of the dataset, as asked for.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._hashes: dict[Path, str] = {}
        self._content: dict[Path, Any] = {}

    @property
    def data_hash(self) -> str:
        """Short SHA-256 of all files read, in order; their names do not matter."""
        digest = hashlib.sha256("".join(self._hashes.values()).encode())
        return digest.hexdigest()[:16]

    def hashed(self, path: Path) -> Path:
        """Count a file in that is not read through this object (a memory map); costs one read.

        Raises:
            InputError: it cannot be read.
        """
        if path not in self._hashes:
            digest = hashlib.sha256()
            with at(str(path)), opened(path) as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
            self._hashes[path] = digest.hexdigest()
        return path

    def data(self, path: Path) -> bytes:
        """All bytes of a file, unpacked where its name ends in ``.gz``.

        Raises:
            InputError: it cannot be read, is empty, or its compression is damaged.
        """
        with at(str(path)):
            with opened(path) as file:
                data = file.read()
            self._hashes[path] = hashlib.sha256(data).hexdigest()
            if path.suffix == ".gz":
                data = _unpacked(data)
            if not data.strip():
                raise InputError("is empty; fetch or write it again")
        return data

    def text(self, path: Path) -> str:
        """A text file (UTF-8, or UTF-16 with its mark); line ends stay as they are.

        Raises:
            InputError: as `data`, or it is no text.
        """
        data = self.data(path)
        with at(str(path)):
            return decode(data)

    def json(self, path: Path) -> Any:
        """The value of a JSON file; kept, so that looking at it first costs nothing.

        Raises:
            InputError: as `text`, or it is no JSON; the message names line and column.
        """
        if path not in self._content:
            text = self.text(path)
            with at(str(path)):
                try:
                    self._content[path] = json.loads(text)
                except json.JSONDecodeError as error:
                    raise InputError(
                        f"line {error.lineno}: not JSON: {error.msg} at column {error.colno}; "
                        "expected one JSON value in the whole file (one a line: name it .jsonl)"
                    ) from error
                except RecursionError as error:
                    raise InputError("JSON nested too deeply; not of any known form") from error
        return self._content[path]

    def rows(self, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Objects of a JSON-lines file or of the list in a JSON file, each with where it stands.

        Raises:
            InputError: as `data`, or a row is no JSON object; the message names it.
        """
        if _stem_suffix(path) == ".json":
            yield from self._items(path)
            return
        data = self.data(path)
        with at(str(path)):
            lines = list(json_lines(data))
        for number, line in lines:
            where = f"{path}, line {number}"
            with at(where):
                row = json_object(line)
            yield where, row

    def table(
        self, path: Path, *, delimiter: str, quoted: bool = True
    ) -> Iterator[tuple[str, list[str]]]:
        """Rows of a CSV or TSV file, the header included, each with where it stands.

        Args:
            path: the file.
            delimiter: between cells.
            quoted: whether ``"`` encloses cells; otherwise it is a character like others.

        Raises:
            InputError: as `text`, or a quotation that never ends.
        """
        text = self.text(path)
        # newline="" leaves line ends inside quoted cells alone.
        stream = io.StringIO(text, newline="")
        reader = csv.reader(
            stream,
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            strict=quoted,
        )
        while True:
            where = f"{path}, line {reader.line_num + 1}"
            with at(where):
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise InputError(f"{error}; expected cells parted by {delimiter!r}") from error
            if row:
                yield where, row

    def _items(self, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        content = self.json(path)
        if not isinstance(content, list):
            raise InputError(
                f"{path}: got a JSON {type(content).__name__}, expected a list of objects"
            )
        for number, item in enumerate(content, start=1):
            where = f"{path}, item {number}"
            if not isinstance(item, dict):
                raise InputError(f"{where}: expected an object, got {type(item).__name__}")
            yield where, item


@contextmanager
def at(where: str) -> Iterator[None]:
    """Put where it happened before whatever is wrong."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"{where}: not of the expected form ({error!r})") from error


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """A file opened for reading; a failure is the caller's to put right.

    Raises:
        InputError: missing, a folder, unreadable, or a name that no file can have.
    """
    try:
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "missing"
            raise InputError(f"cannot be read: it is {kind}; expected a file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot be read: {error}") from error


def string(row: Mapping[str, Any], *names: str, blank: bool = False) -> str:
    """The first of the fields that is there, a string as it stands.

    Args:
        row: the object.
        names: of the field, by preference.
        blank: whether it may be empty or white space.

    Raises:
        InputError: none is there, it is blank, or it is no string.
    """
    for name in names:
        value = row.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise InputError(f"field {name!r}: expected a string, got {type(value).__name__}")
        if not blank and not value.strip():
            raise InputError(f"field {name!r} is empty; expected text")
        return value
    if blank:
        return ""
    raise InputError(f"no field {' or '.join(map(repr, names))}; got {sorted(row)}")


def strings(row: Mapping[str, Any], name: str) -> list[str]:
    """A field that holds a list of strings.

    Raises:
        InputError: it is missing or holds something else.
    """
    value = row.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"field {name!r}: expected a list of strings, got {_shown(value)}")
    return value


def objects(row: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A field that holds a list of objects.

    Raises:
        InputError: it is missing or holds something else.
    """
    value = row.get(name)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(f"field {name!r}: expected a list of objects, got {_shown(value)}")
    return value


def integer(value: Any, what: str, *, least: int = 0) -> int:
    """A whole number, also one written as text.

    Raises:
        InputError: it is none, or below ``least``.
    """
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise TypeError  # noqa: TRY301
        number = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what}: expected a whole number, got {_shown(value)}") from error
    if number < least:
        raise InputError(f"{what}: expected at least {least}, got {number}")
    return number


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _unpacked(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"damaged gzip data ({error}); fetch it again") from error


def _stem_suffix(path: Path) -> str:
    """The suffix, looking through ``.gz``."""
    return Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()
