"""What a cache asks of the place where its entries stand: rows in, rows out, no similarity."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from ragopt.cache.checks import is_count, is_number
from ragopt.cache.policies.base import Observation
from ragopt.errors import InputError

__all__ = [
    "DamagedEntry",
    "Entry",
    "EntryStore",
    "Limits",
    "Put",
    "Quota",
    "checked_observation",
]

_CHECKSUM_BYTES = 16
_ROW_BYTES = 200  # of a row beside its texts and its vector: key, times, index entries
_USD_A_BYTE = 1e-6  # what an answer cost that nobody priced: some $4 for a million tokens


class DamagedEntry(Exception):
    """A row does not agree with its checksum; caught inside the cache, never shown."""

    def __init__(self, entry_id: int) -> None:
        super().__init__(f"entry {entry_id} does not agree with its checksum")
        self.entry_id = entry_id


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored answer.

    Args:
        scope: `Scope.key`.
        exact: digest of the normalised question.
        created: Unix time.
        expires: Unix time from which it is no longer served; None for never.
        vector: little-endian float32, or None where the question has no vector.
        question: UTF-8.
        answer: UTF-8.
        payload: a JSON object, UTF-8.
        author: digest of who stored it; empty where everybody is trusted.
        usd: what a hit saves; None where nobody said.
        id: given by the store, rising, never used twice.
    """

    scope: bytes
    exact: bytes
    created: float
    expires: float | None
    vector: bytes | None
    question: bytes
    answer: bytes
    payload: bytes
    author: bytes = b""
    usd: float | None = None
    id: int = 0

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        texts = len(self.question) + len(self.answer) + len(self.payload)
        return _ROW_BYTES + texts + len(self.vector or b"")

    @property
    def density(self) -> float:
        """Dollars that a hit saves, for each byte that the entry takes."""
        return _USD_A_BYTE if self.usd is None else self.usd / self.size

    def checksum(self, secret: bytes) -> bytes:
        """BLAKE2b over what is served or decides on it, each with its length; keyed by the secret.

        Entries without an author have the sums that they had before there were authors.
        """
        digest = hashlib.blake2b(digest_size=_CHECKSUM_BYTES, key=_key(secret))
        times = struct.pack("<dd", self.created, -1.0 if self.expires is None else self.expires)
        parts = [self.scope, self.exact, times, self.question, self.answer, self.payload]
        parts.append(b"" if self.vector is None else self.vector)
        for part in (*parts, self.author) if self.author else parts:
            digest.update(struct.pack("<Q", len(part)))
            digest.update(part)
        return digest.digest()


def _key(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest() if secret else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a store holds.

    Args:
        max_entries: over all scopes; no limit when None.
        max_bytes: of texts, vectors and some 200 bytes an entry beside; no limit when None.

    Raises:
        InputError: a limit below 1.
    """

    max_entries: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_entries", "max_bytes"):
            value = getattr(self, name)
            if value is not None and not is_count(value, least=1):
                raise InputError(f"{name}={value!r}, expected 1 or more, or None")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many entries one author may store in a while.

    Args:
        inserts: at most.
        seconds: of the while.

    Raises:
        InputError: a value below or at 0.
    """

    inserts: int
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        lasting = is_number(self.seconds) and 0 < self.seconds < math.inf
        if not is_count(self.inserts, least=1) or not lasting:
            raise InputError(
                f"Quota(inserts={self.inserts!r}, seconds={self.seconds!r}): expected 1 or more, "
                "and more than 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """An entry to store, with what look-ups found since the last one.

    Args:
        entry: its id is ignored.
        labels: kind and label, for `EntryStore.purge`.
        used: entries served, each as often as it was.
        doomed: entries found expired or damaged; they go.
        limits: beyond which others give way, or it is not stored.
        frequency: how often its question was asked lately.
        author: digest of who stores it, for the quota.
        quota: of the author.
    """

    entry: Entry
    labels: Sequence[tuple[str, str]] = ()
    used: Sequence[int] = ()
    doomed: Sequence[int] = ()
    limits: Limits = Limits()
    frequency: int = 1
    author: bytes = b""
    quota: Quota | None = None


def checked_observation(
    entry: object, similarity: object, correct: object, audit: object
) -> Observation:
    """An observation as it was stored.

    Raises:
        ValueError: it is none; a policy would learn from it all the same.
    """
    numbers = (
        isinstance(entry, int) and is_number(similarity) and abs(cast("float", similarity)) < 2
    )
    if not numbers or correct not in (0, 1) or audit not in (0, 1):
        raise ValueError(f"an observation is {(entry, similarity, correct, audit)!r}")
    return Observation(
        cast("int", entry), float(cast("float", similarity)), bool(correct), bool(audit)
    )


class EntryStore(Protocol):
    """Entries, labels, observations and settings; several processes may share them.

    Every method raises `RagoptError` where the store fails: `StoreBusy`, `StorageError` or
    `IndexCorrupt`.
    """

    @property
    def name(self) -> str:
        """Where it is, for messages."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...

    def memory_bytes(self) -> int:
        """What the rows hold in this process's memory."""
        ...

    def summary(self, now: float) -> dict[str, Any]:
        """Counts, bytes and ages (seconds; None where there is no entry) of all entries."""
        ...

    def state(self) -> tuple[int, int]:
        """A pair that differs whenever anybody, here or elsewhere, has changed it."""
        ...

    def totals(self) -> tuple[int, int]:
        """Entries stored, and entries ever removed."""
        ...

    def find(self, scope: bytes, exact: bytes) -> Entry | None:
        """The entry of this text in this scope.

        Raises:
            DamagedEntry: it is there, and altered.
        """
        ...

    def fetch(self, entry_id: int) -> Entry | None:
        """The entry of this id, or None when somebody removed it.

        Raises:
            DamagedEntry: it is there, and altered.
        """
        ...

    def vectors(self, scope: bytes, after: int) -> Iterator[tuple[int, Any]]:
        """Ids and vector blobs of a scope's entries with ids beyond ``after``, rising."""
        ...

    def ids(self, scope: bytes) -> list[int]:
        """Ids of a scope's entries."""
        ...

    def put(self, put: Put) -> tuple[int, str]:
        """Store an entry in the place of one of the same text, all of it or nothing.

        Returns:
            The id of the new entry and ``""``; or 0 and why it was not stored: ``"quota"``, or
            ``"worth less"`` than what it would have taken the place of.
        """
        ...

    def settle(self, *, used: Sequence[int], doomed: Sequence[int]) -> None:
        """Write down what look-ups found, without a put."""
        ...

    def purge(
        self,
        *,
        scope: bytes | None = None,
        created_until: float | None = None,
        labels: Iterable[tuple[str, str]] = (),
        entry_id: int | None = None,
    ) -> int:
        """Remove the entries that meet all conditions given, all entries when none is; how many."""
        ...

    def confirm(self, entry_id: int, principal: bytes) -> int:
        """Note that somebody was given the same answer; how many have been."""
        ...

    def confirmations(self, entry_id: int) -> int:
        """How many were given the same answer, each counted once."""
        ...

    def observe(self, observations: Iterable[Observation]) -> None:
        """Keep what was compared."""
        ...

    def observations(self, after: int = 0) -> list[tuple[int, Observation]]:
        """Everything compared beyond a number, in order, with rising numbers."""
        ...

    def observed(self, entry_id: int) -> tuple[Observation, ...]:
        """What was compared for one entry, oldest first."""
        ...

    def setting(self, name: str) -> bytes | None:
        """What was kept under a name."""
        ...

    def set(self, name: str, value: bytes) -> None:
        """Keep something under a name."""
        ...
