"""What counts as kept: judged from texts, never from what a compressor says of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.benchmarks.context.judge import evidence_of, foreign_words, held_answers, judge
from ragopt.benchmarks.datasets.types import Context
from ragopt.chunk import Chunk

FIRST = "Keys are rotated\n  every 30 days."
SECOND = "Ask the art department for a copy."
TEXT = f"{FIRST} {SECOND}"


def _context(*evidence: tuple[str, int, int], answers: tuple[str, ...] = ("30 days",)) -> Context:
    return Context(
        id="q",
        question="How often are keys rotated?",
        passages=(Chunk("p", TEXT), Chunk("other", "The party is on Monday. It is over by ten.")),
        answers=answers,
        evidence=evidence,
    )


def _judged(output: str, context: Context) -> tuple[float | None, bool | None]:
    source = "\n\n".join(chunk.text for chunk in context.passages)
    found = judge(
        output,
        source=source,
        evidence=evidence_of(context),
        answers=held_answers(context.answers, source),
    )
    return found.evidence, found.answer


def test_a_marked_sentence_is_found_across_white_space() -> None:
    context = _context(("p", 0, len(FIRST)))
    assert _judged(f"Intro. {FIRST}", context) == (1.0, True)
    assert _judged("Keys are rotated every 30 days.", context) == (1.0, True)


def test_a_sentence_with_a_word_left_out_is_lost_and_its_answer_is_not() -> None:
    assert _judged("Keys rotated every 30 days.", _context(("p", 0, len(FIRST)))) == (0.0, True)


def test_one_whole_passage_with_an_answer_stands_for_its_answering_sentence() -> None:
    context = _context(("p", 0, len(TEXT)))
    assert _judged(FIRST, context) == (1.0, True)
    assert _judged(SECOND, context) == (0.0, False)


def test_several_whole_passages_count_by_their_sentences() -> None:
    context = _context(("p", 0, len(TEXT)), ("other", 0, 42))
    assert [piece.kind for piece in evidence_of(context)] == ["passage", "passage"]
    assert _judged(f"{SECOND} The party is on Monday.", context) == (0.5, False)


def test_an_answer_is_whole_words() -> None:
    context = _context(answers=("art",))
    assert _judged("the ART of it", context) == (None, True)
    assert _judged("the party", context) == (None, False)


def test_an_answer_that_is_in_no_passage_cannot_be_kept() -> None:
    assert _judged("It is 45 days.", _context(answers=("45 days",))) == (None, None)


def test_only_the_wording_that_stands_in_the_passages_is_sought() -> None:
    context = _context(answers=("thirty days", "30 days"))
    assert _judged("It is thirty days.", context) == (None, False)


def test_an_answer_said_more_often_than_it_was_given_does_not_count() -> None:
    assert _judged("30 days. I repeat: 30 days.", _context()) == (None, False)


@pytest.mark.parametrize(
    ("output", "share"),
    [("keys every 30", 0.0), ("", 0.0), ("keys keys", 0.5), ("entirely made up", 1.0)],
)
def test_foreign_words(output: str, share: float) -> None:
    assert foreign_words(output, "Keys are rotated every 30 days.") == pytest.approx(share)


@given(st.lists(st.booleans(), min_size=4, max_size=4))
def test_choosing_sentences_is_judged_by_which_were_chosen(chosen: list[bool]) -> None:
    sentences = [f"Fact number {number} says {word}." for number, word in enumerate("abcd")]
    text = " ".join(sentences)
    ends = [text.index(one) + len(one) for one in sentences]
    context = Context(
        id="q",
        question="?",
        passages=(Chunk("p", text),),
        answers=(),
        evidence=(("p", 0, ends[0]), ("p", ends[1] + 1, ends[2])),
    )
    output = " ".join(one for one, kept in zip(sentences, chosen, strict=True) if kept)
    verdict = judge(output, source=text, evidence=evidence_of(context), answers=())
    assert verdict.evidence == (chosen[0] + chosen[2]) / 2
    assert verdict.foreign == 0.0
    assert verdict.answer is None
