"""Packages whose names are imported on first use, so that importing them stays cheap (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazily"]


def lazily(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    `ragopt` itself, whose import loads no other module of it, has its own.

    Args:
        package: its ``__name__``.
        homes: name to the module that has it, relative to the package (``".events"``) or not.

    Example:
        >>> __getattr__, __dir__ = lazily(__name__, {"Ledger": ".ledger"})  # doctest: +SKIP
    """

    def getter(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home, package), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return getter, names
