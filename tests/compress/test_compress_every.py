"""What no compressor may break, over 10,000 generated documents and one of five megabytes."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence

import pytest

from ragopt.chunk import Chunk, Hit
from ragopt.compress import (
    Compressed,
    Compressor,
    Dedup,
    Extractive,
    LLMLinguaCompressor,
    RandomSentences,
    StopwordPruner,
    Summarize,
    Truncate,
)
from ragopt.compress.fence import FENCED_KINDS, fenced_pieces
from ragopt.compress.rewriting import numbers
from ragopt.compress.segment import segment
from ragopt.compress.terms import NEGATION
from ragopt.llm import Message

DOCUMENTS = 10_000
BLOCK = 1_000

WORDS = """
alpha beta gamma the of is are and Paris "New York" 3.14 1,273 2019 $5.50 12:30 not never without
U.S. e.g. str.split max_workers [12] [3,4] (Smith et al., 2020) https://example.org/a.b?c=1.5
www.example.org a@b.org `x = [1]` [link](https://x.org/y) however it 中文数据 数据库。 بيانات مرحبا
😀 👩‍👩‍👧 naïve cafe\u0301 don't can't हिन्दी 1st v2.0 50% -7
""".split()
BLOCKS = (
    "```python\nx = 1. \n\nif not x: y = 2.5  # the end of it\n```",
    ">>> alpha(1)\n2. X",
    '{"the": "is not a", "n": [1, 2.50, 1e3], "of": {"x": null}}',
    '{\n  "a": 1,\n  "b": [true, "the x"]\n}',
    "| alpha | the n |\n|---|---|\n| beta | 1.5 |\n| not gamma | 20 |",
    "Not allowed are:\n- the alpha 1\n- beta 2\n  - gamma 3\n- no delta",
    "# The heading of it 7",
    "key_one: the value\nkey_two: 25",
    "  \t ",
    "",
)


def count(text: str) -> int:
    return len(re.findall(r"\w{1,4}|[^\w\s]+|\n+", text))


def sentence(rng: random.Random) -> str:
    words = [rng.choice(WORDS) for _ in range(rng.randint(1, 10))]
    return " ".join(words) + rng.choice([".", "!", "?", "...", "。", "؟", "", ".[3]"])


def document(rng: random.Random) -> str:
    blocks = [
        rng.choice(BLOCKS)
        if rng.random() < 0.3
        else rng.choice([" ", " ", "\n"]).join(sentence(rng) for _ in range(rng.randint(1, 4)))
        for _ in range(rng.randint(0, 5))
    ]
    if blocks and rng.random() < 0.3:
        blocks.append(blocks[0])
    text = "\n\n".join(blocks)
    return text.replace("\n", "\r\n") if rng.random() < 0.15 else text


def context(rng: random.Random) -> list[Hit]:
    texts = [document(rng) for _ in range(rng.choice([1, 1, 2]))]
    if rng.random() < 0.2:
        texts.append(texts[0])
    titles = ["", "", "Alpha", "Delta 7"]
    return [
        Hit(Chunk(f"c{number}", text, title=rng.choice(titles)), rng.random())
        for number, text in enumerate(texts)
    ]


def lossy(rng: random.Random) -> Callable[[str, list[str], int], str]:
    """Gives text back as models that drop tokens do: in pieces, and with some of their own."""

    def engine(question: str, passages: list[str], target: int) -> str:
        pieces = re.findall(r"\w{1,3}|[^\w]", "\n\n".join(passages))
        kept = [piece for piece in pieces if rng.random() < rng.choice([0.3, 0.9])]
        if rng.random() < 0.1:
            kept.insert(0, "<s> 99999 ")
        return "".join(kept)

    return engine


def careless(rng: random.Random) -> Callable[[Sequence[Message]], str]:
    """Summarises as bad models do: with numbers, links and passages of its own invention."""

    def llm(messages: Sequence[Message]) -> str:
        words = messages[-1].content.split()
        said = [rng.choice(words) for _ in range(rng.randint(0, 8))]
        if rng.random() < 0.3:
            said.append(rng.choice(["77", "https://evil.org", "`rm`", "[99]"]))
        return f"[{rng.randint(1, 3)}] " + " ".join(said)

    return llm


def compressors(rng: random.Random) -> dict[str, Compressor]:
    lingua = LLMLinguaCompressor("no/model", variant="llmlingua", count=count)
    lingua._engine = lossy(rng)
    return {
        "extractive": Extractive(count=count),
        "truncate": Truncate(count=count),
        "random": RandomSentences(3, count=count),
        "dedup": Dedup(count=count),
        "stopwords": StopwordPruner(count=count),
        "lingua": lingua,
        "summarize": Summarize(careless(rng), count=count),
    }


VERBATIM = {"extractive", "truncate", "random", "dedup"}


@pytest.mark.parametrize("first", range(0, DOCUMENTS, BLOCK))
def test_no_compressor_breaks_anything(first: int) -> None:
    done = dict.fromkeys(compressors(random.Random(0)), 0)
    for seed in range(first, first + BLOCK):
        rng = random.Random(seed)
        hits = context(rng)
        budget = rng.choice([None, None, 5, 20, 60])
        for name, compressor in compressors(rng).items():
            result = compressor.compress("alpha 数据 in Paris?", hits, max_tokens=budget)
            try:
                check(name, hits, result, whole=budget is None)
            except AssertionError as error:
                raise AssertionError(f"{name}, seed {seed}, budget {budget}: {result}") from error
            done[name] += result.skipped_reason is None
    assert all(compressed > BLOCK / 100 for compressed in done.values()), done


def check(name: str, hits: list[Hit], result: Compressed, *, whole: bool) -> None:
    given = "\n\n".join(f"{hit.chunk.title}\n{hit.chunk.text}" for hit in hits)
    assert result.tokens_after == count(result.text) <= result.tokens_before
    assert numbers(result.text) <= numbers(given)
    assert result.text == "\n\n".join(part.rendered for part in result.chunks)
    sources = {hit.chunk.id: hit.chunk.text for hit in hits}
    for part in result.chunks:
        source = sources[part.chunk.id]
        if name in VERBATIM:
            pieces = [source[span.start : span.end] for span in part.spans]
            assert all(pieces)
            assert [bare(piece) for piece in pieces] == [
                bare(piece) for piece in pieces if piece in part.text
            ]
            assert bare(part.text) == "".join(map(bare, pieces))
        check_blocks(source, part.text)
        if name in ("stopwords", "lingua") and (whole or name == "lingua"):
            check_fences(source, part.text)
    if name == "stopwords" and whole:
        assert len(NEGATION.findall(result.text)) == len(NEGATION.findall(given))


def bare(text: str) -> str:
    """A text without white space and the signs that stand for what was left out."""
    return re.sub(r"[\s|…]+", "", text)


def check_fences(source: str, text: str) -> None:
    """Every link, citation, line of code and table is still there, in order."""
    at = 0
    for piece in fenced_pieces(source):
        if piece.fenced:
            at = text.index(source[piece.start : piece.end], at) + piece.end - piece.start


def check_blocks(source: str, text: str) -> None:
    """Code and data in the result are those of the source, byte for byte."""
    verbatim = {
        source[found.start : found.end]
        for found in segment(source)
        if found.kind in ("code", "data")
    }
    for block in re.findall(r"```python.*?```", text, re.DOTALL):
        assert any(block in whole for whole in verbatim)
    for data in re.findall(r'^\{"the":.*$', text, re.MULTILINE):
        json.loads(data)
        assert any(data.strip() in whole for whole in verbatim)


def test_negations_stay_with_what_is_left_of_their_clause() -> None:
    rng = random.Random(7)
    kept = 0
    for seed in range(300):
        names = rng.sample(["valve", "pump", "tank", "pipe", "gate"], 3)
        text = (
            f"The {names[0]} must not be opened by the guests. The {names[1]} is red, and it is "
            f"never used without a key. The {names[2]} is as old as the plant."
        )
        lingua = LLMLinguaCompressor("no/model", variant="llmlingua", count=count)
        lingua._engine = lossy(random.Random(seed))
        for compressor in (lingua, StopwordPruner(count=count)):
            text_after = compressor.compress("", [Hit(Chunk("a", text), 0.0)]).text
            first = text_after.split("red")[0].split(names[1])[0]
            if any(word in first for word in (names[0], "opened", "guests")):
                assert "must not be" in first
                kept += 1
            if "key" in text_after or "used" in text_after:
                assert "is never" in text_after
                assert "without" in text_after
    assert kept > 100


PLAIN = ("extractive", "truncate", "random", "dedup", "stopwords")


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_a_chunk_of_five_megabytes(name: str) -> None:
    """Quadratic work would not come to an end here."""
    rng = random.Random(5)
    blocks: list[str] = []
    size = 0
    while size < 5_000_000:
        words = " ".join(f"w{rng.randrange(50_000)} the" for _ in range(12))
        blocks.append(rng.choice([f"It is {words}.", words, *BLOCKS[:6]]))
        size += len(blocks[-1]) + 2
    text = "\n\n".join(blocks)
    hits = [Hit(Chunk("a", text), 1.0)]
    result = compressors(rng)[name].compress("w77 alpha", hits, max_tokens=10_000)
    assert result.skipped_reason is None
    assert result.tokens_after <= 10_000
    assert numbers(result.text) <= numbers(text)


def test_fenced_kinds_are_block_kinds() -> None:
    from typing import get_args

    from ragopt.compress.blocks import BlockKind

    assert set(get_args(BlockKind)) - {"prose", "item"} == FENCED_KINDS
