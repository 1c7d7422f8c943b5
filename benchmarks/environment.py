"""The machine and the versions that a figure was measured with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["environment"]

_PACKAGES = ("ragopt", "numpy", "scipy", "faiss-cpu", "rank-bm25", "bm25s", "tiktoken")


def environment() -> dict[str, object]:
    """CPU, operating system, Python and package versions."""
    return {
        "cpu": _cpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    try:
        described = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:  # not Linux
        return platform.processor() or "unknown"
    models = (
        line.partition(":")[2].strip() for line in described.splitlines() if "model name" in line
    )
    return next(models, platform.processor() or "unknown")
