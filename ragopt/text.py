"""Words of a text, as LSA, BM25 search, reranking and the extractive answerer see them.

One tokenizer keeps their vocabularies comparable.
"""

from __future__ import annotations

import re

__all__ = ["STOP_WORDS", "terms"]

STOP_WORDS = frozenset(
    "a about an and any are as at be been but by can could did do does doing for from had has have "
    "having how i if in into is it its itself just may me might my no nor not of on or our shall "
    "should so some such than that the their them then there these they this those to too us very "
    "was we were what when where which while who whom why will with would you your".split()
)

_WORD = re.compile(r"[^\W_]+(?:[._][^\W_]+)*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\dA-Z_]+|\d+|[^\W_]")


def terms(text: str) -> list[str]:
    """Lower-case, lightly stemmed words in order; stop words left out.

    An identifier counts whole and by its parts: ``os.path.exists`` gives ``os.path.exists``,
    ``os``, ``path``, ``exist``; ``ThreadPool`` gives ``threadpool``, ``thread``, ``pool``.
    """
    found = []
    for word in _WORD.findall(text):
        whole = word.lower()
        if whole in STOP_WORDS:
            continue
        found.append(_stem(whole))
        parts = _PART.findall(word if word.isascii() else whole)  # its capitals are A to Z
        if len(parts) > 1:
            found.extend(_stem(part.lower()) for part in parts if part.lower() not in STOP_WORDS)
    return found


def _stem(word: str) -> str:
    """Strip English plural and verb endings where what is left is still a word's length.

    Much weaker than Porter's: identifiers must survive.
    """
    if len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        stem = word[: -len(ending)]
        if word.endswith(ending) and len(stem) >= 3 and any(vowel in stem for vowel in "aeiouy"):
            if stem[-1] == stem[-2] and stem[-1] not in "ls":
                return stem[:-1]
            return stem
    return word[:-1] if word.endswith("e") and len(word) > 4 else word
