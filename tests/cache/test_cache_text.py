import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cache import normalise
from ragopt.cache.text import _folded

messy = st.text(
    alphabet=st.sampled_from("aIlSt do?!. \n\t`'\"…²½ﬁ\uff21\u00a0\u200b\u201c\u2019\u2014")
    | st.characters(codec="utf-8")
)


@given(messy)
def test_normalising_twice_changes_nothing(text):
    once = normalise(text)
    assert normalise(once) == once


@given(st.lists(st.sampled_from(["how", "sort", "List", "x1", "10"]), min_size=1), st.data())
def test_blanks_between_words_and_at_the_ends_do_not_count(words, data):
    blanks = st.text(alphabet=" \t\u00a0\u3000", min_size=1, max_size=3)
    messy_text = data.draw(blanks).join(["", *words, ""])
    assert normalise(messy_text) == normalise(" ".join(words))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I sort a list?", "how do i sort a  list"),
        ("How do I sort a list?", "  How do I sort a list ??  "),
        ("Sort a list.", "sort a list"),
        ("Help me!", "help me"),
        ("Don\u2019t panic", "don't panic"),
        ("What is \u201cthis\u201d?", 'what is "this"'),
        ("ﬁle", "file"),
        ("\uff37hat", "what"),
        ("cafe\u0301", "caf\u00e9"),
        ("soft\u00adware", "software"),
        ("What is it\r\nabout", "What is it\nabout"),
        ("pages 3\u20135", "pages 3-5"),
    ],
)
def test_typography_does_not_count(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is a List?", "What is a list?"),
        ("Is she Polish?", "Is she polish?"),
        ("IT jobs", "it jobs"),
        ("iPhone", "iphone"),
        ("What is 10²?", "What is 102?"),
        ("What is 5½?", "What is 51/2?"),
        ("What is H₂O", "What is H2O"),
        ("What is n!", "What is n"),
        ("What is 5!", "What is 5"),
        ("What type is 1.", "What type is 1"),
        ("What does a* match", "What does a match"),
        ("split 'a  b'", "split 'a b'"),
        ("split `a  b`", "split `a b`"),
        ("if x:\n  a\n  b", "if x:\n  a\nb"),
        ("What does ?? do", "What does do"),
        ("naïve", "naive"),
        ("C++", "C"),
        ("-1", "1"),
        ("What about I", "What about i"),
    ],
)
def test_what_can_change_the_meaning_counts(one, other):
    assert normalise(one) != normalise(other)


def test_punctuation_alone_is_not_normalised_away():
    assert normalise("?") == "?"
    assert normalise("…?") != ""


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_plain_text_is_folded_by_nothing_that_folds_other_text(text):
    assert _folded(text) == text


def test_a_text_with_one_folded_character_is_as_one_without():
    assert normalise("caf\u00e9\u200b\r\nx\u2019s") == normalise("cafe\u0301\nx's")
