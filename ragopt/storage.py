"""Durable files: atomic replacement, checksummed folders, writer locks.

What is written here is either wholly there or not there at all, and what is read back is what
was written or an `IndexCorrupt` that names the file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from ragopt.errors import IndexCorrupt, InputError, StorageError, StoreBusy

__all__ = [
    "StoredPart",
    "allocate",
    "atomic_write",
    "commit_folder",
    "file_checksum",
    "folder_about",
    "load_folder",
    "read_folder",
    "store_part",
    "sweep_folder",
    "sync_folder",
    "temporary_part",
    "write_folder",
    "writer_lock",
]

MANIFEST = "MANIFEST.json"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_LOCK = "LOCK"
_CRC_BLOCK_BYTES = 1 << 22
# Of a part, or of the temporary file beside a part or the manifest.
_OUR_FILE = re.compile(
    r"(?P<part>.+)-[0-9a-f]{8}\.bin|\.(?:MANIFEST\.json|(?P<beside>.+)-[0-9a-f]{8}\.bin)\.\w{8}"
)

T = TypeVar("T")


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` below ``path`` into a `StorageError` that says what to do."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        remedy = {
            errno.ENOSPC: "the disk is full; free some space and run it again",
            errno.EDQUOT: "the disk quota is used up; free some space and run it again",
            errno.EFBIG: "the file would pass the size limit set for this process (ulimit -f)",
            errno.EROFS: "the file system is read-only; choose another folder",
            errno.EACCES: "permission denied; choose a folder that this user may write",
            errno.EPERM: "permission denied; choose a folder that this user may write",
            errno.EEXIST: "a file stands where a folder is needed; choose another path",
            errno.ENOTDIR: "a file stands where a folder is needed; choose another path",
        }.get(error.errno or 0, "the operating system refused")
        raise StorageError(error.errno, f"{path}: {remedy} ({error.strerror or error})") from error


def atomic_write(path: Path, data: bytes | memoryview) -> None:
    """Put ``data`` at ``path``: after a crash, the old content or the new, never a mixture.

    Written beside, synced, renamed, and the folder synced.

    Raises:
        StorageError: the disk is full, read-only or failing; ``path`` is untouched.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not mkstemp: its files are for their owner's eyes only, whatever the umask says.
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        handle = os.open(beside, _NEW_FILE, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:  # also Ctrl-C: nothing is left lying about
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make new names and removals in a folder survive a power cut."""
    if os.name != "posix":  # elsewhere a folder cannot be opened for syncing
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for writing; the lock goes with the process, even a killed one.

    It belongs to the process that entered: children it forks meanwhile neither hold nor keep it.

    Raises:
        StoreBusy: another process holds it.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    owner = os.getpid()
    try:
        try:
            _lock(handle)
        except (BlockingIOError, PermissionError) as error:
            raise StoreBusy(
                f"{folder}: another process is writing here; wait for it or choose another folder"
            ) from error
        except OSError as error:  # such as a network file system without locks
            raise StorageError(error.errno, f"{folder}: cannot be locked ({error})") from error
        yield
    finally:
        if os.getpid() == owner:
            _unlock(handle)
        os.close(handle)


if os.name == "posix":
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        """Closing is not enough: a forked child has the file open, too."""
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)

else:
    import msvcrt  # Windows

    def _lock(handle: int) -> None:
        locking: Any = vars(msvcrt)["locking"]
        locking(handle, vars(msvcrt)["LK_NBLCK"], 1)

    def _unlock(handle: int) -> None:
        """Closing is enough."""


def write_folder(
    folder: Path, *, kind: str, version: int, about: Mapping[str, Any], parts: Mapping[str, Any]
) -> None:
    """Write named binary parts and a manifest with their sizes and checksums.

    Parts carry their checksum in their file name and the manifest is replaced last, so what stands
    there is the old set or the new one, whole. Files of the old set are removed afterwards, and
    what a killed writer left behind before and after; files of others are left alone.

    Args:
        folder: made when missing.
        kind: what the folder holds, checked on reading.
        version: of the format.
        about: JSON-serialisable description, returned on reading.
        parts: name to bytes-like content (C-contiguous).

    Raises:
        StoreBusy: another process is writing to the folder.
        StorageError: the disk is full, read-only or failing; the old set still opens.
    """
    with writer_lock(folder):
        commit_folder(folder, kind=kind, version=version, about=about, parts=parts)


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that stands in the folder already, as `store_part` left it there.

    Args:
        file: its name.
        bytes: its size.
        crc32: its checksum.
    """

    file: str
    bytes: int
    crc32: int

    @classmethod
    def of(cls, path: Path) -> StoredPart:
        """A part by its path; its name tells the checksum."""
        return cls(path.name, path.stat().st_size, int(path.stem.rpartition("-")[2], 16))


def commit_folder(
    folder: Path,
    *,
    kind: str,
    version: int,
    about: Mapping[str, Any],
    parts: Mapping[str, Any],
    ours: re.Pattern[str] | None = None,
) -> None:
    """`write_folder` for a caller who holds the `writer_lock`.

    Parts that are a `StoredPart` are kept where they are.

    Args:
        folder: as `write_folder`.
        kind: as `write_folder`.
        version: as `write_folder`.
        about: as `write_folder`.
        parts: as `write_folder`.
        ours: names of all parts that the caller may ever have written; those of this set and of
            the one before are known without.
    """
    older = _saved_files(folder) or {}
    known = set(parts) | set(older)
    new = [name for name, content in parts.items() if not isinstance(content, StoredPart)]
    kept = {content.file for content in parts.values() if isinstance(content, StoredPart)}

    def names(name: str) -> bool:
        return name in known or (ours is not None and ours.fullmatch(name) is not None)

    _sweep(folder, names, kept)
    try:
        files = {
            name: asdict(_write_part(folder, name, content) if name in new else content)
            for name, content in parts.items()
        }
        manifest = {"magic": "ragopt", "kind": kind, "version": version, "files": files}
        body = json.dumps({**manifest, "about": dict(about)}, sort_keys=True, indent=1)
        sealed = json.dumps({"crc32": zlib.crc32(body.encode()), "body": body}, indent=1)
        atomic_write(folder / MANIFEST, sealed.encode())
    finally:
        _sweep(folder, names)


def sweep_folder(folder: Path, ours: re.Pattern[str]) -> None:
    """Remove what killed writers left of parts of these names; the caller holds the lock.

    What the manifest names stays, and so does everything where the manifest is damaged.

    Raises:
        StorageError: the folder cannot be read.
    """
    _sweep(folder, lambda name: ours.fullmatch(name) is not None)


def allocate(handle: int, size: int) -> None:
    """Give an empty file its size, with the blocks behind it where the system can.

    A map of a file without its blocks dies of a full disk when it is written.

    Args:
        handle: of the open file.
        size: in bytes.

    Raises:
        OSError: the disk is full.
    """
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.ftruncate(handle, size)


def temporary_part(folder: Path, name: str) -> Path:
    """Where to write a part that is to become one by `store_part`; leftovers are swept."""
    return folder / f".{name}-{0:08x}.bin.{secrets.token_hex(4)}"


def store_part(path: Path, folder: Path, name: str) -> StoredPart:
    """Make a file a part of a folder on the same disk, synced and summed.

    Args:
        path: of the file, at `temporary_part` or elsewhere.
        folder: that it becomes a part of.
        name: of the part.

    Raises:
        StorageError: the disk is full or failing.
    """
    with storage_errors(path):
        with path.open("rb+") as file:  # some systems sync only what may be written
            os.fsync(file.fileno())
        checksum = file_checksum(path)
        part = StoredPart(f"{name}-{checksum:08x}.bin", path.stat().st_size, checksum)
        path.replace(folder / part.file)
    return part


def _write_part(folder: Path, name: str, content: Any) -> StoredPart:
    data = memoryview(content).cast("B") if memoryview(content).nbytes else memoryview(b"")
    checksum = _crc(data)
    file = f"{name}-{checksum:08x}.bin"
    atomic_write(folder / file, data)
    return StoredPart(file, data.nbytes, checksum)


def _saved_files(folder: Path) -> dict[str, str] | None:
    """Names of the parts that stand there and their files; None when the manifest is damaged."""
    try:
        entries = _read_manifest(folder)["files"]
    except InputError:
        return {}
    except IndexCorrupt:
        return None
    return {name: entry["file"] for name, entry in entries.items()}


def _sweep(folder: Path, names: Callable[[str], bool], kept: Set[str] = frozenset()) -> None:
    """Remove files of these parts that the manifest does not name, and temporary files.

    The caller holds the lock, so no writer is at work.
    """
    with storage_errors(folder):
        saved = _saved_files(folder)
        paths = list(folder.iterdir())
    for path in paths:
        ours = _OUR_FILE.fullmatch(path.name)
        if ours is None:
            continue
        if ours["part"] is None:
            stale = ours["beside"] is None or names(ours["beside"])
        else:
            # The manifest may be restored where it is damaged.
            named = saved is None or path.name in saved.values() or path.name in kept
            stale = names(ours["part"]) and not named
        if stale:
            with contextlib.suppress(OSError):
                path.unlink()


def read_folder(
    folder: Path, *, kind: str, version: int, verify: bool = True
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Check a folder of `write_folder` and return its description and the paths of its parts.

    Args:
        folder: where it stands.
        kind: what it must hold.
        version: newest format that the caller reads.
        verify: read every part and check its checksum (some 1 GB/s); sizes are always checked.

    Raises:
        InputError: nothing was saved there, or it holds something else.
        IndexCorrupt: a file is missing, truncated or altered, or of a newer format; it is named.
    """
    manifest = _read_manifest(folder)
    if manifest["kind"] != kind:
        raise InputError(f"{folder} holds a {manifest['kind']!r}, expected a {kind!r}")
    if manifest["version"] > version:
        raise IndexCorrupt(
            f"{folder / MANIFEST}: format version {manifest['version']} is newer than this "
            f"ragopt reads ({version}); upgrade ragopt"
        )
    paths = {}
    for name, entry in manifest["files"].items():
        path = folder / entry["file"]
        _check_part(path, size=entry["bytes"], crc32=entry["crc32"] if verify else None)
        paths[name] = path
    return manifest["about"], paths


def load_folder(
    folder: Path,
    load: Callable[[dict[str, Any], dict[str, Path]], T],
    *,
    kind: str,
    version: int,
    verify: bool = True,
) -> T:
    """What ``load`` makes of the description and the paths that `read_folder` returns.

    Where a writer replaced the files in the meantime, the new ones are loaded.

    Raises:
        InputError: as `read_folder`.
        IndexCorrupt: as `read_folder`.
    """
    while True:
        before = _manifest_bytes(folder)
        try:
            return load(*read_folder(folder, kind=kind, version=version, verify=verify))
        except (IndexCorrupt, OSError):
            if _manifest_bytes(folder) == before:
                raise


def folder_about(folder: Path) -> dict[str, Any] | None:
    """The description that stands there, unchecked; None where there is none or it is damaged."""
    try:
        about: dict[str, Any] = _read_manifest(folder)["about"]
    except (InputError, IndexCorrupt):
        return None
    return about


def _manifest_bytes(folder: Path) -> bytes:
    path = folder / MANIFEST
    return path.read_bytes() if path.is_file() else b""


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: nothing was saved here (no {MANIFEST}); save() writes one")
    try:
        sealed = json.loads(path.read_text("utf-8"))
        body = sealed["body"]
        intact = zlib.crc32(body.encode()) == sealed["crc32"]
        manifest: dict[str, Any] = json.loads(body) if intact else {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IndexCorrupt(
            f"{path}: damaged ({error}); restore it from a backup or build again"
        ) from error
    if manifest.get("magic") != "ragopt":
        raise IndexCorrupt(f"{path}: checksum mismatch; restore it from a backup or build again")
    return manifest


def _check_part(path: Path, *, size: int, crc32: int | None) -> None:
    way_out = "restore it from a backup or build again"
    if not path.is_file():
        raise IndexCorrupt(f"{path}: missing; {way_out}")
    found = path.stat().st_size
    if found != size:
        raise IndexCorrupt(f"{path}: {found} bytes, expected {size} (truncated?); {way_out}")
    if crc32 is not None and file_checksum(path) != crc32:
        raise IndexCorrupt(f"{path}: checksum mismatch, its content was altered; {way_out}")


def _crc(data: memoryview) -> int:
    value = 0
    for start in range(0, data.nbytes, _CRC_BLOCK_BYTES):
        value = zlib.crc32(data[start : start + _CRC_BLOCK_BYTES], value)
    return value


def file_checksum(path: Path) -> int:
    """CRC-32 of a file's content."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(_CRC_BLOCK_BYTES):
            value = zlib.crc32(block, value)
    return value
