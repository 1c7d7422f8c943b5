import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cache.guards.words import forms, parts, study


def texts(question):
    return [word.text for word in study(question).words]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("don't we?", ["do", "not", "we"]),
        ("I can't, won't", ["I", "can", "not", "will", "not"]),
        ("str.split() or `x`", ["str.split", "or", "x"]),
        ("pass --dry-run or -O", ["pass", "--dry-run", "or", "-O"]),
        ("C++ and C# and C", ["C++", "and", "C#", "and", "C"]),
        ("Python 3.10.1, 5GB", ["Python", "3.10.1", "5", "GB"]),
        ("what does // do", ["what", "does", "//", "do"]),
        (r"\U and \u", [r"\U", "and", r"\u"]),
        ("a b&c", ["a", "b", "and", "c"]),
        ("the - operator", ["the", "-", "operator"]),
        ("2016-2017", ["2016", "2017"]),
        ("x = -1", ["x", "=", "-1"]),
        ("the U.S. army", ["the", "USA", "army"]),
        ("1. What is it", ["What", "is", "it"]),
        ("", []),
    ],
)
def test_cutting(question, words):
    assert texts(question) == words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lists", "list"),
        ("running", "run"),
        ("making", "make"),
        ("studies", "study"),
        ("classes", "class"),
        ("planned", "plan"),
        ("wrote", "write"),
        ("indices", "index"),
        ("organising", "organize"),
        ("favourite", "favorite"),
        ("conversion", "convert"),
        ("deletes", "removing"),
        ("folders", "directory"),
        ("iteration", "iterate"),
        ("quickly", "quick"),
        ("india", "indian"),
    ],
)
def test_inflections_and_synonyms_meet(one, other):
    assert forms(one) & forms(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("plan", "plane"),
        ("pip", "pipe"),
        ("string", "str1"),
        ("station", "state"),
        ("statement", "state"),
        ("news", "new1"),
        ("bit", "bite"),
        ("encode", "decode"),
        ("lstrip", "rstrip"),
        ("strftime", "strptime"),
        ("iterable", "iterator"),
        ("filter", "file"),
        ("class", "clas"),
    ],
)
def test_other_words_do_not_meet(one, other):
    assert not forms(one) & forms(other)


def test_names_and_code_are_told_from_common_words():
    words = {
        word.text: word for word in study("Does Paris like `List` or os.path in FooBar?").words
    }
    assert words["Paris"].name
    assert words["List"].code
    assert words["List"].quoted
    assert words["os.path"].code
    assert words["FooBar"].name
    assert not words["Does"].entity
    assert not words["like"].entity


def test_parts_of_identifiers():
    assert parts("os.path.get_size") == {"os", "path", "get", "size"}


@given(st.text())
def test_any_text_can_be_cut(text):
    question = study(text)
    assert all(word.text or word.kind == "quote" for word in question.words)
    assert all(forms(word.folded) & question.forms for word in question.words)


@pytest.mark.parametrize(
    "piece", ["'", '"', "`", ".", "a.", "-", "?*", "? ", "a'", "((", "::", "\\a", "1,", "//", "&&"]
)
def test_repeated_punctuation_is_no_trap_for_the_lexer(piece):
    assert len(study(piece * 20_000).words) <= 40_000
