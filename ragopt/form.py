"""What JSON forms of fitted things share: kind and version, clear errors, whole files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ragopt.errors import InputError
from ragopt.storage import atomic_write

__all__ = ["load_form", "reading", "write_form"]

_Made = TypeVar("_Made")


@contextmanager
def reading(content: Any, *, kind: str, version: int, what: str, remedy: str) -> Iterator[None]:
    """Read a form; what does not fit it becomes an error that says what it is not.

    Args:
        content: JSON values.
        kind: that it must be of.
        version: newest that is read.
        what: it should be, for messages.
        remedy: besides an upgrade.

    Raises:
        InputError: another kind, a newer version, a field that is missing or of another type.
    """
    try:
        _check(content["kind"], content["version"], kind, version, remedy)
        yield
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"not a {what}: {error!r}") from error


def _check(found: Any, found_version: Any, kind: str, version: int, remedy: str) -> None:
    if found != kind or found_version > version:
        raise InputError(
            f"kind {found!r}, version {found_version!r}: expected {kind!r}, version {version} at "
            f"most; upgrade ragopt or {remedy}"
        )


def write_form(path: Path | str, content: dict[str, Any]) -> None:
    """Write a form as JSON, atomically.

    Raises:
        StorageError: the file cannot be written.
    """
    atomic_write(Path(path), json.dumps(content, indent=1).encode())


def load_form(path: Path | str, what: str, of: Callable[[Any], _Made]) -> _Made:
    """What a file's form says, read by ``of``, whose errors then name the file.

    Args:
        path: of the file.
        what: it should hold, for the message.
        of: reads the JSON values, as a ``from_dict``.

    Raises:
        InputError: there is no such file, it holds no JSON, or ``of`` refuses it.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no {what} can be read ({error})") from error
    try:
        return of(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
