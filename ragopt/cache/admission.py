"""What may be cached at all: nothing personal, nothing that was done rather than said."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ragopt.cache.checks import is_count, is_number
from ragopt.cache.scope import Scope
from ragopt.errors import InputError

__all__ = ["PII", "Admission", "personal_data"]


def _is_card(digits: str) -> bool:
    """Luhn's checksum (1960)."""
    figures = [int(figure) for figure in digits if figure.isdigit()]
    if not 13 <= len(figures) <= 19 or len(set(figures)) == 1:
        return False
    doubled = [2 * figure - 9 * (figure > 4) for figure in figures[-2::-2]]
    return (sum(figures[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """ISO 13616: the number that letters spell leaves 1 when divided by 97."""
    plain = re.sub(r"\s", "", text).upper()
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _anything(_: str) -> bool:
    return True


# Each run of signs is tried once or to a limit: personal data is sought in megabytes of text too.
_SECRETS = (
    r"\b(?:sk|pk|rk)[-_](?:live|test|proj|ant)?[-_]?[A-Za-z0-9_-]{16,}",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{30,}",
    r"\bxox[abprs]-[\w-]{10,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    r"\beyJ[\w-]{8,512}\.[\w-]{8,}\.[\w-]{8,}",
)
_AREA = r"(?:\(\d{2,4}\)[ .-]?|\d{2,4}[ .-])"
_PHONES = (
    rf"(?<![\w.])(?:\+\d{{1,3}}[ .-]?)?{_AREA}\d{{3,4}}[ .-]\d{{3,4}}(?![\w.-])",
    r"(?<![\w.])\+\d{9,14}(?!\w)",
)
_SSN = r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"
_IBAN = r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
_SPOKEN = r"\b(?:password|passwd|pwd|passphrase|pin)\s*(?:is|:|=)\s*\S{4,}"

PII: Mapping[str, tuple[re.Pattern[str], Callable[[str], bool]]] = MappingProxyType(
    {
        "email address": (re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]*\w"), _anything),
        "payment card": (re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w.])"), _is_card),
        "bank account": (re.compile(_IBAN), _is_iban),
        "social security number": (re.compile(_SSN), _anything),
        "phone number": (re.compile("|".join(_PHONES)), _anything),
        "secret key": (re.compile("|".join(_SECRETS)), _anything),
        "password": (re.compile(_SPOKEN, re.IGNORECASE), _anything),
    }
)
"""Patterns of personal data by name, each with a check of what it matched."""


def personal_data(text: str) -> str | None:
    """The kind of personal data that a text holds, as far as `PII` knows; None for none."""
    for name, (pattern, check) in PII.items():
        if any(check(found[0]) for found in pattern.finditer(text)):
            return name
    return None


def _pii() -> Callable[[str], str | None]:
    return personal_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Which answers are stored; all others are given once and forgotten.

    Args:
        max_temperature: of the scope's ``sampling``; answers drawn at a higher one are variations,
            not the answer.
        pii: names the personal data in a text, or None; see `personal_data`.
        max_bytes: of question, answer and payload together.

    Raises:
        InputError: a value outside its range.
    """

    max_temperature: float = 0.7
    pii: Callable[[str], str | None] | None = field(default_factory=_pii)
    max_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        if not is_number(self.max_temperature) or self.max_temperature < 0:
            raise InputError(f"max_temperature={self.max_temperature!r}, expected 0 or more")
        if self.pii is not None and not callable(self.pii):
            raise InputError(f"pii={self.pii!r}, expected a function of a text, or None")
        if not is_count(self.max_bytes, least=1):
            raise InputError(f"max_bytes={self.max_bytes!r}, expected 1 or more")

    def refuses(
        self, question: str, answer: str, scope: Scope, *, size: int, personalised: bool
    ) -> str | None:
        """Why an answer is not stored; None where it is.

        Args:
            question: that was asked.
            answer: that was given.
            scope: of it.
            size: bytes of all that would be stored.
            personalised: the caller says that it was made for one person, or by calling tools.
        """
        if personalised:
            return "personalised"
        temperature: object = scope.sampling.get("temperature")
        if isinstance(temperature, int | float) and temperature > self.max_temperature:
            return "temperature"
        if size > self.max_bytes:
            return "size"
        if self.pii is not None and (self.pii(question) or self.pii(answer)):
            return "personal data"
        return None
