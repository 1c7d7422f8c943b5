"""Models of one layer with random weights, saved as real ones are, for packages that run models."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["save_causal", "save_token_classifier", "save_tokenizer"]


def save_tokenizer(tokenizer: Any, folder: Path, **marks: str) -> int:
    """Save a tokenizer as transformers reads it; return the size of its vocabulary."""
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **marks)
    made.save_pretrained(folder)
    return len(made)


def save_causal(path: Path, texts: Sequence[str]) -> Path:
    """A GPT-2 of one layer with random weights and a byte-level tokenizer trained on the texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[end],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    size = save_tokenizer(tokenizer, path, bos_token=end, eos_token=end, unk_token=end)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=size,
        n_positions=2048,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(path)
    return path


def save_token_classifier(path: Path, texts: Sequence[str]) -> Path:
    """An XLM-RoBERTa of one layer with random weights that labels tokens as LLMLingua-2 does."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import XLMRobertaConfig, XLMRobertaForTokenClassification

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400,
        unk_token="<unk>",
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=list(string.printable.strip()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    size = save_tokenizer(
        tokenizer,
        path,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
    )
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=520,
        num_labels=2,
        pad_token_id=1,
        initializer_range=0.5,
    )
    XLMRobertaForTokenClassification(config).save_pretrained(path)
    return path
