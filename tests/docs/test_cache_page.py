"""The examples of docs/cache.md run as written, one after the other, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import ragopt.cache
from ragopt.cache import Scope
from ragopt.cli.cache import cache as commands
from ragopt.embed import CallableEmbedder

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


def test_the_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    names = {
        "embedder": CallableEmbedder(words, dim=256, id="words"),
        "scope": Scope(tenant="one"),
        "pairs": labelled(),
    }
    for block in blocks:
        exec(block, names)
    assert names["hit"] is None
    assert names["cache"].policy.certificate.holds


@pytest.mark.parametrize(
    "name",
    sorted(
        set(re.findall(r"`(?:ragopt\.cache\.)?([A-Z]\w+)[`(]", PAGE)) & set(ragopt.cache.__all__)
    ),
)
def test_what_it_names_is_there(name: str) -> None:
    assert hasattr(ragopt.cache, name)


def test_it_names_the_main_parts() -> None:
    for name in ("Calibrated", "PerEntry", "Static", "DriftMonitor", "Safety", "Lifetimes"):
        assert f"`{name}" in PAGE


def test_the_commands_it_names_are_there() -> None:
    named = re.search(r"`ragopt cache ([a-z|]+)`", PAGE)
    assert named is not None
    there = {command.callback.__name__ for command in commands.registered_commands}
    assert set(named[1].split("|")) <= there
    assert "ragopt cache tune" in PAGE
