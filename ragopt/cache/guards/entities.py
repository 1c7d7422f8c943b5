"""Names, identifiers and subject matter."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ragopt.cache.guards.words import Question, Word, forms, parts, study

__all__ = ["ContentWords", "Entities"]


@dataclass(frozen=True, slots=True)
class Entities:
    """The same identifiers, flags, operators and quoted words; no proper name swapped for another.

    A name that only one of them holds ("Trump", "Donald Trump") is left to `ContentWords`.
    """

    name: str = "entities"

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether each holds what the other writes as code, and no name took another's place."""
        left, right = study(asked), study(cached)
        if _strange(left, right, code=True) or _strange(right, left, code=True):
            return False
        return not (_strange(left, right, code=False) and _strange(right, left, code=False))


def _strange(named: Question, holder: Question, *, code: bool) -> bool:
    """Whether ``named`` has an entity (as code, or by a name) that ``holder`` has not."""
    return any(
        not _found(word, holder)
        for word in named.words
        if word.entity and (word.code or word.quoted) == code
    )


def _found(word: Word, holder: Question) -> bool:
    """Whether ``holder`` speaks of ``word``, perhaps in parts or without its code marks."""
    if word.code and word.text in holder.exact:
        return True
    if word.folded in holder.surface:
        # `List` and `list` differ when both stand there as code
        return not word.code or word.folded not in holder.exact_folded
    pieces = parts(word.text)
    if word.name and not word.code and len(pieces) == 1:
        return not forms(word.folded).isdisjoint(holder.forms)
    return bool(pieces) and pieces <= holder.pieces


@dataclass(frozen=True, slots=True)
class ContentWords:
    """The same subject matter: what one question adds or swaps is another question.

    Words match in any inflection, through a short list of synonyms, and joined or apart ("time
    zone", "timezone"); words of grammar and of asking ("best way to", "can anyone tell me") do not
    count. The strictest guard by far: of rewordings with a cosine of .95 it loses one in four, and
    one in eleven with ``additions=1``, which in turn lets "on a class" be added.

    Args:
        additions: how many content words one of them (not both) may hold that the other lacks.
    """

    additions: int = 0
    name: str = "content_words"

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether the content words match, one-sided additions within the allowance."""
        left, right = study(asked), study(cached)
        if not any(word.content for word in (*left.words, *right.words)):
            return left.surface == right.surface  # "how are you", "who are you"
        more, less = _unmatched(left, right), _unmatched(right, left)
        return not (more and less) and max(len(more), len(less)) <= self.additions


def _unmatched(one: Question, other: Question) -> list[str]:
    alone = [
        word.folded
        for word in one.words
        if word.content
        and other.forms.isdisjoint(forms(word.folded))
        and not _found(word, other)
        and not parts(word.text) <= other.pieces
    ]
    if not alone:
        return alone
    neighbours = pairwise(word.folded for word in one.words)
    # "time zone" here, "timezone" there
    joined = {word for pair in neighbours if "".join(pair) in other.surface for word in pair}
    return [word for word in alone if word not in joined]
