"""Every error that ragopt raises on purpose.

::

    RagoptError
    ├── InputError(ValueError)            a value the caller gave cannot be used
    ├── IndexCorrupt                      a file on disk is damaged; the message names it
    ├── StorageError(OSError)             the disk is full, read-only or failing
    ├── StoreBusy                         another process holds the store
    ├── FloorNotMet                       no setting reaches the asked quality
    ├── BudgetExceeded                    a limit on spending or RAM would be passed
    ├── BreakerOpen                       a runaway guard stopped the call
    ├── UnknownPrice(LookupError)         no price is known; ragopt never bills $0 in silence
    ├── ProviderError                     an LLM or HTTP endpoint failed after its retries
    └── BackendMissing(ImportError)       an optional package is not installed

A message says what was got, what was expected, and the way out.
"""

from __future__ import annotations

__all__ = [
    "BackendMissing",
    "BreakerOpen",
    "BudgetExceeded",
    "FloorNotMet",
    "IndexCorrupt",
    "InputError",
    "ProviderError",
    "RagoptError",
    "StorageError",
    "StoreBusy",
    "UnknownPrice",
]


class RagoptError(Exception):
    """Root of the tree: ``except RagoptError`` catches all that ragopt raises on purpose."""


class InputError(RagoptError, ValueError):
    """A value given by the caller cannot be used; nothing was changed."""


class IndexCorrupt(RagoptError):
    """A file is truncated, altered or of another format; it was not loaded."""


class StorageError(RagoptError, OSError):
    """The disk is full, read-only or failing; what stood there before still stands."""


class StoreBusy(RagoptError):
    """Another process holds the store for writing."""


class FloorNotMet(RagoptError):
    """No candidate setting reaches the quality floor at its confidence."""


class BudgetExceeded(RagoptError):
    """A limit on spending or RAM would be passed."""


class BreakerOpen(RagoptError):
    """A runaway guard is open."""


class UnknownPrice(RagoptError, LookupError):
    """No price is known for this model, tier or unit."""


class ProviderError(RagoptError):
    """A model endpoint did not answer usefully, after the configured retries.

    Attributes:
        status: HTTP status of the last answer, or ``None`` when there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class BackendMissing(RagoptError, ImportError):
    """An optional package is needed here and is not installed.

    Args:
        package: the package that could not be imported.
        extra: the extra of ragopt that installs it.
        purpose: what needs it, in a few words.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"run: pip install 'ragopt[{extra}]'"
        )
        self.package = package
        self.extra = extra
        self.purpose = purpose

    def __reduce__(self) -> tuple[type[BackendMissing], tuple[str, str, str]]:
        # An exception is unpickled from its message; worker processes send theirs that way.
        return type(self), (self.package, self.extra, self.purpose)
