"""What no compression may break, over generated contexts."""

# ruff: noqa: RUF001  (the punctuation of many scripts is the subject here)

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.chunk import Chunk, Hit
from ragopt.compress import (
    Compressed,
    Compressor,
    Dedup,
    Extractive,
    ExtractiveOptions,
    RandomSentences,
    Truncate,
)
from ragopt.compress.layout import Layout

NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
WORD = re.compile(r"\w+")


def count(text: str) -> int:
    """Not additive over the parts of a text, as real tokenizers are not."""
    return len(re.findall(r"\w{1,4}|[^\w\s]+|\n+", text))


BY_SCORE = Extractive(count=count)
DEDUP = Dedup(count=count)
WITHOUT_A_BUDGET_OF_THEIR_OWN = (BY_SCORE, DEDUP)
COMPRESSORS: list[Compressor] = [
    BY_SCORE,
    DEDUP,
    Extractive(ExtractiveOptions(keep_ratio=0.5), count=count),
    Truncate(count=count),
    RandomSentences(3, count=count),
]

WORDS = st.sampled_from(
    """alpha beta gamma delta Alpha Paris New York 3.14 1,273 2019 $5.50 12:30 not never no
    without U.S. Dr. e.g. str.split max_workers (see p. 3.) [12] https://example.org/a.b?c=1.5
    however He It 中文 数据 مرحبا 😀 naïve x=1""".split()
)
SENTENCES = st.builds(
    lambda words, stop: " ".join(words) + stop,
    st.lists(WORDS, min_size=1, max_size=10),
    st.sampled_from([".", "!", "?", "...", "。", ".[3]", ""]),
)
CODE = st.sampled_from(
    ["```python\nx = 1. \n\nif x: y = 2.5\n```", ">>> alpha(1)\n2. X", "```\nbeta. Gamma\n```"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict | list))
JSON_TEXT = st.builds(
    lambda value, indent, ascii_only: json.dumps(value, indent=indent, ensure_ascii=ascii_only),
    JSON,
    st.sampled_from([None, 2]),
    st.booleans(),
)
TABLE = st.just("| alpha | n |\n|---|---|\n| beta | 1.5 |\n| gamma | 20 |")
LIST = st.just("Not allowed are:\n- alpha 1\n- beta 2\n  - gamma 3")
BLOCKS = st.one_of(SENTENCES, SENTENCES, SENTENCES, CODE, JSON_TEXT, TABLE, LIST)
TEXTS = st.one_of(
    st.builds(
        lambda parts, gap: gap.join(parts),
        st.lists(BLOCKS, max_size=8),
        st.sampled_from(["\n\n", "\r\n\r\n"]),
    ),
    st.builds(" ".join, st.lists(SENTENCES, max_size=12)),
    JSON_TEXT,
    st.text(max_size=60),
)


@st.composite
def contexts(draw: st.DrawFn) -> list[Hit]:
    texts = draw(st.lists(TEXTS, max_size=5))
    if texts and draw(st.booleans()):
        texts.append(texts[0])
    return [
        Hit(
            Chunk(
                id=f"c{number}",
                text=text,
                title=draw(st.sampled_from(["", "Alpha", "Paris (city)", "Delta 7"])),
            ),
            draw(st.sampled_from([0.0, 0.5, 1.0])),
        )
        for number, text in enumerate(texts)
    ]


QUERIES = st.sampled_from(
    ["alpha beta", "Where is Paris?", "max_workers in str.split", "数据", "zebra", "", "not 2019"]
)
BUDGETS = st.none() | st.integers(min_value=1, max_value=200)


def compressed_all(query: str, hits: list[Hit], budget: int | None) -> list[Compressed]:
    return [one.compress(query, hits, max_tokens=budget) for one in COMPRESSORS]


@settings(max_examples=300, deadline=None)
@given(contexts(), QUERIES, BUDGETS)
def test_output_is_verbatim_and_in_order(hits: list[Hit], query: str, budget: int | None) -> None:
    order = {hit.chunk.id: number for number, hit in enumerate(hits)}
    for result in compressed_all(query, hits, budget):
        kept = [order[part.chunk.id] for part in result.chunks]
        assert kept == sorted(set(kept))
        for part in result.chunks:
            pieces = [part.chunk.text[span.start : span.end] for span in part.spans]
            ends = [0, *(span.end for span in part.spans)]
            assert all(span.chunk_id == part.chunk.id for span in part.spans)
            assert all(
                end <= span.start < span.end for end, span in zip(ends, part.spans, strict=False)
            )
            left = part.text
            for piece in pieces:
                before, left = left.split(piece, 1)
                assert not WORD.search(before)
            assert not left
        assert result.text == "\n\n".join(part.rendered for part in result.chunks)


@settings(max_examples=300, deadline=None)
@given(contexts(), QUERIES, BUDGETS)
def test_numbers_and_words_are_those_of_the_input(
    hits: list[Hit], query: str, budget: int | None
) -> None:
    given_text = Layout(hits).full_text()
    for result in compressed_all(query, hits, budget):
        assert set(NUMBER.findall(result.text)) <= set(NUMBER.findall(given_text))
        assert set(WORD.findall(result.text)) <= set(WORD.findall(given_text))


@settings(max_examples=300, deadline=None)
@given(contexts(), QUERIES, BUDGETS)
def test_budget_is_respected(hits: list[Hit], query: str, budget: int | None) -> None:
    for compressor, result in zip(COMPRESSORS, compressed_all(query, hits, budget), strict=True):
        full = count(Layout(hits).full_text())
        assert result.tokens_before == full
        assert result.tokens_after == count(result.text) <= full
        assert 0 <= result.ratio <= 1
        limit = budget or (full if compressor in WITHOUT_A_BUDGET_OF_THEIR_OWN else -(-full // 2))
        if result.skipped_reason is None and result.tokens_after > limit:
            kept = Layout([Hit(part.chunk, 0.0) for part in result.chunks])
            assert len(result.chunks) == 1, compressor
            assert len(result.spans) <= 1 + max(map(len, map(kept.closure, range(len(kept)))))


@settings(max_examples=200, deadline=None)
@given(contexts(), QUERIES, BUDGETS)
def test_same_input_same_output(hits: list[Hit], query: str, budget: int | None) -> None:
    assert compressed_all(query, hits, budget) == compressed_all(query, list(hits), budget)


@settings(max_examples=300, deadline=None)
@given(JSON_TEXT, st.lists(SENTENCES, max_size=10), QUERIES, BUDGETS)
def test_json_comes_out_whole_or_not_at_all(
    text: str, sentences: list[str], query: str, budget: int | None
) -> None:
    hits = [Hit(Chunk("json", text), 0.0), Hit(Chunk("prose", " ".join(sentences)), 0.0)]
    for result in compressed_all(query, hits, budget):
        for part in result.chunks:
            if part.chunk.id == "json":
                assert json.loads(part.text) == json.loads(text)


@settings(max_examples=200, deadline=None)
@given(st.lists(BLOCKS, max_size=6), CODE, st.lists(BLOCKS, max_size=6), QUERIES, BUDGETS)
def test_code_comes_out_byte_for_byte_or_not_at_all(
    before: list[str], code: str, after: list[str], query: str, budget: int | None
) -> None:
    head = "\n\n".join([*before, ""])
    text = head + code + "\n\n" + "\n\n".join(after)
    first, last = len(head), len(head) + len(code)
    for result in compressed_all(query, [Hit(Chunk("a", text), 0.0)], budget):
        touching = [span for span in result.spans if span.start < last and span.end > first]
        assert all(span.start <= first and last <= span.end for span in touching)


NEGATED = "The valve must not be opened, unless the pump (see p. 4. Figure 2) has stopped."


@settings(max_examples=200, deadline=None)
@given(st.lists(SENTENCES, max_size=10), st.lists(SENTENCES, max_size=10), QUERIES, BUDGETS)
def test_negation_stays_with_its_clause(
    before: list[str], after: list[str], query: str, budget: int | None
) -> None:
    text = "\n\n".join([" ".join(before), NEGATED + " " + " ".join(after)])
    for result in compressed_all(query, [Hit(Chunk("a", text), 0.0)], budget):
        kept = result.text
        assert ("be opened" in kept) == ("must not be opened" in kept) == (NEGATED in kept)


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    "text",
    [
        "Alpha one.\r\nBeta two.\r\n\r\nAlpha three.\r\n",
        "数据在这里。价格是3.14元。没有别的。数据很多！",
        "مرحبا بك هنا. alpha نعم. لا شيء.",
        "Alpha 👩‍👩‍👧 family. Beta 😀😀. Alpha 🇦🇹!",
        "a\u0301lpha alpha. Beta\u200b gamma. Alpha\ufeff.",
        "alpha\x00beta. Gamma alpha. Delta.",
        "alpha \ud800 surrogate. Beta. Alpha again.",
    ],
    ids=["crlf", "cjk", "rtl", "emoji", "combining", "nul", "surrogate"],
)
def test_unusual_text(compressor: Compressor, text: str) -> None:
    result = compressor.compress("alpha 数据", [Hit(Chunk("a", text), 0.0)], max_tokens=8)
    assert all(text[span.start : span.end] in result.text for span in result.spans)
    assert result.spans
