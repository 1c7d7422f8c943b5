"""Numbers and foreign text as people read them: dollars, points, ratios, shares.

Signs are typographic (U+2212, U+00D7); `ragopt.report.savings_table` spells them in ASCII where a
terminal asks for it. What is not a finite number is a dash.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragopt.quality import PairedDifference

__all__ = [
    "DASH",
    "MINUS",
    "TIMES",
    "change",
    "clean",
    "count",
    "dollar_column",
    "dollars",
    "percent",
    "points",
    "ratio",
    "share",
    "shortened",
    "signed_dollars",
    "spread",
]

DASH = "\u2013"
MINUS = "\u2212"
TIMES = "\u00d7"
_SMALLEST_DECIMALS = 8

# Control characters and surrogates are not text (XML has no place for them); the bidirectional
# controls would turn whatever stands next to a label around.
_UNPRINTABLE = re.compile(
    "[\x00-\x20\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]+"
)


def clean(text: object) -> str:
    """Text on one line, without control characters, lone surrogates and direction overrides."""
    return _UNPRINTABLE.sub(" ", str(text)).strip()


def shortened(text: str, length: int) -> str:
    """Text of at most ``length`` characters, an ellipsis in place of what is left out."""
    return text if len(text) <= length else f"{text[: max(length - 1, 0)].rstrip()}…"


def dollars(value: Decimal | float, decimals: int | None = None) -> str:
    """US dollars with the digits that say something: $1,234, $0.36, $0.0042.

    Args:
        value: in US dollars.
        decimals: to show; by default two, none from 100 up, and two significant digits below 0.1.
    """
    amount = Decimal(value)
    if not amount.is_finite():
        return DASH
    places = _decimals(amount) if decimals is None else decimals
    text = f"${abs(amount):,.{places}f}"
    if not any(digit in text for digit in "123456789"):
        return "$0" if amount == 0 or places < _SMALLEST_DECIMALS else f"under {text[:-1]}1"
    return f"{MINUS}{text}" if amount < 0 else text


def signed_dollars(value: Decimal | float) -> str:
    """Dollars of a change, always with its sign (none for no change)."""
    text = dollars(value)
    return f"+{text}" if value > 0 and text not in ("$0", DASH) else text


def dollar_column(values: Sequence[Decimal]) -> list[str]:
    """Dollars that stand below each other: equally many decimals wherever two digits remain."""
    finite = [value for value in values if value.is_finite() and value]
    common = min((_decimals(value) for value in finite), default=0)
    return [
        dollars(value, common if abs(value) * 10**common >= 10 else None)
        if value.is_finite()
        else DASH
        for value in values
    ]


def count(value: float) -> str:
    """A mean of tokens, bytes or milliseconds: 1,005, 73, 4.3, 0.05."""
    if not math.isfinite(value):
        return DASH
    size = abs(value)
    if size == 0 or size >= 99.95:
        return _signed(value, f"{size:,.0f}")
    if size >= 0.095:
        return _signed(value, f"{size:.1f}")
    return _signed(value, f"{size:.2g}")


def percent(value: float) -> str:
    """A share or a change as a percentage, one decimal below 10, and never rounded up to 100."""
    if not math.isfinite(value):
        return DASH
    size = abs(value) * 100
    if 99.5 <= size < 100:
        text = f"{min(size, 99.9):.1f}%"
    else:
        text = f"{size:.1f}%" if 0 < size < 9.95 else f"{size:,.0f}%"
    return _signed(value, text)


def change(factor: float) -> str:
    """A ratio to the baseline as a signed change: 0.36 is minus 64%."""
    text = percent(factor - 1)
    return f"+{text}" if factor > 1 and _says_something(text) else text


def share(value: float) -> str:
    """A quality between 0 and 1 as a percentage with one decimal."""
    return f"{value * 100:.1f}%" if math.isfinite(value) else DASH


def ratio(factor: float) -> str:
    """A ratio to the baseline: 0.37, 0.033 or 12 times."""
    if not math.isfinite(factor):
        return DASH
    if factor == 0 or abs(factor) >= 9.95:
        return f"{factor:,.0f}{TIMES}"
    return f"{factor:.2f}{TIMES}" if abs(factor) >= 0.095 else f"{factor:.2g}{TIMES}"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign: +3.2, or 0.0 without."""
    if not math.isfinite(value):
        return DASH
    text = f"{abs(value) * 100:.1f}"
    return f"+{text}" if value > 0 and _says_something(text) else _signed(value, text)


def spread(difference: PairedDifference) -> str:
    """A paired difference with its interval, in points: +0.5 [+0.1, +1.1]."""
    return f"{points(difference.mean)} [{points(difference.lower)}, {points(difference.upper)}]"


def _decimals(amount: Decimal) -> int:
    size = abs(amount)
    if size == 0 or size >= 100:
        return 0
    if size >= Decimal("0.1"):
        return 2
    return min(1 - size.adjusted(), _SMALLEST_DECIMALS)


def _signed(value: float, text: str) -> str:
    return f"{MINUS}{text}" if value < 0 and _says_something(text) else text


def _says_something(text: str) -> bool:
    """Whether rounding has left more than zeros, which have no sign."""
    return any(digit in text for digit in "123456789")
