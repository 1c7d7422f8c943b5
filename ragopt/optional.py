"""Packages that only some users have."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ragopt.errors import BackendMissing

__all__ = ["import_backend"]


def import_backend(module: str, extra: str, purpose: str) -> Any:
    """A module of an optional package.

    Raises:
        BackendMissing: the package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendMissing(module.partition(".")[0], extra, purpose) from error
