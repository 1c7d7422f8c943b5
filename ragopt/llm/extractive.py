"""An answerer without a model: the sentences of the context that share most with the question."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Sequence

from ragopt.errors import InputError
from ragopt.llm.base import NO_ANSWER, Completion, Message, split_prompt
from ragopt.text import terms

__all__ = ["ExtractiveAnswerer"]

_HEADING = re.compile(r"(?:\A|\n[ \t]*\n)\[(\d+)\][^\n]*(?:\n|\Z)")
_BREAK = re.compile(
    r"\n[ \t]*\n\s*"  # a blank line
    r"|(?<=[.!?])(?<![ (]e\.g\.)(?<![ (]i\.e\.)[\"')\]]*\s+(?=[^\sa-z])"  # the end of a sentence
    r"|\n(?=[ \t]*(?:[-*+•] |\d+[.)] |>>> ))"  # a list item, a line of a session
)
_LONGEST = 600
_K1 = 1.2
_B = 0.75


class ExtractiveAnswerer:
    """An LLM that quotes: the context's best sentences for the question, verbatim.

    It costs nothing, needs no network and is deterministic: for tests, demonstrations and as a
    floor that a paid model must beat. Sentences are scored by BM25 with the context's own sentences
    as the collection (Robertson and Zaragoza, 2009, section 3), words as :func:`ragopt.text.terms`
    sees them, so that identifiers match whole and by their parts.

    Reports no usage: whoever meters it counts the tokens as for any model that reports none.

    Args:
        max_sentences: most sentences of an answer, 1 or more.

    Raises:
        InputError: ``max_sentences`` is no whole number from 1 up.
    """

    model = "extractive"

    def __init__(self, max_sentences: int = 2) -> None:
        if isinstance(max_sentences, bool) or not isinstance(max_sentences, int):
            raise InputError(f"max_sentences={max_sentences!r}, expected a whole number")
        if max_sentences < 1:
            raise InputError(f"max_sentences={max_sentences}, expected 1 or more")
        self.max_sentences = max_sentences

    def __call__(self, messages: Sequence[Message]) -> Completion:
        """Answer the question of a prompt in the layout of :func:`ragopt.llm.render_prompt`.

        Returns:
            The best sentences in the order of the context, or ``NO_ANSWER`` where none shares a
            word with the question.

        Raises:
            InputError: there is no user message.
        """
        started = time.perf_counter()
        context, question = split_prompt(messages)
        sentences = list(dict.fromkeys(_sentences(context)))
        best = _best(sentences, question, self.max_sentences)
        text = " ".join(sentences[place] for place in best) or NO_ANSWER
        ms = (time.perf_counter() - started) * 1000
        return Completion(text, model=self.model, finish_reason="stop", ms=ms)

    def __repr__(self) -> str:
        return f"ExtractiveAnswerer(max_sentences={self.max_sentences})"


def _sentences(context: str) -> list[str]:
    found: list[str] = []
    for passage in _passages(context):
        for sentence in _BREAK.split(passage):
            pieces = sentence.split("\n") if len(sentence) > _LONGEST else [sentence]
            found.extend(piece.strip() for piece in pieces if piece.strip())
    return found


def _passages(context: str) -> list[str]:
    """Texts between the ``[n] title`` lines; only the next number in turn makes a title."""
    passages, start, expected = [], 0, 1
    for heading in _HEADING.finditer(context):
        if int(heading[1]) != expected:
            continue
        passages.append(context[start : heading.start()])
        start, expected = heading.end(), expected + 1
    return [*passages, context[start:]]


def _best(sentences: Sequence[str], question: str, count: int) -> list[int]:
    """Places of the ``count`` best sentences above 0, ascending; ties go to the first."""
    asked = set(terms(question))
    if not asked or not sentences:
        return []
    counted = [terms(sentence) for sentence in sentences]
    matched = [Counter(word for word in words if word in asked) for words in counted]
    frequency = Counter(word for found in matched for word in found)
    weight = {
        word: math.log(1 + (len(sentences) - seen + 0.5) / (seen + 0.5))
        for word, seen in frequency.items()
    }
    mean = sum(map(len, counted)) / len(counted) or 1.0
    scores = []
    for words, found in zip(counted, matched, strict=True):
        norm = _K1 * (1 - _B + _B * len(words) / mean)
        scores.append(sum(weight[w] * n * (_K1 + 1) / (n + norm) for w, n in found.items()))
    ranked = sorted(range(len(sentences)), key=lambda place: (-scores[place], place))
    return sorted(place for place in ranked[:count] if scores[place] > 0)
