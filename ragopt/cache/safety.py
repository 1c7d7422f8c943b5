"""What a shared cache owes those who share it: trust, quotas, a record of every hit."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from ragopt.cache.admission import Admission
from ragopt.cache.checks import is_count, is_number
from ragopt.cache.stores.base import Quota
from ragopt.errors import InputError

__all__ = ["Safety", "digest_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """Rules of a shared cache.

    Args:
        admission: which answers are stored.
        confirmations: how many others must have been given the same answer before an entry is
            served to anybody but its author; 0 trusts everybody. Callers say who they are with
            ``principal=``.
        quota: entries that one principal may store in a while; none when None.
        latency_floor_s: a hit takes at least so long, so that nobody can tell from the time what
            others have asked; 0 for none.
        hit_log: file that a line is appended to for every hit; none when None.

    Raises:
        InputError: a value outside its range.
    """

    admission: Admission = field(default_factory=Admission)
    confirmations: int = 0
    quota: Quota | None = None
    latency_floor_s: float = 0.0
    hit_log: Path | str | None = None

    def __post_init__(self) -> None:
        if not is_count(self.confirmations):
            raise InputError(f"confirmations={self.confirmations!r}, expected 0 or more")
        if not is_number(self.latency_floor_s) or not 0 <= self.latency_floor_s <= 60:
            raise InputError(f"latency_floor_s={self.latency_floor_s!r}, expected 0 to 60 seconds")

    @property
    def needs_principal(self) -> bool:
        """Whether a caller must say who it is."""
        return self.confirmations > 0 or self.quota is not None


def digest_of(principal: str, secret: bytes) -> bytes:
    """The 16 bytes that a principal is known by in the store; nothing for nobody."""
    if not principal:
        return b""
    return hmac.digest(secret, f"principal:{principal}".encode(), hashlib.sha256)[:16]
