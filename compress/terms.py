"""Words of a text as the scorer compares them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from ragopt.shingles import NEGATION, words

__all__ = ["NEGATION", "STOP_WORDS", "query_terms", "stem", "terms", "word_terms", "words"]

_PARTS = re.compile(r"[^\W_]+")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]+")

_VOWELS = frozenset("aeiouy")

# Negations are no stop words: "not safe" must not compare equal to "safe".
STOP_WORDS = frozenset(
    """
    a about after all also am an and any are as at be because been before being between both but
    by can could did do does doing during each few for from further had has have having he her
    here hers him his how i if in into is it its itself just me more most my of off on once only
    or other our out over own s same she should so some such t than that the their them then
    there these they this those through to too under until up us very was we were what when
    where which while who whom whose why will with would you your
    """.split()
)


def terms(text: str) -> list[str]:
    """Comparable terms of a text: stems, identifiers both whole and by part, no stop words."""
    return [term for word in words(text) for term in word_terms(word)]


def query_terms(query: str) -> list[str]:
    """The distinct terms of a query, in order; none if it is all stop words."""
    return list(dict.fromkeys(terms(query)))


@lru_cache(maxsize=1 << 16)
def word_terms(word: str) -> tuple[str, ...]:
    """The terms of one word in lower case.

    ``max_workers`` gives itself and its two parts, so that a question may name either; a run of
    Chinese, Japanese or Korean gives its pairs of characters.
    """
    if word in STOP_WORDS:
        return ()
    if word.isascii():
        if word.isalnum():
            return (stem(word),)
    else:
        if _CJK.search(word):
            return _cjk_terms(word)
        word = _without_accents(word)
    parts = _PARTS.findall(word)
    if len(parts) == 1:
        return (stem(parts[0]),)
    if all(part.isdigit() for part in parts):
        return (word,)
    return (word, *(stem(part) for part in parts if part not in STOP_WORDS))


def stem(word: str) -> str:
    """Cut the commonest English endings: plural, ``-ing``, ``-ed``, ``-ly`` and a final ``e``.

    Lighter than Porter (1980): the stem of a name is nearly always the name itself.
    """
    if len(word) <= 3 or not word.isalpha():
        return word
    word = _singular(word)
    for ending in ("ing", "ed", "ly"):
        bare = word[: -len(ending)]
        if word.endswith(ending) and len(bare) >= 3 and not _VOWELS.isdisjoint(bare):
            doubled = len(bare) > 3 and bare[-1] == bare[-2] and bare[-1] not in "lsz"
            word = bare[:-1] if doubled else bare
            break
    if len(word) > 4 and word.endswith("e"):
        return word[:-1]
    if len(word) > 4 and word.endswith("i"):
        return f"{word[:-1]}y"
    return word


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _without_accents(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word)
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    return bare or word


def _cjk_terms(word: str) -> tuple[str, ...]:
    found: list[str] = [part for part in _CJK.sub(" ", word).split() if part not in STOP_WORDS]
    for run in _CJK.findall(word):
        found.extend(run[at : at + 2] for at in range(max(1, len(run) - 1)))
    return tuple(found)
