"""Segments: blocks in one piece, what depends on what, and nothing lost."""

# ruff: noqa: RUF001  (the punctuation of many scripts is the subject here)

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.compress.blocks import JsonFinder, scan_blocks
from ragopt.compress.segment import Segment, segment


def texts(text: str) -> list[tuple[str, str]]:
    return [(found.kind, text[found.start : found.end]) for found in segment(text)]


def lead_texts(text: str) -> dict[str, str | None]:
    found = segment(text)

    def of(one: Segment) -> str:
        return text[one.start : one.end]

    return {of(one): None if one.lead is None else of(found[one.lead]) for one in found}


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\r\n \t", "\u2028"])
def test_nothing_in_white_space(text: str) -> None:
    assert segment(text) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("```python\nx = 1. \n\nY = 2\n```", "code"),
        ("~~~\na. B\n~~~", "code"),
        ("```\nnever closed. Yes", "code"),
        ("````\n```\ninner. X\n```\n````", "code"),
        (">>> f(1)\n2\n>>> g()\n'A. B'", "code"),
        ("    x = 1\n    y = 2", "code"),
        ("def f(x):\n    return x\n\n    # Go on. Then\n    y = 2", "code"),
        ("SELECT a\nFROM t\nWHERE b = 'X. Y';", "code"),
        ('{"a": "One. Two", "b": [1, 2]}', "data"),
        ('[\n  {"a": 1},\n\n  {"b": "x. Y"}\n]', "data"),
        ("name: foo\nkind: bar\nlist:\n  - a\n  - b", "data"),
        ("+---+---+\n| a | b |\n+---+---+\n| 1 | 2 |\n+---+---+", "data"),
        ("# A heading. With a stop", "heading"),
        ("- an item. With two sentences.", "item"),
    ],
)
def test_is_one_segment(text: str, kind: str) -> None:
    assert texts(text) == [(kind, text)]


def test_crlf_blocks() -> None:
    text = "Intro.\r\n\r\n```\r\nx. Y\r\n```\r\n\r\nEnd."
    assert texts(text) == [
        ("prose", "Intro."),
        ("code", "```\r\nx. Y\r\n```"),
        ("prose", "End."),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[1] Miller wrote this. [2] Smith did not.",
        "{This} is no JSON. It is prose.",
        "Note: we met. Result: we parted.",
        "Alice: Hello there.\nBob: Hi, how are you?",
        "He opened the file. It was, however, empty.",
    ],
)
def test_prose_is_not_taken_for_data(text: str) -> None:
    assert {kind for kind, _ in texts(text)} == {"prose"}
    assert len(texts(text)) > 1


def test_multi_line_json_after_a_label_is_one_segment() -> None:
    text = 'Before. Now.\nResponse: {"a": "x. Y",\n\n "b": 2}\nAfter it. End.'
    assert ("data", 'Response: {"a": "x. Y",\n\n "b": 2}') in texts(text)
    assert texts(text)[-2:] == [("prose", "After it."), ("prose", "End.")]


def test_table_rows_lead_back_to_their_header() -> None:
    text = "Sales were:\n\n| year | sales |\n|---|---|\n| 2019 | 5 |\n| 2020 | 6 |\nDone. Yes."
    header = "| year | sales |\n|---|---|"
    leads = lead_texts(text)
    assert leads["| 2019 | 5 |"] == leads["| 2020 | 6 |"] == header
    assert leads[header] == "Sales were:"
    assert leads["Done."] is None


@pytest.mark.parametrize(
    "text",
    ["id\tname\n1\tx\n2\ty", "id,name,sum\n1,x,5\n2,y,6", "n | a | b\nx y | 1 | 2.\nz | 3 | 4"],
)
def test_separated_tables(text: str) -> None:
    header, *rows = text.split("\n")
    leads = lead_texts(text)
    assert leads[header] is None
    assert [leads[row] for row in rows] == [header, header]


def test_list_items_lead_back_to_lead_in_and_parent() -> None:
    text = "Bring:\n\n- milk\n- bread\n  - white\n  - rye. Dark.\n- eggs\n\nThen go."
    leads = lead_texts(text)
    assert leads["- milk"] == leads["- bread"] == leads["- eggs"] == "Bring:"
    assert leads["  - white"] == leads["  - rye. Dark."] == "- bread"
    assert leads["Then go."] is None


def test_code_leads_back_to_its_announcement() -> None:
    text = "Run this:\n\n```\nmake\n```\n\nIt works."
    assert lead_texts(text)["```\nmake\n```"] == "Run this:"


def test_long_item_is_cut_into_sentences() -> None:
    text = "- " + "A sentence of the item is here. " * 40
    found = segment(text)
    assert len(found) == 40
    assert {one.kind for one in found} == {"item"}


def test_wrapped_item_keeps_its_lines() -> None:
    text = "* one item\n  goes on\n* two"
    assert [piece for _, piece in texts(text)] == ["* one item\n  goes on", "* two"]


def test_json_finder_reads_past_its_window() -> None:
    value = json.dumps({"a": ["x" * 10_000, {"b": list(range(5000))}]})
    assert JsonFinder("  " + value + " tail").end(2) == 2 + len(value)
    assert JsonFinder(value[:-1]).end(0) is None
    assert JsonFinder('"text"').end(0) is None
    assert JsonFinder("[" * 100_000).end(0) is None


@pytest.mark.parametrize(
    "unit",
    ['{"a":{},\n', "[1,\n", "[", "{ ", '["a",', "(", ".", ".)", "`", "key: v\n- x\n", "a | b\n"],
)
def test_hostile_repetitions_end(unit: str) -> None:
    text = unit * 20_000
    found = segment(text)
    kept = "".join("".join(text[one.start : one.end].split()) for one in found)
    assert kept == "".join(text.split())


LINES = st.sampled_from(
    [
        "",
        "",
        "A sentence. Another one!",
        "Lead-in:",
        "- item one. More.",
        "  - nested",
        "1. first",
        "```",
        "~~~ python",
        ">>> f(x)",
        "    indented code",
        "\tx = 1;",
        "| a | b |",
        "|---|---|",
        "| 1 | 2 |",
        "+---+",
        "# Heading",
        '{"a": 1,',
        '"b": [1, 2]}',
        '{"c": "x. Y"}',
        "key: value",
        "---",
        "a\tb",
        "a,b,c",
        "def f():",
        "    return 1",
        "[1] Cited. (See p. 3.)",
        "中文。句子！",
        "not, never",
    ]
)


@given(
    st.one_of(
        st.builds(
            lambda lines, end: end.join(lines),
            st.lists(LINES, max_size=25),
            st.sampled_from(["\n", "\r\n", "\r"]),
        ),
        st.text(max_size=200),
    )
)
def test_segments_and_gaps_give_the_text_back(text: str) -> None:
    at = 0
    rebuilt = ""
    for number, found in enumerate(segment(text)):
        gap = text[at : found.start]
        assert at <= found.start < found.end
        assert not gap.strip()
        assert text[found.start : found.end].strip()
        assert found.lead is None or 0 <= found.lead < number
        rebuilt += gap + text[found.start : found.end]
        at = found.end
    assert not text[at:].strip()
    assert rebuilt + text[at:] == text


@given(st.lists(LINES, max_size=25))
def test_blocks_are_whole_lines(lines: list[str]) -> None:
    text = "\n".join(lines)
    for block in scan_blocks(text):
        assert block.start == 0 or text[block.start - 1] == "\n"
        assert block.end == len(text) or not text[block.end : text.find("\n", block.end)].strip()
