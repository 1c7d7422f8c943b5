"""What of a question's evidence and answer a text still holds, judged from the text alone.

A compressor's own account of itself (its spans, its token counts) is never asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ragopt.benchmarks.datasets.types import Context
from ragopt.benchmarks.embedded.questions import fold

__all__ = [
    "Evidence",
    "Verdict",
    "evidence_of",
    "foreign_words",
    "held_answers",
    "judge",
]

Kind = Literal["sentence", "answer sentence", "passage"]

# Cutting too finely is harmless here: what holds a stretch of text holds every piece of it.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence, in folded texts.

    Args:
        texts: pieces of it.
        kind: ``"sentence"`` (one text), ``"answer sentence"`` (the source marks one passage: its
            sentences with the answer, of which any suffices), or ``"passage"`` (the source marks
            several passages, such as the hops of a question: all sentences of this one, each
            counting its share).
    """

    texts: tuple[str, ...]
    kind: Kind

    def kept_in(self, folded: str) -> float:
        """Share of it that stands verbatim in a folded text, 0 to 1."""
        found = [text in folded for text in self.texts]
        return float(any(found)) if self.kind == "answer sentence" else sum(found) / len(found)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an output holds.

    Args:
        evidence: share of the evidence, 0 to 1; None where the source marks none.
        answer: whether an acceptable answer stands in it; None where none stands in the input.
        foreign: share of its words that did not stand in the input, or not so often.
    """

    evidence: float | None
    answer: bool | None
    foreign: float


def evidence_of(context: Context) -> tuple[Evidence, ...]:
    """The evidence of a question, as texts to look for."""
    texts = {chunk.id: chunk.text for chunk in context.passages}
    marked = [(texts[chunk], start, end) for chunk, start, end in context.evidence]
    found = []
    for text, start, end in marked:
        piece = fold(text[start:end])
        if not piece:
            continue
        if piece != fold(text):
            found.append(Evidence((piece,), "sentence"))
        else:
            found.append(_whole(text, context.answers if len(marked) == 1 else ()))
    return tuple(found)


def _whole(text: str, answers: Iterable[str]) -> Evidence:
    sentences = tuple(piece for part in _SENTENCE_END.split(text) if (piece := fold(part)))
    patterns = [_pattern(answer) for answer in answers if answer.strip()]
    holding = tuple(
        sentence
        for sentence in sentences
        if any(pattern.search(sentence.casefold()) for pattern in patterns)
    )
    if len(sentences) == 1:
        return Evidence(sentences, "sentence")
    return Evidence(holding, "answer sentence") if holding else Evidence(sentences, "passage")


def held_answers(answers: Iterable[str], source: str) -> tuple[str, ...]:
    """The acceptable answers that stand in the source text: only those can be kept."""
    folded = fold(source).casefold()
    held = {fold(answer).casefold(): None for answer in answers if answer.strip()}
    return tuple(answer for answer in held if _pattern(answer).search(folded))


def judge(
    output: str, *, source: str, evidence: Iterable[Evidence], answers: Iterable[str]
) -> Verdict:
    """Judge an output.

    Args:
        output: what goes into the prompt.
        source: what it was made from, rendered in the same way.
        evidence: see `evidence_of`.
        answers: see `held_answers`.

    An answer counts as kept where it stands, as whole words, whatever the case, and not more often
    than in the source: what a compressor adds of its own is no compression, right or wrong.
    """
    folded, origin = fold(output), fold(source)
    shares = [piece.kept_in(folded) for piece in evidence]
    sought = list(answers)
    return Verdict(
        evidence=sum(shares) / len(shares) if shares else None,
        answer=any(_kept(answer, folded, origin) for answer in sought) if sought else None,
        foreign=foreign_words(output, source),
    )


def foreign_words(output: str, source: str) -> float:
    """Share of the output's words that the source does not hold, or not so often; 0 to 1."""
    words, known = _words(output), _words(source)
    total = words.total()
    return (words - known).total() / total if total else 0.0


def _kept(answer: str, output: str, source: str) -> bool:
    pattern = _pattern(answer)
    found = len(pattern.findall(output.casefold()))
    return 0 < found <= len(pattern.findall(source.casefold()))


def _pattern(answer: str) -> re.Pattern[str]:
    """The answer as whole words: "art" does not stand in "party"."""
    words = re.escape(fold(answer).casefold())
    return re.compile(rf"(?<!\w){words}(?!\w)")


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.casefold()))
