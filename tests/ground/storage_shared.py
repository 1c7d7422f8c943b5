"""What the tests of storage share: scripts run beside us, folders of parts, a ledger."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragopt.database import Database, DatabaseFormat
from ragopt.storage import read_folder, write_folder

FORMAT = DatabaseFormat(
    name="ledger",
    application_id=0x52474F31,
    version=3,
    schema=["CREATE TABLE entries (writer TEXT, number INTEGER UNIQUE, body BLOB)"],
)

# The same in scripts that run beside us.
PRELUDE = f"""
import os, resource, sqlite3, sys, time
from pathlib import Path
from ragopt.database import *
from ragopt.errors import *
from ragopt.storage import *
FORMAT = {FORMAT!r}
path = Path(sys.argv[1])
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(running: subprocess.Popen[str]) -> str:
    out, error = running.communicate(timeout=60)
    assert running.returncode == 0, error[-3000:]
    return out.strip()


@contextlib.contextmanager
def beside(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A script at work, past its first line of output; killed at the end."""
    running = start(code, *arguments)
    try:
        assert running.stdout is not None
        assert running.stdout.readline(), running.stderr and running.stderr.read()
        yield running
    finally:
        running.kill()
        running.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put(folder: Path, about: dict[str, Any] | None = None, **parts: Any) -> None:
    write_folder(folder, kind="test", version=2, about=about or {}, parts=parts)


def get(folder: Path, **options: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    about, paths = read_folder(folder, **{"kind": "test", "version": 2, **options})
    return about, {name: path.read_bytes() for name, path in paths.items()}


def insert(database: Database, number: int, writer: str = "me") -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO entries (writer, number) VALUES (?, ?)", (writer, number))


def numbers(database: Database) -> list[int]:
    return [number for (number,) in database.read("SELECT number FROM entries ORDER BY number")]
