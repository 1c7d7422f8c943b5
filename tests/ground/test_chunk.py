"""Chunks: verbatim, bounded, complete, and cut where a reader would cut."""

from __future__ import annotations

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragopt.chunk import Chunk, Document, chunk_document, chunk_documents
from ragopt.errors import InputError

# Every kind of boundary, long and short words, and characters outside the basic plane.
PIECES = st.sampled_from(
    [
        *("a", "word", "x" * 37, " ", "\t", "\n", "\r\n", "\n\n", "\r\n \r\n", "\r\r", "\f", ". "),
        *(
            '!" ',
            "\u3000",
            "\xa0",
            "漢字",
            "。",
            "。」",
            "😀",
            "e\u0301",
            "\x00",
            "#",
            "\u2029",
            "\u2028",
        ),
    ]
)
TEXTS = st.lists(PIECES, max_size=60).map("".join)
SIZES = st.integers(1, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size // 2)))


def cut(text: str, max_chars: int = 800, overlap_chars: int = 0) -> list[Chunk]:
    return list(
        chunk_document(Document("d", text), max_chars=max_chars, overlap_chars=overlap_chars)
    )


def texts(text: str, max_chars: int, overlap_chars: int = 0) -> list[str]:
    return [chunk.text for chunk in cut(text, max_chars, overlap_chars)]


@given(TEXTS, SIZES)
def test_chunks_are_verbatim_bounded_and_trimmed(text: str, sizes: tuple[int, int]) -> None:
    for chunk in cut(text, *sizes):
        assert text[chunk.start : chunk.end] == chunk.text
        assert 0 < len(chunk.text) <= sizes[0]
        assert chunk.text == chunk.text.strip()


@given(TEXTS, st.integers(1, 60))
@example("a\xa0b" * 9, 4)
def test_without_overlap_every_visible_character_is_in_exactly_one_chunk(
    text: str, max_chars: int
) -> None:
    covered = [0] * len(text)
    for chunk in cut(text, max_chars):
        for position in range(chunk.start, chunk.end):
            covered[position] += 1
    assert all(count == 1 for count, char in zip(covered, text, strict=True) if not char.isspace())
    assert max(covered, default=0) <= 1


@given(TEXTS, SIZES)
def test_with_overlap_nothing_is_lost_and_every_chunk_brings_something_new(
    text: str, sizes: tuple[int, int]
) -> None:
    end = 0
    for chunk in cut(text, *sizes):
        assert chunk.end > end, "a chunk inside the one before it"
        assert not text[end : chunk.start].strip(), "visible text between two chunks"
        assert end - chunk.start <= sizes[1]
        end = chunk.end
    assert not text[end:].strip()


@given(TEXTS, st.integers(1, 60))
def test_a_word_that_fits_into_a_chunk_is_never_cut(text: str, max_chars: int) -> None:
    if "。" in text:  # sentences that no space parts are cut inside a "word"
        return
    words = {word for word in text.split() if len(word) <= max_chars}
    whole = {word for chunk in cut(text, max_chars) for word in chunk.text.split()}
    assert words <= whole


@given(TEXTS, SIZES)
def test_cutting_is_deterministic_and_ids_count_up(text: str, sizes: tuple[int, int]) -> None:
    chunks = cut(text, *sizes)
    assert chunks == cut(text, *sizes)
    assert [chunk.id for chunk in chunks] == [f"d#{number}" for number in range(len(chunks))]


@given(st.sets(st.text("a#0", min_size=1), max_size=5), TEXTS)
def test_ids_are_unique_over_documents_whatever_their_own_ids(ids: set[str], text: str) -> None:
    documents = [Document(name, text) for name in sorted(ids)]
    found = [chunk.id for chunk in chunk_documents(documents, max_chars=5)]
    assert len(found) == len(set(found))


def test_a_chunk_carries_its_document() -> None:
    document = Document("guide", "  Ants.  ", title="Insects", metadata={"year": 1990})
    (chunk,) = chunk_document(document)
    assert chunk == Chunk("guide#0", "Ants.", "guide", "Insects", 2, {"year": 1990})
    assert chunk.end == 7


@pytest.mark.parametrize("text", ["", " ", "\r\n\t\f", "\u3000\xa0\u2029"])
def test_white_space_alone_has_no_chunks(text: str) -> None:
    assert cut(text) == []


def test_cuts_fall_on_the_best_boundary_that_fits() -> None:
    paragraphs = "One two three.\n\nFour five six. Seven\neight nine ten."
    assert texts(paragraphs, 26) == ["One two three.", "Four five six. Seven", "eight nine ten."]
    assert texts("One two. Three four. Five", 22) == ["One two. Three four.", "Five"]
    assert texts("one two three four", 9) == ["one two", "three", "four"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_newline_convention_is_cut_alike(newline: str) -> None:
    text = "First line here\nand on.\n\nSecond one\nruns on here.\n".replace("\n", newline)
    expected = ["First line here\nand on.", "Second one\nruns on here."]
    assert texts(text, 34) == [piece.replace("\n", newline) for piece in expected]


def test_a_closing_quote_belongs_to_its_sentence() -> None:
    assert texts('He said "go away." Then he left', 26) == ['He said "go away."', "Then he left"]


def test_chinese_is_cut_after_full_stops_and_closing_quotes() -> None:
    assert texts("他说「今天下雨。」我们不去了。明天再说", 17) == [
        "他说「今天下雨。」我们不去了。",
        "明天再说",
    ]
    assert texts("他说「今天下雨了。」我们", 11) == ["他说「今天下雨了。」", "我们"]


def test_text_without_any_boundary_is_cut_at_the_limit() -> None:
    assert texts("漢" * 25, 10) == ["漢" * 10, "漢" * 10, "漢" * 5]
    assert texts("x" * 25, 10, 5) == ["x" * 10, "x" * 10, "x" * 5]


def test_a_word_that_fits_goes_whole_into_the_next_chunk() -> None:
    assert texts("see " + "x" * 9, 10) == ["see", "x" * 9]
    assert texts("see " + "x" * 9 + " end", 10) == ["see", "x" * 9, "end"]


def test_a_giant_word_fills_chunks_instead_of_leaving_a_stub() -> None:
    assert texts("see " + "x" * 11, 10) == ["see xxxxxx", "xxxxx"]


def test_overlap_starts_at_a_word() -> None:
    assert texts("one two three four five six", 14, 6) == [
        "one two three",
        "three four",
        "four five six",
    ]
    assert texts("one two three four five six", 14, 4) == ["one two three", "four five six"]


def test_overlap_works_without_spaces_in_chinese() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(25))
    assert texts(text, 10, 4) == [text[0:10], text[6:16], text[12:22], text[18:25]]


def test_overlap_gives_way_to_a_long_word() -> None:
    assert texts("aaa bbb ccc xxxxxxxxxx", 11, 5) == ["aaa bbb ccc", "xxxxxxxxxx"]


@pytest.mark.parametrize("text", ["x" * 5, "漢。" * 5, "a b c", ". . ."])
def test_one_character_chunks(text: str) -> None:
    assert "".join(texts(text, 1)) == text.replace(" ", "")


@pytest.mark.parametrize("max_chars", [0, -1])
def test_chunk_size_below_one_is_refused(max_chars: int) -> None:
    with pytest.raises(InputError, match=f"max_chars={max_chars}"):
        cut("text", max_chars)


@pytest.mark.parametrize(("max_chars", "overlap"), [(10, 6), (10, -1), (1, 1)])
def test_overlap_outside_half_a_chunk_is_refused(max_chars: int, overlap: int) -> None:
    with pytest.raises(InputError, match=f"overlap_chars={overlap}.*0 to {max_chars // 2}"):
        cut("text", max_chars, overlap)


def test_documents_that_share_an_id_are_refused() -> None:
    chunks = chunk_documents([Document("a", "one"), Document("b", "two"), Document("a", "three")])
    assert next(chunks).id == "a#0"
    with pytest.raises(InputError, match="'a' occurs twice"):
        list(chunks)


def _work(text: str, max_chars: int, overlap_chars: int) -> int:
    """Lines of ragopt.chunk executed while cutting: a clock that other processes cannot disturb."""
    lines = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        cut(text, max_chars, overlap_chars)
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize(
    "piece", ["x", "a b ", "a\n", " ", "\r\n", "漢。", "a " + "x" * 90 + " ", ". "]
)
@pytest.mark.parametrize("overlap_chars", [0, 20])
def test_twice_the_text_is_twice_the_work(piece: str, overlap_chars: int) -> None:
    text = piece * (20_000 // len(piece))
    once = _work(text, 80, overlap_chars)
    assert _work(text * 2, 80, overlap_chars) <= 2.1 * once + 100


def test_a_document_of_twenty_megabytes_is_cut_whole() -> None:
    text = "The ants went home. They slept.\nThen it rained!\n\n" * 400_000
    end = size = 0
    for chunk in chunk_document(Document("d", text)):
        assert chunk.start - end <= 2
        end = chunk.end
        size += len(chunk.text)
    assert len(text) - 2 == end
    assert 0.99 * len(text) < size < len(text)
