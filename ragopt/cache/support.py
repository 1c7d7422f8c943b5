"""Whether the evidence at hand still says what a cached answer says.

Lexical, so that it costs some 0.1 ms for a thousand characters of evidence, and no model: which of
the answer's content words, and which of its numbers, stand in the chunks that were just retrieved.
It cannot tell that a sentence was turned into its opposite.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ragopt.cache.checks import is_number
from ragopt.cache.guards.lexicon import NUMBER_WORDS
from ragopt.compress.terms import word_terms, words
from ragopt.errors import InputError

__all__ = ["Support", "Supported"]

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_DIGIT = re.compile(r"\d")
# "one" is a pronoun as often, and what "million" is worth depends on what stands before it
_SMALL_NUMBERS = {word: str(value) for word, value in NUMBER_WORDS.items() if 1 < value < 100}


@dataclass(frozen=True, slots=True)
class Supported:
    """What evidence says of an answer.

    Args:
        share: of the answer's content words and numbers that the evidence holds, those left out
            that the evidence it was made from lacked too; 0 where that leaves none.
        terms: how many words and numbers were looked for.
        lost: numbers that the evidence it was made from held and this one lacks.
        least: share that was asked for.
    """

    share: float
    terms: int
    lost: tuple[str, ...]
    least: float

    @property
    def enough(self) -> bool:
        """Whether the answer may be served."""
        return self.terms > 0 and not self.lost and self.share >= self.least

    def __str__(self) -> str:
        if not self.terms:
            return "nothing in the answer can be looked for"
        said = f"{self.share:.2f} of {self.terms} terms found, {self.least:.2f} wanted"
        return said + (f"; no longer there: {', '.join(self.lost)}" if self.lost else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Which cached answers fresh evidence supports.

    Args:
        least: share of the answer's content words and numbers that must be found, above 0. The
            default was chosen on every other question of SQuAD, Natural Questions, CLAPNQ and
            PubMedQA. On the others it keeps .998, .953, 1.0 and .906 of the answers whose passages
            are retrieved again, and stops .724, .880, 1.0 and .962 of those whose passages are
            gone (``python -m ragopt.benchmarks.cache.support``). One name or year is often in some
            other passage: short answers are what it misses.

    Raises:
        InputError: a share outside its range.

    Example:
        >>> support = Support()
        >>> verdict = support.check("Kept for 30 days.", ["Backups are kept 14 days."], lacking=[])
        >>> verdict.enough, verdict.lost
        (False, ('30',))
    """

    least: float = 0.7

    def __post_init__(self) -> None:
        if not is_number(self.least) or not 0 < self.least <= 1:
            raise InputError(f"least={self.least!r}, expected a share above 0, at most 1")

    def lacking(self, answer: str, passages: Iterable[str]) -> list[str]:
        """The answer's terms that its own evidence lacks: a model's own words, kept for `check`.

        Args:
            answer: as the model gave it.
            passages: that it was given.
        """
        return sorted(_terms(answer) - _held(passages))

    def check(
        self, answer: str, passages: Iterable[str], lacking: Sequence[str] | None = None
    ) -> Supported:
        """Look for an answer's words and numbers in evidence.

        Args:
            answer: that was cached.
            passages: retrieved now.
            lacking: what `lacking` said when the answer was made; where nobody knows any more, all
                words and numbers count, and none has to be there.
        """
        wanted = _terms(answer) - set(lacking or ())
        missing = wanted - _held(passages)
        lost = () if lacking is None else sorted(term for term in missing if term[0].isdigit())
        share = 1 - len(missing) / len(wanted) if wanted else 0.0
        return Supported(share, len(wanted), tuple(lost), self.least)


def _held(passages: Iterable[str]) -> set[str]:
    return set().union(*(_terms(passage) for passage in passages))


def _terms(text: str) -> set[str]:
    """Stems of content words, and numbers as digits: "1,000" is "1000", "three" is "3"."""
    found = {number.replace(",", "") for number in _NUMBER.findall(text)}
    for word in words(text):
        if word in _SMALL_NUMBERS:
            found.add(_SMALL_NUMBERS[word])
        elif not _DIGIT.search(word):
            found.update(word_terms(word))
    return found
