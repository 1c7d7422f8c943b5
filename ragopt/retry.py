"""When a failed request is worth another try, and how long to wait before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timezone

from ragopt.errors import InputError

__all__ = ["RetryPolicy", "asked_pause_s", "is_transient"]

_TRANSIENT = frozenset({408, 409, 425, 429})
_MOST_RETRIES = 100
_MOST_DOUBLINGS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    A pause is drawn evenly between 0 and ``backoff_s * 2**n``, at most ``max_backoff_s``: of the
    jitters compared by Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog,
    2015), the one with the fewest calls in all.

    Args:
        retries: tries after the first one, 0 to 100.
        backoff_s: upper end of the first pause, in seconds.
        max_backoff_s: no pause is longer, whatever the server asks for.

    Raises:
        InputError: a value out of its range.
    """

    retries: int = 4
    backoff_s: float = 0.5
    max_backoff_s: float = 20.0

    def __post_init__(self) -> None:
        if isinstance(self.retries, bool) or not isinstance(self.retries, int):
            raise InputError(f"retries={self.retries!r}, expected a whole number")
        if not 0 <= self.retries <= _MOST_RETRIES:
            raise InputError(f"retries={self.retries}, expected 0 to {_MOST_RETRIES}")
        for name in ("backoff_s", "max_backoff_s"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
                raise InputError(f"{name}={value!r}, expected seconds, 0 or more")

    def pause_s(self, failures: int, jitter: float, asked_s: float | None = None) -> float:
        """Seconds to wait before the next try.

        Args:
            failures: tries that have failed, 1 or more.
            jitter: a random number in [0, 1).
            asked_s: pause that the server asked for. It is kept, with up to ``backoff_s`` of jitter
                on top (clients told the same second would all come back in it).
        """
        if asked_s is not None:
            return min(self.max_backoff_s, asked_s + jitter * self.backoff_s)
        doublings = min(failures - 1, _MOST_DOUBLINGS)
        return jitter * min(self.max_backoff_s, self.backoff_s * 2.0**doublings)


def is_transient(status: int, headers: Mapping[str, str], code: str | None = None) -> bool:
    """Whether the same request may succeed later.

    Args:
        status: of the HTTP answer.
        headers: of the answer, names in lower case; ``x-should-retry: false`` is obeyed.
        code: the provider's error code: a 429 for ``insufficient_quota`` is an unpaid bill, which
            no waiting mends.
    """
    if headers.get("x-should-retry", "").lower() == "false" or code == "insufficient_quota":
        return False
    return status in _TRANSIENT or status >= 500


def asked_pause_s(headers: Mapping[str, str], now: float) -> float | None:
    """The pause that ``retry-after-ms`` or ``retry-after`` asks for; ``None`` where unreadable.

    Args:
        headers: of the answer, names in lower case.
        now: seconds since the epoch; ``retry-after`` may be a date (RFC 9110, section 10.2.3).
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _seconds(value)
    return seconds if seconds is not None else _seconds_until(value, now)


def _seconds(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds_until(value: str | None, now: float) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(value or "")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return max(0.0, moment.timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None
