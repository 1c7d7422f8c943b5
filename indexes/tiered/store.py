"""The folder of a tiered index: one writer, any number of readers, and what a crash leaves.

``MANIFEST.json`` names the files of all segments and the log; it is replaced at once. Whatever it
does not name is nobody's and is removed by the next writer.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ragopt.indexes.tiered.log import Added, Deleted, Durability, WriteAheadLog
from ragopt.storage import MANIFEST, commit_folder, writer_lock

__all__ = ["Store"]

_LOG = re.compile(r"log-(\d{6})\.wal")


class Store:
    """A folder and what this process may do in it.

    Args:
        folder: of the index.
        log: name of the present log; None before the first.
        read_to: up to where its records are known.
        durability: of records.
    """

    def __init__(self, folder: Path, log: str | None, read_to: int, durability: Durability) -> None:
        self.folder = folder
        self._durability = durability
        self._log_name, self._read_to = log, read_to
        self._writing: ExitStack | None = None
        self._log: WriteAheadLog | None = None
        self._seen = self._stamp()

    @property
    def is_writer(self) -> bool:
        """Whether this process holds the folder for writing."""
        return self._writing is not None

    def begin(self) -> None:
        """Become the writer, until `close`.

        Raises:
            StoreBusy: another process is.
        """
        if self._writing is None:
            with ExitStack() as held:
                held.enter_context(writer_lock(self.folder))
                self._writing = held.pop_all()

    @property
    def has_log(self) -> bool:
        """Whether records can be appended."""
        return self._log_name is not None

    def changed(self) -> bool:
        """Whether another process replaced the manifest since it was read or written here."""
        return self._stamp() != self._seen

    def append(self, record: Added | Deleted) -> None:
        """Log a record; the caller is the writer and has committed once.

        Raises:
            StorageError: the disk is full or failing; the record is not there.
        """
        if self._log is None:
            path = self.folder / str(self._log_name)
            self._log = WriteAheadLog(path, self._durability, self._read_to)
        self._log.append(record)

    def news(self, dim: int) -> Iterator[Added | Deleted]:
        """Records that another process logged since the last call.

        Raises:
            IndexCorrupt: the log is damaged; it is named.
        """
        if self._log_name is not None and self._log is None:
            path = self.folder / self._log_name
            for record, end in WriteAheadLog.read(path, dim, self._read_to):
                self._read_to = end
                yield record

    def commit(
        self, *, kind: str, version: int, about: Mapping[str, Any], parts: Mapping[str, Any]
    ) -> None:
        """Replace the manifest and begin an empty log; the caller is the writer.

        Raises:
            StorageError: the disk is full or failing; the old state still opens.
        """
        number = max((int(name[1]) for name in self._logs()), default=0) + 1
        name = f"log-{number:06}.wal"
        end = WriteAheadLog.create(self.folder / name)
        try:
            described = {**about, "log": name}
            commit_folder(self.folder, kind=kind, version=version, about=described, parts=parts)
        except BaseException:
            if self._stamp() == self._seen:
                (self.folder / name).unlink(missing_ok=True)
            raise
        if self._log is not None:
            self._log.close()
        self._log, self._log_name, self._read_to = None, name, end
        self._seen = self._stamp()
        for old in self._logs():
            if old[0] != name:
                with contextlib.suppress(OSError):
                    (self.folder / old[0]).unlink()

    def take(self, other: Store) -> None:
        """Go on from where another object read the same folder."""
        self._log_name, self._read_to, self._seen = other._log_name, other._read_to, other._seen

    def check_log(self, name: str, dim: int) -> None:
        """Read the whole of a log.

        Raises:
            IndexCorrupt: it is damaged; it is named.
        """
        for _ in WriteAheadLog.read(self.folder / name, dim):
            pass

    def close(self) -> None:
        """Let others write."""
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _logs(self) -> list[re.Match[str]]:
        matches = (_LOG.fullmatch(path.name) for path in self.folder.iterdir())
        return [match for match in matches if match]

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = (self.folder / MANIFEST).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
