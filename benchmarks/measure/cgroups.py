"""Control groups with a memory limit, of version 1 and 2, below the one this process lives in.

A group of ours carries its owner's process id and start time in its name, so that what a killed
run left behind is known and removed. Groups are made below the process's own: a limit above it
keeps its force.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ragopt.benchmarks.measure.support import Unmeasurable, mounts, read_kernel_file
from ragopt.errors import StorageError

__all__ = ["PREFIX", "Group", "Parent", "find_parent", "new_group", "parent_v2", "remove_stale"]

PREFIX = "ragopt-limit"

_NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)-[0-9a-f]+")
_PURPOSE = "a hard memory limit"
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Parent:
    """Where groups can be made.

    Args:
        path: folder of the group that is to hold ours.
        version: of the hierarchy, 1 or 2.
    """

    path: Path
    version: int


@dataclass(frozen=True, slots=True)
class Group:
    """One group with a limit, and what happened in it."""

    path: Path
    version: int

    def limit(self, size_bytes: int) -> None:
        """Allow no more than this of memory and swap together."""
        if self.version == 1:
            self._write("memory.limit_in_bytes", size_bytes)
            self._limit_swap("memory.memsw.limit_in_bytes", size_bytes)
        else:
            self._write("memory.max", size_bytes)
            self._limit_swap("memory.swap.max", 0)

    def pids(self) -> list[int]:
        """Processes in it; those of another namespace, which show as 0, left out."""
        with contextlib.suppress(OSError):
            numbers = map(int, (self.path / "cgroup.procs").read_text("ascii").split())
            return [number for number in numbers if number > 0]
        return []

    def out_of_memory(self) -> int:
        """How many processes the kernel killed in it for want of memory."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        found = re.search(r"^oom_kill (\d+)$", self._read(name), re.MULTILINE)
        if found is None:
            raise Unmeasurable(f"{_PURPOSE}: {name} has no oom_kill; it needs Linux 4.13 or later")
        return int(found[1])

    def peak_bytes(self) -> int | None:
        """Largest use, page cache included; None before Linux 5.19 in version 2."""
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        try:
            return int((self.path / name).read_text("ascii"))
        except OSError:
            return None

    def kill(self) -> None:
        """Kill every process in it that is there now."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Kill what is left in it and take it away.

        Raises:
            StorageError: it stays, after some seconds of trying.
        """
        end = time.monotonic() + _PATIENCE_S
        while True:
            self.kill()
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > end:
                    raise StorageError(
                        error.errno, f"{self.path}: the group cannot be removed ({error.strerror})"
                    ) from error
                time.sleep(0.01)
            else:
                return

    def _limit_swap(self, name: str, size_bytes: int) -> None:
        if (self.path / name).exists():
            self._write(name, size_bytes)
        elif _has_swap():
            raise Unmeasurable(
                f"{_PURPOSE}: swap is on and cannot be limited (no {name}); run swapoff, or boot "
                "with swapaccount=1"
            )

    def _write(self, name: str, value: int) -> None:
        (self.path / name).write_text(str(value), "ascii")

    def _read(self, name: str) -> str:
        return read_kernel_file(self.path / name, _PURPOSE)


def find_parent() -> Parent:
    """Where this process may make groups with a memory limit.

    Raises:
        Unmeasurable: nowhere; the message says why.
    """
    memberships = [
        line.split(":", 2) for line in read_kernel_file("/proc/self/cgroup", _PURPOSE).splitlines()
    ]
    for _, controllers, path in memberships:
        if "memory" in controllers.split(","):
            return _parent_v1(path)
    unified = [path for number, _, path in memberships if number == "0"]
    if not unified:
        raise Unmeasurable(f"{_PURPOSE}: this kernel has no memory controller for this process")
    own = _folder(unified[0], "cgroup2", "")
    return parent_v2(own, Path(_mount_point("cgroup2", "")[1]))


def _parent_v1(path: str) -> Parent:
    folder = _folder(path, "cgroup", "memory")
    _check_writable(folder)
    return Parent(folder, 1)


def parent_v2(own: Path, top: Path) -> Parent:
    """The nearest group, this one or one above, that hands the memory controller down.

    Args:
        own: folder of the group that this process lives in.
        top: where the hierarchy is mounted.

    Raises:
        Unmeasurable: there is none, it may not be written to, or it lies above a limit.
    """
    for folder in (own, *own.parents):
        if "memory" in _words(folder / "cgroup.subtree_control"):
            _check_same_limit(own, folder)
            _check_writable(folder)
            return Parent(folder, 2)
        if folder == top:
            break
    raise Unmeasurable(
        f"{_PURPOSE}: no control group from {own} up to {top} hands the memory controller down to "
        "groups of its own; run it as root, or under: systemd-run --user --scope"
    )


def _check_same_limit(own: Path, above: Path) -> None:
    """Refuse a parent outside of a limit that this process is under."""
    while own != above:
        limit = _words(own / "memory.max")
        if limit and limit != ["max"]:
            raise Unmeasurable(
                f"{_PURPOSE}: this process is limited to {limit[0]} B by {own}, below which no "
                "group can be made; a group beside it would be free of that limit"
            )
        own = own.parent


def _folder(path: str, filesystem: str, controller: str) -> Path:
    root, point = _mount_point(filesystem, controller)
    place = Path(path)
    # Within a container the path may begin above what is mounted.
    inside = place.relative_to(root) if place.is_relative_to(root) else Path()
    folder = Path(point) / inside
    if not folder.is_dir():
        raise Unmeasurable(f"{_PURPOSE}: this process's control group {folder} is not visible here")
    return folder


def _mount_point(filesystem: str, controller: str) -> tuple[str, str]:
    for mount in mounts():
        if mount.filesystem == filesystem and (not controller or controller in mount.options):
            return mount.root, mount.point
    raise Unmeasurable(f"{_PURPOSE}: {filesystem} is not mounted here, or without {controller}")


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK) or not os.access(folder / "cgroup.procs", os.W_OK):
        raise Unmeasurable(
            f"{_PURPOSE}: {folder} may not be written to by this user; run it as root, or in a "
            "container with writable control groups (a limit on address space, ulimit -v, is no "
            "substitute: it counts mapped files that use no memory)"
        )


def _has_swap() -> bool:
    with contextlib.suppress(OSError):
        return len(Path("/proc/swaps").read_text("utf-8").splitlines()) > 1
    return False


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").split()
    except OSError:
        return []


@contextlib.contextmanager
def new_group(parent: Parent, limit_bytes: int) -> Iterator[Group]:
    """A group with a limit, gone with all its processes when the block ends.

    Raises:
        Unmeasurable: it cannot be made or given the limit, and why.
    """
    name = f"{PREFIX}-{os.getpid()}-{_started(os.getpid())}-{secrets.token_hex(4)}"
    group = Group(parent.path / name, parent.version)
    try:
        group.path.mkdir()
    except OSError as error:
        raise Unmeasurable(f"{_PURPOSE}: {group.path} cannot be made ({error.strerror})") from error
    try:
        try:
            group.limit(limit_bytes)
        except OSError as error:
            raise Unmeasurable(
                f"{_PURPOSE} of {limit_bytes:,} B cannot be set on {group.path} ({error.strerror})"
            ) from error
        yield group
    finally:
        group.remove()


def remove_stale(parent: Parent) -> int:
    """Remove groups of ours whose owner is gone, killing what runs in them; how many went."""
    gone = 0
    for folder in parent.path.glob(f"{PREFIX}-*"):
        match = _NAME.fullmatch(folder.name)
        if match is None or _started(int(match[1])) == int(match[2]):
            continue
        with contextlib.suppress(StorageError):
            Group(folder, parent.version).remove()
            gone += 1
    return gone


def _started(pid: int) -> int:
    """Clock ticks after boot at which a process began; -1 when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return -1
    return int(stat.rpartition(")")[2].split()[19])
