"""What two questions have in common besides their similarity: cheap to tell, without a model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from ragopt.cache.guards import DEFAULT_GUARDS, ContentWords
from ragopt.cache.guards.words import forms, study

__all__ = ["FEATURES", "Profile", "pair_features", "profile"]

_GUARDS = tuple(guard for guard in DEFAULT_GUARDS if not isinstance(guard, ContentWords))
_STUDIED = 4096
_LEAST_DISTANCE = 1e-4

FEATURES = (
    "similarity",
    "nearness",  # -log(1 - similarity)
    *(f"{guard.name}_differ" for guard in _GUARDS),
    "alone_more",  # content words that only one of them has: of the one with more of them
    "alone_fewer",  # and of the other
    "content_shared",  # Jaccard, in any inflection
    "words_shared",
    "pairs_shared",  # of neighbouring words
    "letters_shared",  # of three letters in a row
    "words_fewer",  # length of the shorter, in words
    "words_ratio",  # of the shorter to the longer
    "opening_same",  # the first word
    "closing_same",  # the last
)
"""Names of what `pair_features` gives, in order."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Sets that one question is compared by."""

    words: frozenset[str]
    content: tuple[frozenset[str], ...]
    forms: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    letters: frozenset[str]
    count: int
    opening: str
    closing: str


@lru_cache(maxsize=_STUDIED)
def profile(text: str) -> Profile:
    """What a question is compared by; kept for those seen last."""
    question = study(text)
    words = [word.folded for word in question.words]
    folded = " ".join(words)
    content = dict.fromkeys(word.folded for word in question.words if word.content)
    each = tuple(map(forms, content))
    return Profile(
        words=frozenset(words),
        content=each,
        forms=frozenset().union(*each),
        pairs=frozenset(pairwise(words)),
        letters=frozenset(folded[at : at + 3] for at in range(max(1, len(folded) - 2))),
        count=len(words),
        opening=words[0] if words else "",
        closing=words[-1] if words else "",
    )


def pair_features(asked: str, cached: str, similarity: float) -> list[float]:
    """The values of `FEATURES` for a pair of questions, the same whichever comes first.

    Args:
        asked: a question.
        cached: another.
        similarity: their cosine.

    Cost: some 60 us for two questions of ten words that were seen lately.
    """
    left, right = profile(asked), profile(cached)
    alone = sorted((_alone(left, right), _alone(right, left)))
    contents = len(left.content) + len(right.content)
    short, long = sorted((left.count, right.count))
    return [
        similarity,
        -math.log(max(_LEAST_DISTANCE, 1 - similarity)),
        *(float(not guard.agrees(asked, cached)) for guard in _GUARDS),
        float(alone[1]),
        float(alone[0]),
        1 - sum(alone) / contents if contents else 1.0,
        _jaccard(left.words, right.words),
        _jaccard(left.pairs, right.pairs),
        _jaccard(left.letters, right.letters),
        float(short),
        short / long if long else 1.0,
        float(left.opening == right.opening),
        float(left.closing == right.closing),
    ]


def _alone(one: Profile, other: Profile) -> int:
    """Content words of one that the other has in no form."""
    return sum(map(other.forms.isdisjoint, one.content))


def _jaccard(one: frozenset[object], other: frozenset[object]) -> float:
    shared = len(one & other)
    either = len(one) + len(other) - shared
    return shared / either if either else 1.0
