"""Cross-encoders: a tiny one made here, its limits, and what happens when there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read at import; nothing here may reach for the network

import numpy as np
import pytest

from ragopt.chunk import Chunk, Hit
from ragopt.errors import BackendMissing, InputError
from ragopt.rerank import CrossEncoderReranker, Reranker, rerank

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] river lake bread oven moon ##s".split()
LIMIT = 24


def save_cross_encoder(folder: Path, *, labels: int = 1) -> Path:
    """A transformer of two layers with random weights, saved as a cross-encoder."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("sentence_transformers")
    bare = folder / "bare"
    bare.mkdir(parents=True)
    (folder / "words.txt").write_text("\n".join(WORDS), "utf-8")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LIMIT,
        num_labels=labels,
        initializer_range=1.0,  # so that scores differ visibly
    )
    transformers.BertForSequenceClassification(config).save_pretrained(bare)
    tokenizer = transformers.BertTokenizerFast(str(folder / "words.txt"), model_max_length=LIMIT)
    tokenizer.save_pretrained(bare)
    library.CrossEncoder(str(bare), device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_cross_encoder(tmp_path_factory.mktemp("cross_encoder"))


TEXTS = ["river lake", "oven", "moon rivers bread", "lake lake oven moon", ""]
CHUNKS = [Chunk(str(number), text) for number, text in enumerate(TEXTS)]


def test_scores_are_the_model_s_own(model: Path) -> None:
    from sentence_transformers import CrossEncoder

    expected = CrossEncoder(str(model), device="cpu").predict(
        [("river moon", text) for text in TEXTS], show_progress_bar=False
    )
    scorer = CrossEncoderReranker(model, device="cpu")
    scores = scorer.score("river moon", CHUNKS)
    assert scores.dtype == np.float32
    assert isinstance(scorer, Reranker)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert len(set(scores.tolist())) == len(TEXTS)
    assert repr(scorer) == f"CrossEncoderReranker({str(model)!r})"


def test_the_batch_size_does_not_change_the_scores(model: Path) -> None:
    one = CrossEncoderReranker(str(model), device="cpu", batch_size=1).score("river", CHUNKS)
    all_at_once = CrossEncoderReranker(str(model), device="cpu").score("river", CHUNKS)
    np.testing.assert_allclose(one, all_at_once, atol=1e-6)


def test_the_title_is_read(model: Path) -> None:
    scorer = CrossEncoderReranker(model, device="cpu")
    titled = scorer.score("river", [Chunk("a", "oven", title="bread")])
    np.testing.assert_allclose(titled, scorer.score("river", [Chunk("a", "bread oven")]), atol=1e-6)


def test_hits_come_back_in_its_order(model: Path) -> None:
    scorer = CrossEncoderReranker(model, device="cpu")
    scores = scorer.score("moon", CHUNKS)
    found = rerank(scorer, "moon", [Hit(chunk, 0.0) for chunk in CHUNKS])
    assert [hit.chunk.id for hit in found] == [str(place) for place in np.argsort(-scores)]


def test_pairs_beyond_the_limit_are_cut_and_counted(model: Path) -> None:
    scorer = CrossEncoderReranker(model, device="cpu")
    # [CLS] river [SEP] ... [SEP]: four tokens beside the text's own.
    fits, long = Chunk("a", "lake " * (LIMIT - 4)), Chunk("b", "lake " * (LIMIT - 3))
    found = scorer.scored("river", [fits, long, CHUNKS[0]])
    scores = found.values
    assert found.read_in_part == (1,)
    assert scorer.truncated == 1
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    scorer.score("river", [long, long])
    assert scorer.truncated == 3


def test_a_lower_limit_cuts_earlier(model: Path) -> None:
    scorer = CrossEncoderReranker(model, device="cpu", max_tokens=6)
    scores = scorer.score("river", [Chunk("a", "lake moon"), Chunk("b", "lake moon oven")])
    assert scorer.truncated == 1
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_of_several_labels_the_last_one_counts(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    model = save_cross_encoder(tmp_path, labels=2)
    expected = CrossEncoder(str(model), device="cpu").predict(
        [("river", text) for text in TEXTS], show_progress_bar=False
    )
    scores = CrossEncoderReranker(model, device="cpu").score("river", CHUNKS)
    np.testing.assert_allclose(scores, expected[:, 1], atol=1e-6)


def test_no_chunk_gives_no_score(model: Path) -> None:
    scorer = CrossEncoderReranker(model, device="cpu")
    assert scorer.score("river", []).shape == (0,)
    assert scorer.truncated == 0


def test_an_unknown_model_is_named() -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(InputError, match="'nobody/no-such-model' could not be loaded"):
        CrossEncoderReranker("nobody/no-such-model")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(InputError, match="could not be loaded"):
        CrossEncoderReranker(tmp_path)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"max_tokens": 0}, {"max_tokens": -5}])
def test_sizes_below_one_are_rejected(model: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected at least 1 each"):
        CrossEncoderReranker(model, **options)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(BackendMissing, match=r"pip install 'ragopt\[models\]'"):
        CrossEncoderReranker("any")
