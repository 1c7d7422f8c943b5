"""The shapes that every compressor gives back, and what all of them refuse."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

import ragopt.compress
from ragopt.chunk import Chunk, Hit
from ragopt.compress import (
    Compressed,
    Compressor,
    Extractive,
    RandomSentences,
    Span,
    Truncate,
)
from ragopt.compress.base import render_chunk, unchanged
from ragopt.errors import InputError

COMPRESSORS = [Extractive, Truncate, RandomSentences]


def count(text: str) -> int:
    return len(text.split())


def hit(text: str, *, id: str = "a", title: str = "", score: float = 0.0) -> Hit:
    return Hit(Chunk(id=id, text=text, title=title), score)


def test_exported_members() -> None:
    assert ragopt.compress.__all__ == sorted(ragopt.compress.__all__)
    assert all(hasattr(ragopt.compress, name) for name in ragopt.compress.__all__)


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, ragopt.compress; "
        "print([m for m in ('torch', 'faiss', 'scipy', 'tiktoken', 'rank_bm25', 'numba') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_fits_the_protocol(kind: type) -> None:
    assert isinstance(kind(), Compressor)


def test_results_are_frozen() -> None:
    result = Compressed((), "", 0, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.text = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("before", "after", "ratio"), [(0, 0, 1.0), (10, 5, 0.5), (10, 0, 0.0), (4, 4, 1.0)]
)
def test_ratio_is_guarded(before: int, after: int, ratio: float) -> None:
    result = Compressed((), "", before, after)
    assert result.ratio == ratio
    assert result.tokens_saved == before - after


def test_title_stands_above_the_text() -> None:
    assert render_chunk("T", "x") == "T\nx"
    assert render_chunk("", "x") == "x"


def test_unchanged_keeps_everything_and_says_why() -> None:
    result = unchanged([hit("One two.", title="T"), hit("", id="b")], count, "because")
    assert result.skipped_reason == "because"
    assert result.tokens_before == result.tokens_after == 3
    assert result.spans == (Span("a", 0, 8),)
    assert result.ratio == 1.0


def test_keeps_asks_for_one_verbatim_piece() -> None:
    text = "Alpha is here. Beta is there. Gamma is alpha."
    result = Extractive(count=count).compress("alpha gamma", [hit(text)], max_tokens=8)
    assert result.text == "Alpha is here. … Gamma is alpha."
    assert result.keeps("a", 0, 14)
    assert result.keeps("a", 30, len(text))
    assert not result.keeps("a", 15, 29)
    assert not result.keeps("a", 0, len(text))
    assert not result.keeps("b", 0, 14)


@pytest.mark.parametrize("kind", COMPRESSORS)
@pytest.mark.parametrize("max_tokens", [0, -1, 2.5, True, "5", float("nan")])
def test_unusable_budget_is_refused(kind: type, max_tokens: object) -> None:
    with pytest.raises(InputError, match="max_tokens="):
        kind(count=count).compress("a", [hit("A. B.")], max_tokens=max_tokens)


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_one_id_with_two_texts_is_refused(kind: type) -> None:
    with pytest.raises(InputError, match="'a' occurs twice"):
        kind(count=count).compress("a", [hit("A."), hit("B.")], max_tokens=1)


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_nan_score_is_refused(kind: type) -> None:
    with pytest.raises(InputError, match="NaN"):
        kind(count=count).compress("a", [hit("A.", score=float("nan"))])


@pytest.mark.parametrize("kind", COMPRESSORS)
@pytest.mark.parametrize("texts", [[], [""], [" \n "], ["", "\t"]])
def test_nothing_to_compress(kind: type, texts: list[str]) -> None:
    hits = [hit(text, id=str(number)) for number, text in enumerate(texts)]
    result = kind(count=count).compress("a", hits, max_tokens=5)
    assert result.skipped_reason == "there is no text to compress"
    assert result.tokens_after == result.tokens_before == 0
    assert len(result.chunks) == len(texts)


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_default_counter_is_the_cost_module(kind: type) -> None:
    from ragopt.cost.tokens import token_counter

    text = "Alpha is here. " * 3 + "Beta is there. " * 20
    result = kind().compress("alpha", [hit(text)], max_tokens=30)
    assert result.tokens_before == token_counter().count(text)
    assert result.tokens_after == token_counter().count(result.text) <= 30
