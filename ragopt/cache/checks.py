"""Checks of what callers pass to a cache: all of it before anything is stored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, cast

from ragopt.cache.scope import Scope
from ragopt.errors import InputError

__all__ = [
    "as_scope",
    "check_principal",
    "check_text",
    "check_ttl",
    "check_usd",
    "encoded_payload",
    "is_count",
    "is_number",
    "named_labels",
]

DEFAULT_SCOPE = Scope()
_LARGEST = 2**63 - 1


def as_scope(scope: Scope | None) -> Scope:
    """The scope asked for; the empty one when None."""
    if scope is None:
        return DEFAULT_SCOPE
    if not isinstance(scope, Scope):
        raise InputError(f"scope is {type(scope).__name__}, expected a ragopt.cache.Scope")
    return scope


def is_number(value: object) -> bool:
    """Whether it is a real number that a float can hold, and not NaN."""
    try:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        )
    except OverflowError:
        return False


def is_count(value: object, *, least: int = 0) -> bool:
    """Whether it is a whole number of at least so much that a store can hold."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and least <= cast("int", value) <= _LARGEST


def check_ttl(ttl_s: float | None) -> None:
    """Refuse what is no time to live."""
    if ttl_s is not None and not (is_number(ttl_s) and ttl_s > 0):
        raise InputError(
            f"ttl_s={ttl_s!r}, expected a positive number of seconds, or None; to cache nothing, "
            "do not put"
        )


def check_usd(usd: float | None) -> None:
    """Refuse what is no amount saved."""
    if usd is not None and not (is_number(usd) and math.isfinite(usd) and usd >= 0):
        raise InputError(f"usd={usd!r}, expected 0 or more US dollars, or None")


def check_text(text: str, what: str) -> None:
    """Refuse what is no text, is blank, or cannot be stored as UTF-8."""
    if not isinstance(text, str):
        raise InputError(f"{what} is {type(text).__name__}, expected a string")
    if not text.strip():
        raise InputError(f"{what} is blank, expected text")
    _check_encodes(text, what)


def check_principal(principal: str) -> None:
    """Refuse what is no name of somebody; the empty one is nobody."""
    if not isinstance(principal, str):
        raise InputError(f"principal is {type(principal).__name__}, expected a string")
    _check_encodes(principal, "principal")


def _check_encodes(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} holds half a surrogate pair ({error}); decode it again"
        ) from error


def named_labels(kind: str, labels: Iterable[str]) -> list[tuple[str, str]]:
    """Kind and label of each; a lone string is refused, as it would be taken apart."""
    if isinstance(labels, str):
        raise InputError(f"{kind}s is the string {labels!r}, expected several: [{labels!r}]")
    if not isinstance(labels, Iterable):
        raise InputError(f"{kind}s is {labels!r}, expected several strings")
    found = list(labels)
    for label in found:
        check_text(label, kind)
    return [(kind, label) for label in found]


def encoded_payload(payload: Mapping[str, Any] | None) -> bytes:
    """A payload as a JSON object, UTF-8."""
    if payload is None:
        return b"{}"
    if not isinstance(payload, Mapping):
        raise InputError(f"payload is {type(payload).__name__}, expected a mapping")
    try:
        return json.dumps(dict(payload), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"payload must be JSON values ({error})") from error
