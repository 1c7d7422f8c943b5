import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cache.guards import words as lexing
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


@given(
    st.lists(st.sampled_from(["us", "US", "a", "I", "IT", "m", "Paris", "don", "not", ""])).map(
        " ".join
    )
    | st.from_regex(r"[A-Za-z ]*", fullmatch=True),
    st.sampled_from(["", "?", " ?"]),
)
def test_plain_questions_are_cut_as_the_lexer_cuts_them(text, end):
    question = text + end
    assert lexing._PLAIN.fullmatch(question) or not question.strip("?")
    assert lexing._apart(question) == lexing._cut(lexing._tidy(question))


_INFLECTIONS = (  # the rules of suffixes, whatever the last letter is
    ("ing", 2, ("", "e")), ("ed", 2, ("", "e")), ("ly", 4, ("", "le")), ("ally", 4, ("", "al")),
    ("ation", 4, ("", "e", "ate")), ("ations", 4, ("", "e", "ate")), ("ion", 5, ("", "e")),
    ("ions", 5, ("", "e")), ("ment", 6, ("",)), ("ments", 6, ("",)),
)  # fmt: skip


def bases(word):
    """Every rule tried on every word."""
    found = set()
    if word.endswith(("'s", "s'")):
        word = word.rstrip("s").rstrip("'")
        found.add(word)
    if not word.isalpha():
        return found
    endings = [("ies", "y"), ("ied", "y"), ("ian", "ia")]
    endings += [(end, end[:-2]) for end in ("xes", "ches", "shes", "ses", "zes", "oes")]
    found |= {word.removesuffix(end) + instead for end, instead in endings if word.endswith(end)}
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        found.add(word[:-1])
    for suffix, shortest, instead in _INFLECTIONS:
        stem = word.removesuffix(suffix)
        if stem == word or len(stem) < shortest or not re.search("[aeiouy]", stem):
            continue
        found |= {stem + ending for ending in instead}
        if stem[-1] == stem[-2] and suffix in ("ing", "ed"):
            found.add(stem[:-1])
    for form in [form for form in found if form.endswith("ing")]:
        found |= bases(form)
    return {form for form in found if len(form) >= 3}


@given(
    st.text("abeilnorstuyx", max_size=8),
    st.sampled_from(
        [suffix for suffix, *_ in _INFLECTIONS]
        + ["", "s", "es", "ies", "ied", "ian", "ings", "'s", "s'", "ings'", "xes", "oes", "é", "ß"]
    ),
)
def test_bases_are_those_of_every_rule(stem, ending):
    assert lexing._bases(stem + ending) == bases(stem + ending)
