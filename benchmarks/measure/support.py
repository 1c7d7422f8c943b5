"""What the measures share: the error for what cannot be measured, the C library, mounts."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ragopt.errors import RagoptError

__all__ = ["PAGE_BYTES", "Mount", "Unmeasurable", "libc", "mount_of", "mounts", "read_kernel_file"]

PAGE_BYTES = 4096
"""The page that figures are counted in, whatever the platform's own."""

_OCTAL = re.compile(r"\\([0-7]{3})")


class Unmeasurable(RagoptError):
    """This platform, or this user on it, cannot measure what was asked; the message says why."""


@lru_cache(maxsize=1)
def libc() -> ctypes.CDLL:
    """The process's own C library, with ``errno``."""
    return ctypes.CDLL(None, use_errno=True)


def read_kernel_file(path: Path | str, purpose: str) -> str:
    """Text of a file below ``/proc`` or ``/sys``.

    Raises:
        Unmeasurable: there is none here, or this user may not read it.
    """
    try:
        return Path(path).read_text("utf-8", errors="replace")
    except OSError as error:
        raise Unmeasurable(
            f"{purpose} cannot be measured: {path} cannot be read "
            f"({error.strerror or error}); it needs Linux and the right to read it"
        ) from error


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of ``/proc/self/mountinfo``.

    Args:
        root: what of the file system is mounted.
        point: where.
        filesystem: its type, such as ``ext4``.
        source: device or other name.
        options: of the mount and of the file system.
    """

    root: str
    point: str
    filesystem: str
    source: str
    options: tuple[str, ...]


def mounts() -> list[Mount]:
    """All mounts that this process sees, later ones over earlier ones.

    Raises:
        Unmeasurable: not Linux.
    """
    lines = read_kernel_file("/proc/self/mountinfo", "the file system").splitlines()
    return [_mount(line) for line in lines]


def mount_of(path: Path | str) -> Mount:
    """The mount that a file or folder lies on; it need not exist.

    Raises:
        Unmeasurable: not Linux.
    """
    place = Path(path).resolve()
    # The last among equals: what is mounted later lies over what was there.
    holding = [mount for mount in mounts() if place.is_relative_to(mount.point)]
    return max(reversed(holding), key=lambda mount: len(mount.point))


def _mount(line: str) -> Mount:
    fields, _, rest = line.partition(" - ")
    _id, _parent, _device, root, point, options = fields.split(" ")[:6]
    filesystem, source, super_options = [*rest.split(" ", 2), "", ""][:3]
    return Mount(
        _unescaped(root),
        _unescaped(point),
        filesystem,
        _unescaped(source),
        tuple(f"{options},{super_options}".split(",")),
    )


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def page_size() -> int:
    """Bytes in a page of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else PAGE_BYTES
