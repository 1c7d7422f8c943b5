"""Readable text of HTML, as browsers would show it, in time linear in the page."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.html_text import declared_encoding, html_text

PIECES = st.sampled_from(
    [
        *("<", "<a ", '<a x="', "<a x='y'>", "<!--", "-->", "<!", "<![if ", "<?", "</", "&", "&a;"),
        *("<![CDATA[", "]]>", "<script>", "</script", "<style/>", "<title>", "</title>", "<pre>"),
        *("<td>", "<tr>", "<table>", "</table>", "<li>", "<ul>", "</ul>", "<ol>", "</pre>", "<h1>"),
        *("<nav>", "</nav>", "</h1>", "<p>", "word", " ", "\n", "=", '"', "'", "/", ">", "\xa0"),
    ]
)


def text(markup: str) -> str:
    return html_text(markup)[1]


def test_blocks_become_paragraphs_and_inline_elements_do_not() -> None:
    page = (
        "<h1>Ants</h1><div>They <b>sle</b>ep\n in  winter.<br>All of them.</div><p>Then<p>spring."
    )
    assert text(page) == "Ants\n\nThey sleep in winter.\nAll of them.\n\nThen\n\nspring."


def test_entities_are_decoded_and_spaces_folded() -> None:
    assert text("a&nbsp;&nbsp;b &lt;i&gt; &amp;amp; &eacute; &#8364; soft&shy;ly") == (
        "a b <i> &amp; é € softly"
    )


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>if (a < b) { x = '</p>' }</script>",
        "<SCRIPT type='module'>\nx</SCRIPT >",
        "<script src='x.js'/>",
        "<style>p > a {}</style>",
        "<!-- <p>old</p> -->",
        "<!-->",
        "<!DOCTYPE html>",
        "<?xml version='1.0'?>",
        "<![if IE]>",
        "<nav><ul><li>Home</li></ul></nav>",
        "<noscript>Enable it</noscript>",
        "<svg><title>arrow</title><svg></svg></svg>",
        "<template><p>x</p></template>",
        "<a class='headerlink' href='#x'>¶</a>",
        "<img alt='a > b' src=x>",
        "<nav/>",
        "</nav>",
    ],
)
def test_what_no_reader_sees_is_left_out(hidden: str) -> None:
    assert text(f"<p>be{hidden}fore</p>") == "before"


def test_lists() -> None:
    page = "<p>Take:<ul><li>salt<li><p>oil</p><ol start=1><li>good</li><li>better</ol></ul>Stir."
    assert text(page) == "Take:\n\n- salt\n- oil\n  1. good\n  2. better\n\nStir."


def test_tables_keep_their_rows() -> None:
    page = (
        "<table><caption>Prices</caption><thead><tr><th>Model</th><th>USD</th></tr></thead>"
        "<tr><td><p>a</p></td><td><p>1</p></td></tr>\n<tr><td></td><td>2</td></tr></table>After"
    )
    assert text(page) == "Prices\n\nModel | USD\na | 1\n | 2\n\nAfter"


def test_a_table_within_a_cell_does_not_disturb_the_row_around_it() -> None:
    page = "<table><tr><td>a<table><tr><td>b<td>c</table></td><td>d</td></tr></table>"
    assert text(page) == "a\nb | c | d"


def test_preformatted_lines_stay() -> None:
    page = "<p>So:</p><pre>\ndef <b>f</b>():\n\n\n    return &lt;1\n</pre><p>Done."
    assert text(page) == "So:\n\ndef f():\n\n\n    return <1\n\nDone."


def test_a_menu_that_is_never_closed_does_not_swallow_the_page() -> None:
    assert text("<nav><a>Home</a><p>The text.") == "Home\n\nThe text."


def test_a_comment_that_is_never_closed_does_not_swallow_the_page() -> None:
    assert text("<p>one<!-- two><p>three") == "one\n\nthree"


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("x <- y", "x <- y"),
        ("<p>end <a href=", "end <a href="),
        ("<p title='it's'>broken quotes", "broken quotes"),
        ('<a title="1 < 2">less</a>', "less"),
        ("a &unknown; b &", "a &unknown; b &"),
    ],
)
def test_broken_markup_loses_no_words(markup: str, expected: str) -> None:
    assert text(markup) == expected


@pytest.mark.parametrize(
    ("markup", "title"),
    [
        ("<title> The &amp;\nTitle </title><h1>Heading</h1>", "The & Title"),
        ("<h1>The <i>first</i></h1><h1>Second</h1>", "The first"),
        ("<title></title><p>x</p><h1>Late</h1>", "Late"),
        ("<p>none</p>", ""),
        ("<title>One</title><svg><title>Two</title></svg>", "One"),
    ],
)
def test_title(markup: str, title: str) -> None:
    assert html_text(markup)[0] == title


def test_the_title_is_not_in_the_text() -> None:
    assert text("<head><title>T</title></head><body>B") == "B"


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b'<meta charset="Shift_JIS">', "shift_jis"),
        (b'<meta http-equiv=x content="text/html; charset=koi8-r">', "koi8-r"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?>', "windows-1252"),
        (b"<p>none</p>", ""),
        (b" " * 3000 + b"<meta charset=big5>", ""),
    ],
)
def test_declared_encoding(head: bytes, encoding: str) -> None:
    assert declared_encoding(head) == encoding


@given(st.lists(PIECES, max_size=40).map("".join))
def test_no_page_is_refused_and_text_is_trimmed(markup: str) -> None:
    title, found = html_text(markup)
    assert found == found.strip()
    assert title == " ".join(title.split())


@given(st.lists(st.sampled_from(["ant", "bee", "<p>", "<b>", "</b>", " ", "<li>", "<td>", "<br>"])))
def test_every_word_survives_in_order(pieces: list[str]) -> None:
    words = [piece for piece in pieces if piece in {"ant", "bee"}]
    letters = "".join(char for char in text("".join(pieces)) if char.isalpha())
    assert letters == "".join(words)


def _parser_steps(markup: str) -> int:
    """Lines of Python that reading a page executes; each of the parser's rescans adds to them."""
    steps = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal steps
        steps += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        html_text(markup)
    finally:
        sys.settrace(before)
    return steps


@pytest.mark.parametrize(
    "piece",
    [
        *("<", "<a ", "<a>", '<a x="', '<textarea><a x="<a "', "<!--", "<!-- x>", "<script>"),
        *("<![if ", "<ul>", "<li>x", "<table><td>x", "<nav>", "&a", "</", "<?"),
    ],
)
@pytest.mark.parametrize("end", ["", ">"])
def test_twice_the_page_is_twice_the_work(piece: str, end: str) -> None:
    once = _parser_steps(piece * 200 + end)
    assert _parser_steps(piece * 400 + end) <= 2.2 * once + 100
