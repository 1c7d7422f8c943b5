"""Titles found in Markdown and reStructuredText."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.headings import markdown_heading, rst_heading


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Ants\n\ntext\n# Bees", "Ants"),
        ("intro\n\n## Ants ##\n", "Ants"),
        ("# C# and F#\n", "C# and F#"),
        ("Ants\n====\n", "Ants"),
        ("Ants\r\n----\r\nThey sleep.", "Ants"),
        ("```sh\n# not this\n```\n# Ants", "Ants"),
        ("~~~\nNot this\n===\n~~~\n# Ants", "Ants"),
        ("```inline```\n# Ants", "Ants"),
        ("    # indented code\n\n# Ants", "Ants"),
        ("# <img src='logo.png'>\n# The **fast** `ant` [guide](https://a.b)", "The fast ant guide"),
        ("# ![logo](a.png)\n\n## Ants", "Ants"),
        ("---\nlayout: page\ntitle: 'All ants'\n---\n# Other", "All ants"),
        ("---\nlayout: page\ntags: x\n---\n# Ants", "Ants"),
        ("- a list\n---\n", ""),
        ("a paragraph\nof two lines\n---\n", ""),
        ("#hashtag\n####### seven\n#\n", ""),
        ("| a |\n---\n", ""),
        ("", ""),
        ("x\n" * 20_000 + "# Too late", ""),
    ],
)
def test_markdown(text: str, title: str) -> None:
    assert markdown_heading(text) == title


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Ants\n====\n\nBees\n----", "Ants"),
        ("====\nAnts\n====\n", "Ants"),
        ("=======\n Ants\n=======\n", "Ants"),
        (".. _ants:\n\n:mod:`os` --- Ants\n~~~~~~~~~~~~~~~~~~~~\n", "os --- Ants"),
        ("Too short\n===\n", ""),
        ("two lines\nof text\n=======\n", ""),
        ("Ants\n=-=-\n", ""),
        ("=====\n=====\n", ""),
        ("", ""),
    ],
)
def test_restructured_text(text: str, title: str) -> None:
    assert rst_heading(text) == title


@given(st.text(st.sampled_from("#=-`~ \t\r\na<>![]()'\"|"), max_size=80))
def test_any_text_has_a_heading_of_one_line_or_none(text: str) -> None:
    for title in (markdown_heading(text), rst_heading(text)):
        assert len(title.splitlines()) <= 1
