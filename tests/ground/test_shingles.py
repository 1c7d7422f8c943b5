"""Texts that say nothing new: by sets of word triples, hashed or not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragopt.shingles import Shingles, repeats, shingle_hashes, shingles, words

some_words = st.lists(st.sampled_from("abcd"), max_size=12)


def test_words_and_shingles() -> None:
    assert words("Pi is 3.14, not 3,5; see str.split!") == [
        "pi", "is", "3.14", "not", "3,5", "see", "str.split",
    ]  # fmt: skip
    assert shingles([]) == set()
    assert shingles(["a", "b"]) == {("a", "b")}
    assert shingles(["a", "b", "c"]) == {("a", "b", "c")}
    assert shingles(list("abcabc")) == {tuple("abc"), tuple("bca"), tuple("cab")}


@given(some_words, some_words)
def test_hashes_overlap_as_the_shingles_do(first: list[str], second: list[str]) -> None:
    hashed = [set(shingle_hashes(one).tolist()) for one in (first, second)]
    plain = [shingles(one) for one in (first, second)]
    assert [len(one) for one in hashed] == [len(one) for one in plain]
    # One of three words or fewer is hashed as a whole, a longer one by its triples.
    if (len(first) > 3) == (len(second) > 3):
        assert len(hashed[0] & hashed[1]) == len(plain[0] & plain[1])


@given(st.lists(some_words, max_size=7), some_words, st.sampled_from([0.5, 0.85, 1.0]))
def test_holding_by_comparing_with_every_text(
    texts: list[list[str]], asked: list[str], share: float
) -> None:
    known = Shingles(share)
    for number, text in enumerate(texts):
        known.add(number, shingles(text))
        if number % 3 == 2:
            known.discard(number)
            next(known.holding(shingles(asked)), None)  # the index may be built in between
    own = shingles(asked)
    expected = {
        number
        for number, text in enumerate(texts)
        if number % 3 != 2 and own and len(own & shingles(text)) >= share * len(own)
        and own & shingles(text)
    }  # fmt: skip
    assert set(known.holding(own)) == expected


def test_another_number_or_a_negation_is_another_statement() -> None:
    said = "The river is ninety miles long"
    assert repeats("river is ninety miles", words("river is ninety miles"), said, words(said))
    for other in ("The river is eighty miles long", "The river is not ninety miles long"):
        assert not repeats(other, words(other), said, words(said))
    twice = "It is not that it is not long"
    once = "It is that it is not long"
    assert not repeats(once, words(once), twice, words(twice))
