"""What is not here: packages and servers that a candidate needs."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from ragopt.errors import RagoptError

__all__ = ["Unavailable", "imported"]


class Unavailable(RagoptError):
    """What a candidate needs is not here; the message becomes its row's reason."""


def imported(module: str, *names: str) -> list[Any]:
    """Things of a package that need not be installed.

    Raises:
        Unavailable: it is not, or cannot be imported.
    """
    try:
        found = importlib.import_module(module)
        return [_part(found, name) for name in names]
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise Unavailable(
            f"the package {package} is not installed, or not in a version that has "
            f"{', '.join(names)} ({error})"
        ) from error


def _part(package: ModuleType, name: str) -> Any:
    """What a package holds under a name, or its module of that name."""
    if hasattr(package, name):
        return getattr(package, name)
    return importlib.import_module(f"{package.__name__}.{name}")
