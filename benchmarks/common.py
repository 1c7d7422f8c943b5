"""What all benches share: what a result says about itself, and the choice of candidates."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from ragopt.benchmarks.environment import environment
from ragopt.errors import InputError, RagoptError

__all__ = ["about", "at_least", "chosen", "reason_of", "silent"]

_LONGEST_REASON = 400


def about(*, bench: str, dataset: str, data_hash: str, seed: int, **more: Any) -> dict[str, Any]:
    """Command, date, environment, data and seed of a run.

    Args:
        bench: its name.
        dataset: as asked for.
        data_hash: of everything that was read.
        seed: of everything drawn at random.
        **more: whatever else the bench's figures depend on.
    """
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["ragopt", *sys.argv[1:]]),
        "bench": bench,
        "dataset": dataset,
        "data_hash": data_hash,
        "seed": seed,
        **more,
        "environment": environment(),
    }


def at_least(name: str, value: object, least: int = 1) -> None:
    """Refuse an option that is no whole number of at least so much.

    Raises:
        InputError: it names option and value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name}={value!r}: expected a whole number of at least {least}")


def chosen(only: Sequence[str], known: Iterable[str]) -> list[str]:
    """The candidates to run: those named, in the order of the known ones; all where none is.

    Raises:
        InputError: a name that is not known.
    """
    every = list(known)
    unknown = [name for name in only if name not in every]
    if unknown:
        raise InputError(f"--only {','.join(unknown)}: expected some of {', '.join(every)}")
    return [name for name in every if not only or name in only]


def reason_of(error: BaseException) -> str:
    """Why a candidate has no figure, on one line; ragopt's own errors go without their class."""
    if isinstance(error, RagoptError):
        told = getattr(error, "strerror", None) or str(error)  # no number of the system's
    else:
        told = f"{type(error).__name__}: {error}"
    return " ".join(told.split())[:_LONGEST_REASON] or type(error).__name__


def silent(_task: str, _done: int, _total: int) -> None:
    """Progress that nobody asked for."""
