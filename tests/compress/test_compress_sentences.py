"""Sentence boundaries on the cases that break naive splitters."""

# ruff: noqa: RUF001  (the punctuation of many scripts is the subject here)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.compress.sentences import LONG_CHARS, sentence_spans


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


WHOLE = [
    "Dr. J. R. Smith met Mr. Jones.",
    "He was born c. 1890 in St. Petersburg.",
    "The price rose to $3.14 million, i.e. 2.5 % more.",
    "See Fig. 3 and eq. 4, pp. 12 f.",
    "Smith et al. (2019) disagree.",
    "It weighs approx. 3 kg.",
    "No. 5 is alive.",
    "It is on Jan. 5, 2020.",
    "The U.S. Senate voted.",
    "Apple Inc. said nothing.",
    "“Stop!” he cried.",
    "Roderick A. “Roddy” Maude-Roxby acts.",
    "Read https://example.org/a.html?x=1. and go on",
    "Mail j.smith@example.co.uk now.",
    "Use `x. Y` in code.",
    "A claim (Miller, J. Weak. 2019; see App. B. Too) stands.",
    "Wait... for it.",
    "Version 2.0.1 works on Python 3.10.",
    'The body is {"text": "Hello. World"} here.',
    "Call obj.method. it returns None",
]


@pytest.mark.parametrize("text", WHOLE)
def test_stays_whole(text: str) -> None:
    from ragopt.compress.segment import segment  # inline JSON is protected there

    assert [text[found.start : found.end] for found in segment(text)] == [text]


CUT = [
    ("It rained. We left.", ["It rained.", "We left."]),
    ("He said yes! She said no? They left.", ["He said yes!", "She said no?", "They left."]),
    ("He lives in the U.S. The flat is small.", ["He lives in the U.S.", "The flat is small."]),
    ("They sold to Foo Inc. It failed.", ["They sold to Foo Inc.", "It failed."]),
    ("He got vitamin C. It helped.", ["He got vitamin C.", "It helped."]),
    ("The value is 3. The next is 4.", ["The value is 3.", "The next is 4."]),
    ("It was 1999. 2000 came.", ["It was 1999.", "2000 came."]),
    ("He left.[12] She stayed.", ["He left.[12]", "She stayed."]),
    ("He left. [12] She stayed.", ["He left. [12]", "She stayed."]),
    ("(He left.) She stayed.", ["(He left.)", "She stayed."]),
    ('He said "no." She left.', ['He said "no."', "She left."]),
    ("It ended... Then it began.", ["It ended...", "Then it began."]),
    ("The year ended . `` Yes , '' he said . Next one .", None),
    ('He said " no . " \n\n Then it rained .', ['He said " no . "', "Then it rained ."]),
    ("Fr . Hagen met Mr . Best . They talked .", ["Fr . Hagen met Mr . Best .", "They talked ."]),
    ("See https://example.org/a.b. Then go.", ["See https://example.org/a.b.", "Then go."]),
    ("iOS won. iPhone sales rose.", ["iOS won.", "iPhone sales rose."]),
    ("no capitals here. none at all.", ["no capitals here.", "none at all."]),
    ("这是第一句。这是第二句！价格是3.14元。", ["这是第一句。", "这是第二句！", "价格是3.14元。"]),
    ("「行く。」と言った。次。", ["「行く。」", "と言った。", "次。"]),
    ("هل هذا صحيح؟ نعم.", ["هل هذا صحيح؟", "نعم."]),
    ("यह पहला है। यह दूसरा है।", ["यह पहला है।", "यह दूसरा है।"]),
    ("Good 😀. Bad 😡! Done", ["Good 😀.", "Bad 😡!", "Done"]),
    ("Introduction\nThe cat sat on the mat and slept.", None),
    ("One paragraph\n\nanother paragraph", ["One paragraph", "another paragraph"]),
    ("One.\r\nTwo.\r\n\r\nThree.", ["One.", "Two.", "Three."]),
    ("a line that was\nwrapped by hand. Next.", ["a line that was\nwrapped by hand.", "Next."]),
]


@pytest.mark.parametrize(("text", "expected"), CUT)
def test_is_cut(text: str, expected: list[str] | None) -> None:
    found = cut(text)
    if expected is None:
        assert len(found) > 1
    else:
        assert found == expected


def test_heading_line_is_cut_from_the_text_below() -> None:
    text = "Introduction\nThe cat sat on the mat and slept there."
    assert cut(text)[0] == "Introduction"


def test_name_across_a_wrapped_line_stays_together() -> None:
    assert cut("We visited New\nYork today.") == ["We visited New\nYork today."]


def test_unpunctuated_text_is_still_cut() -> None:
    pieces = cut("so we went on and on and talked about it " * 200)
    assert len(pieces) > 5
    assert max(map(len, pieces)) <= LONG_CHARS


def test_weak_cuts_keep_their_distance_from_negations() -> None:
    text = "they did not agree that " + "word " * 400
    first = cut(text)[0]
    assert first.startswith("they did not agree that")
    assert len(first) > 120


def test_text_of_negations_alone_is_not_cut_between_words() -> None:
    text = "not " * 1000
    assert len(cut(text)) == 1


def test_numbers_in_groups_are_never_cut() -> None:
    pieces = cut("1 000 " * 600)
    assert len(pieces) == 1


def test_range_is_respected() -> None:
    text = "One. Two. Three."
    assert sentence_spans(text, 5, 9) == [(5, 9)]
    assert sentence_spans(text, 4, 10) == [(5, 9)]
    assert sentence_spans(text, 5, 5) == []


@given(st.text(alphabet=" \n\r\tAab.!?…。[](){}\"'`12,;:/é中", max_size=300))
def test_spans_cover_all_but_white_space(text: str) -> None:
    at = 0
    for start, end in sentence_spans(text):
        assert at <= start < end
        assert not text[at:start].strip()
        assert text[start:end] == text[start:end].strip()
        at = end
    assert not text[at:].strip()
