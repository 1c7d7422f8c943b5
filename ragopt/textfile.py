"""A user's text file, from bytes to text to JSON lines.

Each function refuses with an `InputError` that holds the reason alone; who calls knows the file
and the line, and names them.
"""

from __future__ import annotations

import codecs
import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragopt.errors import InputError

__all__ = ["decode", "json_lines", "json_object", "optional_string", "read_bytes"]

# UTF-32 before UTF-16: the little-endian mark of the one begins with that of the other.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The whole file; refused by its size alone, unread, when that is over ``max_bytes``.

    Raises:
        InputError: too large, unreadable, or not a regular file (opening a pipe might never end).
    """
    if "\0" in str(path):
        raise InputError("cannot be read: no file name holds a NUL character")
    try:
        status = path.stat()
        _check_kind(status.st_mode)
        _check_size(status.st_size, max_bytes)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error
    _check_size(len(data), max_bytes)  # it may have grown in the meantime
    return data


def decode(data: bytes, *, declared: str = "") -> str:
    """Text of UTF-8, or of UTF-16 and UTF-32 that begin with their mark; the mark is dropped.

    Args:
        data: the whole file.
        declared: an encoding the file itself names, tried when it is not UTF-8.

    Raises:
        InputError: neither encoding fits, or the text holds NUL characters.
    """
    text = _decode_as(data, declared)
    if "\x00" in text:
        raise InputError(
            "holds NUL characters: a binary file, or UTF-16 without its byte order mark; "
            "save it as UTF-8"
        )
    return text


def json_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1.

    Bytes, so that one undecodable line does not take the others with it.

    Raises:
        InputError: marked as UTF-16 or UTF-32, and is not.
    """
    if data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
    elif any(data.startswith(mark) for mark, _ in _MARKS):
        data = decode(data).encode()
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, line


def json_object(line: bytes) -> dict[str, Any]:
    """The JSON object that a line holds.

    Raises:
        InputError: not UTF-8, not JSON, not an object, or text that no encoding can hold.
    """
    try:
        value = json.loads(decode(line))
        if rb"\ud" in line.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"half a surrogate pair ({error.object[error.start]!a})") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON: {error.msg} at column {error.colno}; expected one object a line"
        ) from error
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # an endless number, a bottomless nesting
        raise InputError(f"not usable JSON: {error}") from error
    if not isinstance(value, dict):
        kind = "an array" if isinstance(value, list) else type(value).__name__
        raise InputError(f"expected a JSON object, got {kind}")
    return value


def optional_string(fields: Mapping[str, Any], name: str) -> str:
    """A string field, stripped; empty when it is absent or null.

    Raises:
        InputError: something else stands there.
    """
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"field {name!r}: expected a string, got {type(value).__name__}")
    return value.strip()


def _decode_as(data: bytes, declared: str) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"begins with the mark of {encoding.upper()} and is not: {error.reason} "
                    f"at byte {error.start + len(mark)}"
                ) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if declared:
            return _decode_declared(data, declared)
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"not UTF-8: byte 0x{data[error.start]:02X} in line {line}; save it as UTF-8"
        ) from error


def _decode_declared(data: bytes, declared: str) -> str:
    try:
        return data.decode(declared)
    except (LookupError, UnicodeError) as error:
        raise InputError(
            f"neither UTF-8 nor {declared!r}, the encoding it names; save it as UTF-8"
        ) from error


def _check_kind(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise InputError("not a regular file but a folder, pipe, socket or device")


def _check_size(size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise InputError(
            f"{_readable(size_bytes)}, over the limit of {_readable(max_bytes)} a file; "
            "split it or raise the limit"
        )


def _readable(size_bytes: int) -> str:
    return f"{size_bytes:,} bytes" if size_bytes < 2**20 else f"{size_bytes / 2**20:.1f} MiB"
