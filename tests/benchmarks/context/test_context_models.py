"""Peers that run models, through their real packages, with tiny models made here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from context_bench_made import made_contexts, made_retrieval
from tiny_models import save_causal, save_token_classifier, save_tokenizer

from ragopt.benchmarks.context import (
    CompressBenchOptions,
    RerankBenchOptions,
    bench_compress,
    bench_rerank,
    recheck,
)
from ragopt.benchmarks.context.judge import foreign_words
from ragopt.benchmarks.context.lingua import LinguaCompressor
from ragopt.benchmarks.context.scorers import FlashRankScorer, RerankersScorer
from ragopt.chunk import Chunk, Hit
from ragopt.errors import InputError
from ragopt.rerank import CrossEncoderReranker

# These packages warn of one another's and of their own old names.
pytestmark = pytest.mark.filterwarnings("ignore")

TEXTS = [chunk.text for context in made_contexts().contexts for chunk in context.passages]
CHUNKS = [Chunk(id=str(place), text=text) for place, text in enumerate(TEXTS[:12])]
QUERY = "What is the retention period of bucket Cedar?"
LONG = [
    Hit(Chunk(id=str(place), text=text, title=f"T{place}"), 0.0)
    for place, text in enumerate(TEXTS[:40])
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another take longer than models as small as these."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _count(text: str) -> int:
    return len(text.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="transformers is not installed")
    return tmp_path_factory.mktemp("models")


def _pairs_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = sorted({word for text in [*TEXTS, QUERY] for word in text.replace(".", " .").split()})
    tokenizer = Tokenizer(
        models.WordLevel({word: at for at, word in enumerate([*marks, *words])}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


@pytest.fixture(scope="module")
def cross_encoder(folder: Path) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    path = folder / "tiny-cross-encoder"
    size = save_tokenizer(
        _pairs_tokenizer(),
        path,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=512,
        num_labels=1,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def causal(folder: Path) -> Path:
    return save_causal(folder / "tiny-gpt2", [*TEXTS, QUERY])


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Path:
    return save_token_classifier(folder / "tiny-xlm-roberta-large", [*TEXTS, QUERY])


# --------------------------------------------------------------------------------------- scorers


def test_rerankers_gives_the_scores_of_the_model_it_wraps(cross_encoder: Path) -> None:
    pytest.importorskip("rerankers", reason="rerankers is not installed")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    own = CrossEncoderReranker(cross_encoder, device="cpu").score(QUERY, CHUNKS)
    theirs = RerankersScorer(str(cross_encoder)).score(QUERY, CHUNKS)
    assert np.ptp(own) > 1e-3
    assert 1 / (1 + np.exp(-theirs)) == pytest.approx(own, abs=1e-4)


def test_rerankers_without_the_model_says_so(tmp_path: Path) -> None:
    pytest.importorskip("rerankers", reason="rerankers is not installed")
    with pytest.raises(InputError, match="rerankers could not load"):
        RerankersScorer(str(tmp_path / "absent"))


def test_cross_encoders_run_in_the_bench(cross_encoder: Path) -> None:
    pytest.importorskip("rerankers", reason="rerankers is not installed")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    names = ("cross-encoder", "rerankers")
    result = bench_rerank(
        made_retrieval(),
        options=RerankBenchOptions(
            only=names, model_limit=3, models=dict.fromkeys(names, str(cross_encoder))
        ),
    )
    assert recheck(result) == []
    own, theirs = (result.value(f"rerank/{name}/made/ndcg_at_10") for name in names)
    assert own is not None
    assert own == theirs
    assert result.rows[0].extra["n"] == 3


def test_flashrank_without_its_files_says_so(tmp_path: Path) -> None:
    pytest.importorskip("flashrank", reason="flashrank is not installed")
    with pytest.raises(InputError, match="is no folder"):
        FlashRankScorer(str(tmp_path / "ms-marco-TinyBERT-L-2-v2"))
    with pytest.raises(InputError, match="could not load"):
        FlashRankScorer(str(tmp_path))


def test_flashrank_runs_an_onnx_model(folder: Path) -> None:
    pytest.importorskip("flashrank", reason="flashrank is not installed")
    pytest.importorskip("onnx", reason="onnx, which writes the test's model, is not installed")
    path = folder / "ms-marco-TinyBERT-L-2-v2"
    save_tokenizer(_pairs_tokenizer(), path, unk_token="[UNK]", pad_token="[PAD]")
    (path / "config.json").write_text(json.dumps({"pad_token_id": 0}))
    (path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    _write_onnx(path / "flashrank-TinyBERT-L-2-v2.onnx")
    scorer = FlashRankScorer(str(path))
    lengths = [Chunk(id=str(n), text=" ".join(["days"] * n)) for n in (3, 1, 2)]
    scores = scorer.score("bucket", lengths)
    assert np.argsort(-scores).tolist() == [0, 2, 1]


def _write_onnx(path: Path) -> None:
    """A model that scores a pair by how many tokens it has."""
    import onnx
    from onnx import TensorProto, helper

    names = ("input_ids", "attention_mask", "token_type_ids")
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["token_type_ids"], ["types"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ids", "none"], ["no_ids"]),
        helper.make_node("Mul", ["types", "none"], ["no_types"]),
        helper.make_node("Sum", ["mask", "no_ids", "no_types"], ["counted"]),
        helper.make_node("ReduceMean", ["counted"], ["share"], axes=[1], keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "lengths",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "m"]) for name in names],
        [helper.make_tensor_value_info("share", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("none", TensorProto.FLOAT, [1], [0.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))


# ----------------------------------------------------------------------------------- compressors


@pytest.mark.parametrize("variant", ["llmlingua", "longllmlingua", "llmlingua2"])
def test_lingua_keeps_to_the_budget_in_words_of_the_source(
    variant: Any, causal: Path, classifier: Path
) -> None:
    pytest.importorskip("llmlingua", reason="llmlingua is not installed")
    model = classifier if variant == "llmlingua2" else causal
    compressor = LinguaCompressor(model, variant=variant, count=_count)
    source = "\n\n".join(f"{hit.chunk.title}\n{hit.chunk.text}" for hit in LONG)
    budget = _count(source) // 4
    # Long enough for the key and value caches to be handed on: there 0.2.2 breaks on its own.
    found = compressor.compress(QUERY, LONG, max_tokens=budget)
    assert 0 < _count(found.text) <= budget
    assert foreign_words(found.text, source) < 0.5
    assert found.text != source[: len(found.text)]


def test_lingua_runs_in_the_bench(causal: Path, classifier: Path) -> None:
    pytest.importorskip("llmlingua", reason="llmlingua is not installed")
    models = {"llmlingua": str(causal), "llmlingua2": str(classifier)}
    result = bench_compress(
        made_contexts(),
        options=CompressBenchOptions(
            only=tuple(models), model_limit=2, calls=1, ratios=(2,), models=models
        ),
    )
    assert recheck(result) == []
    rows = {row.name: row for row in result.rows}
    for name in models:
        row = rows[f"compress/{name}/made/answer_kept_at_2x"]
        assert row.value is not None or "over the budget" in row.reason
        assert "verbatim evidence is lost by construction" in row.extra["note"]
        assert rows[f"compress/{name}/made/ms_per_query"].value is not None


def test_lingua_2_knows_its_models_by_name(causal: Path) -> None:
    with pytest.raises(InputError, match="xlm-roberta-large"):
        LinguaCompressor(causal, variant="llmlingua2", count=_count)


def test_lingua_without_the_model_says_so(tmp_path: Path) -> None:
    pytest.importorskip("llmlingua", reason="llmlingua is not installed")
    with pytest.raises(InputError, match="could not be loaded"):
        LinguaCompressor(tmp_path / "absent", variant="llmlingua", count=_count)
