"""The order that a language model wrote down, whatever else it wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Permutation", "read_permutation"]

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_CHAIN = re.compile(r"\[?\d+\]?(?:\s*(?:>|,|;)\s*\[?\d+\]?)+")
_BRACKETED = re.compile(r"\[(\d+)\]")
# "-1" and "2.5" are no numbers of a passage.
_NUMBER = re.compile(r"(?<![\w.\-])\d+(?!\w|\.\d)")
_DIGITS_MAX = 9


@dataclass(frozen=True, slots=True)
class Permutation:
    """An order of n passages that is always one, and what was wrong with how it was written.

    Args:
        order: each of 0 to n - 1 once, best first; those not named keep their order at the end.
        missing: passages that were not named.
        doubled: names that came again.
        unknown: numbers that are no passage's.
    """

    order: tuple[int, ...]
    missing: int = 0
    doubled: int = 0
    unknown: int = 0

    @property
    def readable(self) -> bool:
        """Whether any passage was named at all."""
        return self.missing < len(self.order)

    @property
    def clean(self) -> bool:
        """Whether every passage was named once, and nothing else."""
        return not (self.missing or self.doubled or self.unknown)


def read_permutation(text: str, count: int) -> Permutation:
    """The order in an answer such as ``[2] > [1] > [3]``, ``2, 1, 3`` or one number a line.

    Of several chains the longest is read, and of equals the last: models think aloud before they
    answer. Without a chain all numbers in brackets count, without these all whole numbers.

    Args:
        text: the answer.
        count: passages, numbered from 1.
    """
    written = _numbers(_THOUGHT.sub(" ", text))
    known = [number - 1 for number in written if 1 <= number <= count]
    order = list(dict.fromkeys(known))
    named = set(order)
    rest = [place for place in range(count) if place not in named]
    return Permutation(
        order=(*order, *rest),
        missing=len(rest),
        doubled=len(known) - len(order),
        unknown=len(written) - len(known),
    )


def _numbers(text: str) -> list[int]:
    chains = [_digits(re.findall(r"\d+", found)) for found in _CHAIN.findall(text)]
    if chains:
        longest = max(len(chain) for chain in chains)
        return [chain for chain in chains if len(chain) == longest][-1]
    return _digits(_BRACKETED.findall(text)) or _digits(_NUMBER.findall(text))


def _digits(found: list[str]) -> list[int]:
    """As integers; one too long for any passage is cut to a number that is no passage's."""
    return [int(number[:_DIGITS_MAX]) for number in found]
