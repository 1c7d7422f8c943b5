"""Words of a text: identifiers, stop words, stemming, and any text at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.text import STOP_WORDS, terms

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text("aAsS.s_1 ießİ漢é")
SENTENCES = st.lists(
    st.sampled_from(["The", "cats", "os.path.join", "ThreadPool", "is_dir", "3.12", "naïve", "x"])
).map(" ".join)


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("os.path.exists", "os.path.exists os path exist"),
        ("ThreadPool", "threadpool thread pool"),
        ("HTTPServer", "httpserver http server"),
        ("max_chars", "max_chars max char"),
        ("__init__", "init"),
        ("utf8", "utf8 utf 8"),
        ("3.12", "3.12 3 12"),
        ("ISO8601", "iso8601 iso 8601"),
        ("getURLFor2Users", "geturlfor2users get url 2 user"),
        ("is_file", "is_file file"),
        ("a.b.c", "a.b.c b c"),
        ("plain", "plain"),
    ],
)
def test_an_identifier_counts_whole_and_by_its_parts(identifier: str, expected: str) -> None:
    assert terms(identifier) == expected.split()


def test_punctuation_at_the_ends_is_no_part_of_a_word() -> None:
    assert terms("(os.path.join).") == terms("os.path.join")
    assert terms("_private_ ...x...") == ["privat", "x"]
    assert terms("re-enter") == ["re", "enter"]


def test_stop_words_are_left_out_whatever_their_case() -> None:
    assert terms("What is THE use of it?") == ["use"]
    assert terms(" ".join(STOP_WORDS)) == []
    assert terms("to_the_point") == ["to_the_point", "point"], "whole, and without its stop words"


@pytest.mark.parametrize(
    "family",
    [
        "file files",
        "query queries",
        "class classes",
        "match matches matched matching",
        "box boxes",
        "wash washes washing",
        "index indexes indexing indexed",
        "parse parses parsed parsing",
        "cache caches cached caching",
        "stop stops stopped stopping",
        "pass passes passed passing",
        "call calls called calling",
    ],
)
def test_forms_of_one_word_meet(family: str) -> None:
    assert len({term for word in family.split() for term in terms(word)}) == 1


@pytest.mark.parametrize(
    "word",
    ["bus", "class", "status", "string", "need", "red", "sing", "axis", "using", "use", "ids2"],
)
def test_words_that_only_look_inflected_stay(word: str) -> None:
    assert terms(word)[0] == word


def test_different_words_stay_apart() -> None:
    words = "string strip list listen set setting dict int integer byte bit io os time tim".split()
    assert len({terms(word)[0] for word in words}) == len(words) - 1, "only set and setting meet"
    assert terms("set") == terms("setting")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Crème brûlée", ["crèm", "brûlé"]),
        ("ΑΘΗΝΑ αθηνα", ["αθηνα", "αθηνα"]),
        ("漢字 かな", ["漢字", "かな"]),
        ("naïve_Straße", ["naïve_straße", "naïv", "straß"]),
        ("ÜBERSICHT Übersicht", ["übersicht", "übersicht"]),
        ("x²", ["x²"]),
        ("😀", []),
        ("", []),
        ("\x00 \ud800", []),
    ],
)
def test_words_of_any_script(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@given(ANY_TEXT)
def test_any_text_gives_lower_case_words_without_a_blank(text: str) -> None:
    for term in terms(text):
        assert term
        assert term == term.lower()
        assert not any(character.isspace() for character in term)


@given(ANY_TEXT, ANY_TEXT)
def test_words_of_two_texts_are_the_words_of_both(first: str, second: str) -> None:
    assert terms(f"{first}\n{second}") == terms(first) + terms(second)


@given(ANY_TEXT)
def test_white_space_does_not_matter(text: str) -> None:
    assert terms(f" \t{text}\n".replace(" ", "\n\n")) == terms(text)
    assert terms(" ".join(text.split())) == terms(text)


@given(SENTENCES)
def test_case_matters_only_inside_identifiers(text: str) -> None:
    lowered = terms(text.lower())
    assert set(lowered) <= set(terms(text))
    assert terms(text.lower().upper()) == lowered
