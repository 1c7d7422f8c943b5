"""The examples of docs/cache.md run as written, one after the other, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import ragopt.cache
from ragopt.cache import Scope
from ragopt.chunk import Document
from ragopt.cli.cache import cache as commands
from ragopt.corpus import Corpus
from ragopt.embed import CallableEmbedder
from ragopt.llm import ExtractiveAnswerer
from ragopt.pipeline import Pipeline

PAGE = (Path(__file__).parents[2] / "docs" / "cache.md").read_text("utf-8")
VERBS = "rotate delete rename share archive".split()


def words(texts: list[str]) -> np.ndarray:
    """A bag of hashed words."""
    rows = np.zeros((len(texts), 256), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()):
            if word not in {"a", "the", "i", "do", "can", "how"}:
                row[sum(map(ord, word)) % 256] += 1
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1)


def labelled() -> list[tuple[str, str, bool]]:
    pairs = []
    for number in range(400):
        verb, other = VERBS[number % 5], VERBS[(number + 1) % 5]
        asked = f"How do I {verb} the key of project{number}?"
        same = number % 2 == 0
        said = verb if same else other
        pairs.append((asked, f"how can I {said} the key of project{number}", same))
    return pairs


def test_the_examples_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 5
    documents = [
        Document(verb, f"To {verb} a key, call {verb}(). It takes {place} seconds.")
        for place, verb in enumerate(VERBS, start=2)
    ]
    with Corpus.build(documents, tmp_path / "corpus") as corpus:
        names = {
            "embedder": CallableEmbedder(words, dim=256, id="words"),
            "scope": Scope(tenant="one"),
            "pairs": labelled(),
            "corpus": corpus,
            "llm": ExtractiveAnswerer(max_sentences=1),
            "Pipeline": Pipeline,
            "Scope": Scope,
        }
        for number, block in enumerate(blocks):
            exec(block, names)
            if not number:
                assert names["hit"] is None
        assert names["cache"].policy.certificate.holds
        answers = [names["pipeline"].ask("How do I rotate a key?") for _ in range(2)]
    assert [answer.served_from for answer in answers] == ["llm", "exact cache"]
    assert answers[0].text == answers[1].text == "To rotate a key, call rotate()."


@pytest.mark.parametrize(
    "name",
    sorted(
        set(re.findall(r"`(?:ragopt\.cache\.)?([A-Z]\w+)[`(]", PAGE)) & set(ragopt.cache.__all__)
    ),
)
def test_what_it_names_is_there(name: str) -> None:
    assert hasattr(ragopt.cache, name)


def test_it_names_the_main_parts() -> None:
    for name in (
        "Calibrated",
        "PerEntry",
        "Static",
        "DriftMonitor",
        "Safety",
        "Lifetimes",
        "Support",
    ):
        assert f"`{name}" in PAGE


def test_the_commands_it_names_are_there() -> None:
    named = re.search(r"`ragopt cache ([a-z|]+)`", PAGE)
    assert named is not None
    there = {command.callback.__name__ for command in commands.registered_commands}
    assert set(named[1].split("|")) <= there
    assert "ragopt cache tune" in PAGE
