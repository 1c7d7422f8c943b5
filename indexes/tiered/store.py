"""The folder of a tiered index: one writer, any number of readers, and what a crash leaves.

``MANIFEST.json`` names the files of all segments and the log; it is replaced at once. Whatever it
does not name is nobody's and is removed by the next writer.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ragopt.errors import StorageError
from ragopt.indexes.tiered.log import Added, Deleted, Durability, WriteAheadLog
from ragopt.indexes.tiered.segment import PARTS
from ragopt.storage import (
    MANIFEST,
    StoredPart,
    commit_folder,
    folder_about,
    storage_errors,
    sweep_folder,
    writer_lock,
)

__all__ = ["Store", "identity_of"]

_LOG = re.compile(r"log-(\d{6,})\.wal")
_LOG_FILE = re.compile(rf"{_LOG.pattern}|\.{_LOG.pattern}\.\w{{8}}")  # or what was to become one
_OF_SEGMENTS = re.compile(rf"\d{{6,}}-({'|'.join(PARTS)})")


def identity_of(about: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """What tells an index from another that takes its place in the same folder.

    Made of what it begins with, so that the same build gives the same bytes.
    """
    digest = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode())
    for name, part in sorted(parts.items()):
        checksum = part.crc32 if isinstance(part, StoredPart) else zlib.crc32(part)
        digest.update(f"{name} {checksum:08x}\n".encode())
    return digest.hexdigest()[:16]


class Store:
    """A folder and what this process may do in it.

    The caller changes its memory and the folder one after the other. Between `commit` and
    `settle`, and after an error in between, `changed` is true: what was committed is to be read.

    Args:
        folder: of the index.
        log: name of the present log; None before the first.
        read_to: up to where its records are known.
        durability: of records.
        identity: of the index, from its manifest; by default the first commit gives it one.
    """

    def __init__(
        self,
        folder: Path,
        log: str | None,
        read_to: int,
        durability: Durability,
        identity: str | None = None,
    ) -> None:
        self.folder = folder
        self._durability = durability
        self.identity = identity
        """See `identity_of`."""
        self._log_name, self._read_to = log, read_to
        self._spoilt = False
        self._unlogged = False
        self._writing: ExitStack | None = None
        self._process = os.getpid()
        self._lock: tuple[int, int, int] | None = None
        self._log: WriteAheadLog | None = None
        self._next = "", 0
        # Taken before the look at the manifest: a later one may have come since it was read.
        stamp = _stamp(folder / MANIFEST)
        about = folder_about(folder) or {}
        known = (about.get("log"), about.get("identity")) == (log, identity)
        self._seen = stamp if known else None

    @property
    def is_writer(self) -> bool:
        """Whether this process holds the folder for writing."""
        return self._writing is not None and self._process == os.getpid()

    @property
    def has_log(self) -> bool:
        """Whether records can be appended; otherwise commit first."""
        return self._log_name is not None and not self._spoilt

    @property
    def has_unlogged(self) -> bool:
        """Whether there were records that only memory and the next commit keep."""
        return self._unlogged

    def begin(self) -> bool:
        """Become the writer, until `close`, and remove what a killed one left.

        Returns:
            Whether another process may have written since this one last did.

        Raises:
            StoreBusy: another process is.
            StorageError: the folder is gone, or cannot be written.
        """
        if self._seen is not None and _stamp(self.folder / MANIFEST) is None:
            self.close()
            raise StorageError(
                errno.ENOENT,
                f"{self.folder}: the index was removed since it was opened here; save() it "
                "elsewhere, or open another",
            )
        if self.is_writer and self._lock == _stamp(self.folder / "LOCK"):
            return False
        self.close()  # what is held here is the lock of a parent process, or of a removed folder
        with ExitStack() as held:
            held.enter_context(writer_lock(self.folder))
            sweep_folder(self.folder, _OF_SEGMENTS)
            self._writing, self._process = held.pop_all(), os.getpid()
            self._lock = _stamp(self.folder / "LOCK")
        return True

    def check_identity(self, about: Mapping[str, Any]) -> None:
        """Refuse another index that took the place of this one.

        Raises:
            StorageError: it did.
        """
        if about.get("identity") != self.identity:
            raise StorageError(
                errno.ESTALE,
                f"{self.folder}: another index was put in the place of the one that was opened "
                "here; open it anew, or save() this one elsewhere",
            )

    def changed(self) -> bool:
        """Whether the manifest is not the one that was read or settled here."""
        return _stamp(self.folder / MANIFEST) != self._seen

    def append(self, record: Added | Deleted) -> None:
        """Log a record; the caller is the writer, and `has_log`.

        Raises:
            StorageError: the disk is full or failing; the record is not there.
        """
        if self._durability == "none":
            self._unlogged = True
            return
        if self._log is None:
            path = self.folder / str(self._log_name)
            self._log = WriteAheadLog(path, self._read_to, sync=self._durability == "commit")
        try:
            self._log.append(record)
        except BaseException:
            self.spoil()
            raise
        self._read_to = self._log.end

    def spoil(self) -> None:
        """Have the next change begin with a commit: the log says more than memory holds."""
        self._spoilt = True

    def news(self, dim: int) -> Iterator[Added | Deleted]:
        """Records that another process logged since the last call; each counts once it is used.

        Raises:
            IndexCorrupt: the log is damaged, or went with a commit; it is named.
        """
        if self._log_name is not None and self._log is None:
            path = self.folder / self._log_name
            for record, end in WriteAheadLog.read(path, dim, self._read_to):
                yield record
                self._read_to = end

    def commit(
        self, *, kind: str, version: int, about: Mapping[str, Any], parts: Mapping[str, Any]
    ) -> None:
        """Replace the manifest and begin an empty log; the caller is the writer, and settles.

        Raises:
            StorageError: the disk is full or failing; the old state still opens.
        """
        with storage_errors(self.folder):
            number = max((int(match[1]) for match in self._logs()), default=0) + 1
        name = f"log-{number:06}.wal"
        before = _stamp(self.folder / MANIFEST)
        self.identity = self.identity or identity_of(about, parts)
        self._next = name, WriteAheadLog.create(self.folder / name)
        try:
            commit_folder(
                self.folder,
                kind=kind,
                version=version,
                about={**about, "log": name, "identity": self.identity},
                parts=parts,
                ours=_OF_SEGMENTS,
            )
        except BaseException:
            if _stamp(self.folder / MANIFEST) == before:
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink()
            raise

    def settle(self) -> None:
        """Memory holds what was committed: go on from there."""
        self._drop_log()
        self._log_name, self._read_to = self._next
        self._spoilt = self._unlogged = False
        self._seen = _stamp(self.folder / MANIFEST)
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if _LOG_FILE.fullmatch(path.name) and path.name != self._log_name:
                    path.unlink()

    def take(self, other: Store) -> None:
        """Go on from where another object read the same folder."""
        self._drop_log()
        self._log_name, self._read_to, self._seen = other._log_name, other._read_to, other._seen
        self._spoilt = self._unlogged = False

    def check_log(self, name: str | None, dim: int) -> None:
        """Read the whole of a log.

        Raises:
            IndexCorrupt: it is damaged; it is named.
        """
        if name is not None:
            for _ in WriteAheadLog.read(self.folder / name, dim):
                pass

    def close(self) -> None:
        """Let others write."""
        self._drop_log()
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _drop_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _logs(self) -> list[re.Match[str]]:
        matches = (_LOG.fullmatch(path.name) for path in self.folder.iterdir())
        return [match for match in matches if match]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Tells one version of a file from the next."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
